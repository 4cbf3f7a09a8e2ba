"""Which models may be used: any, or only those whose weights have a permissive licence.

A licence covers the weights as the people who made them gave them away. It says nothing about the
photographs that they learnt from, and a model that comes from somebody who only passes it on counts
as unknown, whatever that somebody wrote on it.
"""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

from limner.errors import InputError, WeightsError
from limner.weights import registry
from limner.weights.registry import ModelSpec

Policy = Literal["any", "permissive"]
VARIABLE = "LIMNER_LICENCE"
"""The environment variable that holds the policy; child processes inherit it."""

PERMISSIVE = frozenset({"Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0", "MIT"})
"""SPDX identifiers of licences that allow commercial use; all but CC0 ask for credit."""

NOT_COVERED = (
    "A permissive licence covers the weights, not the photographs they learnt from, most of which "
    "were gathered for research; models of your own are not looked at."
)


def policy() -> Policy:
    """Return which models may be used.

    Raises:
        InputError: If the environment holds another word.
    """
    word = os.environ.get(VARIABLE, "any") or "any"
    if word not in get_args(Policy):
        raise InputError(f"{VARIABLE} must be {' or '.join(get_args(Policy))}, got {word!r}.")
    return cast(Policy, word)


def spdx_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the licences of a model's weights, one for each part; empty strings where unknown."""
    if not spec.parts:
        return (spec.spdx,)
    parts = (registry.spec(part.name) for part in spec.parts)
    return tuple(word for part in parts for word in spdx_of(part))


def is_permissive(spec: ModelSpec) -> bool:
    """Tell whether all of a model's weights have a permissive licence from those who made them."""
    return all(word in PERMISSIVE for word in spdx_of(spec))


def allowed(spec: ModelSpec) -> bool:
    """Tell whether the policy lets a model be used."""
    return policy() == "any" or is_permissive(spec)


def commercial(spec: ModelSpec) -> str:
    """Say what may be done with a model commercially, as far as it is known."""
    if not is_permissive(spec):
        return "not known: only whoever passes it on names a licence"
    credit = "" if set(spdx_of(spec)) == {"CC0-1.0"} else ", with its notice"
    photographs = "; the photographs were for research" if "research" in spec.licence else ""
    return f"the licence allows it{credit}{photographs}"


def require(spec: ModelSpec) -> None:
    """Refuse a model that the policy leaves out.

    Raises:
        WeightsError: If only permissive licences are allowed and it has none.
    """
    if allowed(spec):
        return
    others = [
        name
        for name in registry.names()
        if registry.spec(name).task == spec.task and is_permissive(registry.spec(name))
    ]
    instead = f"use {' or '.join(others)}, or " if others else ""
    raise WeightsError(
        f"{spec.name} is left out by --licence permissive: {commercial(spec)}; {instead}"
        f"allow it with --licence any ({VARIABLE}=any)."
    )
