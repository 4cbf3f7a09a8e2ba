"""The encoder: the CNN whose activations are content and style."""

from __future__ import annotations

import copy
import hashlib
import logging
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, get_args

from limner.errors import UnknownNameError, WeightsError
from limner.weights.encoders import ENCODERS

if TYPE_CHECKING:
    from torch import Tensor

    from limner.nets.vgg import Architecture, Border, FeatureTrunk, Pooling

EncoderName = Literal["auto", "vgg19", "vgg16", "vgg16_oxford", "alexnet", "vgg16_hed"]
Progress = Callable[[str, int, int | None], None]

_log = logging.getLogger("limner.style")
_TYPICAL_SPREAD = 1 / 0.225
_unreachable: set[str] = set()  # asked for in this process, and no source had it


class Encoder:
    """A frozen trunk with its normalisation in front.

    Args:
        name: What it is called in results.
        trunk: The layers.
        mean: Per channel, in the network's colour order and on its scale.
        std: Same.
        top: What a white pixel is on the network's scale: 1 or 255.
        bgr: Whether the network reads blue, green, red.
        digest: SHA-256 of the file the weights came from.
        device: Where it computes.

    Attributes:
        chosen: One line on why this encoder was taken, where `auto` decided; else empty.
    """

    def __init__(
        self,
        name: str,
        trunk: FeatureTrunk,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        top: float,
        bgr: bool,
        digest: str,
        device: str = "cpu",
    ) -> None:
        import torch

        self.name = name
        self.digest = digest
        self.device = device
        self.chosen = ""
        self.trunk = trunk.eval().requires_grad_(False).to(device)
        if device == "cpu":  # oneDNN's kernels are quickest so
            self.trunk = self.trunk.to(memory_format=torch.channels_last)
        order = [2, 1, 0] if bgr else [0, 1, 2]
        # (top x - mean) / std with channels in the network's order, as one scale and one shift.
        scale = torch.tensor([top / s for s in std], dtype=torch.float64)
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float64)
        self._order = torch.tensor(order, device=device)
        self._exact = scale.reshape(1, 3, 1, 1), shift.reshape(1, 3, 1, 1)
        self._scale, self._shift = (part.float().to(device) for part in self._exact)
        self._tame(top / std[0])

    def _tame(self, spread: float) -> None:
        """Bring activations to torchvision's scale, where a pixel's deviation is about 1.

        A ReLU network without normalisation is homogeneous: with its input and every bias
        divided by a number, every activation is divided by it, and nothing else changes. So
        weights that read 0..255 can be used with the same alpha and beta.
        """
        factor = _TYPICAL_SPREAD / spread
        if abs(factor - 1) < 0.1:
            return
        self._exact = self._exact[0] * factor, self._exact[1] * factor
        self._scale, self._shift = self._scale * factor, self._shift * factor
        for convolution in self.trunk.convolutions.values():
            convolution.bias.data.mul_(factor)  # type: ignore[operator]

    @property
    def architecture(self) -> Architecture:
        """`vgg16`, `vgg19` or `alexnet`."""
        return self.trunk.architecture

    @property
    def stride(self) -> int:
        """How many pixels one step of the deepest layer is."""
        step = 1
        for layer in self.trunk.layers:
            step *= layer.stride
        return step

    @property
    def halo(self) -> int:
        """Pixels around a tile, a multiple of `stride`, that its units can see at all.

        Unit i of a layer sees the pixels from i j - P to i j - P + r - 1; along the layers
        r grows by (kernel - 1) j, P by padding j, and j is multiplied by the stride.
        """
        field, before, step = 1, 0, 1
        for layer in self.trunk.layers:
            field += (layer.kernel - 1) * step
            before += layer.padding * step
            step *= layer.stride
        return math.ceil(max(before, field - 1 - before) / step) * step

    def cut(self, deepest: str) -> Encoder:
        """Return the same encoder without the layers after `deepest`; weights are shared.

        Raises:
            UnknownNameError: If the trunk has no such layer.
        """
        from torch import nn

        names = [layer.name for layer in self.trunk.layers]
        if deepest not in names:
            raise UnknownNameError(f"This encoder ends at {names[-1]} and has no {deepest!r}.")
        kept = self.trunk.layers[: names.index(deepest) + 1]
        trunk = copy.copy(self.trunk)
        trunk.__dict__["_modules"] = dict(self.trunk._modules)
        trunk.layers = kept
        trunk.convolutions = nn.ModuleDict(
            {n.name: self.trunk.convolutions[n.name] for n in kept if n.kind == "conv"}
        )
        shorter = copy.copy(self)
        shorter.trunk = trunk
        return shorter

    def double(self) -> Encoder:
        """Turn to float64, for numerical checks."""
        self.trunk.double()
        self._scale, self._shift = (part.to(self.device) for part in self._exact)
        return self

    def features(self, image: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Return the activations at the taps.

        Args:
            image: Shape (N, 3, H, W), RGB in [0, 1].
            taps: Layer names.

        Returns:
            By name, shape (N, C, H', W').

        Raises:
            UnknownNameError: If a tap is not in the trunk.
            ShapeError: If the picture is too small for a tap.
        """
        import torch

        x = image.index_select(1, self._order) * self._scale + self._shift
        if self.device == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        return self.trunk(x, taps)  # type: ignore[no-any-return]


def load_encoder(
    name: EncoderName | str = "auto",
    *,
    deepest: str | None = None,
    pooling: Pooling = "max",
    border: Border = "zero",
    device: str = "auto",
    offline: bool = False,
    progress: Progress | None = None,
) -> Encoder:
    """Return an encoder; fetch its weights first where the cache lacks them.

    Args:
        name: `vgg19`, `vgg16`, `vgg16_oxford`, `alexnet`, `vgg16_hed`, or `auto`: VGG-19 where it
            can be had,
            else `vgg16`. What `auto` chose is logged and stands in `Encoder.chosen`.
        deepest: Name of the last layer that is needed; nothing deeper is built or computed.
        pooling: `max` or `average`.
        border: What convolutions see around the picture: `zero`, `replicate` or `replicate_all`.
        device: As for `limner.device.resolve`.
        offline: Use the cache only.
        progress: As for `limner.weights.load`.

    Raises:
        UnknownNameError: If a word is unknown.
        WeightsError: If the weights cannot be had.
    """
    from safetensors.torch import load_file

    from limner import weights
    from limner.device import resolve
    from limner.nets.vgg import FeatureTrunk

    if name not in get_args(EncoderName):
        words = ", ".join(get_args(EncoderName))
        raise UnknownNameError(f"encoder must be one of {words}, got {name!r}.")
    place = resolve(device)
    chosen = ""
    if name == "auto":
        name, chosen = _choose(offline=offline, progress=progress)
    loaded = weights.load(name, progress=progress, offline=offline)
    spec = loaded.spec
    trunk = FeatureTrunk(ENCODERS[name], deepest=deepest, pooling=pooling, border=border)
    trunk.load(load_file(loaded.files["safetensors"]))
    encoder = Encoder(
        name,
        trunk,
        mean=spec.mean,
        std=spec.std,
        top=spec.value_range[1],
        bgr=spec.colour == "bgr",
        digest=loaded.digest,
        device=place,
    )
    encoder.chosen = chosen
    return encoder


def architecture_of(name: str) -> Architecture:
    """Return the layers that an encoder has; for `auto`, VGG-19's, which is tried first."""
    return ENCODERS.get(name, "vgg19")


def _choose(*, offline: bool, progress: Progress | None) -> tuple[str, str]:
    """Return VGG-19 if it is or can be had, else VGG-16, and the reason in one line."""
    from limner import weights

    if "vgg19" not in _unreachable:
        try:
            weights.load("vgg19", offline=offline, progress=progress)
            return "vgg19", "encoder: vgg19."
        except WeightsError:
            if not offline:  # it was asked for, and nobody had it
                _unreachable.add("vgg19")
    line = "encoder: vgg16, because the weights of vgg19 cannot be had here."
    _log.info(line)
    return "vgg16", line


def random_encoder(architecture: Architecture, *, seed: int = 0, **options: str) -> Encoder:
    """Return an encoder of random weights, for tests and timing; it does not paint well.

    Args:
        architecture: Its layers.
        seed: Of the weights.
        options: `deepest`, `pooling` and `border` as for `load_encoder`.
    """
    import torch

    from limner.nets.vgg import FeatureTrunk

    generator = torch.Generator().manual_seed(seed)
    trunk = FeatureTrunk(architecture, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in trunk.parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            spread = (2 / fan) ** 0.5 if parameter.dim() > 1 else 0.05
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    digest = hashlib.sha256(f"{architecture} random {seed}".encode()).hexdigest()
    rgb = (0.485, 0.456, 0.406)
    spread_rgb = (0.229, 0.224, 0.225)
    return Encoder(
        f"random_{architecture}", trunk, mean=rgb, std=spread_rgb, top=1.0, bgr=False, digest=digest
    )
