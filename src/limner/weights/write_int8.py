"""Write an embedder's ONNX graph again in 8-bit integers.

Activations are unsigned bytes on one grid a tensor, weights signed bytes on one grid an output
channel, sums 32-bit integers: 2 to 4 times the speed of float32 on a CPU, a quarter of the size.

Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), equations 1 to 8; the graph is written in ONNX's
QuantizeLinear/DequantizeLinear form, which ONNX Runtime and OpenVINO turn into integer kernels.
Differs: weights have a grid an output channel, not one a layer. The ranges of the activations
come with the package, so that converting needs no photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from limner.errors import WeightsError
from limner.weights.write_onnx import Graph

Range = tuple[float, float]

_INTEGER_OPS = ("Conv", "Add", "Concat", "MaxPool")
_STEPS = 255  # between the lowest and the highest unsigned byte
_FLOAT_CONVOLUTIONS = 2  # the first ones: a thirtieth of the work, a third of the error
_LARGE_HEAD = 2**20  # weights: from there on reading them in float32 is what a matrix costs
_LARGEST_WEIGHT = 127
_LARGEST_BIAS = 2**30  # of the 32 bits, which the sums need too


@dataclass(frozen=True)
class _Grid:
    """Real value = scale * (byte - zero); equation 1."""

    scale: np.float32
    zero: int

    @staticmethod
    def of(low: float, high: float) -> _Grid:
        """The finest grid that covers a range and holds zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32(max(high - low, 1e-6) / _STEPS)
        return _Grid(scale, round(-low / float(scale)))


class _Writer(Graph):
    """The nodes and weights of the new graph, and what stands for the old one's tensors."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.grids: dict[str, _Grid] = {}
        self.rounded: dict[str, str] = {}  # a tensor to what stands for it from there on

    def quantise(self, tensor: str, grid: _Grid, source: str) -> None:
        """Round a tensor to its grid; whoever reads it then reads the rounded one."""
        ends = [
            self.constant(f"{tensor}.scale", np.asarray(grid.scale)),
            self.constant(f"{tensor}.zero", np.asarray(grid.zero, np.uint8)),
        ]
        self.add("QuantizeLinear", [source, *ends], f"{tensor}.bytes")
        self.rounded[tensor] = self.add(
            "DequantizeLinear", [f"{tensor}.bytes", *ends], f"{tensor}.rounded"
        )
        self.grids[tensor] = grid

    def weighted(self, node: onnx.NodeProto) -> None:
        """Take a convolution or a matrix over, its weights on the finest grid of each output."""
        data, *names = node.input
        weight, *bias = (numpy_helper.to_array(self.stored[n]).astype(np.float64) for n in names)
        step = self.grids[data].scale
        scales = _weight_scales(weight)
        for values in bias:  # a channel of hardly any weights must not make its bias overflow
            scales = np.maximum(scales, np.float32(np.abs(values) / (step * _LARGEST_BIAS)))
        inputs = [self.rounded[data], self.parameter(names[0], weight, scales, np.int8)]
        for name, values in zip(names[1:], bias, strict=True):
            # Equation 11: on the grid of the sums, so that adding it is exact.
            inputs.append(self.parameter(name, values, step * scales, np.int32))
        self.take(node, inputs)

    def parameter(
        self, name: str, values: NDArray[np.float64], scales: NDArray[np.float32], dtype: Any
    ) -> str:
        """Round a parameter to one grid an output channel, which is its first axis."""
        steps = scales.astype(np.float64).reshape(-1, *[1] * (values.ndim - 1))
        inputs = [
            self.constant(f"{name}.integers", np.rint(values / steps).astype(dtype)),
            self.constant(f"{name}.scale", scales),
            self.constant(f"{name}.zero", np.zeros(len(scales), dtype)),
        ]
        return self.add("DequantizeLinear", inputs, f"{name}.rounded", axis=0)

    def sloped(self, tensor: str, slope: NDArray[np.float64], output: str) -> str:
        """Return ``max(x, slope x)`` as ``x + max(0, (slope - 1) x)``: two integer kernels.

        What is added has a grid that begins at zero, which cuts it there.
        """
        low = float(self.grids[tensor].scale) * self.grids[tensor].zero
        factor = slope - 1  # at most 0
        step = np.float32(max(-factor.min(), 1e-6) / _STEPS)
        constant = [
            self.constant(f"{output}.factor", np.rint(factor / step + _STEPS).astype(np.uint8)),
            self.constant(f"{output}.factor.scale", np.asarray(step)),
            self.constant(f"{output}.factor.zero", np.asarray(_STEPS, np.uint8)),
        ]
        rounded = self.add("DequantizeLinear", constant, f"{output}.factor.rounded")
        product = self.add("Mul", [self.rounded[tensor], rounded], f"{output}.product")
        self.quantise(product, _Grid.of(0.0, low * -float(factor.min())), product)
        return self.add("Add", [self.rounded[tensor], self.rounded[product]], f"{output}.sum")

    def take(self, node: onnx.NodeProto, inputs: list[str]) -> None:
        """Take a node over with other inputs."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = inputs
        self.nodes.append(copy)


