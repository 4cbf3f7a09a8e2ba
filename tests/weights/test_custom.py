"""A user's own ONNX embedder: found usable, or refused in one sentence."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from limner.errors import InputError, LimnerError, WeightsError
from limner.weights import OnnxOptions, inspect_onnx

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def embedder(
    path,
    *,
    shape=("N", 3, 112, 112),
    dim=8,
    kind=FLOAT,
    state_output=True,
    outputs=None,
    inputs=1,
    external=None,
):
    """Write a tiny real embedder: mean over the picture, then a matrix."""
    axes = [2, 3] if shape[1] == 3 or isinstance(shape[1], str) else [1, 2]
    matrix = np.random.default_rng(0).normal(size=(3, dim)).astype(np.float32)
    weight = numpy_helper.from_array(matrix, "w")
    if external is not None:
        weight = onnx.TensorProto(name="w", data_type=FLOAT, dims=matrix.shape)
        weight.data_location = TensorProto.EXTERNAL
        entry = weight.external_data.add()
        entry.key, entry.value = "location", external
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    chips = [helper.make_tensor_value_info("x", kind, shape)]
    chips += [helper.make_tensor_value_info(f"x{i}", FLOAT, [1]) for i in range(1, inputs)]
    y = helper.make_tensor_value_info("y", FLOAT, [shape[0], dim] if state_output else None)
    found = [y] if outputs is None else outputs
    graph = helper.make_graph(nodes, "g", chips, found, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "layout", "size", "batch"),
    [
        (("N", 3, 112, 112), FLOAT, "nchw", 112, None),
        ((1, 3, 96, 96), FLOAT, "nchw", 96, 1),
        (("N", 160, 160, 3), UINT8, "nhwc", 160, None),
        ((None, 3, None, 112), FLOAT, "nchw", 112, None),
    ],
)
def test_reads_the_graph(tmp_path, shape, kind, layout, size, batch):
    path = embedder(tmp_path / "mine.onnx", shape=shape, kind=kind)
    found = inspect_onnx(path)
    assert (found.layout, found.chip_size, found.batch, found.dim) == (layout, size, batch, 8)
    assert (found.input_name, found.output_name) == ("x", "y")
    assert found.dtype == ("uint8" if kind == UINT8 else "float32")
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.options.mean == (127.5, 127.5, 127.5)


def test_the_width_is_measured_where_the_graph_does_not_state_it(tmp_path):
    path = embedder(tmp_path / "mine.onnx", dim=12)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[1].ClearField("dim_value")
    path.write_bytes(model.SerializeToString())
    assert inspect_onnx(path).dim == 12
    assert inspect_onnx(embedder(path, dim=9, state_output=False)).dim == 9


def test_any_size_needs_size_px(tmp_path):
    path = embedder(tmp_path / "mine.onnx", shape=("N", 3, "H", "W"))
    with pytest.raises(InputError, match="give size_px"):
        inspect_onnx(path)
    assert inspect_onnx(path, OnnxOptions(size_px=128)).chip_size == 128


def test_weights_listed_as_inputs_are_not_inputs(tmp_path):
    path = embedder(tmp_path / "old.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, [3, 8]))
    path.write_bytes(model.SerializeToString())
    assert inspect_onnx(path).input_name == "x"


@pytest.mark.parametrize(
    ("make", "options", "error", "reason"),
    [
        ({"shape": ("N", 3, 112)}, {}, WeightsError, "four axes"),
        ({"shape": ("N", 3, 112, 96)}, {}, WeightsError, "square"),
        ({"shape": ("N", 1, 112, 112)}, {}, WeightsError, "three colour channels"),
        ({"shape": ("N", 3, 112, 3)}, {}, InputError, "give layout"),
        ({"shape": ("N", "C", 112, 112)}, {}, InputError, "give layout"),
        ({"shape": (8, 3, 112, 112)}, {}, WeightsError, "batches of exactly 8"),
        ({"shape": ("N", 3, 8, 8)}, {}, WeightsError, "16 to"),
        ({"kind": TensorProto.INT64}, {}, WeightsError, "float32 or uint8"),
        ({"inputs": 2}, {}, WeightsError, "2 inputs"),
        ({"dim": 1}, {}, WeightsError, "vectors of 1 "),
        ({}, {"size_px": 96}, InputError, "takes chips of 112 pixels, but size_px is 96"),
        ({}, {"layout": "nhwc"}, InputError, "not nhwc"),
        ({}, {"output": "z"}, InputError, "no output 'z'; it has y"),
        (
            {"outputs": [helper.make_tensor_value_info("y", FLOAT, ["N", 8, 7, 7])]},
            {},
            WeightsError,
            r"y \(N, 8, 7, 7\); an embedder gives vectors",
        ),
        (
            {
                "outputs": [
                    helper.make_tensor_value_info("y", FLOAT, ["N", 8]),
                    helper.make_tensor_value_info("m", FLOAT, ["N", 3]),
                ]
            },
            {},
            InputError,
            "several outputs: y, m",
        ),
    ],
)
def test_refusals(tmp_path, make, options, error, reason):
    path = embedder(tmp_path / "mine.onnx", **make)
    with pytest.raises(error, match=reason) as caught:
        inspect_onnx(path, OnnxOptions(**options))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_output_is_chosen(tmp_path):
    outputs = [
        helper.make_tensor_value_info("y", FLOAT, ["N", 8]),
        helper.make_tensor_value_info("m", FLOAT, ["N", 3]),
    ]
    path = embedder(tmp_path / "mine.onnx", outputs=outputs)
    assert inspect_onnx(path, OnnxOptions(output="m")).dim == 3


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08" * 50, b"\xff\xd8\xff\xe0 a jpeg"])
def test_what_is_no_onnx_file(tmp_path, content):
    path = tmp_path / "mine.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not an ONNX model"):
        inspect_onnx(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(WeightsError, match="cannot be read"):
            inspect_onnx(path)


@given(st.data())
@settings(deadline=None)
def test_damage_is_found_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    good = bytearray(embedder(folder / "mine.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (folder / "mine.onnx").write_bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        found = inspect_onnx(folder / "mine.onnx")
    except LimnerError:
        return
    assert 2 <= found.dim <= 16384


def test_external_tensors_beside_the_file(tmp_path):
    path = embedder(tmp_path / "mine.onnx", external="weights.bin")
    with pytest.raises(WeightsError, match=r"needs the file 'weights\.bin'"):
        inspect_onnx(path)
    (tmp_path / "weights.bin").write_bytes(bytes(96))
    first = inspect_onnx(path)
    (tmp_path / "weights.bin").write_bytes(b"\1" + bytes(95))
    assert inspect_onnx(path).digest != first.digest  # the tensors are part of the identity


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", ""])
def test_external_tensors_elsewhere_are_refused(tmp_path, location):
    folder = tmp_path / "in"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "weights.bin").write_bytes(bytes(96))
    with pytest.raises(WeightsError, match="outside its folder"):
        inspect_onnx(embedder(folder / "mine.onnx", external=location))


def test_external_tensors_through_a_link_are_refused(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(96))
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(WeightsError, match="outside its folder"):
        inspect_onnx(embedder(folder / "mine.onnx", external="weights.bin"))


def test_external_tensors_in_a_constant_are_seen(tmp_path):
    path = embedder(tmp_path / "mine.onnx")
    model = onnx.load(path)
    hidden = onnx.TensorProto(name="h", data_type=FLOAT, dims=[3])
    hidden.data_location = TensorProto.EXTERNAL
    entry = hidden.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["h"], value=hidden)],
        "then",
        [],
        [helper.make_tensor_value_info("h", FLOAT, [3])],
    )
    model.graph.node.append(
        helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    )
    path.write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="outside its folder"):
        inspect_onnx(path)


def test_the_sidecar(tmp_path):
    path = embedder(tmp_path / "mine.onnx")
    (tmp_path / "mine.toml").write_text('mean = [1, 2, 3]\nstd = 4.0\ncolour = "bgr"\n')
    found = inspect_onnx(path).options
    assert (found.mean, found.std, found.colour) == ((1.0, 2.0, 3.0), (4.0, 4.0, 4.0), "bgr")
    assert inspect_onnx(path, OnnxOptions()).options.colour == "rgb"  # given options win


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("means = 3", "unknown key 'means'; allowed are size_px, mean"),
        ("mean = ", "cannot be read as TOML"),
        ("std = 0", "std must be positive"),
    ],
)
def test_a_bad_sidecar(tmp_path, text, reason):
    path = embedder(tmp_path / "mine.onnx")
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(InputError, match=reason) as caught:
        inspect_onnx(path)
    assert "mine.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mean": 0.485}, "scale 0..1"),
        ({"mean": (1, 2)}, "one number or three"),
        ({"mean": "grey"}, "one number or three"),
        ({"mean": float("nan")}, "one number or three"),
        ({"std": (1, 0, 1)}, "positive"),
        ({"size_px": 112.5}, "whole number"),
        ({"size_px": 4}, "whole number"),
        ({"size_px": True}, "whole number"),
        ({"colour": "RGB"}, "'rgb' or 'bgr', got 'RGB'"),
        ({"layout": "chw"}, "'nchw' or 'nhwc'"),
        ({"output": 3}, "a name"),
    ],
)
def test_bad_options(options, reason):
    with pytest.raises(InputError, match=reason):
        OnnxOptions(**options)


def test_the_id_changes_with_everything_that_changes_embeddings(tmp_path):
    path = embedder(tmp_path / "my model.onnx", shape=("N", 3, "H", "W"))
    seen = {
        inspect_onnx(path, OnnxOptions(**o)).embedder_id
        for o in (
            {"size_px": 112},
            {"size_px": 128},
            {"size_px": 112, "mean": 0, "std": 1},
            {"size_px": 112, "std": 128},
            {"size_px": 112, "colour": "bgr"},
        )
    }
    assert len(seen) == 5
    assert all(i.startswith(f"my_model-{inspect_onnx(path, OnnxOptions(size_px=112)).digest[:12]}-")
               for i in seen)  # fmt: skip


def test_the_id_does_not_change_with_how_the_same_is_said(tmp_path):
    path = embedder(tmp_path / "mine.onnx")
    one = inspect_onnx(path, OnnxOptions())
    two = inspect_onnx(path, OnnxOptions(size_px=112, mean=(127.5,) * 3, layout="nchw", output="y"))
    assert one.embedder_id == two.embedder_id
