"""``limner units`` as a user calls it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from limner import images
from limner.cli.main import app


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["units", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.stderr, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from skimage import data

    root = tmp_path_factory.mktemp("photos")
    for kind, picture in (("cat", data.chelsea()), ("cup", data.coffee())):
        (root / kind).mkdir()
        for i in range(4):
            part = np.ascontiguousarray(picture[40 * i : 40 * i + 150, 60 * i : 60 * i + 150])
            images.write(root / kind / f"{i}.png", part)
    return root


NET = ("--net", "small_resnet", "--weights", "random", "--size", "48", "--no-faces")


@pytest.fixture(scope="module")
def atlas(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "sheet"
    table = json.loads(run("field", "small_resnet", "--size", 48, "--json"))["layers"]
    names = [row["layer"] for row in table if row["kind"] == "Conv2d"][:2]
    answer = json.loads(
        run("top", folder, *NET, "--layers", ",".join(names), "-o", out, "--explain", 1, "--json")
    )
    return out, names, answer


def test_field():
    document = json.loads(run("field", "vgg19", "--layers", "relu1_1,relu5_4", "--json"))
    rows = {row["layer"]: row for row in document["layers"]}
    assert rows["relu1_1"]["size"] == [3, 3]
    assert rows["relu5_4"]["size"] == [252, 252]
    assert rows["relu5_4"]["stride"] == [16, 16]
    assert "252" in run("field", "vgg19", "--layers", "relu5_4")


def test_top_writes_an_atlas_and_goes_on(atlas, folder):
    out, names, answer = atlas
    assert answer["photos"] == 8
    assert list(answer["layers"]) == names
    assert (out / "index.html").is_file()
    assert len(list((out / "sheets").glob("*.png"))) == 2
    again = run("top", folder, *NET, "--layers", ",".join(names), "-o", out, "--json")
    assert json.loads(again)["photos"] == 8
    run("top", folder, *NET, "--layers", names[0], "-o", out, status=2)


def test_questions(atlas, folder, tmp_path):
    out, names, _ = atlas
    patches = ("--patches", out)
    photo = folder / "cat" / "1.png"
    found = json.loads(
        run("excites", photo, *patches, "--count", 3, "-o", tmp_path / "e.png", "--json")
    )
    assert len(found["units"]) == 3
    assert images.read(tmp_path / "e.png").std() > 10
    alike = json.loads(run("like", names[1], 2, *patches, "--count", 4, "--json"))["units"]
    assert len(alike) == 4
    numbers = json.loads(run("stats", names[1], *patches, "--json"))
    assert [u["unit"] for u in numbers["units"]] == list(range(len(numbers["units"])))
    assert numbers["selectivity"] == "by class"
    assert {u["class"] for u in numbers["units"]} <= {"cat", "cup"}
    assert "dead" in run("stats", names[1], *patches)
    run("sheet", names[0], *patches, "--units", "0,1", "-o", tmp_path / "s.png")
    run("why", names[1], 1, *patches, "-o", tmp_path / "w.png")
    gram = ("gram", photo, "--layer", names[1], *patches, "--count", 2)
    assert len(json.loads(run(*gram, "-o", tmp_path / "g.png", "--json"))["pairs"]) == 2
    for name in "swg":
        assert (tmp_path / f"{name}.png").is_file()


def test_ideal(tmp_path):
    names = ["--net", "small_resnet", "--weights", "random", "--size", "48"]
    table = json.loads(run("field", "small_resnet", "--size", 48, "--json"))["layers"]
    layer = next(row["layer"] for row in table if row["kind"] == "Conv2d")
    out = tmp_path / "i.png"
    found = json.loads(run("ideal", layer, 0, *names, "--steps", 20, "-o", out, "--json"))
    assert found["activation"] > found["at_first"]
    assert out.is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("field", "vgg19", "--layers", "conv9_9"), "no layer 'conv9_9'"),
        (("field", "nothing"), "no network 'nothing'"),
        (("top", "EMPTY", *NET), "holds no photo"),
        (("top", "NONE", *NET), "does not exist"),
        (("like", "conv1", "0", "--patches", "EMPTY"), "does not exist"),
        (("sheet", "conv1", "--patches", "EMPTY", "-o", "x.gif"), "does not exist"),
    ],
)
def test_bad_input(arguments, words, tmp_path):
    places = {"EMPTY": str(tmp_path), "NONE": str(tmp_path / "none")}
    out = ("-o", str(tmp_path / "o")) if arguments[0] == "top" else ()
    called = [*(places.get(a, a) for a in arguments), *out]
    result = CliRunner().invoke(app, ["units", *called])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_layer_that_is_missing(folder, tmp_path):
    called = ["top", str(folder), *NET, "--layers", "conv77", "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(app, ["units", *called])
    assert result.exit_code == 2
    assert "no layer 'conv77'" in result.stderr
