"""From the arguments of a command to photos and faces, and back to pictures on disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limner.cli import output
from limner.cli.options import FindOptions, ModelOptions, PickOptions
from limner.errors import ImageError, InputError, LimnerError
from limner.weights.registry import DEFAULT_EMBEDDER

if TYPE_CHECKING:
    from limner.faces import FaceAnalyzer, Pick
    from limner.images import Listing
    from limner.types import BoxXYXY, Embedding, Face, Pair
    from limner.weights import OnnxOptions

DETECTOR = "yunet"


@dataclass(frozen=True)
class PhotoResult:
    """What came of one photo.

    Attributes:
        photo: The path, as given or as found in a folder.
        faces: Its faces, largest first; None when the photo could not be read.
        error: Why it could not be read.
    """

    photo: str
    faces: list[Face] | None
    error: LimnerError | None = None


def expand(arguments: Sequence[str]) -> tuple[list[str], list[PhotoResult]]:
    """Replace each folder among the arguments by the photos in it, and keep the rest.

    What a folder holds besides photos is said on standard error.

    Returns:
        The photos, and the folders below that could not be read, each with its error.

    Raises:
        InputError: If a folder holds no photo.
    """
    from limner.images import PHOTO_SUFFIXES

    photos: list[str] = []
    unreadable: list[PhotoResult] = []
    for argument in arguments:
        if not os.path.isdir(argument):
            photos.append(argument)
            continue
        listing = report_folder(argument, unreadable=False)
        if not listing.photos:
            if listing.unreadable:
                raise ImageError(listing.unreadable[0].reason)
            known = ", ".join(sorted(suffix.lstrip(".") for suffix in PHOTO_SUFFIXES))
            raise InputError(f"the folder {argument} holds no photo; its files may be {known}.")
        photos.extend(map(str, listing.photos))
        unreadable += [
            PhotoResult(str(left.path), None, ImageError(left.reason))
            for left in listing.unreadable
        ]
    return photos, unreadable


def report_folder(folder: str | os.PathLike[str], *, unreadable: bool = True) -> Listing:
    """Look into a folder, and say on standard error what in it is no photo.

    Args:
        folder: Where to look.
        unreadable: Also say which folders below cannot be read.

    Raises:
        ImageError: If it is not a folder, or cannot be read.
    """
    from limner.images import scan_folder

    listing = scan_folder(folder)
    for left in listing.unreadable if unreadable else ():
        output.warn(f"left out: {left.reason}")
    sentence = listing.summary()
    if sentence is not None:
        output.note(sentence)
    return listing


def tell_left_out(folder: str | os.PathLike[str], *, unreadable: bool = True) -> None:
    """Do what `report_folder` does, for a command that looks into its folder itself.

    What is no folder, or cannot be read, is for that command to report.
    """
    with contextlib.suppress(ImageError):
        report_folder(folder, unreadable=unreadable)


def one_photo(arguments: Sequence[str]) -> bool:
    """Tell whether the arguments are one file, so that the answer is one object, not a list."""
    return len(arguments) == 1 and not os.path.isdir(arguments[0])


def onnx_options(model: ModelOptions) -> OnnxOptions | None:
    """Return what the ``--embedder-...`` options say about an ONNX file; None if nothing.

    Raises:
        InputError: If they are given for an embedder that is not a file, or are not numbers.
    """
    given: dict[str, Any] = {
        "size_px": model.embedder_size,
        "mean": _numbers("--embedder-mean", model.embedder_mean),
        "std": _numbers("--embedder-std", model.embedder_std),
        "colour": model.embedder_colour,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    embedder = model.embedder or DEFAULT_EMBEDDER
    if not embedder.endswith(".onnx"):
        raise InputError(
            f"--embedder-size, -mean, -std and -colour describe an .onnx file; "
            f"{embedder!r} brings its own."
        )
    from limner.weights import OnnxOptions

    return OnnxOptions(**given)


def _numbers(option: str, text: str | None) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise InputError(f"{option} must be one number or three such as 104,117,123, got {text!r}.")
    return values[0] if len(values) == 1 else values


def parse_box(text: str) -> BoxXYXY:
    """Return ``x0,y0,x1,y1`` as numbers.

    Raises:
        InputError: If it is not four numbers with x1 > x0 and y1 > y0.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 4 or not (values[2] > values[0] and values[3] > values[1]):
        raise InputError(
            f"a box is x0,y0,x1,y1 in pixels with x1 > x0 and y1 > y0, such as 40,30,120,140; "
            f"got {text!r}."
        )
    return values[0], values[1], values[2], values[3]


def make_analyzer(
    find: FindOptions, model: ModelOptions | None, *, embed: bool = True, mirror: bool = False
) -> FaceAnalyzer:
    """Build the analyzer that the options ask for, and show what has to be fetched first."""
    from limner import weights
    from limner.faces import FaceAnalyzer

    embedder = None if model is None or not embed else model.embedder or DEFAULT_EMBEDDER
    options = None if model is None or not embed else onnx_options(model)
    needed = [DETECTOR] + ([embedder] if embedder in weights.names() else [])
    for name in needed:
        with output.fetch_progress() as progress:
            weights.load(name, progress=progress)
    return FaceAnalyzer(
        DETECTOR,
        embedder,
        device="auto" if model is None else model.device,
        mirror=mirror,
        options=options,
        min_size=find.min_size,
        min_score=find.min_score,
        any_rotation=find.any_rotation,
    )


