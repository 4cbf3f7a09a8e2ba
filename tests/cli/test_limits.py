"""The limit on pixels, on every surface that names it."""

from __future__ import annotations

import os

import pytest

from limner.cli.serve import make_settings

TOO_LARGE = (
    "512 x 512 pixels; at most {} pixels are read. Make it smaller, or set LIMNER_MAX_MEGAPIXELS."
)


def test_the_option_holds_for_all_that_a_command_reads(limner, photos, tmp_path, fails):
    portrait, drawn = photos / "collins.png", tmp_path / "drawn.jpg"
    message = fails(limner("detect", portrait, "--max-megapixels", "0.1"))
    assert message.endswith(TOO_LARGE.format("100,000"))
    result = limner("detect", portrait, "--max-megapixels", "0.3", "--draw", drawn)
    assert result.exit_code == 0
    assert drawn.is_file()
    assert "LIMNER_MAX_MEGAPIXELS" not in os.environ  # it was for that command


@pytest.mark.parametrize("command", ["compare", "enroll"])
def test_other_commands_have_it_too(limner, photos, tmp_path, fails, command):
    portrait = photos / "collins.png"
    given = {
        "compare": (portrait, portrait),
        "enroll": ("Eileen", portrait, "--keep-chips", "--gallery", tmp_path / "g.limner"),
    }[command]
    message = fails(limner(command, *given, "--max-megapixels", "0.1"))
    assert message.endswith(TOO_LARGE.format("100,000"))
    assert limner(command, *given, "--max-megapixels", "0.3").exit_code == 0


def test_the_variable_does_the_same(limner, photos, fails, monkeypatch):
    monkeypatch.setenv("LIMNER_MAX_MEGAPIXELS", "0.2")
    message = fails(limner("detect", photos / "collins.png"))
    assert message.endswith(TOO_LARGE.format("200,000"))
    assert limner("detect", photos / "collins.png", "--max-megapixels", "0.3").exit_code == 0
    assert os.environ["LIMNER_MAX_MEGAPIXELS"] == "0.2"


def test_a_service_has_its_own_and_says_nothing_that_a_client_cannot_do():
    assert make_settings().max_pixels == 50_000_000
    limits = make_settings(max_pixels=2000).limits
    assert (limits.max_pixels, limits.advice) == (2000, "Make it smaller.")
