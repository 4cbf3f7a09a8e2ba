"""limner: know a face, paint a picture, see what the network sees.

The names below are loaded on first use, so that ``import limner`` stays quick: it
opens no socket, writes no file and starts no thread.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from limner.client import Client as Client
    from limner.errors import LimnerError as LimnerError
    from limner.faces import FaceAnalyzer as FaceAnalyzer
    from limner.gallery import Gallery as Gallery
    from limner.types import Embedding as Embedding
    from limner.types import Face as Face
    from limner.types import Match as Match
    from limner.types import Pair as Pair

_LAZY = {
    "Client": "limner.client",
    "Embedding": "limner.types",
    "Face": "limner.types",
    "FaceAnalyzer": "limner.faces",
    "Gallery": "limner.gallery",
    "LimnerError": "limner.errors",
    "Match": "limner.types",
    "Pair": "limner.types",
}

__all__ = [
    "Client",
    "Embedding",
    "Face",
    "FaceAnalyzer",
    "Gallery",
    "LimnerError",
    "Match",
    "Pair",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'limner' has no attribute {name!r}.")
