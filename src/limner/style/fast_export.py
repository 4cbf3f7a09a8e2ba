"""Write a trained painter as an ONNX file that ``--fast`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from limner.nets.painter import Painter, Step
from limner.style.checkpoint import write_whole

OPSET, IR_VERSION = 17, 8


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._count = 0

    def constant(self, value: Any) -> str:
        """Add a constant and return its name."""
        if isinstance(value, Tensor):
            value = value.detach().float().cpu().numpy()
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self._count += 1
        name = f"x{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def convolution(self, conv: nn.Conv2d, x: str, border: int) -> str:
        """Add a reflected border and a convolution."""
        pads = self.constant(np.array([0, 0, border, border] * 2, np.int64))
        x = self.add("Pad", x, pads, mode="reflect")
        bias = [] if conv.bias is None else [self.constant(conv.bias)]
        return self.add("Conv", x, self.constant(conv.weight), *bias, strides=list(conv.stride))

    def step(self, step: Step, x: str) -> str:
        """Add a `Step`."""
        x = self.convolution(step.conv, x, step.border)
        scale, shift = self.constant(step.norm.weight), self.constant(step.norm.bias)
        return self.add("InstanceNormalization", x, scale, shift, epsilon=step.norm.eps)


def onnx_of(painter: Painter, *, notes: dict[str, str] | None = None) -> Any:
    """Return a painter as an ``onnx.ModelProto`` of any height and width (multiples of 4).

    Args:
        painter: Trained.
        notes: Metadata of the file, such as what it was trained on.
    """
    g = _Graph()
    x = "picture"
    for step in painter.down:
        assert isinstance(step, Step)
        x = g.add("Relu", g.step(step, x))
    for block in painter.blocks:
        y = g.add("Relu", g.step(block.first, x))  # type: ignore[arg-type]
        x = g.add("Add", x, g.step(block.second, y))  # type: ignore[arg-type]
    for step in painter.up:
        assert isinstance(step, Step)
        scales = g.constant(np.array([1, 1, 2, 2], np.float32))
        x = g.add(
            "Resize",
            *(x, "", scales),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        x = g.add("Relu", g.step(step, x))
    x = g.add("Sigmoid", g.convolution(painter.last, x, 4))
    g.nodes.append(helper.make_node("Identity", [x], ["painting"]))
    shape: list[int | str | None] = [1, 3, "height", "width"]
    graph = helper.make_graph(
        g.nodes,
        "limner_painter",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("painting", TensorProto.FLOAT, shape)],
        g.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    model.producer_name = "limner"
    helper.set_model_props(model, {"limner_value_range": "unit", **(notes or {})})
    onnx.checker.check_model(model)
    return model


def export(painter: Painter, path: Path, *, notes: dict[str, str] | None = None) -> None:
    """Write a painter as an ONNX file, whole or not at all.

    Raises:
        InputError: If the disk refuses.
    """
    write_whole(path, onnx_of(painter, notes=notes).SerializeToString(deterministic=True))
