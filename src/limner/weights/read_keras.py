"""Read the facenet Keras file (HDF5) into a torch state dictionary, without Keras.

Nothing in the file is executed: the `Lambda` layers' byte code and the rest of the graph
are not even read, only float32 arrays of the shapes that the network expects.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_PARTS = {
    "weight": "kernel:0",
    "bias": "bias:0",
    "norm.bias": "beta:0",
    "norm.running_mean": "moving_mean:0",
    "norm.running_var": "moving_variance:0",
}


def read_facenet(path: Path) -> dict[str, Tensor]:
    """Return the state dictionary of `InceptionResNetV1(batch_norm=True)`.

    Args:
        path: A Keras HDF5 file with `model_weights/LAYER/LAYER/kernel:0` and so on.

    Raises:
        WeightsError: If the file is not HDF5, lacks a layer, or an array has another shape,
            another type or values that are not finite.
    """
    import h5py
    import torch

    from limner.nets.inception_resnet import InceptionResNetV1

    state: dict[str, Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            root = file["model_weights"]
            with torch.device("meta"):
                wanted = InceptionResNetV1().state_dict()
            layers = {str(name).lower(): str(name) for name in root}
            for key, tensor in wanted.items():
                if key.endswith("num_batches_tracked"):
                    state[key] = torch.tensor(0)
                elif key.endswith("norm.weight"):  # Keras' scale=False
                    state[key] = torch.ones(tensor.shape)
                else:
                    array = _array(root, layers, key, tuple(tensor.shape))
                    state[key] = torch.from_numpy(array)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} is not a Keras HDF5 weight file: {error}.") from error
    return state


def _array(root: Any, layers: dict[str, str], key: str, shape: tuple[int, ...]) -> Any:
    """Read one array and turn its axes from Keras' order into torch's."""
    layer_key, _, part = key.rpartition(".")
    if layer_key.endswith("norm"):
        layer_key, part = layer_key[: -len("norm")].rstrip("._") + "_batchnorm", f"norm.{part}"
    elif layer_key.endswith(".conv"):
        layer_key = layer_key[: -len(".conv")]
    layer = layers.get(layer_key.replace(".", "_"))
    name = _PARTS[part]
    if layer is None or layer not in root[layer] or name not in root[layer][layer]:
        raise WeightsError(f"The Keras file has no array {name!r} for the layer {layer_key!r}.")
    data = root[layer][layer][name]
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[len(shape)]
    if len(data.shape) != len(shape) or tuple(data.shape[i] for i in axes) != shape:
        raise WeightsError(
            f"{layer}/{name} has shape {tuple(data.shape)}, "
            f"which does not fit {shape} in the network."
        )
    if data.dtype != np.float32:
        raise WeightsError(f"{layer}/{name} must hold float32 numbers, got {data.dtype}.")
    array = np.ascontiguousarray(data[()].transpose(axes))
    if not np.isfinite(array).all():
        raise WeightsError(f"{layer}/{name} holds numbers that are not finite.")
    return array
