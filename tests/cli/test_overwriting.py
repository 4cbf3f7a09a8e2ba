"""No command writes over what it reads: asked of every command that there is."""

from __future__ import annotations

import os
import shutil
from typing import Literal, get_args, get_origin

import pytest
import typer
from PIL import Image

from limner.cli import overwriting
from limner.cli.main import app
from limner.errors import InputError


def leaves(command, path=()):
    """Yield every command with its words."""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from leaves(command.get_command(None, name), (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def written(command):
    own = overwriting.ALSO_WRITES.get(command.name, frozenset())
    return [p for p in command.params if p.name in overwriting.WRITES | own]


WRITERS = {path: command for path, command in COMMANDS.items() if written(command)}


def test_every_parameter_that_names_a_result_is_known():
    """An option `-o`, or one whose value is shown as OUT..., is something that is written."""
    for path, command in COMMANDS.items():
        for parameter in command.params:
            shown = (getattr(parameter, "metavar", None) or "").upper()
            if "-o" in parameter.opts or shown.startswith("OUT"):
                assert parameter.name in overwriting.WRITES, (path, parameter.name)
    assert len(WRITERS) >= 25


def value_for(parameter, name):
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return str(get_args(kind)[0])
    return "1" if kind in (int, float) else name


@pytest.mark.parametrize("path", list(WRITERS), ids=" ".join)
def test_no_command_writes_over_a_file_that_it_reads(limner, tmp_path, path):
    command = WRITERS[path]
    picture = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(picture)
    before = picture.read_bytes()
    for target in written(command):
        words, reads = list(path), False
        for parameter in command.params:
            if parameter is target:
                value = str(picture)
            elif parameter.param_type_name == "argument" or parameter.required:
                value = value_for(parameter, str(picture))
                reads = reads or value == str(picture)
            else:
                continue
            option = parameter.param_type_name == "option"
            words += [parameter.opts[0], value] if option else [value]
        if not reads:  # what it reads are options
            words += [
                word
                for p in command.params
                if p.param_type_name == "option"
                and p is not target
                and p.name in ("gallery", "images", "photos", "patches", "cache")
                for word in (p.opts[0], str(picture))
            ][:2]
        if str(picture) == words[-1] and words.count(str(picture)) == 1:
            continue  # it reads no file at all: demo, train pull
        result = limner(*words)
        assert result.exit_code == 2, (words, result.output)
        assert "would be written over" in result.output, (words, result.output)
        assert picture.read_bytes() == before


def test_a_folder_of_photos_is_not_painted_over(limner, tmp_path, photos):
    album = tmp_path / "album"
    album.mkdir()
    shutil.copy(photos / "hopper.jpg", album / "a.jpg")
    before = (album / "a.jpg").read_bytes()
    os.symlink(album, tmp_path / "link")
    for out in (album, tmp_path / "link", f"{album}/"):
        result = limner("style", album, photos / "coffee.png", "--fast", "-o", out)
        assert result.exit_code == 2
        assert "is the folder that is read" in result.output
    result = limner("style", "--fast", album, photos / "coffee.png", "-o", album / "a.jpg")
    assert result.exit_code == 2
    assert "lies in the folder" in result.output
    assert (album / "a.jpg").read_bytes() == before


def test_drawn_photos_take_names_that_no_photo_has(limner, tmp_path, photos):
    """a.png is drawn as a JPEG: a.jpg is another photo, which stays."""
    shutil.copy(photos / "collins.png", tmp_path / "a.png")
    shutil.copy(photos / "hopper.jpg", tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes(), (tmp_path / "a.png").read_bytes()
    result = limner("detect", tmp_path, "--draw", tmp_path)
    assert result.exit_code == 0, result.output
    assert ((tmp_path / "a.jpg").read_bytes(), (tmp_path / "a.png").read_bytes()) == before
    assert len(list(tmp_path.iterdir())) == 4


def test_names_that_are_no_files_and_new_files_pass(tmp_path):
    overwriting.check(
        "style", {"out": str(tmp_path / "new.png"), "pictures": ["none"]}, {"pictures"}
    )
    model = tmp_path / "mine"
    model.mkdir()
    overwriting.check("train", {"out": str(model), "model": str(model)}, {"folder"})
    (model / "heads.json").write_text("{}")
    both = {"out": str(model / "heads.json"), "folder": str(model)}
    overwriting.check("pair-head", both, {"folder"})
    with pytest.raises(InputError, match="written over"):
        overwriting.refuse(str(model / "heads.json"), [str(model / ".." / "mine" / "heads.json")])
