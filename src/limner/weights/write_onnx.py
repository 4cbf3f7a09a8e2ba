"""Write our own inference networks as ONNX graphs.

`torch.fx` lists the calls of a module, and each becomes one ONNX node. Only what the
face networks use is known; anything else is refused.
Differs: `torch.onnx.export` is not used. This writer takes a second instead of ten, prints
nothing, does not change with torch's exporter, and keeps layer names readable.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional

from limner.errors import WeightsError
from limner.nets.preprocess import Normalise, Preprocess, Standardise
from limner.nets.sface import MaxPReLU

OPSET = 17
IR_VERSION = 8
INPUT, OUTPUT = "chips", "embeddings"


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        leaf = isinstance(m, Standardise | Normalise | MaxPReLU)
        return leaf or super().is_leaf_module(m, module_qualified_name)


class Graph:
    """The nodes and weights collected so far."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any, dtype: Any = None) -> str:
        """Keep a parameter and return its name."""
        if isinstance(value, Tensor):
            value = value.detach().numpy()
        # Not np.ascontiguousarray: it makes a list of one of a scalar, and ONNX Runtime adds in
        # integers only where a tensor's scale is a scalar.
        self.weights.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _convolution(g: Graph, m: nn.Module, x: str, out: str) -> str:
    assert isinstance(m, nn.Conv2d)
    inputs = [x, g.constant(f"{out}.weight", m.weight)]
    if m.bias is not None:
        inputs.append(g.constant(f"{out}.bias", m.bias))
    if isinstance(m.padding, str) or m.dilation != (1, 1):
        raise WeightsError(f"Cannot write {m} as ONNX: plain convolutions only.")
    return g.add(
        "Conv",
        inputs,
        out,
        kernel_shape=_pair(m.kernel_size),
        strides=_pair(m.stride),
        pads=_pair(m.padding) * 2,
        **({"group": m.groups} if m.groups > 1 else {}),
    )


def _max_prelu(g: Graph, m: nn.Module, x: str, out: str) -> str:
    assert isinstance(m, MaxPReLU)
    scaled = g.add("Mul", [x, g.constant(f"{out}.slope", m.slope)], f"{out}.scaled")
    return g.add("Max", [x, scaled], out)


def _max_pool(g: Graph, m: nn.Module, x: str, out: str) -> str:
    assert isinstance(m, nn.MaxPool2d)
    if m.padding != 0 or m.dilation != 1 or m.ceil_mode or m.return_indices:
        raise WeightsError(f"Cannot write {m} as ONNX: plain pools without padding only.")
    return g.add("MaxPool", [x], out, kernel_shape=_pair(m.kernel_size), strides=_pair(m.stride))


def _average_pool(g: Graph, m: nn.Module, x: str, out: str) -> str:
    assert isinstance(m, nn.AvgPool2d)
    if m.padding != 0 or m.ceil_mode or m.divisor_override is not None:
        raise WeightsError(f"Cannot write {m} as ONNX: plain pools without padding only.")
    return g.add(
        "AveragePool", [x], out, kernel_shape=_pair(m.kernel_size), strides=_pair(m.stride)
    )


def _global_average(g: Graph, m: nn.Module, x: str, out: str) -> str:
    assert isinstance(m, nn.AdaptiveAvgPool2d)
    if m.output_size not in (1, (1, 1)):
        raise WeightsError(f"Cannot write {m} as ONNX: one value per channel only.")
    return g.add("GlobalAveragePool", [x], out)


def _linear(g: Graph, m: nn.Module, x: str, out: str) -> str:
    assert isinstance(m, nn.Linear)
    inputs = [x, g.constant(f"{out}.weight", m.weight)]
    if m.bias is not None:
        inputs.append(g.constant(f"{out}.bias", m.bias))
    return g.add("Gemm", inputs, out, transB=1)


def _planes(g: Graph, chips: str, out: str) -> str:
    """(N, S, S, 3) uint8 to (N, 3, S, S) float32."""
    turned = g.add("Transpose", [chips], f"{out}.planes", perm=[0, 3, 1, 2])
    return g.add("Cast", [turned], f"{out}.float", to=TensorProto.FLOAT)


