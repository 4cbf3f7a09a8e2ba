"""Run an exported graph, with ONNX Runtime alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limner.device import cpu_threads
from limner.errors import InputError

EMBEDDINGS, PROBABILITIES = "embeddings", "probabilities"
"""A trained model's outputs: unit rows for a distance; one number for each person it knows."""


def run_onnx(path: Path, chips: Any, *, output: str) -> np.ndarray[Any, Any]:
    """Run a graph on chips (N, S, S, 3), uint8 RGB.

    Args:
        path: The graph.
        chips: What it reads.
        output: Which of its outputs is wanted.

    Raises:
        InputError: If it cannot be run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = cpu_threads()
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        feed = {session.get_inputs()[0].name: np.ascontiguousarray(chips)}
        return np.asarray(session.run([output], feed)[0])
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be run: {reason}") from error
