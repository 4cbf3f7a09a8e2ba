from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from toy_people import make_people, portrait

from limner import images
from limner.errors import InputError, WeightsError
from limner.training import fit
from limner.training.answer import classify_face, run, thumbnails
from limner.training.checkpoints import load_weights
from limner.training.fit import Run, open_run, train_people
from limner.training.model_folder import read_model
from limner.training.recipe import Recipe

CLASSIFY = Recipe(
    net="nn4_small2_half",
    pretrained=False,
    free="all",
    crop="whole",
    size_px=32,
    epochs=12,
    batch=8,
    lr=3e-3,
    smallest_crop=1.0,
    rotation_deg=0.0,
    mirror=False,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_people(tmp_path_factory.mktemp("people"), people=4, photos=8)


@pytest.fixture(scope="module")
def classifier(folder, tmp_path_factory):
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("out") / "mine"
    return train_people(CLASSIFY, Run(folder, out))


def test_a_classifier_learns_and_its_folder_is_whole(classifier):
    assert classifier.figures["test_accuracy"] >= 0.75
    names = {p.name for p in classifier.model.folder.iterdir()}
    assert names >= {
        *("model.onnx", "model.safetensors", "model.json", "faces.jpg", "recipe.yaml"),
        *("README.md", "metrics.csv", "curves.png", "last.ckpt", "best.safetensors", "run.json"),
    }
    card = (classifier.model.folder / "README.md").read_text()
    for words in ("random: trained from scratch", "by photo (closed set)", "licence", "accuracy"):
        assert words in card


def test_the_graph_answers_as_the_figures_say(classifier, folder):
    """Oracle: the accuracy that was written, computed again from the ONNX graph alone."""
    from limner.training.people import read_people, split_people

    model = read_model(classifier.model.folder)
    people = read_people(folder, min_photos=3)
    rows = split_people(people, by="photo", seed=0).test
    chips = np.stack([images.read(people.photos[i]) for i in rows])
    answers = [classify_face(model, chip, None, top=2) for chip in chips]
    right = [
        a.guesses[0].person == people.names[people.labels[i]]
        for a, i in zip(answers, rows, strict=True)
    ]
    assert np.mean(right) == pytest.approx(classifier.figures["test_accuracy"])
    assert all(a.guesses[0].probability >= a.guesses[1].probability for a in answers)


def test_probabilities_sum_to_one_and_thumbnails_are_the_peoples(classifier):
    model = read_model(classifier.model.folder)
    rows = run(model, np.stack([images_of(p) for p in range(3)]))
    assert np.allclose(rows.sum(1), 1, atol=1e-5)
    for person, thumb in enumerate(thumbnails(model)):
        best = min(
            range(4), key=lambda p: abs(thumb.mean((0, 1)) - portrait(p, 0).mean((0, 1))).sum()
        )
        assert best == person


def images_of(person):
    import cv2

    return cv2.resize(portrait(person, 90), (32, 32), interpolation=cv2.INTER_AREA)


def test_a_run_that_is_interrupted_resumes_to_the_same_weights(folder, classifier, tmp_path):
    def stop(row):
        if row["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_people(CLASSIFY, Run(folder, tmp_path / "mine", checkpoint_steps=1), on_epoch=stop)
    recipe, circumstances = open_run(tmp_path / "mine")
    assert recipe == CLASSIFY
    done = train_people(recipe, circumstances, resume=True)
    one = load_weights(done.model.folder / "model.safetensors")
    two = load_weights(classifier.model.folder / "model.safetensors")
    assert all(torch.equal(one[k], two[k]) for k in two)
    assert done.figures["test_accuracy"] == classifier.figures["test_accuracy"]


def test_frozen_features_train_as_chips_would(folder, tmp_path, monkeypatch):
    """A frozen trunk on cached features: the trunk's weights stay, the head learns."""
    from limner.training import prepare

    def random_trunk(recipe, classes):
        torch.manual_seed(0)
        net = prepare.build(
            "nn4_small2_half", head="classifier", width_or_classes=classes, image_size=32
        )
        faces = torch.from_numpy(np.stack([images_of(p % 4) for p in range(16)]))
        with torch.no_grad():
            for _ in range(20):
                net(faces.permute(0, 3, 1, 2).float() / 255)
        net.free("head")
        return net

    monkeypatch.setattr(prepare, "network_for", random_trunk)
    recipe = Recipe(crop="whole", epochs=40, batch=16, lr=3e-2, draws=3, sample_pairing=True)
    before = {k: v.clone() for k, v in random_trunk(recipe, 4).trunk.state_dict().items()}
    done = train_people(recipe, Run(folder, tmp_path / "mine"))
    after = load_weights(tmp_path / "mine" / "model.safetensors")
    assert all(torch.equal(after[f"trunk.{k}"], v) for k, v in before.items())
    assert done.figures["val_accuracy"] >= 0.75
    kept = list((tmp_path / "mine" / "cache").glob("features-*.npy"))
    assert len(kept) == 6  # three draws, plain and paired


def test_an_embedder_goes_to_every_face_command(shared_data, tmp_path):
    folder = shared_data / "groups" / "dlib" / "johns"
    recipe = Recipe(
        task="embed",
        net="nn4_small2_half",
        pretrained=False,
        free="all",
        width=16,
        loss="triplet",
        miner="semihard",
        sampler="people",
        people_per_batch=2,
        photos_per_person=4,
        epochs=2,
        lr=1e-3,
        crop="facenet",
        size_px=48,
        split="identity",
        train_share=0.6,
        val_share=0.4,
        test_share=0.0,
    )
    done = train_people(recipe, Run(folder, tmp_path / "mine", licence="mit"))
    photos = sorted(next(p for p in sorted(folder.iterdir()) if p.is_dir()).iterdir())[:2]
    command = [sys.executable, "-c", "from limner.cli.main import run; run()", "compare"]
    result = subprocess.run(
        [*command, *map(str, photos), "--embedder", str(tmp_path / "mine"), "--json", "--largest"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    answer = json.loads(result.stdout)
    assert answer["embedder"].startswith("mine-")
    assert answer["embedder"] == done.figures["embedder_id"]
    assert answer["threshold"] == pytest.approx(done.figures["threshold"])
    assert 0 <= answer["probability"] <= 1
    assert "license: mit" in (tmp_path / "mine" / "README.md").read_text()

    from limner.faces import YuNet, load_embedder

    embedder = load_embedder(tmp_path / "mine", engine="onnxruntime")  # in float32
    image = images.read(photos[0])
    chip = embedder.chip(image, YuNet().detect(image)[0])
    weights = load_weights(tmp_path / "mine" / "model.safetensors")
    from limner.training.backbones import build

    net = build("nn4_small2_half", head="embedding", width_or_classes=16, image_size=48)
    net.load_state_dict(weights)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(chip)[None].permute(0, 3, 1, 2).float() / 255)
    assert np.allclose(embedder.embed_chips([chip]), expected.numpy(), atol=1e-4)


def test_a_classifier_of_whole_photos_is_no_embedder_and_a_folder_no_model(classifier, tmp_path):
    from limner.faces import load_embedder

    with pytest.raises(WeightsError, match="trained on whole photos"):
        load_embedder(classifier.model.folder)
    with pytest.raises(WeightsError, match="holds no trained embedder"):
        load_embedder(tmp_path)
    with pytest.raises(InputError, match="is not a trained model"):
        read_model(tmp_path)
    with pytest.raises(InputError, match="holds no embedder: it was trained on whole photos"):
        read_model(classifier.model.folder, kind="embedder")


def test_unreadable_photos_of_one_person_name_him(folder, tmp_path):
    import shutil

    broken = shutil.copytree(folder, tmp_path / "broken")
    for photo in (broken / "p2").iterdir():
        photo.write_bytes(photo.name.encode())
    with pytest.raises(InputError, match="no photo of p2 can be used"):
        train_people(CLASSIFY, Run(broken, tmp_path / "mine"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "triplet"}, "the loss triplet is for task embed"),
        ({"loss": "nll", "task": "embed", "split": "identity", "crop": "arcface"}, "task classify"),
        ({"task": "embed", "loss": "cosface"}, "crop: whole is for classify only"),
        ({"lr": 1e12}, "learning rate .* is too high"),
    ],
)
def test_contradictions_are_one_sentence(folder, tmp_path, changes, words):
    import dataclasses

    with pytest.raises(InputError, match=words):
        train_people(dataclasses.replace(CLASSIFY, **changes), Run(folder, tmp_path / "mine"))


def test_resume_of_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"not the folder of a training"):
        open_run(tmp_path)
    assert fit.RUN == "run.json"
