"""What several ``limner train`` commands take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limner.errors import InputError


def set_options(texts: Sequence[str] | None) -> dict[str, Any]:
    """Read ``--set KEY=VALUE`` as often as it was given; a value is read as YAML.

    Raises:
        InputError: If one has no ``=``, or its value cannot be read.
    """
    import yaml

    found: dict[str, Any] = {}
    for text in texts or ():
        key, mark, value = text.partition("=")
        if not mark:
            raise InputError(f"--set wants KEY=VALUE, got {text!r}.")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {key}: {value!r} cannot be read.") from error
    return found