def analyze_all(
    analyzer: FaceAnalyzer, arguments: Sequence[str], *, embed: bool
) -> list[PhotoResult]:
    """Find the faces of every photo; unreadable ones are reported and left out.

    Raises:
        LimnerError: If not a single photo could be read.
    """
    photos, folders = expand(arguments)
    results = []
    with output.progress_bar("photos", len(photos)) as step:
        found = analyzer.analyze_many(photos, embed=embed, on_error="yield")
        # The analyzer names photos for people to read; files are known by their own paths.
        for photo, answer in zip(photos, found, strict=True):
            results.append(PhotoResult(photo, answer.faces, answer.error))
            step()
    results += folders
    failed = [result for result in results if result.error is not None]
    if failed and len(failed) == len(results):
        if len(failed) == 1 and failed[0].error is not None:
            raise failed[0].error
        raise ImageError(
            f"none of the {len(failed)} photos could be read; the first: {failed[0].error}"
        )
    for result in failed:
        output.warn(f"left out: {output.one_line(result.error or ImageError(result.photo))}")
    return results


def which_face(pick: PickOptions, *, every: bool = False) -> Pick | BoxXYXY:
    """Return what the options say about photos with several faces.

    Raises:
        InputError: If two options contradict each other, or the box is none.
    """
    given = [
        option
        for option, value in (("--largest", pick.largest), ("--all", every), ("--box", pick.box))
        if value
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} contradict each other; give one of them.")
    if pick.box is not None:
        return parse_box(pick.box)
    return "largest" if pick.largest else "all" if every else "one"


def one_face(analyzer: FaceAnalyzer, photo: str, which: Pick | BoxXYXY) -> Face:
    """Return the one face of a photo that is meant.

    Raises:
        FaceCountError: If there is none, none at the box, or several and nothing says which.
        LimnerError: If the photo cannot be read.
    """
    from limner.faces import choose

    return choose(analyzer.analyze(photo), pick=which, photo=photo)[0]


def embedding_of(face: Face) -> Embedding:
    """Return a face's embedding.

    Raises:
        InputError: If it has none.
    """
    if face.embedding is None:
        raise InputError("a face without an embedding cannot be compared.")
    return face.embedding


def pair_sentence(pair: Pair) -> str:
    """Return verdict, reason, distance, threshold and probability as one line."""
    likely = (
        "not calibrated" if pair.probability is None else f"probability {percent(pair.probability)}"
    )
    because = "" if pair.reason is None else f" ({pair.reason})"
    return (
        f"{pair.verdict}{because}: distance {pair.distance:.3f}, "
        f"threshold {pair.threshold:.3f}, {likely}"
    )


def percent(probability: float) -> str:
    """Return a probability in per cent, without ever claiming certainty."""
    if probability > 0.9999:
        return "> 99.99 %"
    if probability < 0.0001:
        return "< 0.01 %"
    return f"{100 * probability:.2f} %"


def width_of(analyzer: FaceAnalyzer) -> int:
    """Return the width D of the analyzer's embeddings; 0 for detection only."""
    return 0 if analyzer.embedder is None else analyzer.embedder.dim


def error_entry(result: PhotoResult) -> dict[str, Any]:
    """Return the JSON of a photo that could not be read."""
    error = result.error
    return {
        "photo": result.photo,
        "faces": [],
        "error": {"type": type(error).__name__, "message": output.one_line(error or Exception())},
    }


def emit_photos(
    arguments: Sequence[str],
    results: Sequence[PhotoResult],
    faces_of: Callable[[int], list[dict[str, Any]]],
) -> None:
    """Print ``{"faces": [...]}`` for one file, else a list with each photo's path."""
    if one_photo(arguments):
        output.emit_json({"faces": faces_of(0)})
        return
    output.emit_json(
        [
            error_entry(result)
            if result.faces is None
            else {"photo": result.photo, "faces": faces_of(index)}
            for index, result in enumerate(results)
        ]
        + [{"photo": f, "faces": [], "left_out": kinds} for f, kinds in left_out(arguments).items()]
    )


def left_out(arguments: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many files of each folder among the arguments are no photos, by kind."""
    from limner.images import scan_folder

    folders = [argument for argument in arguments if os.path.isdir(argument)]
    counted = {folder: dict(scan_folder(folder).left_out) for folder in folders}
    return {folder: kinds for folder, kinds in counted.items() if kinds}


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 face`` or ``3 faces``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def summary(results: Sequence[PhotoResult]) -> str:
    """Return one line with what was read, found and left out."""
    read = [result for result in results if result.faces is not None]
    faces = sum(len(result.faces or ()) for result in read)
    line = f"{count(faces, 'face')} in {count(len(read), 'photo')}"
    left_out = len(results) - len(read)
    return f"{line}; {left_out} could not be read" if left_out else line
