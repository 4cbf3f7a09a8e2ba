"""Finding faces: YuNet on ONNX Runtime, over as many scales and tiles as the photo needs.

Source: W. Wu et al., "YuNet: a tiny millisecond-level face detector", 2023. The decoding
of its twelve outputs follows OpenCV's ``FaceDetectorYN``, which is the oracle of the tests.
Differs: OpenCV runs the network once, on the photo as it is. Here a large photo is seen
at a coarse scale for its large faces and in overlapping tiles for its small ones, a small
photo is enlarged, and the answers are merged; the network runs on ONNX Runtime, which was
about three times as fast (docs/benchmarks.md). Crowds are looked at again by a larger
network, `limner.faces.centerface`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from limner import weights
from limner.errors import InputError
from limner.faces.engine import open_session
from limner.faces.large import RELIABLE_PX, SMALLEST_PX, smallest_face
from limner.types import Face, FloatArray, ImageArray

if TYPE_CHECKING:
    from limner.faces.centerface import CenterFace

STRIDES = (8, 16, 32)
MULTIPLE = 32
"""The network's input height and width must be multiples of its largest stride."""

COARSE_PX = 640
"""Every photo is also seen once with its longer side at most this long."""

TILE_PX = 1024
"""A scale larger than this, in either direction, is cut into tiles of this size."""

OVERLAP_PX = 160
"""Tiles overlap by this much: a face up to this size is whole in one of them."""

MERGE_IOU = 0.4

LARGE_PIXELS = 24_500_000
"""Above this, coarse scales are made from the finest one, not from the photo each."""

CROWD_COUNT = 5
"""From this many small faces on, a photo is a crowd and is looked at again, enlarged."""

CROWD_FACE_PX = 40.0
"""What counts as a small face there: its longer side, for the usual smallest face of 20 px."""

CROWD_LARGE = 5.0
"""Faces longer than this many times the small ones are taken from the first look there."""

CROWD_TILE_PX = 2048
"""Tiles of the second look are larger: CenterFace sees less well near their edges."""

CROWD_PIXELS = 24_000_000
"""A photo whose enlargement has more pixels than this is not looked at again."""


Look = Callable[[ImageArray], NDArray[np.float64]]
"""From a view (H, W, 3) to rows of x0, y0, x1, y1, five points and the score."""


class Detector(Protocol):
    """Anything that finds faces in a photo."""

    def detect(self, image: ImageArray) -> list[Face]:
        """Return the faces of an upright RGB photo, shape (H, W, 3), largest first."""
        ...


@dataclass(frozen=True)
class Window:
    """One look at the photo: a rectangle of it, and the scale at which it is seen.

    Attributes:
        x: Left edge, in pixels of the scaled photo.
        y: Top edge, in pixels of the scaled photo.
        width: Width in pixels of the scaled photo.
        height: Height in pixels of the scaled photo.
        scale: Size of the scaled photo over the size of the photo.
    """

    x: int
    y: int
    width: int
    height: int
    scale: float


def plan_windows(height: int, width: int, *, min_size: float) -> list[Window]:
    """Say at which scales, and in which tiles, a photo is searched.

    Args:
        height: Of the photo, in pixels.
        width: Of the photo, in pixels.
        min_size: The smallest face that must be found, in pixels of the photo.

    Returns:
        The windows, the coarse one (the whole photo) first. The finest scale is the one at
        which a face of ``min_size`` is seen with at least 14 px, and at most twice the
        photo's own size.
    """
    longest = max(height, width)
    coarse = min(1.0, COARSE_PX / longest)
    windows = [Window(0, 0, max(1, round(width * coarse)), max(1, round(height * coarse)), coarse)]
    fine = min(2.0, RELIABLE_PX / min_size)
    # Scales between the two, each at most four times the last, so that no size is left out.
    scale = coarse
    while scale < 0.9 * fine:
        scale = min(fine, scale * 4.0)
        windows.extend(_windows_at(height, width, scale))
    return windows


def _windows_at(height: int, width: int, scale: float, tile: int = TILE_PX) -> list[Window]:
    """Cover a photo at one scale, in tiles if it is large there."""
    scaled_w, scaled_h = max(1, round(width * scale)), max(1, round(height * scale))
    return [
        Window(x, y, tile_w, tile_h, scale)
        for y, tile_h in _tiles(scaled_h, tile)
        for x, tile_w in _tiles(scaled_w, tile)
    ]


def _tiles(length: int, tile: int) -> Iterator[tuple[int, int]]:
    if length <= tile + OVERLAP_PX:
        yield 0, length
        return
    count = int(np.ceil((length - OVERLAP_PX) / (tile - OVERLAP_PX)))
    size = int(np.ceil((length + (count - 1) * OVERLAP_PX) / count))
    for i in range(count):
        start = round(i * (length - size) / (count - 1))
        yield start, size


