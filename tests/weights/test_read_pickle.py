"""Arrays out of a pickle that is never unpickled: right on good ones, nothing is ever run."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limner.errors import WeightsError
from limner.weights.read_pickle import read_arrays

RNG = np.random.default_rng(0)
TREE = {
    "Net_0": {
        "Conv_0": {
            "kernel": RNG.normal(size=(3, 3, 2, 5)).astype("f4"),
            "bias": RNG.normal(size=300).astype("f4"),
        },
        "Conv_1": {"kernel": RNG.normal(size=(1, 1, 5, 1)).astype("f4")},
    },
    "Head": {"kernel": np.zeros((0, 4), "f4")},
}


def written(path, value, protocol=3):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_arrays_come_by_the_way_to_them(tmp_path, core):
    path = written(tmp_path / "x", TREE)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core))
    found = read_arrays(path)
    assert list(found) == [
        *("Net_0/Conv_0/kernel", "Net_0/Conv_0/bias", "Net_0/Conv_1/kernel", "Head/kernel")
    ]
    np.testing.assert_array_equal(found["Net_0/Conv_0/kernel"], TREE["Net_0"]["Conv_0"]["kernel"])
    np.testing.assert_array_equal(found["Net_0/Conv_0/bias"], TREE["Net_0"]["Conv_0"]["bias"])


def test_the_real_files_hold_what_python_unpickles(original):
    """Python's own unpickler, on files whose digests were checked, is the oracle."""
    for name, trunk in (("alexnet", "AlexNet_0"), ("vgg16", "VGG16_0")):
        path = original(name)
        found = read_arrays(path)
        wanted = pickle.loads(path.read_bytes())
        assert len(found) == sum(len(v) for t in wanted.values() for v in t.values())
        for layer, parts in wanted[trunk].items():
            for part, array in parts.items():
                np.testing.assert_array_equal(found[f"{trunk}/{layer}/{part}"], array)
        for i in range(5):
            head = wanted[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
            np.testing.assert_array_equal(found[f"NetLinLayer_{i}/Conv_0/kernel"], head)


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_pickle_would_call_is_never_called(tmp_path, protocol):
    trap = tmp_path / "sprung"
    path = written(tmp_path / "x", {"a": {"kernel": Trap(trap)}}, protocol)
    before = set(sys.modules)
    with pytest.raises(WeightsError, match="not a pickle of float32 arrays"):
        read_arrays(path)
    assert not trap.exists()
    pickle.loads(path.read_bytes())["a"]["kernel"].close()  # the oracle: it would have been
    assert trap.exists()
    assert not {m for m in set(sys.modules) - before if not m.startswith("_pytest")}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1, 2], "has no place"),
        ({"a": 3}, "only arrays"),
        ({3: {}}, "only arrays"),
        ({"a": np.zeros(3)}, "little-endian float32"),
        ({"a": np.zeros(3, ">f4")}, "little-endian float32"),
        ({"a": np.asfortranarray(np.zeros((3, 2), "f4"))}, "little-endian float32"),
        ({"a": np.float32(3)}, "has no place"),
        ("text", "only arrays"),
        (sys.stdin.__class__, "has no place"),
    ],
)
def test_anything_else_is_refused(tmp_path, value, reason):
    with pytest.raises(WeightsError, match=reason):
        read_arrays(written(tmp_path / "x", value))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        read_arrays(tmp_path / "absent")
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(10**11)  # sparse
    with pytest.raises(WeightsError, match="too large"):
        read_arrays(huge)


@given(st.binary(max_size=500))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_survived(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(WeightsError):
        read_arrays(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damage_is_survived(tmp_path, data):
    good = pickle.dumps(TREE, protocol=3)
    cut = data.draw(st.integers(1, len(good)))
    broken = bytearray(good[:cut])
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, cut - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x"
    path.write_bytes(broken)
    try:
        found = read_arrays(path)
    except WeightsError:
        return
    assert all(a.dtype == np.float32 for a in found.values())
