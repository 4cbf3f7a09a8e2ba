"""Real portraits, from packages that the development extra installs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from limner.cli import main


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two portraits, views of them, strangers, and a photo of both."""
    folder = tmp_path_factory.mktemp("photos")
    collins = Image.fromarray(skimage.data.astronaut())
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        hopper = own.convert("RGB")
    collins.save(folder / "collins.png")
    hopper.save(folder / "hopper.jpg")
    collins.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "collins-mirrored.jpg")
    hopper.rotate(10).save(folder / "hopper-turned.jpg")
    Image.fromarray(skimage.data.camera()).save(folder / "stranger.png")
    Image.fromarray(skimage.data.coffee()).save(folder / "coffee.png")
    both = Image.new("RGB", (1024, 600))
    both.paste(collins, (0, 0))
    both.paste(hopper, (512, 0))
    both.save(folder / "both.jpg")
    return folder


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are not photos, one kind each; made once."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("I am a text file.\n" * 50)
    picture = Image.fromarray(skimage.data.astronaut())
    picture.save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 40])
    noise = np.random.default_rng(0).bytes(20_000)
    (folder / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + noise)
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    return folder


@pytest.fixture
def bad(bad_files: Path, tmp_path: Path) -> Path:
    """A folder of one's own with those files."""
    return Path(shutil.copytree(bad_files, tmp_path / "bad"))


@pytest.fixture
def limner() -> Callable[..., Any]:
    """Run the command line in this process."""
    return lambda *arguments: CliRunner().invoke(main.app, [str(a) for a in arguments])


@pytest.fixture
def limner_json(limner: Callable[..., Any]) -> Callable[..., tuple[int, Any]]:
    """Run with ``--json``; return the exit status and the document."""

    def run(*arguments: object) -> tuple[int, Any]:
        result = limner(*arguments, "--json")
        return result.exit_code, json.loads(result.stdout)

    return run


@pytest.fixture
def fails() -> Callable[[Any], str]:
    """Check that a run failed as it should, and return its one line."""

    def check(result: Any) -> str:
        assert result.exit_code == 2, (result.exit_code, result.stdout, result.stderr)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1, result.stderr
        assert lines[0].startswith("error: ")
        assert "Traceback" not in result.stderr
        assert "unexpected" not in result.stderr
        assert lines[0].count(". ") <= 1, "more than two sentences"
        return lines[0].removeprefix("error: ")

    return check
