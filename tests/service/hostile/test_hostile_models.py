"""Arrays, looks, models and downloads that a request could name."""

from __future__ import annotations

import gzip
import io
import socket
import subprocess
import time
import zipfile

import httpx
import numpy as np
import pytest
from test_hostile_requests import serving

from limner.errors import InputError, WeightsError
from limner.service import Settings, create_app
from limner.service.errors import without_paths
from limner.service.unpacked import check_unpacked
from limner.style.fast import BUILTIN_STYLES, _shares, parse_builtin
from limner.training import array_files
from limner.training.array_files import read_npz


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


# --- M5: arrays ---------------------------------------------------------------


def test_an_archive_is_measured_by_all_that_it_holds():
    bomb = npz(values=np.zeros((2, 8), np.float32), labels=np.zeros(20_000_000))
    assert len(bomb) < 400_000
    with pytest.raises(InputError, match="unpacks to more than"):
        check_unpacked(bomb, ".npz", most=10 << 20)
    check_unpacked(npz(values=np.zeros((2, 8))), ".npz", most=10 << 20)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    """The first would be measured, the second read."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("values.npy", (2, 8)), ("values", (100_000, 8)), ("labels.npy", 2)):
            stream = io.BytesIO()
            np.save(stream, np.zeros(shape, np.float32))
            archive.writestr(name, stream.getvalue())
    with pytest.raises(InputError, match="two arrays of one name"):
        check_unpacked(data.getvalue(), ".npz", most=1 << 30)
    path = tmp_path / "a.npz"
    path.write_bytes(data.getvalue())
    with pytest.raises(InputError, match="two arrays of one name"):
        read_npz(path, dims=1)


def test_labels_are_measured_before_they_are_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    path.write_bytes(npz(values=np.zeros((2, 8), np.float32), labels=np.zeros(1 << 20, "U16")))
    monkeypatch.setattr(array_files, "MAX_BYTES", 1 << 20)
    with pytest.raises(InputError, match="labels, needs"):
        read_npz(path, dims=1)


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_measured_without_being_kept(members):
    bomb = gzip.compress(bytes(30 << 20)) * members
    began = time.monotonic()
    with pytest.raises(InputError, match="unpacks to more than"):
        check_unpacked(bomb, ".nii.gz", most=20 << 20)
    assert time.monotonic() - began < 5
    check_unpacked(bomb, ".nii.gz", most=(31 << 20) * members)
    for broken in (bomb[:100] + b"x" * 50, b"\x1f\x8b\x08", b"nothing"):
        try:
            check_unpacked(broken, ".nii.gz", most=1 << 20)
        except InputError:
            continue


# --- M10: downloads -----------------------------------------------------------


def test_no_request_starts_a_download(tmp_path, monkeypatch):
    """With an empty cache: no name is looked up, and pip is not asked."""
    looked_up = []
    getaddrinfo = socket.getaddrinfo

    def note(host, *given, **options):
        if host not in ("127.0.0.1", "localhost", None):
            looked_up.append(host)
            raise OSError("there is no network here")
        return getaddrinfo(host, *given, **options)

    class Popen(subprocess.Popen):
        def __init__(self, words, *given, **options):
            if "pip" in str(words):
                looked_up.append(words)
                raise OSError("there is no pip here")
            super().__init__(words, *given, **options)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    monkeypatch.setattr(subprocess, "Popen", Popen)
    monkeypatch.setenv("LIMNER_HOME", str(tmp_path / "empty"))
    app = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    with serving(app) as address:
        for network in ("alexnet", "vgg16", "vgg19", "vgg16_hed"):
            answer = httpx.get(f"{address}/v1/units/{network}", timeout=60)
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NoWeights")
    assert looked_up == []
    app.state.limner.close()


# --- L4: looks ----------------------------------------------------------------


@pytest.mark.parametrize("share", ["1e39", "1e-46", "inf", "nan", "-1", "0", "1e308", "", "1e9999"])
def test_a_look_is_made_of_shares_that_are_numbers(share):
    with pytest.raises(InputError, match=r"must be positive, from 0\.001 to 1000"):
        parse_builtin(f"{BUILTIN_STYLES[0]}:{share}")


def test_shares_always_add_up_to_one():
    mixed = parse_builtin(",".join(f"{name}:1000" for name in BUILTIN_STYLES))
    assert mixed.sum() == pytest.approx(1, abs=1e-6)
    assert _shares([1e308, 1e308], 2).tolist() == [0.5, 0.5]
    assert np.isfinite(_shares([1e-320, 1e-320], 2)).all()


# --- L10, L11 -----------------------------------------------------------------


def onnx_with(path, *locations):
    import onnx
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    for location in locations:
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [shape], [out], [tensor])
    onnx.save(helper.make_model(graph), path)
    return onnx.load(str(path), load_external_data=False)


@pytest.mark.parametrize(
    "locations",
    [("a.bin", "../../etc/passwd"), (), ("*/_ORT_MEM_ADDR_/*",), ("/_ort_mem_addr_/1",)],
)
def test_a_model_names_one_file_a_tensor_and_no_memory(tmp_path, locations):
    from limner.weights.custom import _external_files

    (tmp_path / "a.bin").write_bytes(bytes(4))
    model = onnx_with(tmp_path / "m.onnx", *locations)
    with pytest.raises(WeightsError, match="does not name one file"):
        _external_files(model, tmp_path / "m.onnx")
    assert _external_files(onnx_with(tmp_path / "m.onnx", "a.bin"), tmp_path / "m.onnx")


def test_a_path_that_goes_leaves_a_sentence():
    words = "There is no painting, .onnx file or built-in style 'x'; the styles are a, b."
    assert without_paths(words) == words
    assert (
        without_paths("the picture /tmp/a b.png : is cut off .") == "the picture b.png: is cut off."
    )
