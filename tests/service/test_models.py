"""Classifiers by name, units, and the folder that they come from."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from servers import Running

from limner import errors
from limner.service.shelf import find, shelved


@pytest.fixture(scope="module")
def beats(tmp_path_factory):
    """A folder with an untrained network of series: answers are arbitrary but fixed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from limner.training.array_model import ArrayModel, ArrayNet

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    net = ArrayNet("series", "resnet", (1, 64), ("calm", "wild"), width=4)
    model = ArrayModel(
        net,
        (net.build().eval(),),
        np.zeros((1, 4), np.float32),
        np.zeros(1, np.int64),
        ("none",),
    )
    model.save(folder / "beats")
    (folder / "not-a-model").mkdir()
    (folder / "..hidden").mkdir()
    (folder / "link").symlink_to(folder / "beats")
    (folder / "broken").mkdir()
    (folder / "broken" / "model.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def served(beats, tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("served"), models=str(beats)).start()
    with running.client(patience_s=5, timeout_s=240) as client:
        yield client
    running.end()


def test_only_models_are_on_the_shelf(beats):
    assert [(one.name, one.kind, one.classes) for one in shelved(beats)] == [
        ("beats", "series", ("calm", "wild"))
    ]
    assert shelved(None) == []
    assert shelved(beats / "none") == []
    for name in ("../beats", "link", "/etc", "broken", ".", "", "beats/", "BEATS"):
        with pytest.raises(errors.UnknownNameError, match=r"right kind: beats\."):
            find(beats, name, "series")
    with pytest.raises(errors.UnknownNameError, match="right kind: none"):
        find(beats, "beats", "faces")


def test_classify_answers_as_the_library(served, beats, tmp_path):
    from limner.training.series import classify_series

    rows = np.random.default_rng(3).standard_normal((5, 64))
    path = tmp_path / "five.csv"
    text = "\n".join(",".join(f"{value:.5f}" for value in row) for row in rows)
    path.write_text("\n".join(f"{i % 2},{line}" for i, line in enumerate(text.split("\n"))))
    expected = classify_series(beats / "beats", path)
    found = served.classify("beats", path, maps=True)
    assert len(found) == len(expected) == 5
    for mine, own in zip(found, expected, strict=True):
        assert mine.label == own.label
        assert mine.probability == pytest.approx(own.probability, abs=1e-5)
        assert mine.classes == pytest.approx(own.scores, abs=1e-5)
        assert np.allclose(mine.class_map, own.class_map, atol=1e-4)
    assert [model.name for model in served.models()] == ["beats"]


def test_what_cannot_be_classified_is_refused(served, photos, tmp_path):
    with pytest.raises(errors.UnknownNameError, match="no such model"):
        served.classify("../beats", photos["coffee"])
    with pytest.raises(errors.InputError, match="must end in"):
        served.classify("beats", photos["coffee"])
    for name, content in (("x.csv", b"a,b\n"), ("x.npz", b"PK\x03\x04junk"), ("x.nii.gz", b"\x1f")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(errors.InputError) as caught:
            served.classify("beats", path)
        assert "/" not in str(caught.value), "the temporary folder is not named"


def test_units_that_a_picture_excites(served, photos):
    """Oracle: the activations of the layer, read directly."""
    import torch

    from limner.units import load_network
    from limner.units.photos import frame_photo

    found = served.units(photos["coffee"], network="dlib", layer="conv", count=5)
    net = load_network("dlib")
    image = np.asarray(Image.open(io.BytesIO(photos["coffee"])).convert("RGB"))
    framed = frame_photo(image, net.size_px)
    with torch.no_grad():
        values = net.read(net.prepare(framed.pixels[None]), ["conv"])["conv"][0]
    best = values.flatten(1).amax(1)
    order = best.argsort(descending=True)[:5]
    assert [unit.unit for unit in found] == order.tolist()
    assert [unit.value for unit in found] == pytest.approx(best[order].tolist(), rel=1e-3)
    with pytest.raises(errors.UnknownNameError, match="no layer"):
        served.units(photos["coffee"], network="dlib", layer="conv99")
    with pytest.raises(errors.InputError, match="name a layer"):
        served.units(photos["coffee"], network="dlib")


def test_a_network_whose_weights_cannot_be_had_is_not_found(monkeypatch):
    from limner import units
    from limner.errors import ServiceError, WeightsError
    from limner.service.lane import SlowLane
    from limner.service.routes import models

    def nothing(name, **options):
        raise WeightsError("no source of it answers.")

    monkeypatch.setattr(units, "load_network", nothing)
    lane = SlowLane()
    with pytest.raises(ServiceError, match="limner weights pull vgg19") as caught:
        models._network(lane, "vgg19")
    lane.close()
    assert caught.value.status == 404
