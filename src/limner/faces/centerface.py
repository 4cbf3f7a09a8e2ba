"""The second look at crowds: CenterFace, slower than YuNet and surer of small faces.

Source: Y. Xu et al., "CenterFace: joint face detection and alignment using face as point",
2019. Differs: the score is put on YuNet's scale, so that one ``min_score`` serves both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner import weights
from limner.faces.engine import open_session
from limner.types import FloatArray, ImageArray

STRIDE = 4
MULTIPLE = 32
"""The network's input height and width must be multiples of this."""

LEAST = 1 / 3
"""The heat that counts as a score of 0.6, the usual ``min_score``.

On the crowds of docs/benchmarks.md heats from 0.33 leave less than 2 % of false faces; the
authors' own demonstration uses 0.35.
"""

_USUAL = 0.6


class CenterFace:
    """The CenterFace network, over one view at a time.

    Args:
        threads: Threads of the inference engine; None for all that this process may use.

    Raises:
        WeightsError: If the weights cannot be had.
    """

    def __init__(self, *, threads: int | None = None) -> None:
        loaded = weights.load("centerface", kinds=("onnx",))
        self._session: Any = open_session(loaded.files["onnx"], threads=threads)
        self._input = self._session.get_inputs()[0].name

    def rows(self, view: ImageArray) -> NDArray[np.float64]:
        """Find faces in an RGB view, shape (H, W, 3), at its own size.

        Returns:
            One row a candidate, several to a face: x0, y0, x1, y1, the five points (x, y) and
            the score in (0, 1], at least 0.3.
        """
        height, width = view.shape[:2]
        sides = (-(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE)
        blob = np.zeros((1, 3, *sides), np.float32)
        blob[0, :, :height, :width] = view.transpose(2, 0, 1)
        return decode(*self._session.run(None, {self._input: blob}))


def decode(
    heat: FloatArray, size: FloatArray, offset: FloatArray, points: FloatArray
) -> NDArray[np.float64]:
    """Turn the network's four maps into rows.

    Args:
        heat: How much each cell is the middle of a face, shape (1, 1, h, w), 0 to 1.
        size: Logarithms of the face's height and width in cells, shape (1, 2, h, w).
        offset: From the cell to the face's middle, down and across, shape (1, 2, h, w).
        points: The five landmarks from the face's upper left corner, as shares of its height
            and width, down and across in turn, shape (1, 10, h, w).

    Returns:
        As `CenterFace.rows`.
    """
    down, across = np.nonzero(heat[0, 0] >= LEAST / 2)
    height, width = np.exp(size[0][:, down, across].astype(np.float64)) * STRIDE
    dy, dx = offset[0][:, down, across].astype(np.float64)
    rows = np.empty((len(down), 15))
    rows[:, 0] = (across + dx + 0.5) * STRIDE - width / 2
    rows[:, 1] = (down + dy + 0.5) * STRIDE - height / 2
    rows[:, 2] = rows[:, 0] + width
    rows[:, 3] = rows[:, 1] + height
    shares = points[0][:, down, across].astype(np.float64)
    rows[:, 4:14:2] = (rows[:, 0] + shares[1::2] * width).T
    rows[:, 5:14:2] = (rows[:, 1] + shares[0::2] * height).T
    rows[:, 14] = _score(heat[0, 0, down, across].astype(np.float64))
    return rows


def _score(heat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put heats on YuNet's scale: 0 to 0, `LEAST` to 0.6, 1 to 1, straight in between."""
    scores: NDArray[np.float64] = np.interp(heat, [0.0, LEAST, 1.0], [0.0, _USUAL, 1.0])
    return scores
