"""Readers of foreign files: right on good ones, one clear error on any other."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner.errors import WeightsError
from limner.weights.convert import any_size_bytes
from limner.weights.read_dlib import read_dlib, read_tensors
from limner.weights.read_keras import read_facenet
from limner.weights.read_points import read_points

SIZES = [(6, 1), (300, 1), (5, 7)]


def integer(value: int) -> bytes:
    """dlib's integer, written the slow way."""
    body = b""
    while value:
        body += bytes([value & 0xFF])
        value >>= 8
    return bytes([len(body)]) + body


def small_file(seed: int = 0) -> tuple[bytes, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    data, tensors = b"\x01\x01\x01\x0dloss_metric_2", []
    for count, channels in SIZES:
        data += rng.integers(0, 200, rng.integers(0, 60), dtype=np.uint8).tobytes()
        data += integer(2) + integer(count) + integer(channels) + integer(1) + integer(1)
        tensors.append(rng.normal(size=count * channels).astype("<f4"))
        data += tensors[-1].tobytes()
    return data + b"\x01\x01tail", tensors


@pytest.mark.parametrize("seed", range(5))
def test_dlib_tensors_are_found_in_order(seed):
    data, wanted = small_file(seed)
    for got, tensor in zip(read_tensors(data, SIZES), wanted, strict=True):
        np.testing.assert_array_equal(got, tensor)


@given(st.binary(max_size=3000))
@settings(deadline=None)
def test_dlib_reader_survives_any_bytes(data):
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(data, SIZES)


@given(st.data())
@settings(deadline=None)
def test_dlib_reader_survives_damage(data):
    good, _ = small_file()
    cut = data.draw(st.integers(0, len(good)))
    at = data.draw(st.integers(0, len(good) - 1))
    broken = bytearray(good[:cut])
    if at < len(broken):
        broken[at] ^= data.draw(st.integers(1, 255))
    try:
        tensors = read_tensors(bytes(broken), SIZES)
    except WeightsError:
        return
    assert [t.size for t in tensors] == [c * k for c, k in SIZES]
    assert all(np.isfinite(t).all() for t in tensors)


def test_dlib_numbers_that_are_not_finite():
    data, tensors = small_file()
    poisoned = data.replace(tensors[1].tobytes(), np.full(300, np.nan, "<f4").tobytes())
    with pytest.raises(WeightsError, match=r"tensor 2 of 3 .* not finite"):
        read_tensors(poisoned, SIZES)


def test_dlib_a_far_away_tensor_is_not_searched_for():
    data, _ = small_file()
    with pytest.raises(WeightsError, match="tensor 1 of 3"):
        read_tensors(bytes(100_000) + data, SIZES)


@pytest.mark.parametrize("cut", [0, 100, 1_000_000, 22_000_000])
def test_dlib_real_file_cut_off(original, tmp_path, cut):
    path = tmp_path / "cut.dat"
    path.write_bytes(original("dlib").read_bytes()[:cut])
    with pytest.raises(WeightsError, match=r"tensor \d+ of 59"):
        read_dlib(path)


@pytest.mark.parametrize("read", [read_dlib, read_points])
def test_dlib_missing_and_huge_files(tmp_path, read):
    with pytest.raises(WeightsError, match="cannot be read"):
        read(tmp_path / "absent.dat")
    huge = tmp_path / "huge.dat"
    with huge.open("wb") as file:
        file.truncate(10**11)  # sparse
    with pytest.raises(WeightsError, match="too large"):
        read(huge)


def test_dlib_real_file_in_full(original):
    state = read_dlib(original("dlib"))
    assert len(state) == 2 * 29 + 1
    assert state["head.weight"].shape == (128, 256)


def keras_file(path, edit=None):
    """A file with every layer that the network wants, filled with small numbers."""
    import torch

    from limner.nets.inception_resnet import InceptionResNetV1

    with torch.device("meta"):
        wanted = InceptionResNetV1().state_dict()
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        for key, tensor in wanted.items():
            layer, part = key.rsplit(".", 1)
            if part == "num_batches_tracked" or key.endswith("norm.weight"):
                continue
            names = {"weight": "kernel:0", "bias": "bias:0"}
            if layer.endswith("norm"):
                layer = layer.removesuffix("norm").rstrip("._") + "_BatchNorm"
                names = {
                    "bias": "beta:0",
                    "running_mean": "moving_mean:0",
                    "running_var": "moving_variance:0",
                }
            layer = layer.removesuffix(".conv").replace(".", "_")
            shape = tuple(tensor.shape)
            order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[len(shape)]
            shape = tuple(shape[i] for i in order)
            # Not stored: the fill value is what reads back, so the file stays small.
            root.create_dataset(
                f"{layer}/{layer}/{names[part]}", shape, "f4", chunks=shape, fillvalue=0.5
            )
        if edit is not None:
            edit(root)


@pytest.fixture(scope="module")
def small_keras(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "small.h5"
    keras_file(path)
    return path


def test_keras_reader_takes_a_file_with_every_layer(small_keras):
    state = read_facenet(small_keras)
    assert float(state["bottleneck.weight"].mean()) == 0.5
    assert float(state["mixed_6a.branch_0.conv2d_1a_3x3.norm.weight"].mean()) == 1.0


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08" * 40])
def test_any_size_conversion_of_what_is_no_such_graph(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be converted"):
        any_size_bytes(path)


LAYER = "bottleneck/bottleneck/kernel:0"


def _without(root):
    del root[LAYER]


def _other_shape(root):
    del root[LAYER]
    root.create_dataset(LAYER, (128, 1792), "f4")


def _absurd_shape(root):
    del root[LAYER]
    root.create_dataset(LAYER, (10**7, 10**6), "f4", chunks=(10, 10))


def _other_type(root):
    del root[LAYER]
    root.create_dataset(LAYER, (1792, 128), "f8")


def _strings(root):
    del root[LAYER]
    root.create_dataset(LAYER, (1792, 128), h5py.string_dtype())


def _not_finite(root):
    root[LAYER][5, 5] = np.inf


def _a_group(root):
    del root[LAYER]
    root.create_group(LAYER)


def _elsewhere(root):
    del root[LAYER]
    root[LAYER] = h5py.ExternalLink("/etc/passwd", "/x")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_without, "no array 'kernel:0'"),
        (_other_shape, "does not fit"),
        (_absurd_shape, "does not fit"),
        (_other_type, "float32"),
        (_strings, "float32"),
        (_not_finite, "not finite"),
        (_a_group, "not a Keras"),
        (_elsewhere, "Keras"),
    ],
)
def test_keras_files_that_do_not_fit(tmp_path, edit, reason):
    path = tmp_path / "bad.h5"
    keras_file(path, edit)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=reason):
        read_facenet(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400_000_000


@given(st.binary(max_size=4000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_keras_reader_survives_any_bytes(tmp_path, data):
    path = tmp_path / "any.h5"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        read_facenet(path)


FUZZ = """
import sys, random
from pathlib import Path
from limner.errors import WeightsError
from limner.weights.read_keras import read_facenet
from limner.weights.read_points import read_points
good, path, seed = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3])
random.seed(seed)
refused = 0
for _ in range(8):
    data = bytearray(good[: random.choice([len(good), len(good), random.randrange(len(good))])])
    for _ in range(random.choice([1, 4, 64])):
        data[random.randrange(len(data))] = random.randrange(256)
    path.write_bytes(data)
    try:
        read_facenet(path)
    except WeightsError:
        refused += 1
print("refused", refused)
"""


@pytest.mark.parametrize("seed", range(2))
def test_keras_reader_survives_damage(small_keras, tmp_path, seed):
    """In a process of its own: HDF5 is C, and a crash must be a failure, not the end."""
    start = time.monotonic()
    arguments = [sys.executable, "-c", FUZZ, str(small_keras), str(tmp_path / "x.h5"), str(seed)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.startswith("refused")
    assert time.monotonic() - start < 100
