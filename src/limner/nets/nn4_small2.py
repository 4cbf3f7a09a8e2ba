"""nn4.small2: OpenFace's Inception network that turns a 96 x 96 face into 128 numbers.

It is small beside the notes' FRModel (`limner.nets.inception`), of which it is no form.

Source: Amos, Ludwiczuk and Satyanarayanan, "OpenFace" (2016), table 1, after Szegedy et al.,
"Going Deeper with Convolutions" (2014), in the form of its well-known Keras port: 3,743,280
parameters with the running averages.
Differs: the pooled branch of a block is padded to the size of its neighbours, which at
96 x 96 gives the port's paddings and elsewhere any size from 16 up; the last average goes
over all places (3 x 3 at 96 x 96); batch normalisations learn running averages at 0.1 of
the new batch, not 0.01, so that a short training ends with averages that have settled. The
average pools are plain, as in the port; OpenFace has the square root of a sum of squares.
Every block takes ``dims``, so the same network reads signals and volumes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError
from limner.nets.nd import Dims, Pool, TrunkAndHead, check_dims, conv, norm, pool

Size = Literal["full", "half"]

_SHARE: dict[str, float] = {"full": 1.0, "half": 0.5}
_POOL_KERNEL = 3


class BiasedConv(nn.Sequential):
    """Convolution with bias, batch normalisation, ReLU."""

    def __init__(
        self,
        dims: Dims,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        epsilon: float = 1e-5,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = conv(dims, inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        parts["norm"] = norm(dims, outputs, epsilon=epsilon)
        parts["relu"] = nn.ReLU()
        super().__init__(parts)


class PadLike(nn.Module):
    """Put zeros around maps until they are as large as others; one more after than before."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Map (N, C, ...) to (N, C, the places of `like`)."""
        pads: list[int] = []
        for have, want in zip(reversed(x.shape[2:]), reversed(like.shape[2:]), strict=True):
            missing = want - have
            pads += [missing // 2, missing - missing // 2]
        return functional.pad(x, pads)


class PadAtLeast(nn.Module):
    """Append zeros to maps that are smaller than a pool's kernel; others pass unchanged."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, ...) to (N, C, ...) with every side at least `side`."""
        missing = [max(0, self.side - side) for side in reversed(x.shape[2:])]
        return functional.pad(x, [p for m in missing for p in (0, m)]) if any(missing) else x


class Nn4Block(nn.Module):
    """Branches of different reach side by side: 3-wide, 5-wide, pooled and 1-wide.

    Args:
        dims: 1, 2 or 3.
        inputs: Channels in.
        three: Channels of the 1-convolution and of the 3-convolution after it.
        five: The same with a 5-convolution, or None for no such branch.
        pooled: Kind of pool, its stride, and the channels of its 1-convolution (None: the
            pooled input as it is).
        one: Channels of the plain 1-convolution, or None for no such branch.
        stride: Step of the 3- and 5-convolutions.

    The channels out are `outputs`, in the order 3, 5, pooled, 1.
    """

    def __init__(
        self,
        dims: Dims,
        inputs: int,
        *,
        three: tuple[int, int],
        five: tuple[int, int] | None,
        pooled: tuple[Pool, int, int | None],
        one: int | None,
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.three = nn.Sequential(
            BiasedConv(dims, inputs, three[0], 1),
            BiasedConv(dims, three[0], three[1], 3, stride=stride),
        )
        self.outputs = three[1]
        self.five: nn.Module | None = None
        if five is not None:
            self.five = nn.Sequential(
                BiasedConv(dims, inputs, five[0], 1),
                BiasedConv(dims, five[0], five[1], 5, stride=stride),
            )
            self.outputs += five[1]
        kind, step, width = pooled
        self.room = PadAtLeast(_POOL_KERNEL)
        self.pool = pool(dims, kind, _POOL_KERNEL, stride=step)
        self.pool_conv: nn.Module = nn.Identity()
        if width is not None:
            self.pool_conv = BiasedConv(dims, inputs, width, 1)
        self.pad = PadLike()
        self.outputs += inputs if width is None else width
        self.one = None if one is None else BiasedConv(dims, inputs, one, 1)
        self.outputs += one or 0

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, ...) to (N, outputs, ...), each side over the stride, rounded up."""
        parts = [self.three(x)]
        if self.five is not None:
            parts.append(self.five(x))
        parts.append(self.pad(self.pool_conv(self.pool(self.room(x))), parts[0]))
        if self.one is not None:
            parts.append(self.one(x))
        return torch.cat(parts, dim=1)


def _blocks(dims: Dims, inputs: int, share: float) -> OrderedDict[str, nn.Module]:
    """Return the seven blocks, 1a to 3b, every width times `share`."""

    def w(channels: int) -> int:
        return int(channels * share)

    def pair(a: int, b: int) -> tuple[int, int]:
        return w(a), w(b)

    blocks: OrderedDict[str, nn.Module] = OrderedDict()

    def add(
        name: str,
        three: tuple[int, int],
        five: tuple[int, int] | None,
        pooled: tuple[Pool, int, int | None],
        one: int | None,
        stride: int = 1,
    ) -> None:
        nonlocal inputs
        block = Nn4Block(
            dims, inputs, three=three, five=five, pooled=pooled, one=one, stride=stride
        )
        blocks[f"inception_{name}"] = block
        inputs = block.outputs

    add("1a", pair(96, 128), pair(16, 32), ("max", 2, w(32)), w(64))
    add("1b", pair(96, 128), pair(32, 64), ("average", 3, w(64)), w(64))
    add("1c", pair(128, 256), pair(32, 64), ("max", 2, None), None, 2)
    add("2a", pair(96, 192), pair(32, 64), ("average", 3, w(128)), w(256))
    add("2b", pair(160, 256), pair(64, 128), ("max", 2, None), None, 2)
    add("3a", pair(96, 384), None, ("average", 3, w(96)), w(256))
    add("3b", pair(96, 384), None, ("max", 2, w(96)), w(256))
    return blocks


class Nn4Small2(TrunkAndHead):
    """OpenFace's nn4.small2 on signals, pictures or volumes.

    Args:
        dims: 1, 2 or 3. Reads (N, in_channels, L), (N, in_channels, H, W) or
            (N, in_channels, D, H, W), floats around 0..1 (a face is RGB / 255).
        in_channels: Channels in.
        embedding: Width of the unit-length embedding; ignored with `classes`.
        size: `full` as published; `half` has half of every width, for a CPU.
        classes: With a number, the head gives that many scores in place of an embedding.

    Raises:
        InputError: If `dims` or `size` is another word.
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
        check_dims(dims)
        if size not in get_args(Size):
            raise InputError(f"size must be 'full' or 'half', got {size!r}.")
        share = _SHARE[size]
        stem, wide = int(64 * share), int(192 * share)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv1"] = BiasedConv(dims, in_channels, stem, 7, stride=2, epsilon=1e-3)
        parts["pool1"] = _padded_pool(dims)
        parts["conv2"] = BiasedConv(dims, stem, stem, 1)
        parts["conv3"] = BiasedConv(dims, stem, wide, 3)
        parts["pool2"] = _padded_pool(dims)
        blocks = _blocks(dims, wide, share)
        parts.update(blocks)
        width = next(reversed(blocks.values())).outputs
        assert isinstance(width, int)
        super().__init__(
            dims,
            nn.Sequential(parts),
            width,
            embedding=embedding if classes is None else None,
            classes=classes,
        )
        self.size = size


def _padded_pool(dims: Dims) -> nn.Module:
    """Return a 3/2 max pool with one row around: after a ReLU zeros and no padding agree."""
    return pool(dims, "max", _POOL_KERNEL, stride=2, padding=1)
