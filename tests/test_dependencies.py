"""What limner installs has no known hole: lower bounds, lock files, and what is here."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADVISORIES = tomllib.loads((ROOT / "requirements" / "advisories.toml").read_text())["advisory"]
LOCKS = ("studio", "dev")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def demands() -> dict[str, list[SpecifierSet]]:
    """Return what pyproject asks of each package."""
    extras = PROJECT["optional-dependencies"].values()
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]
    found: dict[str, list[SpecifierSet]] = {}
    for text in texts:
        one = Requirement(text)
        found.setdefault(canonicalize_name(one.name), []).append(one.specifier)
    return found


def locked(name: str) -> dict[str, list[tuple[Version, str]]]:
    """Return the versions of a lock file, with what follows each."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    found: dict[str, list[tuple[Version, str]]] = {}
    for package, pinned, rest in _PIN.findall(text):
        found.setdefault(canonicalize_name(package), []).append((Version(pinned), rest))
    return found


def is_sound(advisory: dict, found: Version) -> bool:
    """Tell whether a version is without the hole."""
    if str(found) in advisory.get("not", ()):
        return False
    return "fixed" not in advisory or found >= Version(advisory["fixed"])


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda one: one["package"])
def test_no_hole_is_allowed_locked_or_installed(advisory):
    name = advisory["package"]
    for specifier in demands()[name]:
        floors = [Version(s.version) for s in specifier if s.operator in (">=", "==", "~=")]
        assert floors, f"{name} has no lower bound"
        assert not any(specifier.contains(bad) for bad in advisory.get("not", ()))
        if "fixed" in advisory:
            assert max(floors) >= Version(advisory["fixed"])
    for lock in LOCKS:
        for pinned, _ in locked(lock).get(name, []):
            assert is_sound(advisory, pinned), f"{name} {pinned} in {lock}.txt"
    try:
        here = Version(version(name))
    except PackageNotFoundError:
        return
    assert is_sound(advisory, here), f"{name} {here} is installed: {', '.join(advisory['names'])}"


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_has_digests_and_fits_the_project(lock):
    pins = locked(lock)
    assert len(pins) > 50
    for name, many in pins.items():
        for pinned, rest in many:
            assert "--hash=sha256:" in rest, f"{name} {pinned} has no digest"
    wanted = set(map(canonicalize_name, map(_name, PROJECT["dependencies"])))
    extras = PROJECT["optional-dependencies"]
    wanted |= {_name(text) for text in extras[lock] if not text.startswith("limner")}
    assert {canonicalize_name(name) for name in wanted} <= set(pins)
    for name, specifiers in demands().items():
        for pinned, _ in pins.get(name, []):
            assert all(s.contains(pinned) for s in specifiers), f"{name} {pinned}: run scripts/lock"


def _name(text: str) -> str:
    return Requirement(text).name


def test_the_container_installs_what_is_locked():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements/studio.txt" in dockerfile
    assert "--no-deps" in dockerfile
    assert "LOCKED" in (ROOT / "Makefile").read_text()
    assert "--require-hashes -r requirements/dev.txt" in (ROOT / "Makefile").read_text()
