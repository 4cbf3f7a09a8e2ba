"""Fixtures that every room's tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Machines that run tests are noisy; a slow first call is no failure.
settings.register_profile("limner", deadline=None)
settings.load_profile("limner")

REPOSITORY = Path(__file__).resolve().parents[1]

# Tests and benchmarks spoil photos alike: bench/spoil.py. Last, so that it hides nothing.
sys.path.append(str(REPOSITORY / "bench"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The developers' folder of real data; users don't have it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data folder ../shared/data is absent")
    return folder
