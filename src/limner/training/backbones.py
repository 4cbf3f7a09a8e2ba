"""Networks by name: a trunk of a known architecture with an embedding or a classifier head.

    net = build("resnet18", head="embedding", width_or_classes=128)
    net(pictures)            # (N, 128), unit length
    net.features(pictures)   # (N, 512)

A constructor downloads nothing unless `pretrained` is asked for; `build_available` takes the
first trunk whose weights can be had, and records which one and why.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import nn

from limner.errors import InputError, MissingExtraError, UnknownNameError, WeightsError
from limner.nets.backbone import (
    Backbone,
    ClassifierHead,
    EmbeddingHead,
    HeadName,
    Input,
    widen_input,
)
from limner.nets.counting import count_flops, count_parameters
from limner.training.architectures import ARCHITECTURES, Architecture, architecture

FALLBACKS = ("efficientnet_lite0", "inception_resnet_v1")
"""Trunks whose weights the package index ships: tried when the one asked for cannot be had."""

_SMALLEST_SIDE = 32


class Description(NamedTuple):
    """Size and cost of a network as a classifier of 1,000 classes, or as an embedder.

    Attributes:
        parameters: Numbers that training sets.
        flops: Multiply-adds for one picture, counted once each, as papers count them.
        input: Channels, height and width of that picture.
    """

    parameters: int
    flops: int
    input: tuple[int, int, int]


def backbone_names() -> list[str]:
    """Return the names that `build` knows, family by family."""
    return list(ARCHITECTURES)


def input_of(name: str, *, in_channels: int = 3, image_size: int | None = None) -> Input:
    """Return what a network reads: size, and how pixels are normalised.

    Raises:
        UnknownNameError: If there is no such network.
        InputError: If `image_size` or `in_channels` is too small.
    """
    found = architecture(name)
    size = found.size_px if image_size is None else image_size
    if size < _SMALLEST_SIDE:
        raise InputError(f"image_size must be {_SMALLEST_SIDE} pixels or more, got {size}.")
    if in_channels < 1:
        raise InputError(f"in_channels must be 1 or more, got {in_channels}.")
    if not found.mean:
        return Input(size, in_channels, "standardise", (), ())
    mean, std = found.mean, found.std
    if in_channels != len(mean):  # other channels than RGB: one mean for all of them
        mean = (sum(mean) / len(mean),) * in_channels
        std = (sum(std) / len(std),) * in_channels
    return Input(size, in_channels, "fixed", mean, std)


def build(
    name: str,
    *,
    head: HeadName,
    width_or_classes: int,
    pretrained: bool = False,
    in_channels: int = 3,
    image_size: int | None = None,
    normalise: bool = True,
    layers: Literal[1, 2] = 1,
    hidden: int = 256,
    dropout: float = 0.4,
) -> Backbone:
    """Build a network.

    Args:
        name: One of `backbone_names()`, or `facenet` or `dlib` for those embedders' networks.
        head: `embedding` (vectors) or `classifier` (logits).
        width_or_classes: Width of the embedding, or number of classes.
        pretrained: Whether the trunk gets trained weights, fetched where the cache lacks them;
            with `facenet` or `dlib` and an embedding of their own width, so does the head.
        in_channels: Channels of a picture; 3 for RGB.
        image_size: Height and width of a picture in pixels; None for what the weights like best.
        normalise: Whether embeddings get unit length; only for `embedding`.
        layers: Of the classifier's head: 1, or 2 with ReLU and dropout between.
        hidden: Width between the two layers.
        dropout: Share dropped between the two layers.

    Returns:
        The network with `.trunk`, `.head`, `.features(x)`, `.input` and `.provenance`.

    Raises:
        UnknownNameError: If there is no such network or head.
        InputError: If a size is not positive.
        WeightsError: If pretrained weights cannot be had.
        MissingExtraError: If the network comes from timm, which is not installed.
    """
    if head not in get_args(HeadName):
        raise UnknownNameError(f"head must be 'embedding' or 'classifier', got {head!r}.")
    smallest = 2 if head == "classifier" else 1
    if width_or_classes < smallest:
        what = "classes" if head == "classifier" else "width"
        raise InputError(f"{what} must be {smallest} or more, got {width_or_classes}.")
    found = architecture(name)
    reads = input_of(name, in_channels=in_channels, image_size=image_size)
    trunk, width = _trunk(found, reads)
    top: nn.Module
    if head == "embedding":
        top = EmbeddingHead(
            width,
            width_or_classes,
            normalise=normalise,
            batch_norm=found.name == "inception_resnet_v1",
        )
    else:
        top = ClassifierHead(width, width_or_classes, layers=layers, hidden=hidden, dropout=dropout)
    net = Backbone(found.name, trunk, top, width=width, input=reads, last_block=found.last_block)
    if pretrained:
        from limner.training.pretrained import load_pretrained

        net.provenance = load_pretrained(net, found)
    return net


def build_available(name: str, *, fallbacks: Sequence[str] = FALLBACKS, **options: Any) -> Backbone:
    """Build a pretrained network, or the first of `fallbacks` whose weights can be had.

    Args:
        name: The network that is asked for.
        fallbacks: Tried in order.
        options: Those of `build`, without `pretrained`.

    Returns:
        The network; its `provenance` says what was asked, what was used, and why.

    Raises:
        WeightsError: If neither it nor any fallback can be had.
    """
    reasons = []
    for candidate in dict.fromkeys((architecture(name).name, *fallbacks)):
        try:
            net = build(candidate, pretrained=True, **options)
        except (WeightsError, MissingExtraError) as error:
            reasons.append(str(error))
            continue
        net.provenance |= {"asked": name, "reason": reasons[0] if reasons else ""}
        return net
    others = f", nor those of {', '.join(fallbacks)}" if fallbacks else ""
    raise WeightsError(f"The weights of {name} cannot be had{others}: {reasons[0]}")


def describe(name: str) -> Description:
    """Count a network's parameters and multiply-adds, without making its weights.

    Networks of torchvision and timm are counted with their 1,000 classes, as in their papers;
    limner's own with their embedding of 128.

    Raises:
        UnknownNameError: If there is no such network.
        MissingExtraError: If it comes from timm, which is not installed.
    """
    found = architecture(name)
    reads = input_of(name)
    own = found.library == "limner"
    head: HeadName = "embedding" if own else "classifier"
    if found.factory.startswith("regnet"):  # computes with tensors while it is built
        net = build(name, head=head, width_or_classes=1000).to("meta")
    else:
        with torch.device("meta"):
            net = build(name, head=head, width_or_classes=128 if own else 1000)
    shape = (reads.channels, reads.size_px, reads.size_px)
    return Description(count_parameters(net), count_flops(net, shape), shape)


def _trunk(found: Architecture, reads: Input) -> tuple[nn.Module, int]:
    """Return a trunk with random weights, and the width of its features."""
    if found.library == "torchvision":
        return _torchvision_trunk(found, reads)
    if found.library == "timm":
        net = _timm().create_model(
            found.factory, pretrained=False, num_classes=0, in_chans=reads.channels
        )
        return net, int(net.num_features)
    return _own_trunk(found, reads)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(
            "This network comes from timm: pip install 'limner[train]'."
        ) from error
    return timm


def _torchvision_trunk(found: Architecture, reads: Input) -> tuple[nn.Module, int]:
    from torchvision import models

    net: nn.Module = models.get_model(found.factory, weights=None)
    path = last_linear(net)
    width = net.get_submodule(path).in_features
    parent, _, attribute = path.rpartition(".")
    setattr(net.get_submodule(parent), attribute, nn.Identity())
    widen_input(net, reads.channels)
    return net, int(width)  # type: ignore[arg-type]


def last_linear(net: nn.Module) -> str:
    """Return the name of the last linear layer: a torchvision classifier's logits."""
    names: list[str] = [n for n, child in net.named_modules() if isinstance(child, nn.Linear)]
    if not names:
        raise InputError("the network has no linear layer.")
    return names[-1]


