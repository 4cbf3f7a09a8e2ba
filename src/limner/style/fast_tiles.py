"""Run a feed-forward stylizer over a picture of any size, whole or in tiles without seams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.device import cpu_threads
from limner.errors import WeightsError
from limner.style import fast_graph
from limner.types import FloatArray

WHOLE_PIXELS = 2_500_000
TILE_PX = 1024
SAMPLE_PX = 64
BORDER_PX = 32
_MULTIPLE = 16
_PROBE_PX = 512

Extra = dict[str, FloatArray]


@dataclass(frozen=True)
class Tile:
    """One tile: what is written, and the larger window that is read for it.

    Attributes:
        y0: First row that the tile writes.
        y1: Row after the last.
        x0: First column.
        x1: Column after the last.
        top: First row that is read.
        bottom: Row after the last that is read.
        left: First column that is read.
        right: Column after the last that is read.
    """

    y0: int
    y1: int
    x0: int
    x1: int
    top: int
    bottom: int
    left: int
    right: int


def tiles(height: int, width: int, *, tile: int, halo: int) -> Iterator[Tile]:
    """Cut a picture into tiles whose windows begin at multiples of 16 pixels.

    Args:
        height: Rows, a multiple of 16.
        width: Columns, a multiple of 16.
        tile: Side of what each tile writes, a multiple of 16.
        halo: How far a window reaches beyond it, a multiple of 16; cut at the picture's edge.

    Yields:
        Tiles that cover every pixel exactly once.
    """
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            y1, x1 = min(y + tile, height), min(x + tile, width)
            yield Tile(
                *(y, y1, x, x1),
                *(max(0, y - halo), min(height, y1 + halo)),
                *(max(0, x - halo), min(width, x1 + halo)),
            )


def padded(image: FloatArray, *, border: int = 0, multiple: int = _MULTIPLE) -> FloatArray:
    """Reflect a picture at its edges until its sides are multiples of 16.

    A side is also brought to at least twice the multiple, since networks reflect inside, too.

    Args:
        image: Shape (H, W, 3).
        border: How many pixels are added at every edge.
        multiple: Of which the sides become multiples, at the right and at the bottom.
    """
    height, width = image.shape[:2]
    low = 2 * multiple
    tall = max(low, -(-(height + 2 * border) // multiple) * multiple)
    wide = max(low, -(-(width + 2 * border) // multiple) * multiple)
    if (tall, wide) == (height, width):
        return image
    rows, columns = _reflected(height, tall, border), _reflected(width, wide, border)
    return np.ascontiguousarray(image[rows][:, columns])


def _reflected(size: int, wanted: int, border: int) -> np.ndarray[Any, Any]:
    period = max(1, 2 * (size - 1))
    at = (np.arange(wanted) - border) % period
    return np.minimum(at, period - at) if size > 1 else np.zeros(wanted, np.int64)


class Network:
    """A feed-forward stylizer that runs on pictures of any size.

    Args:
        model: Its ``onnx.ModelProto``; changed to free sizes and split normalisations.
        threads: Threads inside one operation; None for all that this process may use.
        whole_pixels: Pictures up to so many pixels are computed in one piece.
        tile: Side of the tiles for larger ones, a multiple of 16.

    Raises:
        WeightsError: If ONNX Runtime cannot run the graph, or it is not a stylizer.
    """

    def __init__(
        self,
        model: Any,
        *,
        threads: int | None = None,
        whole_pixels: int = WHOLE_PIXELS,
        tile: int = TILE_PX,
    ) -> None:
        fast_graph.any_size(model)
        fast_graph.split_norms(model)
        self._model = model
        self._threads = threads
        self._picture, self._axis = fast_graph.picture_input(model)
        self._output = model.graph.output[0].name
        self._statistics = fast_graph.statistics(model)
        self.whole_pixels = whole_pixels
        self.tile = tile
        self._sessions: dict[str, Any] = {}
        self._halo: int | None = None

    def __call__(self, image: FloatArray, extra: Extra | None = None) -> FloatArray:
        """Return the stylized picture, of the same size.

        Args:
            image: Shape (H, W, 3), float32, in the network's own range.
            extra: The network's other inputs.
        """
        extra = extra or {}
        height, width = image.shape[:2]
        # The networks draw a strip along their edges: it falls on pixels that are cut off.
        whole = padded(np.asarray(image, np.float32), border=BORDER_PX)
        if height * width <= self.whole_pixels:
            result = self._run("plain", whole, extra)[0]
        else:
            result = self._tiled(whole, extra)
        rows, columns = (slice(BORDER_PX, BORDER_PX + n) for n in (height, width))
        return np.ascontiguousarray(result[rows, columns])

    def tell(self, image: FloatArray, extra: Extra) -> Extra:
        """Return the means and variances of a picture's layers, by name."""
        _, *values = self._run("telling", padded(image), extra)
        return dict(zip(self._statistics, values, strict=True))

    def _tiled(self, image: FloatArray, extra: Extra) -> FloatArray:
        known = {**extra, **self.tell(sample(image, self.whole_pixels), extra)}
        halo = self.halo(known) if self._halo is None else self._halo
        self._halo = halo
        result = np.empty_like(image)
        for t in tiles(*image.shape[:2], tile=self.tile, halo=halo):
            window = image[t.top : t.bottom, t.left : t.right]
            part = self._run("taking", window, known)[0]
            rows = slice(t.y0 - t.top, t.y1 - t.top)
            columns = slice(t.x0 - t.left, t.x1 - t.left)
            result[t.y0 : t.y1, t.x0 : t.x1] = part[rows, columns]
        return result

    def halo(self, known: Extra) -> int:
        """Return how far the network looks, in pixels: measured, rounded up to 16.

        One half of a picture is exchanged; as far as the result changes in the other half, so
        far the network looks.

        Args:
            known: All inputs but the picture, the statistics among them.
        """
        rng = np.random.default_rng(0)
        first = rng.random((_PROBE_PX, _PROBE_PX, 3), dtype=np.float32)
        before = self._run("taking", first, known)[0]
        middle, reach = _PROBE_PX // 2, 0
        for axis in (0, 1):
            other = first.copy()
            half = [slice(None), slice(None)]
            half[axis] = slice(middle, None)
            other[tuple(half)] = rng.random(other[tuple(half)].shape, dtype=np.float32)
            changed = self._run("taking", other, known)[0] != before
            lines = np.flatnonzero(changed.any(axis=(1 - axis, 2)))
            reach = max(reach, middle - int(lines.min(initial=middle)))
        return (reach // _MULTIPLE + 1) * _MULTIPLE

    def _run(self, form: str, image: FloatArray, extra: Extra) -> list[FloatArray]:
        """Run one form of the graph: the picture first (H, W, 3), then the statistics."""
        order = (2, 0, 1) if self._axis == 1 else (0, 1, 2)
        feed = {self._picture: np.ascontiguousarray(image.transpose(order))[None], **extra}
        names = [self._output, *(self._statistics if form == "telling" else ())]
        try:
            picture, *values = self._session(form).run(names, feed)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise WeightsError(f"The stylizer failed in ONNX Runtime: {reason}") from error
        back = picture[0].transpose(1, 2, 0) if self._axis == 1 else picture[0]
        if back.shape != image.shape:
            raise WeightsError(
                f"The ONNX graph is not a stylizer: it made {back.shape} from {image.shape}."
            )
        return [back, *values]

    def _session(self, form: str) -> Any:
        if form not in self._sessions:
            change = {"telling": fast_graph.telling, "taking": fast_graph.taking}.get(form)
            model = self._model if change is None else change(self._model)
            self._sessions[form] = open_session(model.SerializeToString(), self._threads)
        return self._sessions[form]


def open_session(graph: bytes, threads: int | None) -> Any:
    """Open a serialised graph on the CPU.

    Raises:
        WeightsError: If ONNX Runtime cannot run it.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cpu_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"The stylizer cannot be run by ONNX Runtime: {reason}") from error


def sample(image: FloatArray, pixels: int) -> FloatArray:
    """Return a smaller picture with the same grain: squares from all over it, side by side."""
    height, width = image.shape[:2]
    side = min(SAMPLE_PX, height, width)
    share = (pixels / (height * width)) ** 0.5
    rows = max(1, min(int(height * share) // side, height // side))
    columns = max(1, min(int(width * share) // side, width // side))
    tops = np.linspace(0, height - side, rows).round().astype(int)
    lefts = np.linspace(0, width - side, columns).round().astype(int)
    return np.ascontiguousarray(
        np.vstack([np.hstack([image[y : y + side, x : x + side] for x in lefts]) for y in tops])
    )
