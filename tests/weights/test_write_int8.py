"""The graph in 8-bit integers: near the float32 one, exact on every processor."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from limner import weights
from limner.errors import WeightsError
from limner.faces.engine import open_session
from limner.nets.preprocess import Normalise, Preprocess
from limner.nets.sface import MaxPReLU
from limner.weights.convert import ranges_of
from limner.weights.write_int8 import int8_bytes, rounded_tensors
from limner.weights.write_onnx import onnx_bytes

SIZE = 24


class Small(nn.Module):
    """Every kind of layer that the writer takes over: residual, joint, pool, head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)  # stay in float32
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 3, padding=1, bias=False)
        self.joined = nn.Conv2d(8, 8, 1)
        self.last = nn.Conv2d(8, 8, 1)
        self.pool, self.relu = nn.MaxPool2d(3, stride=2), nn.ReLU()
        self.mean, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.head = nn.Linear(16, 6)

    def forward(self, x):
        x = self.relu(self.stem(self.second(self.first(x))))
        parts = torch.cat([self.relu(self.left(x)), self.relu(self.right(x))], dim=1)
        x = self.relu(x + self.joined(parts))
        x = torch.cat([self.pool(x), self.pool(x + self.last(x))], dim=1)  # a sum without ReLU
        return self.head(self.flat(self.mean(x)))


def ranges_over(data: bytes, chips: np.ndarray) -> dict[str, tuple[float, float]]:
    model = onnx.load_model_from_string(data)
    names = rounded_tensors(model.graph)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in names)
    values = ReferenceEvaluator(model).run(names, {"chips": chips})
    return {n: (float(v.min()), float(v.max())) for n, v in zip(names, values, strict=True)}


@pytest.fixture(scope="module")
def small():
    """A random network as float32 and int8 graphs, and the chips that its ranges rest on."""
    torch.manual_seed(3)
    model = (
        Preprocess(Normalise((120.0, 110.0, 100.0), (60.0, 60.0, 60.0)), Small())
        .eval()
        .requires_grad_(False)
    )
    data = onnx_bytes(model, size=SIZE, dim=6)
    chips = np.random.default_rng(4).integers(0, 256, (16, SIZE, SIZE, 3), np.uint8)
    return data, int8_bytes(data, ranges_over(data, chips)), chips


def test_every_kind_of_layer_stays_near_float32(small, tmp_path):
    data, quantised, chips = small
    (tmp_path / "a.onnx").write_bytes(data)
    (tmp_path / "b.onnx").write_bytes(quantised)
    wanted = open_session(tmp_path / "a.onnx").run(None, {"chips": chips})[0]
    got = open_session(tmp_path / "b.onnx").run(None, {"chips": chips})[0]
    assert np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()
    assert np.abs(got - wanted).max() > 0


def test_the_runtimes_integers_are_those_that_the_graph_says(small, tmp_path):
    _, quantised, chips = small
    (tmp_path / "b.onnx").write_bytes(quantised)
    got = open_session(tmp_path / "b.onnx").run(None, {"chips": chips})[0]
    model = onnx.load_model_from_string(quantised)
    model.opset_import[0].version = 19  # the same operators; onnx evaluates no older ones
    said = ReferenceEvaluator(model).run(None, {"chips": chips})
    # A value halfway between two steps may be rounded either way: far below one in 255.
    np.testing.assert_allclose(got, said[0], atol=2e-3 * np.abs(said[0]).max())


def test_relus_cost_nothing_and_pools_keep_their_grid(small):
    graph = onnx.load_model_from_string(small[1]).graph
    assert not [n for n in graph.node if n.op_type == "Relu"]
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    by_output = {n.output[0]: n for n in graph.node}
    pools = [n for n in graph.node if n.op_type == "MaxPool"]
    assert len(pools) == 2
    for pool in pools:
        before = stored[by_output[pool.input[0]].input[1]]
        assert stored[f"{pool.output[0]}.scale"] == before
    kernels = [t for n, t in stored.items() if n.endswith("weight.integers")]
    assert len(kernels) == 5
    assert {k.dtype for k in kernels} == {np.dtype(np.int8)}


def test_the_runtime_takes_every_layer_over_in_integers(small, tmp_path):
    import onnxruntime as ort

    (tmp_path / "b.onnx").write_bytes(small[1])
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4  # it warns that such a file is of this machine only
    ort.InferenceSession(str(tmp_path / "b.onnx"), options, providers=["CPUExecutionProvider"])
    ops = [n.op_type for n in onnx.load(str(tmp_path / "optimised.onnx")).graph.node]
    assert "Add" not in ops
    assert ops.count("QLinearAdd") == 2
    assert ops.count("QLinearConv") == 5
    assert ops.count("QLinearConcat") == 2


def test_no_sum_of_two_neighbouring_products_leaves_16_bits():
    path = weights.load("facenet", kinds=("int8",)).files["int8"]
    kernels = [
        numpy_helper.to_array(t).astype(int)
        for t in onnx.load(str(path)).graph.initializer
        if t.name.endswith(".weight.integers")
    ]
    assert len(kernels) == 130  # of 132: the first two are not rounded
    assert all(np.abs(k).max() <= 127 for k in kernels)
    for kernel in kernels:
        for flat in (kernel, kernel.transpose(0, 2, 3, 1)):
            rows = flat.reshape(len(kernel), -1)
            assert 255 * np.abs(rows[:, :-1] + rows[:, 1:]).max(initial=0) < 2**15
        # and the bytes are used: at least one channel reaches the end of its grid
        assert max(np.abs(kernel).max(), 1) >= 64