def _own_trunk(found: Architecture, reads: Input) -> tuple[nn.Module, int]:
    net: nn.Module
    if found.name == "inception_resnet_v1":
        from limner.nets.inception_resnet import InceptionResNetV1

        net = InceptionResNetV1()
        width = net.bottleneck.in_features
        net.bottleneck, net.bottleneck_norm = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        widen_input(net, reads.channels)
        return net, width
    if found.name == "dlib_resnet":
        from limner.nets.dlib_resnet import DlibResNet

        net = DlibResNet(size=reads.size_px)
        width = net.head.in_features
        net.head = nn.Identity()  # type: ignore[assignment]
        widen_input(net, reads.channels)
        return net, width
    if found.family == "plain":
        from limner.nets.plain import plain_resnet

        net = plain_resnet(int(found.factory))  # type: ignore[arg-type]
        width = net.get_submodule("fc").in_features  # type: ignore[assignment]
        net.fc = nn.Identity()
        widen_input(net, reads.channels)
        return net, int(width)
    from limner.nets.inception import FRModelNet
    from limner.nets.nn4_small2 import Nn4Small2

    make = FRModelNet if found.family == "FRModel" else Nn4Small2
    inception = make(in_channels=reads.channels, size=found.factory)  # type: ignore[arg-type]
    parts = OrderedDict(maps=inception.trunk, pool=inception.pool, flatten=nn.Flatten())
    return nn.Sequential(parts), inception.head.in_features
