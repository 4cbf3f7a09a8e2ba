"""From a trained network to an ONNX graph that takes chips and needs no torch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError
from limner.nets.backbone import Backbone
from limner.training.onnx_run import run_onnx
from limner.types import ImageArray

OPSET = 17
TOLERANCE = 2e-3
"""Largest difference that is allowed between torch's and ONNX Runtime's outputs."""


class Deployed(nn.Module):
    """Chips in; unit embeddings or probabilities out.

    Args:
        net: The trained network.
        classifier: Whether its outputs are logits.
    """

    def __init__(self, net: Backbone, *, classifier: bool) -> None:
        super().__init__()
        self.normalisation = net.input.normalisation()
        self.trunk, self.head = net.trunk, net.head
        self.classifier = classifier

    def forward(self, chips: Tensor) -> Tensor:
        """Map (N, S, S, 3) uint8 RGB to (N, D)."""
        y: Tensor = self.head(self.trunk(self.normalisation(chips)))
        return functional.softmax(y, dim=1) if self.classifier else functional.normalize(y, dim=1)


def export_onnx(net: Backbone, path: Path, *, classifier: bool, chips: ImageArray) -> float:
    """Write a network as ONNX, and check that ONNX Runtime answers as torch does.

    Args:
        net: The trained network.
        path: The file.
        classifier: Whether its outputs are logits.
        chips: Shape (N, S, S, 3), N >= 2: real chips for the check.

    Returns:
        The largest difference between the two answers.

    Raises:
        InputError: If the graph cannot be written, or answers differently.
    """
    deployed = Deployed(net, classifier=classifier).eval().to(memory_format=torch.contiguous_format)
    sample = torch.from_numpy(np.ascontiguousarray(chips[:8]))
    temporary = path.with_name(f".{secrets.token_hex(8)}.onnx")
    name = "probabilities" if classifier else "embeddings"
    try:
        with _quiet():
            _write(deployed, sample, temporary, name)
        with torch.no_grad():
            expected = deployed(sample).numpy()
        got = run_onnx(temporary, sample.numpy())
        difference = float(np.abs(expected - got).max())
        single = float(np.abs(run_onnx(temporary, sample[:1].numpy()) - expected[:1]).max())
        worst = max(difference, single)
        if not worst <= TOLERANCE:
            raise InputError(f"the ONNX graph of {net.name} differs from torch by {worst:.2g}.")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
        net.to(memory_format=torch.channels_last)
    return worst


def _write(deployed: Deployed, sample: Tensor, path: Path, name: str) -> None:
    """Write the graph: by tracing, which takes a second; by torch.export where that is gone."""
    options: dict[str, Any] = {"input_names": ["chips"], "output_names": [name]}
    try:
        torch.onnx.export(
            deployed,
            (sample,),
            str(path),
            dynamic_axes={"chips": {0: "n"}, name: {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
            **options,
        )
    except Exception:  # not in this torch, or a layer that it does not know
        torch.onnx.export(
            deployed,
            (sample,),
            str(path),
            dynamic_shapes={"chips": {0: torch.export.Dim("n", min=1)}},
            opset_version=OPSET + 1,
            dynamo=True,
            external_data=False,
            **options,
        )


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporter's chatter off the terminal."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = [(logging.getLogger(n), logging.getLogger(n).level) for n in names]
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
