"""The networks that can be trained, by name: where each is built and what it reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from limner.errors import UnknownNameError
from limner.nets.backbone import IMAGENET_MEAN, IMAGENET_STD

Library = Literal["limner", "torchvision", "timm"]

_HALF = (127.5, 127.5, 127.5)
_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        name: As `limner` calls it.
        family: AlexNet, VGG, ResNet, ...
        library: Whose code builds it.
        factory: What the library calls it.
        last_block: Modules of the trunk's last stage.
        size_px: Height and width that its weights were trained at.
        mean: Per channel, 0..255; empty for `standardise`.
        std: Per channel.
        weights: Its entry in limner's registry of weights; empty where the library has its own.
        paper: Where it is described.
        idea: Its building block, in a few words.
    """

    name: str
    family: str
    library: Library
    factory: str
    last_block: tuple[str, ...]
    paper: str
    idea: str
    size_px: int = 224
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]
    weights: str = ""


def _family(
    library: Library,
    family: str,
    names: str,
    last_block: tuple[str, ...],
    paper: str,
    idea: str,
    *,
    sizes: dict[str, int] | None = None,
    half: bool = False,
) -> list[Architecture]:
    rows = []
    for word in names.split():
        name, _, factory = word.partition("=")
        rows.append(
            Architecture(
                name,
                family,
                library,
                factory or name,
                last_block,
                paper,
                idea,
                size_px=(sizes or {}).get(name, 224),
                mean=_HALF if half else _IMAGENET[0],
                std=_HALF if half else _IMAGENET[1],
            )
        )
    return rows


def _inception(
    family: str, name: str, last_block: tuple[str, ...], paper: str
) -> list[Architecture]:
    """Return a network of limner's own at full size, and with half of every width."""
    shared = {
        "family": family,
        "library": "limner",
        "last_block": last_block,
        "paper": paper,
        "idea": "Inception: 1x1, 3x3, 5x5 and pooling side by side",
        "size_px": 96,
        "mean": (0.0, 0.0, 0.0),
        "std": (255.0, 255.0, 255.0),
    }
    return [
        Architecture(name=name, factory="full", **shared),  # type: ignore[arg-type]
        Architecture(name=f"{name}_half", factory="half", **shared),  # type: ignore[arg-type]
    ]


def _own() -> list[Architecture]:
    return [
        *_inception(
            "FRModel",
            "frmodel",
            tuple(f"maps.{i}" for i in range(20, 25)),
            "Szegedy et al. 2015, table 1; as the notes print it",
        ),
        *_inception(
            "nn4.small2",
            "nn4_small2",
            ("maps.inception_3a", "maps.inception_3b"),
            "Amos et al. 2016 (OpenFace), after Schroff et al. 2015",
        ),
        *(
            Architecture(
                f"plain{layers}",
                "plain",
                "limner",
                str(layers),
                ("layer4",),
                "He et al. 2016",
                "ResNet's convolutions without its shortcuts",
            )
            for layers in (18, 34)
        ),
        Architecture(
            "inception_resnet_v1",
            "Inception-ResNet",
            "limner",
            "inception_resnet_v1",
            ("mixed_7a", *(f"block8_{i}" for i in range(1, 7))),
            "Szegedy et al. 2016",
            "Inception branches, projected and added to what came in",
            size_px=160,
            mean=(),
            std=(),
            weights="facenet",
        ),
        Architecture(
            "dlib_resnet",
            "dlib ResNet",
            "limner",
            "dlib_resnet",
            ("blocks.11", "blocks.12", "blocks.13"),
            "King 2017",
            "residual blocks with average-pooled, zero-padded shortcuts",
            size_px=150,
            mean=(122.782, 117.001, 104.298),
            std=(256.0, 256.0, 256.0),
            weights="dlib",
        ),
    ]


def _in_a_row() -> list[Architecture]:
    """Return torchvision's AlexNet and VGG."""
    conv = ("features.10", "classifier")
    vgg = ("VGG", "Simonyan and Zisserman 2015", "3x3 convolutions in a row")
    rows = _family(
        "torchvision", "AlexNet", "alexnet", conv, "Krizhevsky 2014", "five convolutions, ReLU"
    )
    for names, first in (("vgg11", 16), ("vgg13", 20), ("vgg16", 24), ("vgg19", 28)):
        count = {"vgg11": 5, "vgg13": 5, "vgg16": 7, "vgg19": 9}[names]
        block = (*(f"features.{i}" for i in range(first, first + count)), "classifier")
        rows += _family("torchvision", vgg[0], names, block, vgg[1], vgg[2])
    for names, first, count in (("vgg16_bn", 34, 10), ("vgg19_bn", 40, 13)):
        block = (*(f"features.{i}" for i in range(first, first + count)), "classifier")
        rows += _family("torchvision", vgg[0], names, block, vgg[1], vgg[2])
    return rows


