"""What each model is, and where its bytes come from.

`load(name)` returns the files of a model, fetching and converting them at first use; every
byte is checked against the registry's SHA-256, and no pickle is ever read.
"""

from limner.weights.cache import cache_dir, model_dir
from limner.weights.custom import CustomModel, OnnxOptions, inspect_onnx, read_options
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
    "CustomModel",
    "Loaded",
    "ModelSpec",
    "OnnxOptions",
    "Part",
    "Source",
    "Status",
    "Verification",
    "cache_dir",
    "inspect_onnx",
    "load",
    "model_dir",
    "names",
    "read_options",
    "spec",
    "status",
    "torch_module",
    "verify",
]
