"""Read an ImageNet classifier's tensors, under the names that its architecture has here.

Only tensors are read (``weights_only``), never a pickled object.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from limner.errors import WeightsError
from limner.weights.registry import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of EfficientNet-B0's seven stages
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_OUTER |= {"_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_LATER |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
_FIRST_AND_LAST = {
    "efficientnet_lite": ("conv_stem.weight", (32, 3, 3, 3), "classifier.weight", (1000, 1280)),
    "torchvision": ("conv1.weight", (64, 3, 7, 7), "fc.weight", (1000, 2048)),
}


def rename_efficientnet(name: str) -> str:
    """Return timm's name of a tensor of the file, such as `blocks.1.0.conv_pw.weight`.

    Raises:
        WeightsError: If the file should have no tensor of that name.
    """
    match = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name)
    try:
        if match is None:
            outer, _, part = name.partition(".")
            return f"{_OUTER[outer]}.{part}"
        block, place = int(match[1]), 0
        for stage, repeats in enumerate(_REPEATS):
            if block < place + repeats:
                inner = (_FIRST if stage == 0 else _LATER)[match[2]]
                return f"blocks.{stage}.{block - place}.{inner}.{match[3]}"
            place += repeats
    except KeyError:
        pass
    raise WeightsError(f"EfficientNet-Lite0 has no tensor {name!r}.")


def read_trunk(spec: ModelSpec, path: Path) -> dict[str, Tensor]:
    """Return the tensors of `efficientnet_lite0` by timm's names, of `resnet50` by torchvision's.

    Args:
        spec: The model.
        path: Its ``.pth`` file.

    Raises:
        WeightsError: If it is not such a file.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} is not a torch weight file: {error}.") from error
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise WeightsError(f"{path} is not a dictionary of tensors.")
    tensors = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if spec.converter == "efficientnet_lite":
        tensors = {rename_efficientnet(k): v for k, v in tensors.items()}
    first, first_shape, last, last_shape = _FIRST_AND_LAST[spec.converter]
    for name, shape in ((first, first_shape), (last, last_shape)):
        if name not in tensors or tuple(tensors[name].shape) != shape:
            raise WeightsError(f"{path} has no {name} of shape {shape}.")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: {name} holds numbers that are not finite.")
    return {k: v.detach().clone().contiguous() for k, v in tensors.items()}
