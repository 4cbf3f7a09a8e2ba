"""What README.md shows works as shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import matplotlib.cbook
import pytest
import skimage.data
import typer
from PIL import Image

from limner.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        grace = own.convert("RGB")
    grace.save("grace.jpg")
    party = Image.new("RGB", (1024, 600))
    party.paste(Image.fromarray(skimage.data.astronaut()), (0, 0))
    party.paste(grace, (512, 0))
    party.save("party.jpg")
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    exec(compile(code[1], "README.md", "exec"), {})
    people = [line.split(" 0.")[0].split(" 1.")[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(people) == ["Grace Hopper", "None"]


@pytest.mark.parametrize("line", re.findall(r"^\$ (limner .*)$", README, re.MULTILINE))
def test_the_commands_can_be_parsed(line):
    group = typer.main.get_command(main.app)
    _, name, *rest = shlex.split(line, comments=True)
    context = typer.Context(group)
    command = group.get_command(context, name)
    command.make_context(name, rest, parent=context)


def test_every_link_leads_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_make_help_lists_the_targets_that_readme_names():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE)
