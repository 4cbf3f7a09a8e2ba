"""The service: limner over HTTP.

``create_app(Settings(...))`` builds it; `limner.service.run.serve` runs it. Both need the extra
``limner[studio]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from limner.errors import MissingExtraError

if TYPE_CHECKING:
    from limner.service.app import create_app as create_app
    from limner.service.settings import Settings as Settings

_LAZY = {"Settings": "limner.service.settings", "create_app": "limner.service.app"}
_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "httpx")

__all__ = ["Settings", "check_extra", "create_app"]


def check_extra() -> None:
    """Refuse to go on where the packages of the extra are missing.

    Raises:
        MissingExtraError: With the command that installs them.
    """
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"the service needs {', '.join(missing)}: pip install 'limner[studio]'."
        )


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        if name == "create_app":
            check_extra()
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'limner.service' has no attribute {name!r}.")
