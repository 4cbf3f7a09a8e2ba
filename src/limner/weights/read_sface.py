"""Read SFace's ONNX file, whose weights are bytes in blocks, into a torch state dictionary.

The file is read as data: its graph is not run. Each weight is stored as signed bytes with a scale
and a zero point for every block of values along one axis, which `DequantizeLinear` would turn back
into float32 on every call (140 ms); here that is done once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

_CONV_EPSILON, _LAST_EPSILON = 1e-3, 2e-5
"""What the file's graph adds to the variances: after convolutions, and about the last matrix."""


def read_sface(path: Path) -> dict[str, Tensor]:
    """Return the state dictionary of `SFace`, batch normalisations folded in float64.

    Args:
        path: OpenCV Zoo's ``face_recognition_sface_2021dec_int8bq.onnx``.

    Raises:
        WeightsError: If the file is not that graph: an array is missing, has another shape, or
            holds values that are not finite.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    from limner.nets.sface import SFace

    try:
        graph = onnx.load(str(path)).graph
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        arrays = _fold(stored, dequantise(graph, stored))
        with torch.device("meta"):
            wanted = SFace().state_dict()
        for key, tensor in wanted.items():
            if arrays[key].shape != tuple(tensor.shape) or not np.isfinite(arrays[key]).all():
                raise WeightsError(f"{path}: {key} has shape {arrays[key].shape}, or no numbers.")
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} is not SFace's ONNX file: {error}.") from error
    return {key: torch.from_numpy(arrays[key].astype(np.float32)) for key in wanted}


def dequantise(graph: Any, stored: dict[str, Any]) -> dict[str, Array]:
    """Return what each of a graph's `DequantizeLinear` nodes gives, by the stored tensor's stem.

    Source: ONNX, DequantizeLinear-21: ``(byte - zero point of its block) * scale of its block``.
    """
    values: dict[str, Array] = {}
    for node in graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        settings = {attribute.name: attribute.i for attribute in node.attribute}
        axis, block = settings["axis"], settings["block_size"]
        bytes_, scale, zero = (stored[name].astype(np.float64) for name in node.input)
        places = np.arange(bytes_.shape[axis]) // block
        stem = node.input[0].removesuffix("_quantized")
        found = (bytes_ - zero.take(places, axis)) * scale.take(places, axis)
        shape = stored.get(f"{stem}_shape", found.shape)
        values[stem] = found.reshape([int(side) for side in shape])
    return values


class _Normalisation:
    """A batch normalisation: ``scale * x + shift`` for each channel, and how far it then reaches.

    Attributes:
        reach: ``|beta| + 4 |gamma|``: what hardly any value of the channel exceeds.
    """

    def __init__(self, stored: dict[str, Any], name: str, epsilon: float) -> None:
        gamma, beta, mean, variance = (
            stored[f"{name}_{part}"].astype(np.float64)
            for part in ("gamma", "beta", "moving_mean", "moving_var")
        )
        self.scale = gamma / np.sqrt(variance + epsilon)
        self.shift = beta - mean * self.scale
        self.reach = np.abs(beta) + 4 * np.abs(gamma)


def _layers() -> list[tuple[str, str]]:
    """Return our name and the file's of each convolution, in the order of the network."""
    from limner.nets.sface import BLOCKS

    layers = [("stem", "conv_1")]
    for i in range(len(BLOCKS)):
        layers.append((f"blocks.{i}.depthwise", f"conv_{i + 2}_dw"))
        layers.append((f"blocks.{i}.pointwise", f"conv_{i + 2}"))
    return layers


def _fold(stored: dict[str, Any], weights: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays of `SFace`: every normalisation folded into the weights beside it.

    Each channel is scaled by a factor, and divided by it where it is read next, which its PReLU
    lets through if the factor is positive. The factors even the channels' ranges out, so that one
    grid of 256 steps for all of them is a fine one for each. Where a slope is above 1 the factor
    is negative: ``PReLU(x) = min(x, slope x) = -max(-x, -slope x)`` there.

    Source: Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization Through Weight
    Equalization and Bias Correction", 2019, equations 5 to 8.
    Differs: the ranges evened out are those of the activations, and halfway only (by their roots):
    what the activations gain the next weights lose.
    """
    arrays: dict[str, Array] = {}
    incoming = np.ones(3)  # what each channel is to be multiplied by where it is read
    for ours, theirs in _layers():
        norm = _Normalisation(stored, f"{theirs}_batchnorm", _CONV_EPSILON)
        slope = stored[f"{theirs}_relu_gamma"].astype(np.float64).reshape(-1)
        factor = np.sqrt(np.maximum(norm.reach, 1e-3 * norm.reach.max()))
        factor = np.where(slope > 1, -factor, factor)
        kernel = weights[f"{theirs}_conv2d_weight"] * norm.scale[:, None, None, None]
        depthwise = ours.endswith("depthwise")
        read = incoming[:, None, None, None] if depthwise else incoming[None, :, None, None]
        arrays[f"{ours}.weight"] = kernel * read / factor[:, None, None, None]
        arrays[f"{ours}.bias"] = norm.shift / factor
        arrays[f"{ours}_act.slope"] = slope[:, None, None]
        incoming = factor
    before = _Normalisation(stored, "bn1", _LAST_EPSILON)
    after = _Normalisation(stored, "fc1", _LAST_EPSILON)
    matrix = weights["pre_fc1_weight"]
    places = matrix.shape[1] // len(before.scale)  # 7 x 7 for each channel
    bias = weights["pre_fc1_bias"] + matrix @ np.repeat(before.shift, places)
    read = np.repeat(before.scale * incoming, places)
    arrays["head.weight"] = matrix * read * after.scale[:, None]
    arrays["head.bias"] = bias * after.scale + after.shift
    return arrays
