"""One network for both tasks: a classifier compares, an embedder with a class matrix names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from toy_people import make_people
from typer.testing import CliRunner

from limner import images
from limner.cli.main import app
from limner.errors import InputError
from limner.faces import YuNet, load_embedder
from limner.training.answer import classify_face, run
from limner.training.backbones import build
from limner.training.checkpoints import load_weights
from limner.training.class_matrix import matrix_of_loss
from limner.training.fit import Run, train_people
from limner.training.losses import build_loss
from limner.training.model_folder import read_model
from limner.training.recipe import Recipe

SMALL = Recipe(
    net="nn4_small2_half",
    pretrained=False,
    free="all",
    crop="facenet",
    size_px=48,
    epochs=2,
    batch=8,
    width=16,
    train_share=0.4,
    val_share=0.2,
    test_share=0.4,
    min_photos=3,
)
KNOWING = ("softmax", "center", "modified_softmax", "asoftmax", "cosface", "arcface")


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.mark.parametrize("name", KNOWING)
def test_the_matrix_gives_the_losses_own_logits(name):
    torch.manual_seed(0)
    loss = build_loss(name, classes=7, dim=5).eval()
    rows = 3 * torch.randn(11, 5)
    matrix = matrix_of_loss(loss)
    assert torch.allclose(matrix.logits(rows), loss.logits(rows), atol=1e-5)


def test_losses_without_people_have_no_matrix():
    for name in ("triplet", "contrastive", "pairwise"):
        assert matrix_of_loss(build_loss(name)) is None


@pytest.fixture(scope="module")
def friends(shared_data):
    return shared_data / "groups" / "dlib" / "johns"


@pytest.fixture(scope="module")
def two_photos(friends):
    return sorted(next(p for p in sorted(friends.iterdir()) if p.is_dir()).iterdir())[:2]


@pytest.mark.parametrize("layers", [1, 2])
def test_a_classifier_compares_by_what_its_last_layer_reads(friends, two_photos, tmp_path, layers):
    recipe = replace(SMALL, head_layers=layers, hidden=24)
    done = train_people(recipe, Run(friends, tmp_path / "cls"))
    people = len(read_model(tmp_path / "cls", kind="embedder").people)
    # the oracle: the trained weights in torch, up to the layer before the last
    net = build(
        "nn4_small2_half",
        head="classifier",
        width_or_classes=people,
        image_size=48,
        layers=layers,
        hidden=24,
    )
    net.load_state_dict(load_weights(tmp_path / "cls" / "model.safetensors"))
    embedder = load_embedder(tmp_path / "cls", engine="onnxruntime")
    assert embedder.dim == (24 if layers == 2 else net.width)
    image = images.read(two_photos[0])
    face = YuNet().detect(image)[0]
    chip = embedder.chip(image, face)
    with torch.no_grad():
        x = torch.from_numpy(chip)[None].permute(0, 3, 1, 2).float() / 255
        features = net.eval().features(x)
        if layers == 2:
            features = functional.relu(net.head[0](features))
        wanted = functional.normalize(features, dim=1)
        probabilities = functional.softmax(net(x), dim=1)
    assert np.allclose(embedder.embed_chips([chip]), wanted.numpy(), atol=1e-4)
    model = read_model(tmp_path / "cls", kind="classifier")
    assert np.allclose(run(model, chip[None]), probabilities.numpy(), atol=1e-4)
    assert 0 <= done.figures["test_eer"] <= 1

    command = ("compare", *two_photos, "--embedder", tmp_path / "cls", "--largest")
    for extra in ((), ("--head", "cosine")):
        result = call(*command, *extra, "--json")
        assert result.exit_code in (0, 1), result.output
        assert json.loads(result.stdout)["embedder"] == done.figures["embedder_id"]
    named = call("classify", "face", two_photos[0], "--model", tmp_path / "cls", "--largest")
    assert named.exit_code == 0, named.output


@pytest.mark.parametrize("loss", ["softmax", "center", "cosface"])
def test_an_embedder_of_a_loss_that_knows_people_names_them(friends, two_photos, tmp_path, loss):
    recipe = replace(SMALL, task="embed", loss=loss, split="photo", epochs=3)
    done = train_people(recipe, Run(friends, tmp_path / "emb"))
    model = read_model(tmp_path / "emb", kind="classifier")
    assert len(model.people) >= 2
    assert 0 <= done.figures["test_accuracy"] <= 1
    image = images.read(two_photos[0])
    answer = classify_face(model, image, YuNet().detect(image)[0], top=2)
    assert answer.guesses[0].probability >= answer.guesses[1].probability
    words = (two_photos[0], "--model", tmp_path / "emb", "--largest", "--json")
    result = call("classify", "face", *words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["guesses"][0]["person"] == answer.guesses[0].person
    # the oracle: embedding times the loss's matrix, from the checkpoint's own tensors
    state = load_weights(tmp_path / "emb" / "best.safetensors")
    embedder = load_embedder(tmp_path / "emb", engine="onnxruntime")
    chip = embedder.chip(image, YuNet().detect(image)[0])
    if loss == "cosface":
        unit = torch.from_numpy(embedder.embed_chips([chip]))
        rows = functional.normalize(state["loss.inner.W"].t(), dim=1)
        scale = build_loss("cosface", classes=len(rows), dim=16).scale
        wanted = functional.softmax(scale * unit @ rows.t(), dim=1)
    else:
        net = build(
            "nn4_small2_half",
            head="embedding",
            width_or_classes=16,
            image_size=48,
            normalise=False,
        )
        net.load_state_dict({k[4:]: v for k, v in state.items() if k.startswith("net.")})
        with torch.no_grad():
            x = torch.from_numpy(chip)[None].permute(0, 3, 1, 2).float() / 255
            weight, bias = state["loss.linear.weight"], state["loss.linear.bias"]
            wanted = functional.softmax(functional.linear(net.eval()(x), weight, bias), dim=1)
    assert np.allclose(run(model, chip[None]), wanted.numpy(), atol=1e-4)


def test_with_a_split_by_identity_it_knows_the_people_that_trained(friends, tmp_path):
    recipe = replace(SMALL, task="embed", loss="softmax", split="identity", test_share=0.0)
    recipe = replace(recipe, train_share=0.6, val_share=0.4)
    train_people(recipe, Run(friends, tmp_path / "emb"))
    everybody = {p.name for p in friends.iterdir() if p.is_dir()}
    people = set(read_model(tmp_path / "emb", kind="classifier").people)
    assert 2 <= len(people) < len(everybody)
    assert people < everybody


def test_what_cannot_do_a_task_says_what_can(tmp_path):
    folder = make_people(tmp_path / "people", people=4, photos=6)
    whole = replace(SMALL, crop="whole", size_px=32, epochs=1)
    train_people(whole, Run(folder, tmp_path / "cls"))
    refused = call("compare", "a.jpg", "b.jpg", "--embedder", tmp_path / "cls")
    assert refused.exit_code == 2
    assert "trained on whole photos" in " ".join(refused.stderr.split())
    model = read_model(tmp_path / "cls")
    (tmp_path / "emb").mkdir()
    for file in (tmp_path / "cls").glob("model.*"):
        (tmp_path / "emb" / file.name).write_bytes(file.read_bytes())
    replace(model, folder=tmp_path / "emb", kind="embedder", people=()).save()
    with pytest.raises(InputError, match="train with --loss softmax, center"):
        read_model(tmp_path / "emb", kind="classifier")


def test_open_closed_leaves_a_model_that_does_both(shared_data, two_photos, tmp_path):
    lfw = shared_data / "lfw" / "images"
    several: list[Path] = []
    single: list[Path] = []
    for person in sorted(lfw.iterdir()):
        photos = list(person.iterdir())
        if len(photos) >= 7 and len(several) < 5:
            several.append(person)
        elif len(photos) == 1 and len(single) < 20:
            single.append(person)
        if len(several) == 5 and len(single) == 20:
            break
    for person in (*several, *single):
        target = tmp_path / "people" / person.name
        target.mkdir(parents=True)
        for photo in sorted(person.iterdir())[:7]:
            (target / photo.name).symlink_to(photo)
    words = ("train", "open-closed", tmp_path / "people", "--min-photos", 7, "--newcomers", 2)
    result = call(*words, "-o", tmp_path / "both", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    model = read_model(tmp_path / "both", kind="classifier")
    assert len(model.people) == found["counts"]["known"] == 3
    right = 0
    for name in model.people:
        photo = sorted((tmp_path / "people" / name).iterdir())[0]
        named = call("classify", "face", photo, "--model", tmp_path / "both", "--largest", "--json")
        assert named.exit_code == 0, named.output
        right += json.loads(named.stdout)["guesses"][0]["person"] == name
    assert right >= 2
    same = sorted((tmp_path / "people" / model.people[0]).iterdir())[:2]
    other = sorted((tmp_path / "people" / model.people[1]).iterdir())[0]
    distances = []
    for pair in (same, (same[0], other)):
        answer = call("compare", *pair, "--embedder", tmp_path / "both", "--largest", "--json")
        assert answer.exit_code in (0, 1), answer.output
        distances.append(json.loads(answer.stdout)["distance"])
    assert distances[0] < distances[1]
    again = call(*words, "-o", tmp_path / "both")
    assert again.exit_code == 2
    assert "holds a model already" in again.stderr
