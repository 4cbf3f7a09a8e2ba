"""docs/cli.md knows every command and every option, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from limner.cli import main

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = {
    match["path"]: match["body"]
    for match in re.finditer(
        r"^### `limner (?P<path>[a-z-]+(?: [a-z-]+)*)[^`]*`\n(?P<body>.*?)(?=^##|\Z)",
        TEXT,
        re.MULTILINE | re.DOTALL,
    )
}
SHARED = TEXT.partition("## Options that several commands share")[2].partition("\n## ")[0]


def walk(group: Any, path: str = "") -> dict[str, Any]:
    context = typer.Context(group)
    found = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        where = f"{path} {name}".strip()
        if hasattr(command, "list_commands"):
            found |= walk(command, where)
        if not hasattr(command, "list_commands") or where in SECTIONS:
            found[where] = command
    return found


COMMANDS = walk(typer.main.get_command(main.app))


def options_of(command: Any) -> list[str]:
    return [
        flag
        for parameter in command.params
        if parameter.param_type_name == "option"
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--") and flag != "--help"
    ]


def test_the_walk_finds_commands_and_groups():
    assert {"detect", "identify", "weights pull", "gallery import", "evaluate pairs"} <= set(
        COMMANDS
    )


def test_every_command_has_a_section_and_every_section_a_command():
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_is_documented_where_its_command_is(path):
    body = SECTIONS[path]
    # ModelOptions come as a bundle: --embedder stands for the --embedder-... ones, which are
    # explained among the shared options.
    for flag in options_of(COMMANDS[path]):
        where = SHARED if flag.startswith("--embedder-") else body
        assert re.search(rf"{re.escape(flag)}\b", where), f"limner {path}: {flag} is not documented"


@pytest.mark.parametrize("path", SECTIONS)
def test_no_option_is_documented_that_does_not_exist(path):
    known = {*options_of(COMMANDS[path]), "--help"}
    # The flags of other commands that a section mentions stand in a command line of their own.
    prose = re.sub(r"```.*?```|`limner [^`]*`|`pip [^`]*`", "", SECTIONS[path], flags=re.DOTALL)
    assert set(re.findall(r"--[a-z][a-z-]*", prose)) <= known


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_explains_itself(path):
    command = COMMANDS[path]
    first = (command.help or "").splitlines()[0]
    assert first.endswith((".", "]")), f"limner {path} has no one-line help"
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"limner {path} {parameter.name} has no help"