def _standardise(g: Graph, _: nn.Module, chips: str, out: str, *, size: int) -> str:
    x = _planes(g, chips, out)
    mean = g.add("ReduceMean", [x], f"{out}.mean", axes=[1, 2, 3], keepdims=1)
    centred = g.add("Sub", [x, mean], f"{out}.centred")
    square = g.add("Mul", [centred, centred], f"{out}.square")
    variance = g.add("ReduceMean", [square], f"{out}.variance", axes=[1, 2, 3], keepdims=1)
    deviation = g.add("Sqrt", [variance], f"{out}.deviation")
    floor = g.constant(f"{out}.floor", [(3 * size * size) ** -0.5], np.float32)
    return g.add("Div", [centred, g.add("Max", [deviation, floor], f"{out}.divisor")], out)


def _normalise(g: Graph, m: nn.Module, chips: str, out: str) -> str:
    assert isinstance(m, Normalise)
    if m.bgr:
        raise WeightsError("Cannot write a BGR normalisation as ONNX.")
    x = _planes(g, chips, out)
    centred = g.add("Sub", [x, g.constant(f"{out}.mean", m.mean)], f"{out}.centred")
    return g.add("Div", [centred, g.constant(f"{out}.std", m.std)], out)


_MODULES: dict[type[nn.Module], Callable[[Graph, Any, str, str], str]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    MaxPReLU: _max_prelu,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.ReLU: lambda g, m, x, out: g.add("Relu", [x], out),
    nn.AdaptiveAvgPool2d: _global_average,
    nn.Flatten: lambda g, m, x, out: g.add("Flatten", [x], out, axis=1),
    nn.Identity: lambda g, m, x, out: x,
    nn.Dropout: lambda g, m, x, out: x,  # inference only
    Normalise: _normalise,
}


def _pad(g: Graph, x: str, pads: tuple[int, ...], out: str) -> str:
    """Torch lists pads from the last axis, before and after; ONNX all befores, then afters."""
    before, after = [0] * 4, [0] * 4
    for i in range(len(pads) // 2):
        before[3 - i], after[3 - i] = pads[2 * i], pads[2 * i + 1]
    return g.add("Pad", [x, g.constant(f"{out}.pads", before + after, np.int64)], out)


def _call(g: Graph, node: fx.Node, names: dict[fx.Node, str]) -> str:
    out = node.name
    arguments = [names[a] if isinstance(a, fx.Node) else a for a in node.args]
    if node.target is operator.add:
        return g.add("Add", [str(a) for a in arguments], out)
    if node.target is torch.cat:
        parts: Any = node.args[0]
        return g.add("Concat", [names[a] for a in parts], out, axis=node.kwargs["dim"])
    if node.target is functional.pad and len(arguments) == 2:
        return _pad(g, str(arguments[0]), tuple(arguments[1]), out)  # type: ignore[arg-type]
    raise WeightsError(f"Cannot write {node.target} as ONNX.")


def onnx_bytes(model: Preprocess, *, size: int, dim: int) -> bytes:
    """Return a network with its normalisation as the bytes of an ONNX file.

    The graph takes `chips`, uint8 RGB (N, size, size, 3), N free, and gives `embeddings`,
    float32 (N, dim), not normalised to unit length.

    Args:
        model: Normalisation and network, in evaluation mode, normalisations folded.
        size: Height and width of the chips in pixels.
        dim: Width of the embedding.

    Raises:
        WeightsError: If the network does something that this writer does not know.
    """
    model = model.eval()
    graph = Graph()
    names: dict[fx.Node, str] = {}
    for node in _Tracer().trace(model).nodes:
        if node.op == "placeholder":
            names[node] = INPUT
        elif node.op == "output":
            graph.add("Identity", [names[node.args[0]]], OUTPUT)
        elif node.op == "call_module":
            module, x = model.get_submodule(node.target), names[node.args[0]]
            if isinstance(module, Standardise):
                names[node] = _standardise(graph, module, x, node.name, size=size)
            elif type(module) in _MODULES:
                names[node] = _MODULES[type(module)](graph, module, x, node.name)
            else:
                raise WeightsError(f"Cannot write {type(module).__name__} as ONNX.")
        elif node.op == "call_function":
            names[node] = _call(graph, node, names)
        else:
            raise WeightsError(f"Cannot write the call {node.op} {node.target} as ONNX.")
    chips = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", size, size, 3])
    embeddings = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", dim])
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "limner", [chips], [embeddings], graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="limner",
    )
    data = bytes(proto.SerializeToString(deterministic=True))
    onnx.checker.check_model(data, full_check=True)
    return data
