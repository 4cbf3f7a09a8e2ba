"""`limner weights ...`, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from limner import weights


def limner(*arguments, home=None):
    environment = dict(os.environ)
    if home is not None:
        environment["LIMNER_HOME"] = str(home)
    run = subprocess.run(
        [sys.executable, "-c", "from limner.cli.main import run; run()", "weights", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


def test_list_of_an_empty_cache(tmp_path):
    status, out, _ = limner("list", home=tmp_path)
    assert status == 0
    assert all(name in out for name in weights.names())
    assert out.count("absent") == len(weights.names())
    status, out, _ = limner("list", "--json", home=tmp_path)
    models = json.loads(out)["models"]
    assert [m["name"] for m in models] == weights.names()
    assert {m["state"] for m in models} == {"absent"}
    ids = {m["name"]: m["embedder_id"] for m in models}
    assert ids["facenet"] == "facenet-92c3c3f568c4-p5"
    assert all(m["licence"] and m["training_data"] for m in models)


def test_where(tmp_path):
    assert limner("where", home=tmp_path)[:2] == (0, f"{tmp_path / 'weights'}\n")
    out = limner("where", "--json", home=tmp_path)[1]
    assert json.loads(out) == {"cache": str(tmp_path / "weights")}


def test_pull_of_what_is_there():
    status, out, _ = limner("pull", "dlib")
    assert (status, out.startswith("dlib: ready in ")) == (0, True)
    status, out, _ = limner("pull", "dlib", "--json")
    (pulled,) = json.loads(out)["pulled"]
    assert pulled["digest"] == weights.spec("dlib").sha256
    assert Path(pulled["files"]["onnx"]).is_file()


def test_pull_of_a_misspelt_name(tmp_path):
    status, out, err = limner("pull", "yunet", "facenett", home=tmp_path)
    assert (status, out) == (2, "")
    known = ", ".join(weights.names())
    assert err == f"error: There is no model 'facenett'; there are {known}.\n"
    assert list(tmp_path.iterdir()) == []
    status, out, _ = limner("pull", "facenett", "--json", home=tmp_path)
    assert status == 2
    assert json.loads(out)["error"]["type"] == "UnknownNameError"


@pytest.fixture
def damaged(original, tmp_path):
    """A cache with YuNet in it, one byte wrong."""
    folder = tmp_path / "weights" / f"yunet-{weights.spec('yunet').sha256[:12]}"
    folder.mkdir(parents=True)
    data = original("yunet").read_bytes()
    (folder / weights.spec("yunet").file).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    return tmp_path


def test_verify(damaged):
    assert limner("verify", "dlib", home=damaged)[0] == 0
    status, out, _ = limner("verify", home=damaged)
    assert status == 2
    assert "Damaged: yunet." in out
    assert "limner weights pull yunet" in out
    status, out, _ = limner("verify", "yunet", "--json", home=damaged)
    assert status == 2
    (model,) = json.loads(out)["models"]
    assert (model["name"], model["ok"]) == ("yunet", False)
    assert model["files"][weights.spec("yunet").file] == "damaged"


def test_verify_of_the_real_cache():
    weights.load("duo", thorough=True)
    status, out, _ = limner("verify", "duo")
    assert status == 0
    assert out.count(" ok") == 8