def test_facenet_in_integers_is_near_facenet(portraits):
    files = weights.load("facenet").files
    vectors = []
    for kind in ("onnx", "int8"):
        rows = open_session(files[kind]).run(None, {"chips": portraits})[0]
        vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    assert 0.9975 < cosines.min() < 0.99999
    assert cosines.mean() > 0.999
    assert files["int8"].stat().st_size < 0.3 * files["onnx"].stat().st_size


@pytest.fixture(scope="module")
def portraits():
    """Chips of the two portraits of installed packages, plain, mirrored and darker."""
    import matplotlib.cbook
    import skimage.data
    from PIL import Image

    from limner.faces import FaceAnalyzer

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file, Image.open(file) as opened:
        hopper = np.array(opened)
    analyzer = FaceAnalyzer(embedder="facenet", engine="onnxruntime")
    chips = [
        analyzer.analyze(photo, embed=False, keep_chips=True)[0].chip
        for photo in (skimage.data.astronaut(), hopper)
    ]
    chips += [np.ascontiguousarray(chip[:, ::-1]) for chip in chips]
    return np.stack([*chips, *(chip // 2 for chip in chips)])


def test_what_is_missing_or_empty():
    ranges = ranges_of(weights.spec("facenet"))
    data = weights.load("facenet", kinds=("onnx",)).files["onnx"].read_bytes()
    assert rounded_tensors(onnx.load_model_from_string(data).graph) == list(ranges)
    ranges.pop("cat_22")
    with pytest.raises(WeightsError, match=r"no range for cat_22 and 0 other.*fit_shipped"):
        int8_bytes(data, ranges)


def test_a_channel_of_zeros_keeps_its_bias(tmp_path):
    net = Small()
    with torch.no_grad():
        net.stem.weight[2] = 0
        net.stem.bias[2] = 0.75
        net.left.weight[1] = 0
        net.left.bias[1] = 0
    model = Preprocess(Normalise((120.0, 110.0, 100.0), (60.0, 60.0, 60.0)), net)
    data = onnx_bytes(model.eval().requires_grad_(False), size=SIZE, dim=6)
    chips = np.random.default_rng(5).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    quantised = onnx.load_model_from_string(int8_bytes(data, ranges_over(data, chips)))
    for name in ("net_relu.rounded", "net_relu_1.rounded"):
        quantised.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    onnx.save(quantised, tmp_path / "z.onnx")
    _, stem, left = open_session(tmp_path / "z.onnx").run(None, {"chips": chips})
    np.testing.assert_allclose(stem[:, 2], 0.75, atol=0.02)
    assert (left[:, 1] == 0).all()


class Sloped(nn.Module):
    """Parametric ReLUs of positive and negative slopes, and a head large enough to be rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            MaxPReLU(4),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            MaxPReLU(8),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            MaxPReLU(8),
            nn.Conv2d(8, 128, 1),
            MaxPReLU(128),
        )
        self.flat, self.head = nn.Flatten(), nn.Linear(128 * SIZE * SIZE // 4, 64)

    def forward(self, x):
        return self.head(self.flat(self.layers(x)))


@pytest.fixture(scope="module")
def sloped():
    torch.manual_seed(7)
    net = Sloped()
    for layer in net.layers[1::2]:
        nn.init.uniform_(layer.slope, -0.6, 1.0)
    model = Preprocess(Normalise((127.5,) * 3, (128.0,) * 3), net).eval().requires_grad_(False)
    data = onnx_bytes(model, size=SIZE, dim=64)
    chips = np.random.default_rng(8).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    return net, data, int8_bytes(data, ranges_over(data, chips)), chips


def test_parametric_relus_and_large_heads_stay_near_float32(sloped, tmp_path):
    net, data, quantised, chips = sloped
    wanted = torch.from_numpy((chips.transpose(0, 3, 1, 2) - 127.5).astype(np.float32) / 128)
    for layer in net.layers:
        if isinstance(layer, MaxPReLU):  # the oracle is torch's own
            wanted = torch.nn.functional.prelu(wanted, layer.slope.flatten())
        else:
            wanted = layer(wanted)
    wanted = net.head(wanted.flatten(1)).detach().numpy()
    (tmp_path / "b.onnx").write_bytes(quantised)
    got = open_session(tmp_path / "b.onnx").run(None, {"chips": chips})[0]
    assert 0 < np.abs(got - wanted).max() < 0.06 * np.abs(wanted).max()
    cosine = (got * wanted).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosine.min() > 0.998
    assert len(quantised) < 0.35 * len(data)


def test_parametric_relus_and_large_heads_run_in_integers(sloped, tmp_path):
    import onnxruntime as ort

    (tmp_path / "b.onnx").write_bytes(sloped[2])
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(str(tmp_path / "b.onnx"), options, providers=["CPUExecutionProvider"])
    ops = [n.op_type for n in onnx.load(str(tmp_path / "optimised.onnx")).graph.node]
    assert (ops.count("QLinearMul"), ops.count("QLinearAdd"), ops.count("QGemm")) == (2, 2, 1)
    # Only what follows the two convolutions in float32 is compared in float32.
    assert ops.count("Max") == 2
    assert ops.count("DequantizeLinear") == 0
