"""The studio: limner as a page in the browser, mounted on the service.

``mount_page(app)`` puts it on an application of `limner.service.create_app`. It needs the
extra ``limner[studio]``, loads nothing from elsewhere and sends nothing anywhere.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from limner.errors import MissingExtraError

if TYPE_CHECKING:
    from limner.studio.mount import mount_page as mount_page

__all__ = ["mount_page"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib.util import find_spec

        if find_spec("gradio") is None:
            raise MissingExtraError("the page needs gradio: pip install 'limner[studio]'.")
        return getattr(importlib.import_module("limner.studio.mount"), name)
    raise AttributeError(f"module 'limner.studio' has no attribute {name!r}.")