def _weight_scales(weight: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the step of each output channel's grid of signed bytes.

    Processors with AVX2 but without VNNI add two neighbouring products of bytes in 16 bits.
    Two neighbours may therefore not exceed 128 together: 255 * 128 < 2^15. Neighbours are
    those of the flat weights, channels first and channels last.
    """
    rows = len(weight)
    peaks = [np.abs(weight).reshape(rows, -1).max(axis=1)]
    orders = [weight] if weight.ndim == 2 else [weight, weight.transpose(0, 2, 3, 1)]
    for flat in (order.reshape(rows, -1) for order in orders):
        peaks.append(np.abs(flat[:, :-1] + flat[:, 1:]).max(axis=1, initial=0.0))
    # Rounding adds a half to each of the two: from 127 to 128 at most.
    widest = np.maximum(np.max(peaks, axis=0), 1e-12)
    return np.asarray(widest / _LARGEST_WEIGHT, np.float32)


def _is_large_head(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> bool:
    return node.op_type == "Gemm" and np.prod(stored[node.input[1]].dims) >= _LARGE_HEAD


def rounded_tensors(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the tensors that `int8_bytes` needs a range of, in the graph's order.

    They are what its convolutions, sums, joints and pools read and write, without what a
    convolution or a sum hands to its ReLU, and without what the first two convolutions read.
    """
    read_by: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            read_by.setdefault(name, []).append(node.op_type)
    stored = {t.name: t for t in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    wanted: dict[str, None] = {}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    exact = {node.input[0] for node in convolutions[:_FLOAT_CONVOLUTIONS]}
    exact |= {
        node.output[0]
        for node in convolutions[:_FLOAT_CONVOLUTIONS]
        if read_by.get(node.output[0]) == ["Mul", "Max"]
    }
    for node in graph.node:
        if node.op_type == "Conv":
            wanted[node.input[0]] = None
        elif _is_large_head(node, stored):
            wanted[node.input[0]] = None
            if made_by.get(node.input[0], node).op_type == "Flatten":
                wanted[made_by[node.input[0]].input[0]] = None
        elif node.op_type in _INTEGER_OPS:
            wanted.update(dict.fromkeys(name for name in node.input if name not in stored))
        if node.op_type in (*_INTEGER_OPS, "Relu") and read_by.get(node.output[0]) != ["Relu"]:
            wanted[node.output[0]] = None
    return [name for name in wanted if name not in exact]


def _slopes(graph: onnx.GraphProto, needed: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the slopes of the graph's ``Max(x, Mul(x, slope))``, by what `Mul` gives."""
    stored = {t.name: t for t in graph.initializer}
    read = {node.input[1]: node.input[0] for node in graph.node if node.op_type == "Max"}
    return {
        node.output[0]: numpy_helper.to_array(stored[node.input[1]]).astype(np.float64)
        for node in graph.node
        if node.op_type == "Mul"
        and node.input[1] in stored
        and read.get(node.output[0]) == node.input[0]
        and node.input[0] in needed
    }


def int8_bytes(data: bytes, ranges: Mapping[str, Range]) -> bytes:
    """Return an embedder's graph in 8-bit integers as the bytes of an ONNX file.

    Inputs and outputs are those of the float32 graph; the first two convolutions, and what is
    not a convolution, a sum, a joint or a pool (the normalisation, the head), stay in float32.

    Args:
        data: What `limner.weights.write_onnx.onnx_bytes` returned.
        ranges: Lowest and highest value of each of `rounded_tensors`, over faces.

    Raises:
        WeightsError: If a range is missing, or the graph is not of that kind.
    """
    model = onnx.load_model_from_string(data)
    needed = rounded_tensors(model.graph)
    missing = [name for name in needed if name not in ranges]
    if missing:
        raise WeightsError(
            f"Cannot write int8: no range for {missing[0]} and {len(missing) - 1} other tensors; "
            "they are measured by `python bench/fit_shipped.py`."
        )
    writer = _Writer(model.graph)
    slopes = _slopes(model.graph, needed)
    for node in model.graph.node:
        output = source = node.output[0]
        if node.op_type in ("Conv", "Gemm") and node.input[0] in writer.rounded:
            writer.weighted(node)
        elif output in slopes:
            continue  # `sloped` writes it
        elif node.op_type == "Max" and node.input[0] in writer.grids:
            source = writer.sloped(node.input[0], slopes[node.input[1]], output)
        elif node.op_type == "Relu" and output in needed and node.input[0] not in needed:
            # A grid that begins at zero cuts what is below: the ReLU itself is not needed.
            source = node.input[0]
        else:
            writer.take(node, [writer.rounded.get(name, name) for name in node.input])
        if output in needed:
            grid = _Grid.of(0.0 if node.op_type == "Relu" else ranges[output][0], ranges[output][1])
            before = writer.grids.get(node.input[0])
            if node.op_type in ("MaxPool", "Flatten") and before:
                grid = before  # their bytes are those that they read
            writer.quantise(output, grid, source)
    used = {name for node in writer.nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    model.graph.ClearField("node")
    model.graph.node.extend(writer.nodes)
    model.graph.ClearField("initializer")
    model.graph.initializer.extend([*kept, *writer.weights])
    result = bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(result, full_check=True)
    return result
