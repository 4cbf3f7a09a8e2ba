"""Only models of permissive licences, where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from limner import weights
from limner.cli.main import app
from limner.errors import InputError, WeightsError
from limner.faces import FaceAnalyzer
from limner.weights import licences

UNKNOWN = {"facenet", "duo", "vgg16_hed", "multistyle26"}
"""Written down by hand, from what their cards say: nobody who made them names a licence."""


def run(*words: str):
    return CliRunner().invoke(app, list(words))


def test_a_licence_is_permissive_where_its_makers_say_so():
    found = {name for name in weights.names() if not licences.is_permissive(weights.spec(name))}
    assert found == UNKNOWN


@pytest.mark.parametrize("name", weights.names())
def test_the_identifier_and_the_words_agree(name):
    spec = weights.spec(name)
    if spec.spdx:
        assert spec.licence.replace("CC BY 4.0", "CC-BY-4.0").startswith(spec.spdx)
        assert "as distributed" not in spec.licence.split(";")[0]
    words = licences.commercial(spec)
    assert ("not known" in words) == (name in UNKNOWN)
    assert ("research" in words) == ("research" in spec.licence and name not in UNKNOWN)


def test_the_list_leaves_the_others_out(monkeypatch):
    monkeypatch.delenv(licences.VARIABLE, raising=False)
    everything = json.loads(run("weights", "list", "--json").stdout)["models"]
    assert {m["name"] for m in everything} == set(weights.names())
    few = json.loads(run("weights", "list", "--licence", "permissive", "--json").stdout)
    assert {m["name"] for m in few["models"]} == set(weights.names()) - UNKNOWN
    assert "photographs" in few["not_covered"]
    assert next(m for m in everything if m["name"] == "duo")["spdx"] == ["", "Apache-2.0"]


def test_no_command_uses_what_the_policy_leaves_out(monkeypatch, tmp_path):
    monkeypatch.setenv(licences.VARIABLE, "permissive")
    assert FaceAnalyzer().embedder_id.startswith("sface")
    for name in sorted(UNKNOWN):
        with pytest.raises(WeightsError, match=r"permissive: not known.*--licence any"):
            weights.load(name)
    with pytest.raises(WeightsError, match=r"facenet is left out .*; use dlib or sface, or"):
        FaceAnalyzer(embedder="facenet").analyze(np.zeros((99, 99, 3), np.uint8))
    monkeypatch.setenv(licences.VARIABLE, "any")
    assert FaceAnalyzer(embedder="facenet").embedder_id.startswith("facenet")


def test_the_option_comes_before_the_command(monkeypatch, tmp_path: Path):
    import skimage.data
    from PIL import Image

    monkeypatch.setenv(licences.VARIABLE, "any")
    photo = tmp_path / "a.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    words = ("embed", str(photo), "-o", str(tmp_path / "a.npz"), "--embedder", "facenet")
    refused = run("--licence", "permissive", *words)
    assert refused.exit_code == 2
    assert "facenet is left out by --licence permissive" in refused.stderr
    assert not (tmp_path / "a.npz").exists()
    monkeypatch.setenv(licences.VARIABLE, "any")
    assert run(*words).exit_code == 0


def test_another_word_is_refused(monkeypatch):
    monkeypatch.setenv(licences.VARIABLE, "any")
    refused = run("--licence", "free", "weights", "list")
    assert refused.exit_code == 2
    assert "must be any or permissive, got 'free'" in refused.stderr
    monkeypatch.setenv(licences.VARIABLE, "free")
    with pytest.raises(InputError, match="LIMNER_LICENCE must be any or permissive, got 'free'"):
        weights.load("yunet")
