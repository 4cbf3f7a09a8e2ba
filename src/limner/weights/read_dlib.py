"""Read dlib's face recognition weights (`.dat`) into a torch state dictionary, without dlib.

The format, found by reading the file: an integer is one control byte (low nibble: count of
bytes, high bit: sign) and that many little-endian bytes; a tensor is the version 2, four
such integers (count, channels, rows, columns) and raw little-endian float32. The tensors
stand in order from the input to the output with small records between them. The sizes of
all 59 are known beforehand, so each is found by its exact header, and nothing else in the
file is interpreted.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limner.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_MAX_BYTES = 64 * 1024 * 1024
_MAX_GAP = 16 * 1024  # between two tensors the file has at most 2.3 kB of other records


def _integer(value: int) -> bytes:
    body = value.to_bytes((value.bit_length() + 7) // 8, "little")
    return bytes([len(body)]) + body


def _header(count: int, channels: int) -> bytes:
    return b"".join(_integer(v) for v in (2, count, channels, 1, 1))


def bytes_of(path: Path, what: str) -> bytes:
    """Return a whole file of dlib's.

    Raises:
        WeightsError: If it cannot be read, or is too large to be what it should be.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{path} is too large to be dlib's {what}.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error


def read_tensors(data: bytes, sizes: list[tuple[int, int]]) -> list[NDArray[np.float32]]:
    """Return the tensors of the given sizes, in order.

    Args:
        data: The whole file.
        sizes: (count, channels) of each tensor from the input to the output.

    Returns:
        One array of shape (count * channels,) for each size.

    Raises:
        WeightsError: If a tensor is missing, cut off, or holds numbers that are not finite.
    """
    tensors = []
    position = 0
    for i, (count, channels) in enumerate(sizes):
        header = _header(count, channels)
        at = data.find(header, position, position + _MAX_GAP + len(header))
        values = count * channels
        start = at + len(header)
        if at < 0 or start + 4 * values > len(data):
            raise WeightsError(
                f"The dlib weight file is damaged: tensor {i + 1} of {len(sizes)} "
                f"({values} values) was not found after byte {position}."
            )
        array = np.frombuffer(data, "<f4", values, start).astype(np.float32)
        if not np.isfinite(array).all():
            raise WeightsError(
                f"The dlib weight file is damaged: tensor {i + 1} of {len(sizes)} "
                "holds numbers that are not finite."
            )
        tensors.append(array)
        position = start + 4 * values
    return tensors


def read_dlib(path: Path) -> dict[str, Tensor]:
    """Return the state dictionary of `DlibResNet`, affine layers folded into convolutions.

    Raises:
        WeightsError: If the file cannot be read or is not dlib's ResNet.
    """
    import torch

    from limner.nets.dlib_resnet import BLOCKS

    data = bytes_of(path, "face recognition weights")
    convolutions = [("conv", 3, 32, 7)]
    inputs = 32
    for i, (outputs, _) in enumerate(BLOCKS):
        convolutions.append((f"blocks.{i}.conv1", inputs, outputs, 3))
        convolutions.append((f"blocks.{i}.conv2", outputs, outputs, 3))
        inputs = outputs
    sizes: list[tuple[int, int]] = []
    for _, ins, outs, side in convolutions:
        sizes += [(outs * ins * side * side + outs, 1), (2 * outs, 1)]
    sizes.append((inputs, 128))
    tensors = read_tensors(data, sizes)
    state: dict[str, Tensor] = {}
    for (name, ins, outs, side), both, affine in zip(
        convolutions, tensors[0:-1:2], tensors[1:-1:2], strict=True
    ):
        weight = both[:-outs].reshape(outs, ins, side, side).astype(np.float64)
        bias = both[-outs:].astype(np.float64)
        gamma, beta = affine[:outs].astype(np.float64), affine[outs:].astype(np.float64)
        weight = (weight * gamma[:, None, None, None]).astype(np.float32)
        state[f"{name}.weight"] = torch.from_numpy(weight)
        state[f"{name}.bias"] = torch.from_numpy((bias * gamma + beta).astype(np.float32))
    head = tensors[-1].reshape(inputs, 128).T
    state["head.weight"] = torch.from_numpy(np.ascontiguousarray(head))
    return state