class YuNet:
    """The YuNet detector: boxes, five landmarks and scores; in crowds CenterFace helps.

    The weights of CenterFace are loaded with the first crowd.

    Args:
        min_score: Faces below this score, in (0, 1), are left out.
        min_size: Faces whose longer box side is below this many pixels are left out. Default:
            20, and more in photos above 24.5 megapixels, see `limner.faces.large`.
        threads: Threads of the inference engine; None for all that this process may use.

    Raises:
        InputError: If an argument is out of its range.
        WeightsError: If the weights cannot be had.
    """

    def __init__(
        self, *, min_score: float = 0.6, min_size: float | None = None, threads: int | None = None
    ) -> None:
        if not 0.0 < min_score < 1.0:
            raise InputError(f"min_score must lie between 0 and 1, got {min_score}.")
        if min_size is not None and not 8.0 <= min_size <= 10_000.0:
            raise InputError(f"min_size must lie between 8 and 10000 pixels, got {min_size}.")
        self.min_score = float(min_score)
        self.min_size = None if min_size is None else float(min_size)
        loaded = weights.load("yunet", kinds=("onnx",))
        self._session: Any = open_session(loaded.files["onnx"], threads=threads)
        self._threads = threads
        self._lock = threading.Lock()
        self._crowd: CenterFace | None = None
        self._input = self._session.get_inputs()[0].name
        self._outputs = [o.name for o in self._session.get_outputs()]

    def __reduce__(self) -> tuple[Callable[..., YuNet], tuple[float, float | None, int | None]]:
        """Pickle by the settings: a copy loads the weights anew."""
        return _yunet, (self.min_score, self.min_size, self._threads)

    def detect(self, image: ImageArray) -> list[Face]:
        """Return the faces of an upright RGB photo, shape (H, W, 3), largest first."""
        height, width = image.shape[:2]
        least = smallest_face(height, width) if self.min_size is None else self.min_size
        if min(height, width) < least:  # a ribbon of a million pixels holds no face
            return []
        rows = self._search(image, plan_windows(height, width, min_size=least), self._run, least)
        rows = self._search_crowd(image, rows, least)
        faces = [_to_face(row) for row in rows]
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def _search(
        self, image: ImageArray, windows: list[Window], look: Look, min_size: float
    ) -> NDArray[np.float64]:
        """Run a network on every window and merge what it finds."""
        height, width = image.shape[:2]
        found = []
        scaled: tuple[float, ImageArray] = (1.0, image)
        finest = max(window.scale for window in windows)
        source = image
        if finest < 1.0 and height * width > LARGE_PIXELS:  # a giant is gone over once
            source = _resize(image, height, width, finest)
        for window in windows:
            if window.scale != scaled[0]:
                scaled = (window.scale, _resize(source, height, width, window.scale))
            view = scaled[1][
                window.y : window.y + window.height, window.x : window.x + window.width
            ]
            rows = look(view)
            rows[:, 0:14:2] += window.x
            rows[:, 1:14:2] += window.y
            rows[:, :14] /= window.scale
            found.append(rows[_whole(rows, window, height, width)])
        rows = np.concatenate(found)
        rows = rows[_longer_side(rows) >= min_size]
        return rows[_suppress(rows)]

    def _search_crowd(
        self, image: ImageArray, rows: NDArray[np.float64], min_size: float
    ) -> NDArray[np.float64]:
        """Look again where many small faces were found: enlarged, and with a larger network.

        YuNet misses many small faces of a crowd and invents others. CenterFace, twenty times
        as slow, does neither as often, so all but the large faces are taken from it.
        """
        height, width = image.shape[:2]
        small = CROWD_FACE_PX * min_size / SMALLEST_PX
        scale = min(2.0, CROWD_FACE_PX / min_size)
        crowd = np.count_nonzero(_longer_side(rows) < small) >= CROWD_COUNT
        if not crowd or height * width * scale**2 > CROWD_PIXELS:
            return rows
        windows = _windows_at(height, width, scale, CROWD_TILE_PX)
        again = self._search(image, windows, self._centerface, min_size)
        large = rows[_longer_side(rows) >= CROWD_LARGE * small]
        again = again[_longer_side(again) < CROWD_LARGE * small]
        both = np.concatenate([large, again])
        # The first look is believed where both see the same large face.
        return both[_suppress(both, first=len(large))]

    def _centerface(self, view: ImageArray) -> NDArray[np.float64]:
        with self._lock:
            if self._crowd is None:
                from limner.faces.centerface import CenterFace

                self._crowd = CenterFace(threads=self._threads)
        rows = self._crowd.rows(view)
        return rows[rows[:, 14] >= self.min_score]

    def _run(self, view: ImageArray) -> NDArray[np.float64]:
        height, width = view.shape[:2]
        rows_n = -(-height // MULTIPLE) * MULTIPLE
        columns_n = -(-width // MULTIPLE) * MULTIPLE
        blob = np.zeros((1, 3, rows_n, columns_n), np.float32)
        blob[0, :, :height, :width] = view[:, :, ::-1].transpose(2, 0, 1)
        outputs = dict(
            zip(self._outputs, self._session.run(None, {self._input: blob}), strict=True)
        )
        return np.concatenate(
            [_decode(outputs, stride, columns_n // stride, self.min_score) for stride in STRIDES]
        )


def _yunet(min_score: float, min_size: float | None, threads: int | None) -> YuNet:
    return YuNet(min_score=min_score, min_size=min_size, threads=threads)


def _decode(
    outputs: dict[str, FloatArray], stride: int, columns: int, min_score: float
) -> NDArray[np.float64]:
    """Turn one stride's outputs into rows of x0, y0, x1, y1, five points and the score."""
    klass = outputs[f"cls_{stride}"].reshape(-1)
    objectness = outputs[f"obj_{stride}"].reshape(-1)
    score = np.sqrt(np.clip(klass, 0, 1) * np.clip(objectness, 0, 1))
    keep = np.flatnonzero(score >= min_score)
    cell = np.stack([keep % columns, keep // columns], axis=1).astype(np.float64)
    box = outputs[f"bbox_{stride}"].reshape(-1, 4)[keep].astype(np.float64)
    points = outputs[f"kps_{stride}"].reshape(-1, 5, 2)[keep].astype(np.float64)
    centre = (cell + box[:, :2]) * stride
    size = np.exp(np.clip(box[:, 2:], -10, 10)) * stride
    rows = np.empty((keep.size, 15))
    rows[:, :2] = centre - size / 2
    rows[:, 2:4] = centre + size / 2
    rows[:, 4:14] = ((points + cell[:, None]) * stride).reshape(-1, 10)
    rows[:, 14] = score[keep]
    return rows


def _resize(image: ImageArray, height: int, width: int, scale: float) -> ImageArray:
    """Return a photo of that height and width at a scale, from itself or from a finer scale."""
    import cv2

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if image.shape[1::-1] == size:
        return image
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)


def _whole(rows: NDArray[np.float64], window: Window, height: int, width: int) -> NDArray[np.bool_]:
    """Leave out faces that an inner edge of a tile cuts: the neighbour sees them whole."""
    x0, y0 = window.x / window.scale, window.y / window.scale
    x1, y1 = (window.x + window.width) / window.scale, (window.y + window.height) / window.scale
    margin = 1.0 / window.scale
    keep = np.ones(len(rows), bool)
    if x0 > 0:
        keep &= rows[:, 0] > x0 + margin
    if y0 > 0:
        keep &= rows[:, 1] > y0 + margin
    if x1 < width - margin:
        keep &= rows[:, 2] < x1 - margin
    if y1 < height - margin:
        keep &= rows[:, 3] < y1 - margin
    return keep


def _longer_side(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.maximum(rows[:, 2] - rows[:, 0], rows[:, 3] - rows[:, 1])
    return sides


def _suppress(rows: NDArray[np.float64], *, first: int = 0) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: the indices that stay, the best score first.

    The `first` rows come before all others, whatever their score.
    """
    rank = -rows[:, 14] - 2.0 * (np.arange(len(rows)) < first)
    order = np.argsort(rank, kind="stable")
    box = rows[:, :4]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    stay: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        stay.append(int(best))
        corner0 = np.maximum(box[best, :2], box[rest, :2])
        corner1 = np.minimum(box[best, 2:], box[rest, 2:])
        inter = np.clip(corner1 - corner0, 0, None).prod(axis=1)
        union = area[best] + area[rest] - inter
        # A box that lies almost wholly inside a better one is the same face seen in part.
        inside = inter / np.minimum(area[best], area[rest])
        order = rest[(inter / union <= MERGE_IOU) & (inside <= 0.8)]
    return np.array(stay, np.intp)


def _to_face(row: NDArray[np.float64]) -> Face:
    return Face(
        box_xyxy=(float(row[0]), float(row[1]), float(row[2]), float(row[3])),
        landmarks_xy=row[4:14].reshape(5, 2).astype(np.float32),
        score=float(min(1.0, row[14])),
    )
