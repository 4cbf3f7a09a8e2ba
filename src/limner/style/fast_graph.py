"""Feed-forward stylizers as ONNX graphs: any size, in floating point, in seamless tiles.

Such a network normalises every layer by the mean and variance of the whole picture. Cut into
tiles, each tile would be normalised by its own, and the seams would show. So a graph is split
in two: one form tells the means and variances, the other takes them as inputs. A tile that is
computed with the statistics of the whole picture, and with a margin as wide as the network
looks, equals the same place of the undivided picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import WeightsError

_POOLS = ("GlobalAveragePool", "ReduceMean")
_SPATIAL = ({2, 3}, {-2, -1}, {2, -1}, {-2, 3})


def read_graph(path: Path) -> Any:
    """Read an ONNX file.

    Returns:
        An ``onnx.ModelProto``.

    Raises:
        WeightsError: If it is not an ONNX graph.
    """
    import onnx

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"{path} is not an ONNX graph that can be read: {reason}") from error
    return model


def in_floats(model: Any) -> None:
    """Turn a graph of quantised activations into floating point, in place.

    The weights keep their values; only the rounding of activations to 256 levels between the
    layers goes away, which is where such a graph's grain comes from.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {t.name: t for t in graph.initializer}
    renamed: dict[str, str] = {}
    kept: list[Any] = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            parts = [numpy_helper.to_array(constants[i]) for i in node.input]
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            value = _dequantised(parts, axis)
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        else:
            for i, name in enumerate(node.input):
                node.input[i] = renamed.get(name, name)
            kept.append(node)
    for output in graph.output:
        if output.name in renamed:
            kept.append(helper.make_node("Identity", [renamed[output.name]], [output.name]))
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    left = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
    del graph.value_info[:]


def _dequantised(parts: list[np.ndarray[Any, Any]], axis: int) -> np.ndarray[Any, Any]:
    values, scale = parts[0].astype(np.float32), parts[1].astype(np.float32)
    zero = parts[2].astype(np.float32) if len(parts) > 2 else np.float32(0)
    if scale.size > 1:
        shape = [1] * values.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), np.broadcast_to(zero, scale.shape).reshape(shape)
    return np.asarray((values - zero) * scale, dtype=np.float32)


def any_size(model: Any) -> None:
    """Set height and width of every picture that a graph takes or gives free, in place."""
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if len(sizes) != 4 or _picture_axis(value) is None:
            continue
        for axis in (1, 2) if sizes[3].dim_value == 3 else (2, 3):
            sizes[axis].dim_param = f"{value.name}_{axis}"
    del model.graph.value_info[:]


def _picture_axis(value: Any) -> int | None:
    """Return where the three colours of a picture are, 1 or 3; None where it is no picture."""
    sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
    if len(sizes) != 4:
        return None
    return 3 if sizes[3] == 3 else 1 if sizes[1] == 3 else None


def picture_input(model: Any) -> tuple[str, int]:
    """Return the name of the input that takes the picture, and the axis of its colours.

    Raises:
        WeightsError: If there is no such input, or no output to match.
    """
    constants = {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        axis = _picture_axis(value)
        if value.name not in constants and axis is not None:
            return value.name, axis
    raise WeightsError(
        "The ONNX graph is not a stylizer: none of its inputs is a picture of shape "
        "(1, 3, H, W) or (1, H, W, 3)."
    )


def split_norms(model: Any) -> None:
    """Write every InstanceNormalization as mean, variance and scaling, in place."""
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    column = "limner_column_shape"
    found = False
    for node in model.graph.node:
        if node.op_type != "InstanceNormalization":
            nodes.append(node)
            continue
        found = True
        x, gamma, beta = node.input
        n = f"limner_{node.output[0]}"
        eps = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        epsilon = numpy_helper.from_array(np.full((1, 1, 1, 1), eps, np.float32), f"{n}_eps")
        model.graph.initializer.append(epsilon)
        make = helper.make_node
        nodes += [
            make("GlobalAveragePool", [x], [f"{n}_mean"]),
            make("Sub", [x, f"{n}_mean"], [f"{n}_centred"]),
            make("Mul", [f"{n}_centred", f"{n}_centred"], [f"{n}_square"]),
            make("GlobalAveragePool", [f"{n}_square"], [f"{n}_variance"]),
            make("Add", [f"{n}_variance", f"{n}_eps"], [f"{n}_safe"]),
            make("Sqrt", [f"{n}_safe"], [f"{n}_deviation"]),
            make("Reshape", [gamma, column], [f"{n}_gamma"]),
            make("Reshape", [beta, column], [f"{n}_beta"]),
            make("Div", [f"{n}_gamma", f"{n}_deviation"], [f"{n}_scale"]),
            make("Mul", [f"{n}_centred", f"{n}_scale"], [f"{n}_scaled"]),
            make("Add", [f"{n}_scaled", f"{n}_beta"], [node.output[0]]),
        ]
    if found:
        shape = numpy_helper.from_array(np.array([1, -1, 1, 1], np.int64), column)
        model.graph.initializer.append(shape)
        del model.graph.node[:]
        model.graph.node.extend(nodes)


def statistics(model: Any) -> list[str]:
    """Return the names of the spatial means in a graph, in the order of computation."""
    constants = _constants(model)
    return [n.output[0] for n in model.graph.node if _is_spatial_mean(n, constants)]


def _constants(model: Any) -> dict[str, Any]:
    from onnx import numpy_helper

    found = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return {k: numpy_helper.to_array(v) for k, v in found.items() if v.dims in ([1], [2])}


def _is_spatial_mean(node: Any, constants: dict[str, Any]) -> bool:
    if node.op_type not in _POOLS:
        return False
    if node.op_type == "GlobalAveragePool":
        return True
    axes: Iterable[int] = next((a.ints for a in node.attribute if a.name == "axes"), ())
    if len(node.input) > 1:
        axes = np.asarray(constants.get(node.input[1], ())).tolist()
    keep = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
    return keep == 1 and set(axes) in _SPATIAL


def telling(model: Any) -> Any:
    """Return a copy of the graph that also gives its means and variances."""
    return _with_values(model, model.graph.output, statistics(model))


def taking(model: Any) -> Any:
    """Return a copy of the graph that takes its means and variances as further inputs."""
    names = statistics(model)
    copy = _with_values(model, model.graph.input, names)
    left = [n for n in copy.graph.node if n.output[0] not in names]
    del copy.graph.node[:]
    copy.graph.node.extend(left)
    return copy


def _with_values(model: Any, where: Any, names: list[str]) -> Any:
    import onnx
    from onnx import TensorProto, helper

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    target = copy.graph.output if where is model.graph.output else copy.graph.input
    for i, name in enumerate(names):
        shape: list[int | str | None] = [1, f"channels_{i}", 1, 1]
        target.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return copy
