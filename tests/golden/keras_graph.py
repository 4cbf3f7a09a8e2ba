"""Evaluate a Keras functional graph in numpy, float64: slow, and independent of torch.

Reads the graph and the arrays from the HDF5 file itself, so it shares nothing with
limner's own network, its reader or its folding of batch normalisations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def windows(x: np.ndarray, kernel: list[int], strides: list[int], padding: str, fill: float):
    """(H, W, C) -> (H', W', C, kh, kw), with TensorFlow's rule for 'same'."""
    if padding == "same":
        pads = []
        for size, k, s in zip(x.shape[:2], kernel, strides, strict=True):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    view = sliding_window_view(x, tuple(kernel), axis=(0, 1))
    return view[:: strides[0], :: strides[1]]


def layer(kind: str, config: dict[str, Any], arrays: dict[str, np.ndarray], inputs: list) -> Any:
    x = inputs[0]
    if kind == "Conv2D":
        assert config["dilation_rate"] == [1, 1]
        assert config["groups"] == 1
        kernel = arrays["kernel:0"]  # kh, kw, in, out
        view = windows(x, config["kernel_size"], config["strides"], config["padding"], 0.0)
        columns = view.transpose(0, 1, 3, 4, 2).reshape(*view.shape[:2], -1)
        y = columns @ kernel.reshape(-1, kernel.shape[-1])
        return y + arrays["bias:0"] if config["use_bias"] else y
    if kind == "BatchNormalization":
        assert config["center"]
        assert not config["scale"]
        scale = 1.0 / np.sqrt(arrays["moving_variance:0"] + config["epsilon"])
        return (x - arrays["moving_mean:0"]) * scale + arrays["beta:0"]
    if kind == "Activation":
        assert config["activation"] == "relu"
        return np.maximum(x, 0.0)
    if kind == "MaxPooling2D":
        view = windows(x, config["pool_size"], config["strides"], config["padding"], -np.inf)
        return view.max(axis=(3, 4))
    if kind == "Concatenate":
        return np.concatenate(inputs, axis=config["axis"] - 1)
    if kind == "Lambda":  # x * scale; the byte code is not run
        return x * config["arguments"]["scale"]
    if kind == "Add":
        return inputs[0] + inputs[1]
    if kind == "GlobalAveragePooling2D":
        return x.mean(axis=(0, 1))
    if kind == "Dropout":
        return x
    if kind == "Dense":
        assert not config["use_bias"]
        return x @ arrays["kernel:0"]
    raise NotImplementedError(kind)


def evaluate(h5: Path, x: np.ndarray) -> np.ndarray:
    """Run one standardised chip (160, 160, 3) through the graph in the file."""
    values: dict[str, np.ndarray] = {}
    with h5py.File(h5, "r") as file:
        graph = json.loads(file.attrs["model_config"])["config"]
        for node in graph["layers"]:
            name = node["name"]
            if node["class_name"] == "InputLayer":
                values[name] = x.astype(np.float64)
                continue
            group = file["model_weights"][name]
            group = group[name] if name in group else {}
            arrays = {k: group[k][()].astype(np.float64) for k in group}
            inputs = [values[source[0]] for source in node["inbound_nodes"][0]]
            values[name] = layer(node["class_name"], node["config"], arrays, inputs)
        return values[graph["output_layers"][0][0]]


def standardise(chip: np.ndarray) -> np.ndarray:
    """TensorFlow's per_image_standardization of a uint8 chip, in float64."""
    x = chip.astype(np.float64)
    return (x - x.mean()) / max(x.std(), 1.0 / np.sqrt(x.size))
