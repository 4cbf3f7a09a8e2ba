"""From the arguments of a command to photos and faces, and back to pictures on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.cli import output
from limner.cli.options import FindOptions, ModelOptions, PickOptions
from limner.errors import ImageError, InputError, LimnerError

if TYPE_CHECKING:
    from limner.cli.draw import Mark
    from limner.faces import FaceAnalyzer
    from limner.faces.analyzer import Pick
    from limner.types import BoxXYXY, Embedding, Face, Match, Pair
    from limner.weights import OnnxOptions

DETECTOR = "yunet"
EMBEDDER = "facenet"


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


def expand(arguments: Sequence[str]) -> list[str]:
    """Replace each folder among the arguments by the photos in it, and keep the rest.

    Raises:
        InputError: If a folder holds no photo.
    """
    from limner.images import PHOTO_SUFFIXES, list_photos

    photos: list[str] = []
    for argument in arguments:
        if not os.path.isdir(argument):
            photos.append(argument)
            continue
        found = [str(path) for path in list_photos(argument)]
        if not found:
            known = ", ".join(sorted(suffix.lstrip(".") for suffix in PHOTO_SUFFIXES))
            raise InputError(f"the folder {argument} holds no photo; its files may be {known}.")
        photos.extend(found)
    return photos


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
    embedder = model.embedder or EMBEDDER
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

    embedder = None if model is None or not embed else model.embedder or EMBEDDER
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
    )


def analyze_all(
    analyzer: FaceAnalyzer, arguments: Sequence[str], *, embed: bool
) -> list[PhotoResult]:
    """Find the faces of every photo; unreadable ones are reported and left out.

    Raises:
        LimnerError: If not a single photo could be read.
    """
    photos = expand(arguments)
    results = []
    with output.progress_bar("photos", len(photos)) as step:
        found = analyzer.analyze_many(photos, embed=embed, on_error="yield")
        # The analyzer names photos for people to read; files are known by their own paths.
        for photo, answer in zip(photos, found, strict=True):
            results.append(PhotoResult(photo, answer.faces, answer.error))
            step()
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
    """Return verdict, distance, threshold and probability as one line."""
    likely = (
        "not calibrated" if pair.probability is None else f"probability {percent(pair.probability)}"
    )
    return f"{pair.verdict}: distance {pair.distance:.3f}, threshold {pair.threshold:.3f}, {likely}"


def mark_of(face: Face, match: Match) -> Mark:
    """Return what is drawn for an identified face."""
    from limner.cli.draw import Mark

    detail = "" if match.distance is None else f"distance {match.distance:.2f}"
    if match.person is None:
        return Mark(face.box_xyxy, "not recognised", detail, "not_recognised")
    return Mark(face.box_xyxy, match.person, detail, "recognised")


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


def save_embeddings(
    out: str, rows: Sequence[tuple[str, Face]], *, embedder_id: str, dim: int
) -> None:
    """Write faces to an .npz file, first under a temporary name.

    The arrays are ``embeddings`` (N, D) float32, ``photos`` (N,) str, ``box_xyxy`` (N, 4),
    ``landmarks_xy`` (N, 5, 2), ``scores`` (N,) and ``embedder_id`` (a single str). None needs
    pickle to be read.

    Raises:
        InputError: If the file cannot be written.
    """
    import numpy as np

    vectors = [embedding_of(face).vector for _, face in rows]
    arrays: dict[str, Any] = {
        "embeddings": np.asarray(vectors, np.float32).reshape(len(vectors), dim),
        "photos": np.asarray([photo for photo, _ in rows], np.str_),
        "box_xyxy": np.asarray([face.box_xyxy for _, face in rows], np.float32).reshape(-1, 4),
        "landmarks_xy": np.asarray([face.landmarks_xy for _, face in rows], np.float32).reshape(
            -1, 5, 2
        ),
        "scores": np.asarray([face.score for _, face in rows], np.float32),
        "embedder_id": np.asarray(embedder_id),
    }
    target = Path(out)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as stream:
            np.savez(stream, **arrays)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{out} cannot be written: {error.strerror}.") from error


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
    )


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


# --- pictures out ----------------------------------------------------------------------


def check_draw_target(draw: str | None, arguments: Sequence[str]) -> None:
    """Refuse a ``--draw`` target that cannot work, before the long work begins.

    Raises:
        InputError: If several photos would go into one file, or the folder does not exist.
    """
    if draw is None:
        return
    if not one_photo(arguments) and Path(draw).suffix and not os.path.isdir(draw):
        raise InputError(
            f"{draw} can hold one drawn photo, but several may come; give --draw a folder."
        )
    target = Path(draw)
    parent = target.parent if target.suffix else target
    if target.suffix and not parent.is_dir():
        raise InputError(f"the folder {parent} for {draw} does not exist; make it first.")


def draw_photos(draw: str, photos: Sequence[tuple[str, Sequence[Mark]]]) -> list[Path]:
    """Draw marks on photos and save them.

    Args:
        draw: A file for one photo, or a folder.
        photos: Path and marks of each.

    Returns:
        The written files, in the order of `photos`.
    """
    from limner import images
    from limner.cli.draw import draw_marks

    target = Path(draw)
    into_folder = not target.suffix or target.is_dir()
    if into_folder:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder {target} cannot be made: {error.strerror}.") from error
    written: list[Path] = []
    for photo, marks in photos:
        path = _free_name(target, photo, written) if into_folder else target
        drawn = draw_marks(images.read(photo), marks)
        images.write(path, drawn.image)
        for number, title in drawn.replaced.items():
            output.warn(f"no installed font has the letters of {title}; it is #{number} in {path}")
        written.append(path)
    output.note(f"drawn: {written[0] if len(written) == 1 else target}")
    return written


def _free_name(folder: Path, photo: str, taken: Sequence[Path]) -> Path:
    """Return a name in `folder` that is neither taken by this run nor the photo itself."""
    stem = Path(photo).stem
    for number in range(1, len(taken) + 3):
        name = folder / (f"{stem}.jpg" if number == 1 else f"{stem}-{number}.jpg")
        if name not in taken and not (name.exists() and os.path.samefile(name, photo)):
            return name
    raise InputError(f"no free name for {photo} in {folder}.")


def check_writable(path: str) -> None:
    """Refuse a file that cannot be written, before the long work begins.

    Raises:
        InputError: If the folder is missing or not writable, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file.")
    if not target.parent.is_dir():
        raise InputError(f"the folder {target.parent} for {path} does not exist; make it first.")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path} cannot be written: the folder {target.parent} is read-only.")
