"""Optional libraries that training needs, and the sentence that names them."""

from __future__ import annotations

import importlib.util

from limner.errors import MissingExtraError

_NAMES = {
    "lightning": "lightning",
    "pytorch_metric_learning": "pytorch-metric-learning",
    "timm": "timm",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
    "tensorboardX": "tensorboardX",
}


def require(*modules: str) -> None:
    """Check that optional libraries are installed, without importing them.

    Args:
        modules: Names as they are imported.

    Raises:
        MissingExtraError: If one is absent; the message names the extra that brings it.
    """
    absent = [m for m in modules if importlib.util.find_spec(m) is None]
    if absent:
        names = ", ".join(_NAMES.get(m, m) for m in absent)
        raise MissingExtraError(
            f"training needs {names}, which is not installed: pip install 'limner[train]'."
        )
