"""Calibrations that come with limner, or with an embedder that its user trained."""

from __future__ import annotations

import functools
import json
from importlib import resources

from limner.similarity.calibration import Calibration

_FOLDER = "shipped"


@functools.cache
def _all() -> dict[str, Calibration]:
    folder = resources.files("limner.similarity") / _FOLDER
    if not folder.is_dir():
        return {}
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".json"):
            document = json.loads(entry.read_text(encoding="utf-8"))
            found[entry.name.removesuffix(".json")] = Calibration.from_json(document)
    return found


_BROUGHT: dict[str, Calibration] = {}


def bring(calibration: Calibration) -> None:
    """Take note of the calibration that came with a trained embedder's own files.

    `shipped` finds it by its `embedder_id` from now on, in this process.
    """
    _BROUGHT[calibration.embedder_id] = calibration


def shipped(embedder: str) -> Calibration | None:
    """Return the calibration that limner ships for an embedder.

    Args:
        embedder: A model's name (``facenet``), or an `embedder_id`, which must be exactly
            the one that the calibration was fitted on: another weights digest or another
            preprocessing has other distances.

    Returns:
        The calibration, or None when limner ships none for this embedder.

    Raises:
        InputError: If an installed calibration file is damaged.
    """
    known = _all()
    if embedder in known:
        return known[embedder]
    if embedder in _BROUGHT:
        return _BROUGHT[embedder]
    return next((c for c in known.values() if c.embedder_id == embedder), None)
