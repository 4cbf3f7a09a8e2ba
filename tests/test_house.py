"""The promises of the house: quick imports, small files, docs that keep up."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import limner

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ROOMS = (
    "cli",
    "client",
    "evaluation",
    "faces",
    "gallery",
    "images",
    "nets",
    "service",
    "similarity",
    "studio",
    "style",
    "training",
    "units",
    "weights",
)
HEAVY = (
    *("torch", "torchvision", "cv2", "onnxruntime", "onnx", "onnxscript", "openvino", "faiss"),
    *("sklearn", "scipy", "matplotlib", "h5py", "safetensors", "PIL", "pillow_heif", "skimage"),
    *("pytorch_metric_learning", "timm", "torchmetrics", "wfdb", "nibabel", "pydicom"),
    *("lightning", "gradio", "fastapi", "ray", "psycopg", "pymilvus", "dlib"),
)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )


def imported_by(code: str) -> set[str]:
    loaded = run_python(f"{code}\nimport sys; print(*sys.modules)").stdout.split()
    return {name.partition(".")[0] for name in loaded}


def test_import_limner_imports_almost_nothing():
    loaded = run_python("import limner, sys; print(*sys.modules)").stdout.split()
    assert {n for n in loaded if n.startswith("limner")} == {"limner"}
    assert "numpy" not in loaded


@pytest.mark.parametrize("room", ROOMS)
def test_importing_a_room_imports_no_heavy_library(room):
    loaded = imported_by(f"import limner.{room}")
    # torch modules are classes, so nets cannot be defined without torch
    allowed = {"torch", "safetensors", "numpy"} if room == "nets" else set()
    assert loaded & set(HEAVY) - allowed == set()


@pytest.mark.parametrize("name", [n for n in limner.__all__ if n != "__version__"])
def test_every_public_name_loads_without_a_heavy_library(name):
    assert imported_by(f"from limner import {name}") & set(HEAVY) == set()


def test_help_imports_no_heavy_library():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom limner.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0"
    )
    assert imported_by(code) & set(HEAVY) == set()


def test_import_opens_no_socket_starts_no_thread_and_writes_no_file(tmp_path):
    code = """
import socket, sys, threading
def refuse(*_, **__): raise AssertionError("a socket was opened")
socket.socket = refuse
opened = []
sys.addaudithook(lambda event, args: opened.append(args)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") else None)
import limner
for name in limner.__all__: getattr(limner, name)
import limner.cli.main
assert threading.active_count() == 1, threading.enumerate()
assert not opened, opened
"""
    run_python(
        code, HOME=str(tmp_path), LIMNER_HOME=str(tmp_path / "home"), PYTHONDONTWRITEBYTECODE="1"
    )
    assert list(tmp_path.iterdir()) == []


def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages(limner.__path__, "limner."):
        importlib.import_module(module.name)


def public_names() -> list[str]:
    names = []
    for room in ("", *sorted(("device", "errors", "types", *ROOMS))):
        module = importlib.import_module(f"limner.{room}".rstrip("."))
        public = getattr(module, "__all__", None)
        if public is None:
            public = [
                name
                for name, value in vars(module).items()
                if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
            ]
        names += [f"{module.__name__}.{name}" for name in sorted(public)]
    return names


def test_public_names_are_the_ones_in_the_snapshot():
    """A name that users can import is a promise. If it is meant: make public-names."""
    snapshot = (ROOT / "tests" / "public_names.txt").read_text().split()
    assert public_names() == snapshot


def test_every_exported_name_exists():
    for room in ROOMS:
        module = importlib.import_module(f"limner.{room}")
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"limner.{room}.__all__ names {name}, which is absent"


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert limner.__version__ == project["version"]
    latest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest
    assert latest[1] in (project["version"], "Unreleased")


def test_no_file_is_longer_than_400_lines():
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_no_function_is_longer_than_60_lines():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None
                first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
                lines = (node.end_lineno or 0) - first.lineno + 1
                if lines > 60:
                    long[f"{path.name}:{node.name}"] = lines
    assert long == {}


def test_nothing_inside_imports_the_root_package():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert "limner" not in {alias.name for alias in node.names}, path


def test_there_is_no_utils():
    assert [p for p in SOURCES if "util" in p.stem] == []


def test_source_names_no_host_of_a_registry():
    """Wheels are named by package: which index serves them is the user's business."""
    for path in [*SOURCES, *ROOT.glob("*.toml"), ROOT / "Makefile", *(ROOT / "scripts").iterdir()]:
        # `uv pip compile --no-emit-index-url` is what keeps the host out of requirements.
        named = re.search(r"pypi\.org|pythonhosted|(?<!no-emit-)index-url", path.read_text())
        assert named is None, path


def test_import_rules_hold_and_can_be_broken(tmp_path):
    """The contract itself: a module that imports upwards makes it fail."""
    package = tmp_path / "src" / "limner"
    for path in SOURCES:
        copy = package / path.relative_to(ROOT / "src" / "limner")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    (package / "faces" / "__init__.py").write_text("import limner.cli.output\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
    )
    assert result.returncode == 1, result.stdout
    assert "limner.faces is not allowed to import limner.cli" in result.stdout


if __name__ == "__main__":
    print(*public_names(), sep="\n")
