"""The demo's last step: the studio on the people that it enrolled."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from limner.cli import serve as serving
from limner.cli.demo import command

ROOT = Path(__file__).resolve().parents[2]


def test_without_serving_it_prints_the_address_and_how_to_get_there(tmp_path, capsys):
    command._studio(tmp_path, 8123, serve=False, json=False)
    said = capsys.readouterr()
    words = said.out + said.err
    assert "http://127.0.0.1:8123" in words
    assert re.search(r"limner serve --gallery \S+demo.limner --port 8123", words)


def test_serving_uses_the_demos_gallery_and_a_state_of_its_own(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        serving, "run_service", lambda settings, **how: asked.append((settings, how))
    )
    command._studio(tmp_path, 0, serve=True, json=False)
    (settings, how), *rest = asked
    assert rest == []
    assert settings.gallery == tmp_path / "demo.limner"
    assert settings.state == tmp_path / "service"
    assert settings.host == "127.0.0.1"
    assert how["page"] is True


@pytest.mark.parametrize(("given", "serves"), [([], True), (["OPEN=0"], False), (["OPEN=1"], True)])
def test_make_demo_serves_unless_open_is_0(given, serves):
    dry = subprocess.run(
        ["make", "--dry-run", "demo", *given], cwd=ROOT, capture_output=True, text=True, check=True
    )
    line = next(line for line in dry.stdout.splitlines() if "limner demo" in line)
    assert line.rstrip().endswith("--serve") is serves
