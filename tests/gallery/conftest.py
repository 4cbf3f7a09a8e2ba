"""Fixtures of the gallery's tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gallery_helpers import open_new, toy_calibration

from limner.gallery import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    """An empty gallery without calibration."""
    with open_new(tmp_path) as opened:
        yield opened


@pytest.fixture
def calibrated(tmp_path: Path) -> Iterator[Gallery]:
    """An empty gallery that has a calibration of its own."""
    with open_new(tmp_path) as opened:
        with opened.locked() as store:
            store.set_meta({"calibration": json.dumps(toy_calibration().to_json())})
        yield opened
