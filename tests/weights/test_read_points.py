"""The reader of dlib's five-point predictor: right on good files, one clear error on others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner import weights
from limner.errors import WeightsError
from limner.weights.read_points import read_points

STAGES, TREES, DEPTH, PIXELS = 2, 3, 2, 6
SPLITS = 2**DEPTH - 1


def integer(value: int) -> bytes:
    """dlib's integer, written the slow way."""
    body, left = b"", abs(value)
    while left or not body:
        body += bytes([left & 0xFF])
        left >>= 8
    return bytes([len(body) | (0x80 if value < 0 else 0)]) + body


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


def column(values) -> bytes:
    return integer(-len(values)) + integer(-1) + b"".join(real(float(v)) for v in values)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return {
        "mean": draw(10),
        "pixels": rng.integers(0, PIXELS, (STAGES, TREES, SPLITS, 2), np.int32),
        "thresholds": draw(STAGES, TREES, SPLITS),
        "leaves": draw(STAGES, TREES, SPLITS + 1, 10),
        "anchors": rng.integers(0, 5, (STAGES, PIXELS), np.int32),
        "offsets": draw(STAGES, PIXELS, 2),
    }


def file_of(a: dict[str, np.ndarray]) -> bytes:
    out = [integer(1), column(a["mean"]), integer(STAGES)]
    for stage in range(STAGES):
        out.append(integer(TREES))
        for tree in range(TREES):
            out.append(integer(SPLITS))
            for split in range(SPLITS):
                out += [integer(int(i)) for i in a["pixels"][stage, tree, split]]
                out.append(real(float(a["thresholds"][stage, tree, split])))
            out.append(integer(SPLITS + 1))
            out += [column(leaf) for leaf in a["leaves"][stage, tree]]
    out.append(integer(STAGES))
    for row in a["anchors"]:
        out += [integer(PIXELS), *(integer(int(i)) for i in row)]
    out.append(integer(STAGES))
    for row in a["offsets"]:
        out.append(integer(PIXELS))
        out += [real(float(v)) for v in row.ravel()]
    return b"".join(out)


def read(tmp_path, data: bytes):
    path = tmp_path / "points.dat"
    path.write_bytes(data)
    return read_points(path)


@pytest.mark.parametrize("seed", range(5))
def test_every_number_is_read(tmp_path, seed):
    wanted = arrays(seed)
    got = read(tmp_path, file_of(wanted))
    assert set(got) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)
        assert got[name].dtype == values.dtype


@given(st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_one_error_or_another_predictor(tmp_path, data):
    good = file_of(arrays())
    broken = bytearray(good[: data.draw(st.integers(0, len(good)))])
    at = data.draw(st.integers(0, len(good) - 1))
    if at < len(broken):
        broken[at] ^= data.draw(st.integers(1, 255))
    try:
        got = read(tmp_path, bytes(broken))
    except WeightsError:
        return
    assert {n: a.shape for n, a in got.items()} == {n: a.shape for n, a in arrays().items()}
    assert all(np.isfinite(a).all() for a in got.values())
    assert got["pixels"].max() < PIXELS


def changed(name: str, index, value) -> bytes:
    a = arrays()
    a[name][index] = value
    return file_of(a)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it ends at byte 0"),
        (integer(2) + file_of(arrays())[2:], "not version 1"),
        (file_of(arrays()) + b"\x01\x00", "more than a predictor"),
        (changed("pixels", (1, 2, 0, 1), PIXELS), "points outside"),
        (changed("pixels", (0, 0, 0, 0), -1), "points outside"),
        (changed("anchors", (1, 3), 5), "points outside"),
        (integer(1) + integer(-10) + integer(-1) + integer(1) + integer(32000), "not finite"),
        (integer(1) + column(np.ones(12)), "not five points"),
        (integer(1) + column(np.ones(10)) + integer(10**9), r"stages, at most 64"),
        (b"\x09" + bytes(20), "no number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path, data, words):
    with pytest.raises(WeightsError, match=words):
        read(tmp_path, data)


def test_the_real_file_in_full_and_cut_off(tmp_path):
    loaded = weights.load("dlib_points", thorough=True)
    original = loaded.files["safetensors"].parent / loaded.spec.file
    got = read_points(original)
    assert got["thresholds"].shape == (15, 500, 15)
    assert got["leaves"].shape == (15, 500, 16, 10)
    with pytest.raises(WeightsError, match="damaged"):
        read(tmp_path, original.read_bytes()[:5_000_000])


def test_dlib_brings_its_landmarks_along():
    spec = weights.spec("dlib")
    assert spec.needs == ("dlib_points",)
    weights.load("dlib")
    assert weights.status("dlib_points").state == "ready"
    assert weights.spec("dlib_points").file in weights.verify("dlib").files
