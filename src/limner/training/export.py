"""From a trained network to an ONNX graph that takes chips and needs no torch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from limner.errors import InputError
from limner.nets.backbone import Backbone, ClassifierHead
from limner.training.class_losses import Loss
from limner.training.class_matrix import ClassMatrix, matrix_of_loss, split_classifier
from limner.training.onnx_run import EMBEDDINGS, PROBABILITIES, run_onnx
from limner.types import ImageArray

OPSET = 17
TOLERANCE = 2e-3
"""Largest difference that is allowed between torch's and ONNX Runtime's outputs."""


class Deployed(nn.Module):
    """Chips in; unit embeddings out, and probabilities where the people are known.

    Args:
        normalisation: From uint8 chips to what the network reads.
        body: The network up to its features or embedding, of any length.
        classes: From these to its people's logits; None where it knows none.
    """

    def __init__(
        self, normalisation: nn.Module, body: nn.Module, classes: ClassMatrix | None = None
    ) -> None:
        super().__init__()
        self.normalisation, self.body = normalisation, body
        self.unit = classes is not None and classes.unit
        if classes is not None:
            self.register_buffer("weight", classes.weight.clone())
            self.register_buffer("bias", classes.bias.clone())
        self.outputs = [EMBEDDINGS] if classes is None else [EMBEDDINGS, PROBABILITIES]

    def forward(self, chips: Tensor) -> tuple[Tensor, ...]:
        """Map (N, S, S, 3) uint8 RGB to unit rows (N, D), and probabilities (N, C)."""
        y: Tensor = self.body(self.normalisation(chips))
        unit = functional.normalize(y, dim=1)
        if len(self.outputs) == 1:
            return (unit,)
        classes = ClassMatrix(self.get_buffer("weight"), self.get_buffer("bias"), False)
        return unit, functional.softmax(classes.logits(unit if self.unit else y), dim=1)


def deployed(net: Backbone, loss: Loss, *, classifier: bool) -> Deployed:
    """Return a trained network for both tasks, as far as it can do both.

    Args:
        net: The trained network.
        loss: What it was trained with.
        classifier: Whether its outputs are logits: its embedding is then what its last layer
            reads. Otherwise the people are those of the loss, if it knows them.
    """
    head, classes = net.head, matrix_of_loss(loss)
    if classifier:
        assert isinstance(net.head, ClassifierHead)
        head, classes = split_classifier(net.head)
    body = nn.Sequential(OrderedDict(trunk=net.trunk, head=head))
    return Deployed(net.input.normalisation(), body, classes)


def export_onnx(whole: Deployed, path: Path, *, chips: ImageArray, name: str) -> float:
    """Write a network as ONNX, and check that ONNX Runtime answers as torch does.

    Args:
        whole: The trained network.
        path: The file.
        chips: Shape (N, S, S, 3), N >= 2: real chips for the check.
        name: Of the network, for messages.

    Returns:
        The largest difference between the two answers.

    Raises:
        InputError: If the graph cannot be written, or answers differently.
    """
    whole = whole.eval().to(memory_format=torch.contiguous_format)
    sample = torch.from_numpy(np.ascontiguousarray(chips[:8]))
    temporary = path.with_name(f".{secrets.token_hex(8)}.onnx")
    try:
        with _quiet():
            _write(whole, sample, temporary)
        with torch.no_grad():
            answers = [answer.numpy() for answer in whole(sample)]
        worst = 0.0
        for output, expected in zip(whole.outputs, answers, strict=True):
            for count in (len(sample), 1):
                got = run_onnx(temporary, sample[:count].numpy(), output=output)
                worst = max(worst, float(np.abs(expected[:count] - got).max()))
        if not worst <= TOLERANCE:
            raise InputError(f"the ONNX graph of {name} differs from torch by {worst:.2g}.")
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
        whole.to(memory_format=torch.channels_last)
    return worst


def _write(deployed: Deployed, sample: Tensor, path: Path) -> None:
    """Write the graph: by tracing, which takes a second; by torch.export where that is gone."""
    names = deployed.outputs
    options: dict[str, Any] = {"input_names": ["chips"], "output_names": names}
    try:
        torch.onnx.export(
            deployed,
            (sample,),
            str(path),
            dynamic_axes={name: {0: "n"} for name in ("chips", *names)},
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
