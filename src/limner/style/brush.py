"""The inverse Hessian that L-BFGS supposes before it knows better: broad strokes come first."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

COLOUR_WIDTH = 4.0
"""How much wider differences of colour are supposed to be than those of light: networks ask for
fine stripes of colour that no painter would paint."""

_OPPONENT = (  # orthonormal: light, yellow against blue, red against green
    (3**-0.5, 3**-0.5, 3**-0.5),
    (6**-0.5, 6**-0.5, -2 * 6**-0.5),
    (2**-0.5, -(2**-0.5), 0.0),
)


class Brush:
    """A blur of pictures, of light less than of colour: a symmetric, positive map.

    Args:
        width: Deviation in pixels of the Gaussian for light.
        like: Shape (1, 3, H, W): size, dtype and device of the pictures.
    """

    def __init__(self, width: float, like: Tensor) -> None:
        self._shape = like.shape
        self._light, self._colour = (gaussian(width * w, like) for w in (1.0, COLOUR_WIDTH))
        self._opponent = torch.tensor(_OPPONENT, dtype=like.dtype, device=like.device)

    def __call__(self, flat: Tensor) -> Tensor:
        """Return a picture's values, shape (3 H W), blurred."""
        planes = torch.einsum("oc,nchw->nohw", self._opponent, flat.view(self._shape))
        light, colour = smoothed(planes[:, :1], self._light), smoothed(planes[:, 1:], self._colour)
        joined = torch.cat([light, colour], 1)
        return torch.einsum("oc,nohw->nchw", self._opponent, joined).reshape(-1)


def gaussian(deviation: float, like: Tensor) -> Tensor:
    """Return the weights of a Gaussian over pixels, which sum to 1, in the dtype of `like`."""
    reach = max(1, math.ceil(3 * deviation))
    places = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-0.5 * (places / deviation).square())
    return weights / weights.sum()


def smoothed(planes: Tensor, weights: Tensor) -> Tensor:
    """Return planes (1, C, H, W) blurred across and down, as if nothing were around them."""
    count, size = planes.shape[1], weights.numel()
    column = weights.view(1, 1, -1, 1).expand(count, 1, -1, 1)
    row = weights.view(1, 1, 1, -1).expand(count, 1, 1, -1)
    planes = functional.conv2d(planes, column, padding=(size // 2, 0), groups=count)
    return functional.conv2d(planes, row, padding=(0, size // 2), groups=count)
