"""The same embeddings from the original implementation, torch and ONNX."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from limner import weights
from limner.errors import WeightsError
from limner.nets.preprocess import Normalise, Preprocess
from limner.weights.convert import any_size_bytes
from limner.weights.write_onnx import onnx_bytes

GOLDEN = Path(__file__).parents[1] / "golden"
EMBEDDERS = ("facenet", "dlib")

sys.path.insert(0, str(GOLDEN))
from keras_graph import evaluate, standardise  # noqa: E402


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def engines():
    """Torch and ONNX of each embedder: functions from uint8 chips to embeddings."""
    found = {}
    for name in EMBEDDERS:
        loaded = weights.load(name)
        module, graph = weights.torch_module(loaded), session(loaded.files["onnx"])
        found[name] = {
            "torch": lambda chips, m=module: m(torch.from_numpy(chips)).numpy(),
            "onnx": lambda chips, g=graph: g.run(None, {"chips": chips})[0],
        }
    return found


@pytest.fixture(scope="module")
def johns(shared_data) -> np.ndarray:
    """dlib's own aligned chips: 150 x 150, 22 of the 55."""
    paths = sorted((shared_data / "groups" / "dlib" / "johns").glob("*/*.jpg"))[::3]
    assert len(paths) >= 15
    return np.stack([np.asarray(Image.open(p).convert("RGB")) for p in paths])


def resized(chips: np.ndarray, size: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size))) for c in chips])


@pytest.mark.parametrize("name", EMBEDDERS)
def test_golden_vectors(engines, name):
    golden = json.loads((GOLDEN / "embeddings.json").read_text())[name]
    assert golden["original_sha256"] == weights.spec(name).sha256
    chip = np.array(Image.open(GOLDEN / golden["chip"]))[None]
    wanted = np.array(golden["embedding"])
    assert np.linalg.norm(wanted) > 1
    for run in engines[name].values():
        np.testing.assert_allclose(run(chip)[0], wanted, atol=5e-5)


def test_dlib_against_dlibs_own_code(engines, johns, original):
    dlib = pytest.importorskip("dlib")
    model = dlib.face_recognition_model_v1(str(original("dlib")))
    wanted = np.array([np.array(model.compute_face_descriptor(chip)) for chip in johns])
    for run in engines["dlib"].values():
        assert np.abs(run(johns) - wanted).max() <= 1e-5


def test_facenet_against_its_keras_graph_in_numpy(engines, johns, original):
    chip = resized(johns[:1], 160)
    wanted = evaluate(original("facenet"), standardise(chip[0]))
    for run in engines["facenet"].values():
        assert np.abs(run(chip)[0] - wanted).max() <= 1e-4


@pytest.mark.parametrize("name", EMBEDDERS)
def test_torch_and_onnx_agree(engines, johns, name):
    size = weights.spec(name).size_px
    extremes = np.zeros((4, size, size, 3), np.uint8)
    extremes[1] = 255
    extremes[2, : size // 2] = 255
    extremes[3] = np.random.default_rng(0).integers(0, 256, extremes[3].shape)
    chips = np.concatenate([resized(johns, size), extremes])
    a, b = engines[name]["torch"](chips), engines[name]["onnx"](chips)
    assert a.shape == b.shape == (len(chips), 128)
    assert np.isfinite(a).all()
    assert np.abs(a - b).max() <= 1e-4


@pytest.mark.parametrize("name", EMBEDDERS)
def test_a_batch_gives_what_single_chips_give(engines, johns, name):
    chips = resized(johns[:3], weights.spec(name).size_px)
    for run in engines[name].values():
        alone = np.concatenate([run(c[None]) for c in chips])
        np.testing.assert_allclose(run(chips), alone, atol=1e-4)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_the_same_person_lies_nearer(engines, shared_data, name):
    """Five people, three chips each: the embeddings mean what they should."""
    people = sorted((shared_data / "groups" / "dlib" / "johns").iterdir())
    chips = [np.asarray(Image.open(f)) for p in people for f in sorted(p.glob("*.jpg"))[:3]]
    v = engines[name]["onnx"](resized(np.stack(chips), weights.spec(name).size_px))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    distance = ((v[:, None] - v[None]) ** 2).sum(-1)
    owner = np.arange(len(v)) // 3
    same = owner[:, None] == owner[None]
    off_diagonal = ~np.eye(len(v), dtype=bool)
    assert distance[same & off_diagonal].mean() < 0.6 * distance[~same].mean()


@pytest.mark.parametrize("name", EMBEDDERS)
def test_the_onnx_file_is_what_the_registry_says(name):
    spec, path = weights.spec(name), weights.load(name).files["onnx"]
    onnx.checker.check_model(str(path), full_check=True)
    found = weights.inspect_onnx(path)
    assert (found.chip_size, found.dim, found.batch) == (spec.size_px, spec.dim, None)
    assert (found.dtype, found.layout, spec.input) == ("uint8", "nhwc", "uint8_nhwc_rgb")
    operators = {n.op_type for n in onnx.load(path).graph.node}
    assert "BatchNormalization" not in operators


def test_every_cached_graph_is_what_the_converter_writes_today(original):
    assert any_size_bytes(original("yunet")) == weights.load("yunet").files["onnx"].read_bytes()
    for name in EMBEDDERS:
        loaded = weights.load(name)
        data = onnx_bytes(weights.torch_module(loaded), size=loaded.spec.size_px, dim=128)
        assert data == loaded.files["onnx"].read_bytes()


def test_yunet_of_any_size_is_the_original_at_its_own_size(original):
    """At 640 x 640 the outputs are the same numbers; at other sizes it runs."""
    free, fixed = session(weights.load("yunet").files["onnx"]), session(original("yunet"))
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 640, 640)).astype(np.float32)
    for a, b in zip(
        free.run(None, {"input": picture}), fixed.run(None, {"input": picture}), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)
    for height, width in ((32, 32), (96, 160), (1024, 64)):
        outputs = free.run(None, {"input": np.zeros((1, 3, height, width), np.float32)})
        cells = [o.shape[1] for o in outputs[:3]]
        assert cells == [height * width // s**2 for s in (8, 16, 32)]


@pytest.mark.parametrize(
    "net",
    [
        torch.nn.Sigmoid(),
        torch.nn.ConvTranspose2d(3, 3, 3),
        torch.nn.Conv2d(3, 3, 3, dilation=2),
        torch.nn.Conv2d(3, 4, 3, padding="same"),
        torch.nn.BatchNorm2d(3),
    ],
)
def test_what_the_writer_does_not_know_is_refused(net):
    model = Preprocess(Normalise((0, 0, 0), (1, 1, 1)), net)
    with pytest.raises(WeightsError, match="Cannot write"):
        onnx_bytes(model, size=8, dim=3)


def test_pools_that_are_not_plain_are_refused():
    pools = (
        torch.nn.MaxPool2d(3, padding=1),
        torch.nn.AvgPool2d(3, padding=1),
        torch.nn.AdaptiveAvgPool2d(2),
    )
    for net in pools:
        with pytest.raises(WeightsError, match="Cannot write"):
            onnx_bytes(Preprocess(Normalise((0,) * 3, (1,) * 3), net), size=8, dim=3)