def _with_shortcuts() -> list[Architecture]:
    """Return torchvision's ResNet, DenseNet and MobileNet."""
    rows = _in_a_row()
    rows += _family(
        "torchvision",
        "ResNet",
        "resnet18 resnet34 resnet50 resnet101 resnet152",
        ("layer4",),
        "He et al. 2016",
        "residual block: convolutions added to what came in",
    )
    rows += _family(
        "torchvision",
        "DenseNet",
        "densenet121 densenet161 densenet169 densenet201",
        ("features.denseblock4", "features.norm5"),
        "Huang et al. 2017",
        "dense block: every layer reads all layers before it",
    )
    rows += _family(
        "torchvision",
        "MobileNet",
        "mobilenet_v2",
        ("features.17", "features.18"),
        "Sandler et al. 2018",
        "inverted residual: widen, depth-wise, narrow, add",
    )
    for names, first in (("mobilenet_v3_small", 9), ("mobilenet_v3_large", 13)):
        count = 4
        block = (*(f"features.{i}" for i in range(first, first + count)), "classifier")
        rows += _family(
            "torchvision",
            "MobileNet",
            names,
            block,
            "Howard et al. 2019",
            "inverted residual with squeeze-and-excitation, searched",
        )
    return rows


def _torchvision() -> list[Architecture]:
    """Return all networks of torchvision."""
    sides = (224, 240, 288, 300, 380, 456, 528, 600)
    effnet_sizes = {f"efficientnet_b{i}": side for i, side in enumerate(sides)}
    last_stage = ("layer4",)
    rows = _with_shortcuts()
    rows += _family(
        "torchvision",
        "ResNeXt",
        "resnext50_32x4d resnext101_32x8d",
        last_stage,
        "Xie et al. 2017",
        "residual block with a grouped 3x3 convolution",
    )
    rows += _family(
        "torchvision",
        "EfficientNet",
        " ".join(effnet_sizes),
        ("features.7", "features.8"),
        "Tan and Le 2019",
        "inverted residual; depth, width and size scaled together",
        sizes=effnet_sizes,
    )
    rows += _family(
        "torchvision",
        "RegNet",
        "regnet_x_400mf regnet_x_1_6gf regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf",
        ("trunk_output.block4",),
        "Radosavovic et al. 2020",
        "grouped bottlenecks whose widths grow linearly",
    )
    return rows


def _timm() -> list[Architecture]:
    ends = ("blocks.6", "conv_head", "bn2")
    lite = Architecture(
        "efficientnet_lite0",
        "EfficientNet",
        "timm",
        "tf_efficientnet_lite0",
        ends,
        "Tan and Le 2019; Liu 2020",
        "EfficientNet-B0 without squeeze-and-excitation, ReLU6",
        mean=_HALF,
        std=_HALF,
        weights="efficientnet_lite0",
    )
    rows = [lite]
    rows += _family(
        "timm",
        "MobileNet",
        "mobilenet_v1=mobilenetv1_100",
        ("blocks.4", "conv_head", "bn2"),
        "Howard et al. 2017",
        "depth-wise separable: 3x3 per channel, then 1x1",
        half=True,
    )
    rows += _family(
        "timm",
        "SE-ResNet",
        "seresnet18 seresnet34 seresnet50 seresnet101 seresnet152",
        ("layer4",),
        "Hu et al. 2018",
        "residual block whose channels are weighted by the whole picture",
    )
    rows += _family(
        "timm",
        "ResNeSt",
        "resnest14d resnest26d resnest50d resnest101e",
        ("layer4",),
        "Zhang et al. 2020",
        "residual block with attention over groups of channels",
        sizes={"resnest101e": 256},
    )
    rows += _family(
        "timm",
        "NFNet",
        "nfnet_l0 nfnet_f0 dm_nfnet_f0",
        ("stages.3", "final_conv"),
        "Brock et al. 2021",
        "residual block without normalisation, scaled standardised weights",
        sizes={"nfnet_l0": 224, "nfnet_f0": 192, "dm_nfnet_f0": 192},
    )
    return rows


def _all() -> dict[str, Architecture]:
    found = {row.name: row for row in (*_own(), *_torchvision(), *_timm())}
    found["resnet50"] = replace(found["resnet50"], weights="resnet50")
    return found


ARCHITECTURES = _all()
ALIASES = {"facenet": "inception_resnet_v1", "dlib": "dlib_resnet"}
"""An embedder's name stands for its network."""


def architecture(name: str) -> Architecture:
    """Return what is known of a network.

    Raises:
        UnknownNameError: If there is none of that name; the message names the nearest.
    """
    found = ARCHITECTURES.get(ALIASES.get(name, name))
    if found is None:
        import difflib

        near = difflib.get_close_matches(name, [*ARCHITECTURES, *ALIASES], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UnknownNameError(
            f"There is no network {name!r}; {hint}`limner nets list` shows all "
            f"{len(ARCHITECTURES)}."
        )
    return found
