"""Moving pictures: frames in and out, and stylization that does not flicker.

A stylizer answers each frame anew, so small changes of the content flip its texture. Here the
previous result is carried along with the motion (dense optical flow) and mixed into the next
one, except where something was uncovered or the flow is wrong.

Source: Ruder, Dosovitskiy and Brox, Artistic Style Transfer for Videos, GCPR 2016: warped
previous result, forward-backward check (equations 4 and 5), warped error as a figure. Differs:
flow by OpenCV's DIS; the mixing is done on pictures, so that it serves any stylizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.errors import InputError, ShapeError
from limner.types import FloatArray, ImageArray

Stylize = Callable[[FloatArray], FloatArray]

STEADY = 0.75
_RESIDUE = 0.06
_SMALLEST_FLOW_PX = 32


@dataclass(frozen=True, eq=False)
class Motion:
    """Where each pixel of a frame came from.

    Attributes:
        flow_xy: Shape (H, W, 2), float32: a pixel (x, y) of the new frame was at
            (x + flow[..., 0], y + flow[..., 1]) of the old one.
        trust: Shape (H, W), float32 in [0, 1]: 0 where it was not to be seen before.
    """

    flow_xy: FloatArray
    trust: FloatArray


class Tracker:
    """Follows motion from one frame to the next."""

    def __init__(self) -> None:
        import cv2

        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def motion(self, old: FloatArray, new: FloatArray) -> Motion:
        """Return the motion that leads from the new frame back to the old one.

        Args:
            old: Shape (H, W, 3), RGB in [0, 1].
            new: Same shape.

        Raises:
            ShapeError: If the shapes differ.
        """
        import cv2

        if old.shape != new.shape:
            raise ShapeError(f"Frames must have one size, got {old.shape} and {new.shape}.")
        if min(new.shape[:2]) < _SMALLEST_FLOW_PX:
            # Too small for flow: what stays as it is counts as still.
            still = np.zeros((*new.shape[:2], 2), np.float32)
            return Motion(still, _agreement(old, new, still))
        grey = [cv2.cvtColor(_bytes(f), cv2.COLOR_RGB2GRAY) for f in (old, new)]
        back = np.asarray(self._dis.calc(grey[1], grey[0], None), np.float32)
        forth = np.asarray(self._dis.calc(grey[0], grey[1], None), np.float32)
        trust = _consistent(back, forth) * _agreement(old, new, back)
        return Motion(back, np.asarray(cv2.blur(trust, (3, 3)), np.float32))


def _bytes(image: FloatArray) -> ImageArray:
    rounded: ImageArray = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return rounded


def _consistent(back: FloatArray, forth: FloatArray) -> FloatArray:
    """Return 1 where the way back and forth ends where it began and 0 elsewhere."""
    returned = warp(forth, back)
    gap = ((back + returned) ** 2).sum(2)
    length = (back**2).sum(2) + (returned**2).sum(2)
    seen = gap <= 0.01 * length + 0.5
    edges = sum(np.gradient(back[..., c], axis=a) ** 2 for c in (0, 1) for a in (0, 1))
    steep = np.asarray(edges) > 0.01 * (back**2).sum(2) + 0.2
    inside = _inside(back)
    return np.asarray(seen & ~steep & inside, np.float32)


def _inside(flow: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32)[None] + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return np.asarray((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))


def _agreement(old: FloatArray, new: FloatArray, flow: FloatArray) -> FloatArray:
    """Return 1 where the carried old frame looks like the new one, falling to 0."""
    gap = np.abs(warp(old, flow) - new).mean(2)
    return np.asarray(np.clip(2 - gap / _RESIDUE, 0, 1), np.float32)


def warp(image: FloatArray, flow_xy: FloatArray) -> FloatArray:
    """Carry a picture along a flow.

    Args:
        image: Shape (H, W, C), float32.
        flow_xy: Shape (H, W, 2), as in `Motion`.

    Returns:
        Same shape: each pixel is what lay where the flow points, interpolated cubically,
        within the range of `image`.
    """
    import cv2

    height, width = flow_xy.shape[:2]
    x = np.arange(width, dtype=np.float32)[None] + flow_xy[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow_xy[..., 1]
    moved = cv2.remap(
        np.ascontiguousarray(image), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.clip(np.asarray(moved, np.float32), image.min(), image.max())


@dataclass(frozen=True, eq=False)
class StylizedFrame:
    """One frame of a stylized video.

    Attributes:
        image: Shape (H, W, 3), RGB in [0, 1].
        flicker: Difference to the previous frame carried along, see `flicker`; None for the
            first frame.
        alone_flicker: The same for the stylizer's answers frame by frame.
    """

    image: FloatArray
    flicker: float | None
    alone_flicker: float | None


def stylize_frames(
    frames: Iterable[FloatArray], stylize: Stylize, *, steady: float = STEADY
) -> Iterator[StylizedFrame]:
    """Stylize frames one after another so that the texture stays.

    Args:
        frames: Each of shape (H, W, 3), RGB in [0, 1], all of one size.
        stylize: The stylizer; gives a picture of the same shape.
        steady: How much of the previous result is kept where it can be followed, in [0, 1);
            0 is frame by frame.

    Yields:
        A `StylizedFrame` for each, as soon as it is ready.

    Raises:
        InputError: If `steady` is out of range.
        ShapeError: If the frames differ in size.
    """
    if not 0.0 <= steady < 1.0:
        raise InputError(f"steady must lie in [0, 1), got {steady}.")
    return _stylized(frames, stylize, steady)


def _stylized(
    frames: Iterable[FloatArray], stylize: Stylize, steady: float
) -> Iterator[StylizedFrame]:
    tracker = Tracker()
    before: tuple[FloatArray, FloatArray, FloatArray] | None = None
    for frame in frames:
        alone = stylize(frame)
        if before is None:
            before = (frame, alone, alone)
            yield StylizedFrame(alone, None, None)
            continue
        old_frame, old_result, old_alone = before
        motion = tracker.motion(old_frame, frame)
        carried = warp(old_result, motion.flow_xy)
        keep = steady * motion.trust[..., None]
        result: FloatArray = alone + keep * (carried - alone)
        figures = flicker(old_result, result, motion), flicker(old_alone, alone, motion)
        before = (frame, result, alone)
        yield StylizedFrame(result, *figures)


def flicker(old: FloatArray, new: FloatArray, motion: Motion) -> float:
    """Return how much a picture changed beyond its motion.

    Args:
        old: The previous picture, shape (H, W, 3), RGB in [0, 1].
        new: The picture.
        motion: Of the content, from `Tracker.motion`.

    Returns:
        Root mean square difference between the new picture and the old one carried along,
        over the pixels that could be followed, in [0, 1]; 0 if none could.
    """
    trust = np.asarray(motion.trust, np.float64)
    if trust.sum() <= 0:
        return 0.0
    gap = ((warp(old, motion.flow_xy) - new).astype(np.float64) ** 2).mean(2)
    return float(np.sqrt((gap * trust).sum() / trust.sum()))
