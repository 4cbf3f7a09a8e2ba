"""A trunk with a head: what every network that learns faces is made of here.

The trunk turns pictures into features (N, F); the head turns features into an embedding or into
logits. Both are plain modules, so that features can be computed once and the head trained on
them alone, and so that a trunk can be frozen in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError, UnknownNameError

HeadName = Literal["embedding", "classifier"]
Trainable = Literal["head", "last_block", "all"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Input:
    """What a network reads.

    Attributes:
        size_px: Height and width in pixels.
        channels: 3 for RGB.
        kind: `fixed` (minus `mean`, over `std`) or `standardise` (each picture by its own mean
            and deviation).
        mean: Per channel, on the scale 0..255; only for `fixed`.
        std: Per channel; only for `fixed`.
    """

    size_px: int
    channels: int = 3
    kind: Literal["fixed", "standardise"] = "fixed"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def normalisation(self) -> nn.Module:
        """Return the module that maps uint8 chips (N, S, S, C) to what the network reads."""
        from limner.nets.preprocess import Normalise, Standardise

        return Standardise() if self.kind == "standardise" else Normalise(self.mean, self.std)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class EmbeddingHead(nn.Module):
    """A linear layer to the embedding, brought to unit length unless told otherwise.

    Args:
        features: Width that comes in.
        width: Width of the embedding.
        normalise: Whether rows get unit length; A-softmax and center loss want them as they are.
        batch_norm: Whether a batch normalisation without gain follows, as in FaceNet's Keras
            form (`inception_resnet_v1`).
    """

    def __init__(
        self, features: int, width: int, *, normalise: bool = True, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(features, width, bias=not batch_norm)
        self.norm: nn.Module = nn.Identity()
        if batch_norm:
            norm = nn.BatchNorm1d(width, eps=1e-3, momentum=0.005)
            norm.weight.requires_grad_(False)
            self.norm = norm
        self.normalise = normalise

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, features) to (N, width)."""
        y: Tensor = self.norm(self.linear(features))
        return functional.normalize(y, dim=1) if self.normalise else y


class ClassifierHead(nn.Sequential):
    """One or two linear layers to logits.

    Args:
        features: Width that comes in.
        classes: Number of people.
        layers: 1, or 2 with a ReLU and a dropout between them.
        hidden: Width between the two layers.
        dropout: Share that is dropped between the two layers.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        layers: Literal[1, 2] = 1,
        hidden: int = 256,
        dropout: float = 0.4,
    ) -> None:
        if layers not in (1, 2):
            raise InputError(f"layers must be 1 or 2, got {layers!r}.")
        if layers == 1:
            super().__init__(nn.Linear(features, classes))
            return
        super().__init__(
            nn.Linear(features, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def before_last(self) -> nn.Sequential:
        """Return what comes before the last layer: its output is the classifier's embedding."""
        return nn.Sequential(*list(self)[:-1])


class Backbone(nn.Module):
    """Trunk and head.

    Attributes:
        name: Of the architecture.
        trunk: Pictures (N, C, S, S), normalised, to features (N, `width`).
        head: Features to the embedding or the logits.
        width: F, the width of the features.
        input: What the trunk reads.
        provenance: Where its weights come from: `asked`, `used`, `source`, `digest`, `reason`.
    """

    def __init__(
        self,
        name: str,
        trunk: nn.Module,
        head: nn.Module,
        *,
        width: int,
        input: Input,
        last_block: Sequence[str],
    ) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        self.head = head
        self.width = width
        self.input = input
        self.provenance: dict[str, Any] = {"asked": name, "used": name, "source": "random"}
        self._last_block = tuple(last_block)
        self._trainable: Trainable = "all"

    def features(self, x: Tensor) -> Tensor:
        """Map pictures (N, C, S, S) to features (N, width)."""
        y: Tensor = self.trunk(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (N, C, S, S) to embeddings or logits."""
        y: Tensor = self.head(self.features(x))
        return y

    def last_block(self) -> list[nn.Module]:
        """Return the modules of the trunk's last block (its last stage, before the pooling)."""
        return [self.trunk.get_submodule(path) for path in self._last_block]

    def free(self, part: Trainable) -> None:
        """Choose what trains: the head, the head and the trunk's last block, or everything.

        Frozen modules also keep the statistics of their batch normalisations: `train()` leaves
        them in evaluation mode.

        Raises:
            UnknownNameError: If `part` is not among the three.
        """
        if part not in get_args(Trainable):
            words = ", ".join(get_args(Trainable))
            raise UnknownNameError(f"part must be one of {words}, got {part!r}.")
        self._trainable = part
        fixed = _fixed_parameters(self.trunk)
        for parameter in self.trunk.parameters():
            parameter.requires_grad_(part == "all")
        if part == "last_block":
            for module in self.last_block():
                module.requires_grad_(True)
        for parameter in fixed:
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Switch to training, or with False to evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        if mode and self._trainable != "all":
            self.trunk.eval()
            if self._trainable == "last_block":
                for module in self.last_block():
                    module.train()
        return self


def _fixed_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return gains that the architecture fixes at 1 and that never train."""
    from limner.nets.inception_resnet import ConvUnit

    return [
        unit.norm.weight
        for unit in module.modules()
        if isinstance(unit, ConvUnit) and isinstance(unit.norm, nn.BatchNorm2d)
    ]


def first_convolution(module: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return the convolution that reads the picture, and its name."""
    for name, child in module.named_modules():
        if isinstance(child, nn.Conv2d):
            return name, child
    raise InputError("the network has no convolution.")


def widen_input(module: nn.Module, channels: int) -> None:
    """Let a network that reads RGB read pictures of another number of channels.

    The new first convolution has random weights; `fit_kernel` fits trained ones to it.
    """
    name, old = first_convolution(module)
    if old.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, new)


def fit_kernel(kernel: Tensor, channels: int) -> Tensor:
    """Fit a kernel (O, C, h, w) to another number of channels.

    It is repeated over the channels and scaled by C / channels, so that a grey picture makes the
    same activations whether it is given once or three times.
    """
    given = kernel.shape[1]
    if given == channels:
        return kernel
    if channels == 1:
        return kernel.sum(dim=1, keepdim=True)
    repeats = -(-channels // given)
    return kernel.repeat(1, repeats, 1, 1)[:, :channels] * (given / channels)
