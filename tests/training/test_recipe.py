from __future__ import annotations

import pytest

from limner.errors import InputError, UnknownNameError
from limner.training.recipe import Recipe, read_recipe, recipe_names, write_recipe


def test_the_notes_five_are_as_the_notes_say():
    found = [read_recipe(f"notes-{i}") for i in range(1, 6)]
    assert [r.epochs for r in found] == [200, 50, 50, 100, 100]
    assert {r.net for r in found} == {"resnet50"}
    assert {(r.optimizer, r.lr, r.weight_decay, r.batch, r.free) for r in found} == {
        ("adam", 3e-3, 1e-5, 128, "head")
    }
    # layers, loss, sample pairing, epochs: "Make 5 training process" of the practical
    assert [(r.head_layers, r.loss, r.sample_pairing, r.epochs) for r in found] == [
        (2, "nll", False, 200),
        (1, "nll", False, 50),
        (1, "focal", False, 50),
        (1, "nll", False, 100),
        (1, "nll", True, 100),
    ]
    # its transforms: mirror, 10 degrees, RandomErasing(); no crop, no light
    assert {
        (r.mirror, r.rotation_deg, r.erase, r.erase_area, r.smallest_crop, r.light, r.plain_draws)
        for r in found
    } == {(True, 10.0, 0.5, 0.33, 1.0, 0.0, False)}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_survives_writing_and_reading(name, tmp_path):
    recipe = read_recipe(name)
    assert recipe.about
    write_recipe(tmp_path / "r.yaml", recipe)
    assert read_recipe(tmp_path / "r.yaml") == recipe


def test_an_unknown_key_names_the_nearest(tmp_path):
    (tmp_path / "r.yaml").write_text("task: classify\nepochz: 3\n")
    with pytest.raises(UnknownNameError, match=r"no key 'epochz'; did you mean 'epochs'"):
        read_recipe(tmp_path / "r.yaml")
    with pytest.raises(UnknownNameError, match="did you mean 'sample_pairing'"):
        read_recipe("notes-1", sample_paring=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: -1", "lr must be a positive number"),
        ("lr: fast", "lr must be a number, got 'fast'"),
        ("lr: .nan", "lr must be a positive number"),
        ("epochs: 0", "epochs must be 1 or larger"),
        ("epochs: 1.5", "whole number"),
        ("mirror: 1", "true or false"),
        ("fallbacks: resnet18", "must be a list"),
        ("loss_options: 3", "must hold keys and values"),
        ("loss_options: {margin: 0}", "margin must be larger than 0"),
        ("loss_options: {margin: -0.2}", "margin must be larger than 0"),
        ("free: tail", "free must be one of head, last_block, all, got 'tail'"),
        ("task: embed\nsample_pairing: true", "classify only"),
        ("pretrained: false", "use free: all"),
        ("- 1\n- 2", "must hold keys and values"),
        ("a: [", "is not YAML"),
        ("split: random", "split must be one of photo, identity"),
    ],
)
def test_bad_recipes_are_one_sentence(tmp_path, text, words):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_recipe(path)
    assert "\n" not in str(error.value)


def test_numbers_that_yaml_reads_as_text():
    assert read_recipe("notes-1", lr="1e-4").lr == 1e-4
    assert Recipe(lr=3e-3).weight_decay == 1e-5


def test_no_such_recipe():
    with pytest.raises(UnknownNameError, match=r"no recipe 'notes-9'.*notes-1"):
        read_recipe("notes-9")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe("absent.yaml")
