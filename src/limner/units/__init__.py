"""What a unit of a convnet sees: receptive fields, strongest patches, ideal pictures, sheets.

`load_network` gives a network whose layers have names, `fields` tells which pixels each unit
sees, `top_patches` finds the nine photos that excite each unit most, and `excites` tells which
units a picture excites. Explanations, ideal pictures, sheets and the atlas are modules of
their own: `limner.units.explain`, `.ideal`, `.sheet`, `.atlas`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Field": "receptive",
    "FieldTable": "receptive",
    "Network": "network",
    "TopPatches": "tally",
    "excites": "search",
    "fields": "receptive",
    "gram_pairs": "search",
    "like": "search",
    "Patch": "patches",
    "load_network": "load",
    "patches_of": "patches",
    "network_names": "load",
    "top_patches": "top",
}

__all__ = [
    "Field",
    "FieldTable",
    "Network",
    "Patch",
    "TopPatches",
    "excites",
    "fields",
    "gram_pairs",
    "like",
    "load_network",
    "network_names",
    "patches_of",
    "top_patches",
]


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
