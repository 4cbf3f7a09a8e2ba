"""What commands write: drawn photos and embeddings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.cli import output
from limner.cli.overwriting import is_any
from limner.cli.photos import embedding_of, one_photo
from limner.errors import InputError

if TYPE_CHECKING:
    from limner.cli.draw import Mark
    from limner.gallery import Gallery
    from limner.gallery.records import LookAlike
    from limner.types import Face, Match


def mark_of(face: Face, match: Match) -> Mark:
    """Return what is drawn for an identified face."""
    from limner.cli.draw import Mark

    detail = "" if match.distance is None else f"distance {match.distance:.2f}"
    if match.person is None:
        title = "not recognised" if match.reason is None else "unclear"
        return Mark(face.box_xyxy, title, match.reason or detail, "not_recognised")
    return Mark(face.box_xyxy, match.person, detail, "recognised")


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


def draw_lookalikes(
    draw: str, photo: str, face: Face, ranked: Sequence[LookAlike], gallery: Gallery
) -> None:
    """Draw a face beside the people who look most like it, and save the picture.

    Args:
        draw: A file.
        photo: Where the face is.
        face: With its embedding.
        ranked: The likest first.
        gallery: Whose faces are shown, as `limner.gallery.portraits.portrait` finds them.
    """
    from limner import images
    from limner.cli.answer_sheet import Likeness, draw_answer
    from limner.gallery.chips import cut_surroundings
    from limner.gallery.portraits import portrait

    likenesses = []
    for one in ranked:
        picture = portrait(gallery, one.person, like=face.embedding)
        # Two people who have nothing in common lie at 2, the square of two right-angled units.
        share = max(0.0, 1 - one.distance / 2)
        likenesses.append(Likeness(one.person, share, f"{one.distance:.3f}", picture))
    if any(one.face is None for one in likenesses):
        output.note(
            "of some people no picture is kept: enrol them with --keep-chips, or leave their "
            "photos where they were."
        )
    chip = cut_surroundings(images.read(photo), face.box_xyxy)
    images.write(draw, draw_answer(chip, likenesses, title="this face"))
    output.note(f"drawn: {draw}")


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
    read = [photo for photo, _ in photos]
    for photo, marks in photos:
        path = _free_name(target, photo, written, read) if into_folder else target
        drawn = draw_marks(images.read(photo), marks)
        images.write(path, drawn.image)
        for number, title in drawn.replaced.items():
            output.warn(f"no installed font has the letters of {title}; it is #{number} in {path}")
        written.append(path)
    output.note(f"drawn: {written[0] if len(written) == 1 else target}")
    return written


def _free_name(folder: Path, photo: str, taken: Sequence[Path], read: Sequence[str]) -> Path:
    """Return a name in `folder` that is neither taken by this run nor one of the photos."""
    stem = Path(photo).stem
    for number in range(1, len(taken) + len(read) + 2):
        name = folder / (f"{stem}.jpg" if number == 1 else f"{stem}-{number}.jpg")
        if name not in taken and not is_any(name, read):
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
