"""Small ONNX stylizers made on the spot: no weights are needed to test how they are run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    shape: tuple[int, ...] = (1, 3, 48, 64),
    output: str = "out",
) -> Path:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def normalising(path: Path) -> Path:
    """Pad, convolve, normalise by the picture, convolve: what every such network is made of."""
    rng = np.random.default_rng(3)
    f = np.float32
    nodes = [
        helper.make_node("Pad", ["picture", "pads"], ["p1"], mode="reflect"),
        helper.make_node("Conv", ["p1", "w1"], ["c1"]),
        helper.make_node("InstanceNormalization", ["c1", "g", "b"], ["n1"], epsilon=1e-3),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Pad", ["r1", "pads"], ["p2"], mode="reflect"),
        helper.make_node("Conv", ["p2", "w2"], ["c2"]),
        helper.make_node("Sigmoid", ["c2"], ["out"]),
    ]
    constants = {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "w1": rng.normal(size=(5, 3, 3, 3)).astype(f),
        "w2": rng.normal(size=(3, 5, 3, 3)).astype(f),
        "g": rng.random(5).astype(f) + f(0.5),
        "b": rng.normal(size=5).astype(f),
    }
    return save(path, nodes, constants)


def inverting(path: Path, top: float) -> Path:
    """A negative, on [0, 1] or on [0, 255]."""
    constants = {"top": np.array(top, np.float32)}
    return save(path, [helper.make_node("Sub", ["top", "picture"], ["out"])], constants)
