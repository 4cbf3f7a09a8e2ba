"""The models folder: what requests may name, and nothing beside it.

``DIR/NAME/`` is what ``limner train classify``, ``train series`` or ``train volumes`` wrote, or
an atlas of ``limner units`` with its patches. A name is one folder's name, never a path.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limner.errors import UnknownNameError

Kind = Literal["faces", "series", "volumes", "patches"]
PATCHES, DESCRIPTION = "patches.safetensors", "model.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Shelved:
    """One thing in the models folder.

    Attributes:
        name: Of its folder.
        kind: What it answers about.
        classes: What it can answer; empty for patches.
        folder: Where it is.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    folder: Path


def shelved(folder: Path | None) -> list[Shelved]:
    """Return what the models folder holds, by name; what is not a model is passed over."""
    if folder is None or not folder.is_dir():
        return []
    found = (_look(path) for path in sorted(folder.iterdir()))
    return [one for one in found if one is not None]


def find(folder: Path | None, name: str, *kinds: Kind) -> Shelved:
    """Return what requests mean by a name.

    Raises:
        UnknownNameError: If there is nothing of that name and one of those kinds.
    """
    known = [one for one in shelved(folder) if one.kind in kinds]
    for one in known:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in known) or "none"
    raise UnknownNameError(f"this service has no such model; those of the right kind: {names}.")


def _look(path: Path) -> Shelved | None:
    if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return None
    if (path / PATCHES).is_file():
        return Shelved(path.name, "patches", (), path)
    try:
        document = json.loads((path / DESCRIPTION).read_text("utf-8"))
        kind = document["kind"]
        if kind in ("classifier", "embedder") and document["people"]:
            return Shelved(path.name, "faces", tuple(map(str, document["people"])), path)
        if kind in ("series", "volumes"):
            return Shelved(path.name, kind, tuple(map(str, document["classes"])), path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None
