"""The preview that ``limner style`` shows while it paints."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limner.cli import output
from limner.errors import LimnerError, WeightsError
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.style import StyleOptions


@contextlib.contextmanager
def previewed(
    pictures: Sequence[str],
    out: str,
    *,
    options: StyleOptions,
    weights: list[float] | None,
    mask: str | None,
    mask_colours: Sequence[str] | None,
) -> Iterator[None]:
    """Paint a first idea of the picture, say where it is, and remove it when the block ends.

    Where the fast network cannot be had, a line says so and there is no preview.

    Args:
        pictures: The content, then the styles.
        out: Where the picture will be; the preview is ``OUT-preview.jpg`` beside it.
        options: Of the run.
        weights: Of the styles.
        mask: Which style goes where.
        mask_colours: Its colours.
    """
    from limner.style.masks import read_masks
    from limner.style.preview import preview

    began = time.perf_counter()
    path = Path(out).with_name(f"{Path(out).stem}-preview.jpg")
    count = len(pictures) - 1
    masks = None if mask is None else read_masks(mask, count=count, colours=mask_colours)
    ours = not path.exists()  # somebody's own file of that name is left alone
    try:
        if ours:
            with output.fetch_progress() as progress:
                pixels = preview(
                    *(pictures[0], pictures[1:]),
                    options=options,
                    style_weights=weights,
                    masks=masks,
                    progress=progress,
                )
            _show(path, pixels, began)
    except WeightsError as error:
        output.note(f"no preview: {output.one_line(error)}")
    try:
        yield
    finally:
        if ours:
            path.unlink(missing_ok=True)


def _show(path: Path, pixels: FloatArray, began: float) -> None:
    """Write the preview; a disk that refuses it does not end the run."""
    from limner import images

    try:
        images.write(path, (pixels * 255 + 0.5).astype("uint8"), quality=90)
    except LimnerError as error:
        output.note(f"no preview: {output.one_line(error)}")
    else:
        output.note(f"preview: {path}, {time.perf_counter() - began:.1f} s. Painting ...")
