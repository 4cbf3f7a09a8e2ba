"""The notes book: every page has its parts, names what exists, and its commands run."""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer

from limner.cli import main

BOOK = Path(__file__).resolve().parents[2] / "docs" / "notes"
PAGES = sorted(p for p in BOOK.glob("*.md") if p.name != "README.md")
IDEAS = {
    *("verification", "one-shot", "siamese", "triplet", "pair-head", "content-cost", "gram"),
    *("layers", "units", "one-dimension", "three-dimensions"),
}
SLOW = ("limner train", "limner style ", "limner units top")


def commands(page: Path) -> list[str]:
    return re.findall(r"^\$ (limner .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def is_slow(page: Path) -> bool:
    return any(line.startswith(SLOW) for line in commands(page))


QUICK = [p for p in PAGES if not is_slow(p)]
LONG = [p for p in PAGES if is_slow(p)]


@pytest.fixture(scope="module")
def materials(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notes")
    written = runpy.run_path(str(BOOK / "materials.py"))
    written["main"](str(folder))
    return folder


def test_there_is_a_page_for_every_idea_and_the_contents_list_them():
    assert {page.stem for page in PAGES} == IDEAS
    contents = (BOOK / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([a-z-]+)\.md\)", contents)) == IDEAS


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_has_a_formula_a_function_a_picture_and_a_command(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^    \S.*", text, re.MULTILINE), "no formula"
    assert commands(page)
    pictures = re.findall(r"!\[[^\]]{10,}\]\(([a-z-]+\.png)\)", text)
    assert pictures
    assert all((BOOK / name).is_file() for name in pictures)
    names = re.findall(r"`(limner(?:\.\w+)+)`", text.partition("\nWhere:")[2])
    assert names
    for name in names:
        assert exists(name), f"{page.name} names {name}"


def exists(name: str) -> bool:
    """Tell whether a dotted name is a module, or an attribute found in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("line", [line for page in PAGES for line in commands(page)])
def test_the_commands_can_be_parsed(line):
    group = typer.main.get_command(main.app)
    context = typer.Context(group)
    words = shlex.split(line)[1:]
    command = group.get_command(context, words[0])
    rest = words[1:]
    while hasattr(command, "list_commands"):
        command = command.get_command(typer.Context(command), rest[0])
        rest = rest[1:]
    command.make_context("limner", rest, parent=context)


def run_page(page, materials, monkeypatch, limner):
    monkeypatch.chdir(materials)
    for line in commands(page):
        result = limner(*shlex.split(line)[1:])
        # 1: different, or not recognised
        assert result.exit_code in (0, 1), f"{line}: {result.stderr}"


@pytest.mark.parametrize("page", QUICK, ids=lambda p: p.stem)
def test_quick_pages_run(page, materials, monkeypatch, limner):
    run_page(page, materials, monkeypatch, limner)


@pytest.mark.slow
@pytest.mark.parametrize("page", LONG, ids=lambda p: p.stem)
def test_long_pages_run(page, materials, monkeypatch, limner):
    run_page(page, materials, monkeypatch, limner)


def test_the_answers_that_the_pages_tell_of(materials, limner):
    same = limner("compare", materials / "collins.jpg", materials / "collins-mirrored.jpg")
    different = limner("compare", materials / "collins.jpg", materials / "hopper.jpg")
    assert (same.exit_code, different.exit_code) == (0, 1)
