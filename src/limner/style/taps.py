"""The names of taps: where an encoder is read, by name or by the notes' index."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from limner.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from limner.nets.vgg import Architecture

Tap = str | int
WeightedTaps = tuple[tuple[str, float], ...]

OCTAVES = (1, 2, 4, 8)

_CONV = re.compile(r"(conv|relu)(\d)_(\d)")


def split_octave(tap: Tap) -> tuple[str, int]:
    """Return a tap's layer and its octave: `relu3_1/2` is relu3_1 of the picture at half size.

    Raises:
        UnknownNameError: If the octave is not 1, 2, 4 or 8.
    """
    name, slash, octave = str(tap).strip().partition("/")
    if not slash:
        return name, 1
    if octave not in map(str, OCTAVES):
        raise UnknownNameError(f"A tap can be read at /2, /4 or /8 of the picture, got {tap!r}.")
    return name, int(octave)


def _at_octave(name: str, octave: int) -> str:
    return name if octave == 1 else f"{name}/{octave}"


def resolve_tap(tap: Tap, architecture: Architecture) -> str:
    """Return the layer name of a tap.

    Args:
        tap: A name (`conv4_2`, `relu3_1`, `pool2`) or an index (7, "7"), counted from 0 over
            all layers of this architecture as torchvision's ``features`` and the notes do;
            with `/2`, `/4` or `/8` behind it, it reads the picture at that share of its size.
        architecture: Whose layers.

    Raises:
        UnknownNameError: If there is no such layer; the message lists those that exist.
    """
    from limner.nets.vgg import layers_of

    names = [layer.name for layer in layers_of(architecture)]
    text, octave = split_octave(tap)
    if not isinstance(tap, bool):
        if text.isascii() and text.isdigit() and int(text) < len(names):
            return _at_octave(names[int(text)], octave)
        if text in names:
            return _at_octave(text, octave)
    raise UnknownNameError(
        f"{architecture} has no layer {text!r}; it has {', '.join(names)}, or their indices "
        f"0 to {len(names) - 1}."
    )


def counterpart(name: str, architecture: Architecture) -> str:
    """Return the layer of `architecture` that stands where `name` stands in VGG-19.

    A block of VGG-16 has three convolutions where VGG-19 has four: a fourth is replaced by
    the block's last. AlexNet has one convolution a block: its number is the block's.
    """
    from limner.nets.vgg import layers_of

    names = [layer.name for layer in layers_of(architecture)]
    layer, octave = split_octave(name)
    found = _CONV.fullmatch(layer)
    if layer in names or found is None:
        return name
    if architecture == "alexnet":
        return _at_octave(f"{found[1]}{found[2]}", octave)
    same_block = [n for n in names if n.startswith(f"{found[1]}{found[2]}_")]
    return _at_octave(same_block[-1], octave) if same_block else name


def parse_weighted(text: str) -> tuple[tuple[str, float], ...]:
    """Read taps with their lambdas from the command line: ``conv1_2:2,conv2_2:3,16``.

    A tap without a number counts 1. Names are checked when the encoder is known.

    Raises:
        InputError: If a part is empty or its lambda is not a positive number.
    """
    found: list[tuple[str, float]] = []
    for part in text.split(","):
        name, colon, number = part.strip().partition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = math.nan
        if not name or not (math.isfinite(weight) and weight > 0):
            raise InputError(
                f"layers must be written as NAME or NAME:LAMBDA, separated by commas, with "
                f"positive lambdas, got {part.strip()!r}."
            )
        found.append((name, weight))
    return check_weighted(found)


def check_weighted(taps: Sequence[tuple[Tap, float]]) -> WeightedTaps:
    """Return taps and lambdas as given, or refuse them.

    Raises:
        InputError: If a lambda is not positive and finite, or a tap is named twice.
    """
    seen: set[str] = set()
    for tap, weight in taps:
        if not (isinstance(weight, int | float) and math.isfinite(weight) and weight > 0):
            raise InputError(f"The lambda of {tap} must be a positive number, got {weight!r}.")
        if str(tap) in seen:
            raise InputError(f"The layer {tap} is given twice.")
        seen.add(str(tap))
    return tuple((str(tap), float(weight)) for tap, weight in taps)


def resolve_weighted(taps: WeightedTaps, architecture: Architecture) -> WeightedTaps:
    """Return the taps under their layer names, for this architecture.

    Raises:
        UnknownNameError: If there is no such layer.
        InputError: If two taps are the same layer.
    """
    named: list[tuple[Tap, float]] = [
        (resolve_tap(counterpart(tap, architecture), architecture), weight) for tap, weight in taps
    ]
    return check_weighted(named)
