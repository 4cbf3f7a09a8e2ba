"""What each model is, and where its bytes come from.

`load(name)` returns the files of a model, fetching and converting them at first use; every
byte is checked against the registry's SHA-256, and no pickle is ever read.
"""

from limner.weights.cache import cache_dir, model_dir
from limner.weights.registry import ModelSpec, Part, Source, names, spec
from limner.weights.store import (
    Loaded,
    Status,
    Verification,
    load,
    status,
    torch_module,
    verify,
)

__all__ = [
    "Loaded",
    "ModelSpec",
    "Part",
    "Source",
    "Status",
    "Verification",
    "cache_dir",
    "load",
    "model_dir",
    "names",
    "spec",
    "status",
    "torch_module",
    "verify",
]
