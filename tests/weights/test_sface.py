"""sface is what its original file computes: that file's own graph, run by ONNX Runtime."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from limner import weights
from limner.errors import WeightsError
from limner.faces import FaceAnalyzer
from limner.faces.align import ARCFACE, cut_chip
from limner.weights.read_sface import read_sface


@pytest.fixture(scope="module")
def chips() -> np.ndarray:
    """A real face's chip, tilted, darkened and shifted too: (5, 112, 112, 3)."""
    photo = np.asarray(pytest.importorskip("skimage.data").astronaut(), np.uint8)
    face = FaceAnalyzer(embedder=None).analyze(photo)[0]
    chip = cut_chip(photo, face, ARCFACE, size=112)
    window = photo[30:142, 165:277]
    rows = [chip, chip[:, ::-1], chip // 2, window, np.rot90(chip)]
    return np.ascontiguousarray(np.stack(rows))


@pytest.fixture(scope="module")
def wanted(chips, tmp_path_factory) -> np.ndarray:
    """What the file's own graph says: RGB 0..255, block weights dequantised on every call."""
    spec = weights.load("sface").spec
    model = onnx.load(str(weights.model_dir(spec) / spec.file))
    graph = model.graph
    # It lists its weights as inputs too: the float ones that it had before they were bytes.
    read = {name for node in graph.node for name in node.input}
    computed = {name for node in graph.node for name in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name in read - computed - stored]
    names = [i.name for i in inputs]
    assert names == ["data"]
    del graph.input[:]
    graph.input.extend(inputs)
    path = tmp_path_factory.mktemp("sface") / "original.onnx"
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = chips.transpose(0, 3, 1, 2).astype(np.float32)
    return np.concatenate([session.run(None, {names[0]: row[None]})[0] for row in rows])


def run(kind: str, chips: np.ndarray) -> np.ndarray:
    loaded = weights.load("sface", kinds=(kind,))
    path = str(loaded.files[kind])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"chips": chips})[0]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_torch_and_the_float32_graph_are_the_original(chips, wanted):
    module = weights.torch_module(weights.load("sface"))
    with torch.no_grad():
        found = module(torch.from_numpy(chips)).numpy()
    for rows in (found, run("onnx", chips)):
        assert rows.shape == (5, 128)
        assert np.abs(unit(rows) - unit(wanted)).max() <= 1e-4
        assert np.abs(rows - wanted).max() <= 1e-4 * np.abs(wanted).max()
    # The oracle tells chips apart, so that agreement says something.
    assert np.abs(unit(wanted)[0] - unit(wanted)[3]).max() > 0.05


def test_integers_stay_near_float32(chips, wanted):
    cosine = (unit(run("int8", chips)) * unit(wanted)).sum(axis=1)
    assert cosine[:2].min() >= 0.97  # the real, upright faces
    assert cosine.min() < 1 - 1e-6  # it is another graph


def test_the_measured_ranges_are_complete():
    text = resources.files("limner.weights").joinpath("ranges/sface.json").read_text("utf-8")
    document = json.loads(text)
    assert len(json.dumps(document)) > 500
    numbers = [v for v in _numbers(document) if isinstance(v, float)]
    assert len(numbers) >= 27  # at least one for each convolution
    assert np.isfinite(numbers).all()


def _numbers(value: object) -> list[object]:
    if isinstance(value, dict):
        return [n for v in value.values() for n in _numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in _numbers(v)]
    return [value]


@pytest.mark.parametrize("damage", ["cut", "other", "missing", "nan"])
def test_a_damaged_file_is_one_weights_error(damage, tmp_path, original):
    source, path = original("sface"), tmp_path / "sface.onnx"
    if damage == "cut":
        path.write_bytes(source.read_bytes()[:1_000_000])
    elif damage == "other":
        path.write_bytes(original("yunet").read_bytes())
    else:
        model = onnx.load(str(source))
        tensors = model.graph.initializer
        place = next(i for i, t in enumerate(tensors) if t.name == "fc1_gamma")
        if damage == "missing":
            del tensors[place]
        else:
            values = onnx.numpy_helper.to_array(tensors[place]).copy()
            values[0] = np.nan
            tensors[place].CopyFrom(onnx.numpy_helper.from_array(values, "fc1_gamma"))
        onnx.save(model, str(path))
    with pytest.raises(WeightsError, match=r"sface\.onnx"):
        read_sface(path)
