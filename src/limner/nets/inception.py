"""The notes' FRModel: an Inception network that turns a face into 128 numbers.

Two 3-convolutions, nine Inception blocks, a 1-convolution to 1,024 channels, an average over
all places, and one linear layer to 128: 7,335,328 parameters. The names of its weights are
those of the notes' own code, so that a file of theirs loads with ``load_state_dict``.

Source: the notes print the network; after Szegedy et al., "Going Deeper with Convolutions"
(2014), table 1. The notes call the last blocks dilated; their code dilates nothing, nor does
this.
Differs: every block takes ``dims``, so that the same network reads signals and volumes;
`size` can halve every width. Nothing else: the answers are the notes' own.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from limner.errors import InputError
from limner.nets.nd import Dims, TrunkAndHead, check_dims, conv, global_pool, norm, pool

Size = Literal["full", "half"]

WIDTH = 1024
"""Channels of the last maps at full size."""

_SHARE: dict[str, float] = {"full": 1.0, "half": 0.5}
_BLOCKS: tuple[tuple[int, int, int, int, int, int] | None, ...] = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,  # a pool
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def _unit(dims: Dims, inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """Return a convolution without bias that keeps the size, its normalisation and a ReLU."""
    step = conv(dims, inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return [step, norm(dims, outputs), nn.ReLU()]


class InceptionBlock(nn.Module):
    """Four branches of different reach side by side; the size of the maps stays.

    Args:
        in_channels: Channels in.
        f1: Channels of the 1-convolution.
        f3_in: Channels of the 1-convolution before the 3-convolution.
        f3: Channels of the 3-convolution.
        f5_in: Channels of the 1-convolution before the 5-convolution.
        f5: Channels of the 5-convolution.
        pool_proj: Channels of the 1-convolution after the max pool.
        dims: 1, 2 or 3.

    The channels out are f1 + f3 + f5 + pool_proj, in this order (`outputs`).
    """

    def __init__(
        self,
        in_channels: int,
        f1: int,
        f3_in: int,
        f3: int,
        f5_in: int,
        f5: int,
        pool_proj: int,
        *,
        dims: Dims = 2,
    ) -> None:
        super().__init__()
        self.branch1 = nn.Sequential(*_unit(dims, in_channels, f1, 1))
        self.branch2 = nn.Sequential(
            *_unit(dims, in_channels, f3_in, 1), *_unit(dims, f3_in, f3, 3)
        )
        self.branch3 = nn.Sequential(
            *_unit(dims, in_channels, f5_in, 1), *_unit(dims, f5_in, f5, 5)
        )
        around = pool(dims, "max", 3, stride=1, padding=1)
        self.branch4 = nn.Sequential(around, *_unit(dims, in_channels, pool_proj, 1))
        self.outputs = f1 + f3 + f5 + pool_proj

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, ...) to (N, outputs, ...) of the same size."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


def frmodel_layers(dims: Dims, in_channels: int, *, size: Size = "full") -> list[nn.Module]:
    """Return the notes' layers up to the last maps, (N, 1024, ...) at full size.

    Raises:
        InputError: If `dims` or `size` is another word.
    """
    check_dims(dims)
    if size not in get_args(Size):
        raise InputError(f"size must be 'full' or 'half', got {size!r}.")

    def w(channels: int) -> int:
        return int(channels * _SHARE[size])

    def down() -> nn.Module:
        return pool(dims, "max", 3, stride=2, padding=1)

    layers = [*_unit(dims, in_channels, w(64), 3), *_unit(dims, w(64), w(128), 3), down()]
    layers += [*_unit(dims, w(128), w(192), 3), down()]
    before = w(192)
    for widths in _BLOCKS:
        if widths is None:
            layers.append(down())
            continue
        f1, f3_in, f3, f5_in, f5, pool_proj = map(w, widths)
        block = InceptionBlock(before, f1, f3_in, f3, f5_in, f5, pool_proj, dims=dims)
        layers.append(block)
        before = block.outputs
    return [*layers, *_unit(dims, before, w(WIDTH), 1)]


class FRModel(nn.Module):
    """The notes' face recognition model: (N, 3, H, W) to (N, 128), not of unit length.

    The notes do not say how large a face is nor how its colours are scaled; limner's trainings
    read 96 x 96, RGB / 255, and bring the vectors to unit length where the loss wants that.

    Args:
        dims: 1, 2 or 3. Reads (N, in_channels, L), (N, in_channels, H, W) or
            (N, in_channels, D, H, W) of any size.
        in_channels: Channels in.
        embedding: Width of the vector.
        size: `full` as the notes write it; `half` has half of every width.

    Raises:
        InputError: If `dims` or `size` is another word.
    """

    def __init__(
        self,
        dims: Dims = 2,
        in_channels: int = 3,
        embedding: int = 128,
        *,
        size: Size = "full",
    ) -> None:
        super().__init__()
        self.dims = dims
        layers = frmodel_layers(dims, in_channels, size=size)
        head = nn.Linear(int(WIDTH * _SHARE[size]), embedding)
        self.inception_net = nn.Sequential(*layers, global_pool(dims), nn.Flatten(), head)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, ...) to (N, embedding)."""
        y: Tensor = self.inception_net(x)
        return y


class FRModelNet(TrunkAndHead):
    """The notes' layers with a head of limner's: a unit-length embedding, or scores.

    Args:
        dims: 1, 2 or 3.
        in_channels: Channels in.
        embedding: Width of the embedding; ignored with `classes`.
        size: As `FRModel`.
        classes: With a number, the head gives that many scores in place of an embedding.
    """

    def __init__(
        self,
        dims: Dims = 2,
        in_channels: int = 3,
        embedding: int = 128,
        size: Size = "full",
        *,
        classes: int | None = None,
    ) -> None:
        trunk = nn.Sequential(*frmodel_layers(dims, in_channels, size=size))
        width = int(WIDTH * _SHARE[size])
        wide = embedding if classes is None else None
        super().__init__(dims, trunk, width, embedding=wide, classes=classes)
