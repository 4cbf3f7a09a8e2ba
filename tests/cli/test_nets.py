"""`limner nets` and pair heads, run as a user runs them."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from limner.cli.main import app
from limner.training.counts import COUNTS


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_list_with_and_without_its_word():
    status, out, _ = run("nets")
    assert status == 0
    assert run("nets", "list")[1] == out
    assert all(name in out for name in COUNTS)
    assert (
        "resnet50             ResNet            torchvision     224         25.56    4,089" in out
    )
    rows = json.loads(run("nets", "list", "--json")[1])["networks"]
    assert {r["name"]: (r["parameters"], r["flops"]) for r in rows} == COUNTS
    assert json.loads(run("nets", "--json")[1])["networks"] == rows


def test_show():
    status, out, _ = run("nets", "show", "mobilenet_v2")
    assert status == 0
    assert "1280 wide" in out
    assert "parameters  3,504,872" in out
    document = json.loads(run("nets", "show", "facenet", "--json")[1])
    assert document["name"] == "inception_resnet_v1"
    assert document["weights"] == "facenet in limner's registry"
    status, _, err = run("nets", "show", "mobilnet_v2")
    assert (status, "did you mean mobilenet_v2" in err) == (2, True)


def test_blocks():
    status, out, _ = run("nets", "blocks")
    assert status == 0
    assert "inverted residual" in out
    rows = {b["name"]: b for b in json.loads(run("nets", "blocks", "--json")[1])["blocks"]}
    assert rows["convolution"]["parameters"] == 9 * 256 * 256 + 512
    assert rows["depth-wise convolution"]["share"] == pytest.approx(1 / 256)
    assert run("nets", "blocks", "--width", "100")[0] == 2


def test_gradients_draw_a_plot(tmp_path):
    from limner import images

    picture = tmp_path / "g.png"
    status, out, err = run("nets", "gradients", "--seeds", "1", "--draw", picture)
    assert status == 0, err
    assert "first over last" in out
    assert images.read(picture).shape[2] == 3
    status, _, err = run("nets", "gradients", "one.jpg")
    assert (status, "2 to 64 photos are needed" in err) == (2, True)


@pytest.fixture(scope="module")
def friends(shared_data, tmp_path_factory):
    """Thirty people of LFW with four photos each."""
    folder = tmp_path_factory.mktemp("friends")
    everybody = sorted((shared_data / "lfw" / "images").iterdir())
    for person in [p for p in everybody[::7] if len(list(p.glob("*.jpg"))) >= 4][:30]:
        (folder / person.name).mkdir()
        for photo in sorted(person.glob("*.jpg"))[:4]:
            shutil.copy(photo, folder / person.name)
    return folder


def test_heads_of_a_folder_judge_in_compare_and_verify(friends, tmp_path):
    heads = tmp_path / "heads.json"
    cut = ("--embedder", "dlib", "--held-out", "0.4", "--cache", tmp_path / "cache")
    status, out, err = run("train", "pair-head", friends, *cut, "-o", heads, "--json")
    assert status == 0, err
    document = json.loads(out)
    assert document["heads"]["chi_square"]["accuracy"] > 0.9
    people = sorted(d for d in friends.iterdir() if d.is_dir())
    mine, other = sorted(people[0].glob("*.jpg")), sorted(people[1].glob("*.jpg"))
    judged = {}
    for kind in ("squared_l2", "chi_square", "weighted_l1"):
        options = ("--embedder", "dlib", "--heads", heads, "--head", kind, "--json")
        for b, wanted in ((mine[1], 0), (other[0], 1)):
            status, out, err = run("compare", mine[0], b, *options)
            assert status == wanted, err
        judged[kind] = json.loads(out)["distance"]
    assert len(set(judged.values())) == 3  # each on its own scale
    gallery = tmp_path / "g.limner"
    status, _, err = run("enroll", "John", mine[0], "--gallery", gallery, "--embedder", "dlib")
    assert status == 0, err
    use = ("--gallery", gallery, "--heads", heads, "--head", "chi_square", "--json")
    status, out, err = run("verify", "John", other[0], *use)
    assert status == 1, err
    assert json.loads(out)["distance"] == pytest.approx(judged["chi_square"], rel=1e-5)
    assert run("verify", "John", mine[1], *use)[0] == 0


def test_heads_that_cannot_judge(friends, tmp_path):
    photo = next(friends.rglob("*.jpg"))
    status, _, err = run("compare", photo, photo, "--head", "euclid")
    assert (status, "--head must be one of squared_l2" in err) == (2, True)
    status, _, err = run("compare", photo, photo, "--heads", tmp_path / "none.json")
    assert (status, "cannot read" in err) == (2, True)
    from limner.similarity import shipped

    path = tmp_path / "facenet.json"
    shipped("facenet").save(path)
    status, _, err = run("compare", photo, photo, "--embedder", "dlib", "--heads", path)
    assert (status, "belongs to embedder facenet" in err) == (2, True)
    status, _, err = run("train", "pair-head", tmp_path / "absent")
    assert status == 2


def test_the_document_shows_the_table_that_the_command_prints():
    from pathlib import Path

    from limner.nets.blocks import measure

    text = (Path(__file__).parents[2] / "docs" / "networks.md").read_text("utf-8")
    for row in measure():
        cells = (row.block.name, f"{row.parameters:,}", f"{row.flops / 1e6:.2f}")
        assert "| " + " | ".join(cells) + " |" in text
