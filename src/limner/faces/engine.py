"""What runs a network: ONNX Runtime, OpenVINO (an extra) or torch.

An `Engine` takes uint8 RGB chips (N, S, S, 3), or whatever array its graph reads, and gives
float32 (N, D). All of them give the same vectors to 1e-4 in float32; where the processor
multiplies bfloat16, OpenVINO and torch use it (bounded by a test of the embeddings' cosine).
A graph in 8-bit integers is run by ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from limner.device import cpu_threads, supports_bf16
from limner.errors import InputError, MissingExtraError, WeightsError
from limner.types import FloatArray

Engine = Callable[[Any], FloatArray]


def resolve_engine(
    name: str,
    device: str,
    *,
    onnx_path: Path,
    module: Callable[[], Any] | None,
    threads: int | None = None,
) -> Engine:
    """Choose and open what runs a network.

    Args:
        name: ``auto``, ``onnxruntime``, ``openvino`` or ``torch``. ``auto`` is torch on a GPU;
            on a CPU with bfloat16 OpenVINO if it is installed, else ONNX Runtime.
        device: As `limner.device.resolve` returns it.
        onnx_path: The network as a graph.
        module: Makes the network as a torch module; None where there is none.
        threads: Threads inside one operation; None for all that this process may use.

    Raises:
        InputError: If the engine does not compute on that device.
        MissingExtraError: If the engine is not installed.
        WeightsError: If the graph cannot be run.
    """
    if name == "auto":
        if device != "cpu" and module is not None:
            name = "torch"
        elif device == "cpu" and supports_bf16() and _has_openvino():
            name = "openvino"
        else:
            name = "onnxruntime"
    if name == "torch" and module is not None:
        return _torch(module(), device)
    if name == "openvino":
        if device != "cpu":
            raise InputError(f"the engine 'openvino' computes on the CPU alone, got {device!r}.")
        return _openvino(onnx_path, threads)
    return _onnxruntime(onnx_path, threads, device)


def open_session(path: Path, *, threads: int | None = None, device: str = "cpu") -> Any:
    """Open an ONNX file for inference.

    Args:
        path: The ``.onnx`` file.
        threads: Threads inside one operation; None for all that this process may use.
        device: As `limner.device.resolve_onnx` returns it.

    Returns:
        An ``onnxruntime.InferenceSession``; safe to call from several threads.

    Raises:
        WeightsError: If the file is not a graph that ONNX Runtime can run.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cpu_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle workers sleep instead of spinning: two sessions then share the cores fairly.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=_providers(device))
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise WeightsError(f"{path} cannot be run by ONNX Runtime: {reason}") from error


def _providers(device: str) -> list[Any]:
    kind, _, number = device.partition(":")
    cpu: list[Any] = ["CPUExecutionProvider"]
    return cpu if kind == "cpu" else [("CUDAExecutionProvider", {"device_id": number or "0"}), *cpu]


def _onnxruntime(path: Path, threads: int | None, device: str = "cpu") -> Engine:
    session = open_session(path, threads=threads, device=device)
    name = session.get_inputs()[0].name
    outputs = [session.get_outputs()[0].name]

    def run(chips: Any) -> FloatArray:
        return np.asarray(session.run(outputs, {name: chips})[0], np.float32)

    return run


def _has_openvino() -> bool:
    from importlib.util import find_spec

    return find_spec("openvino") is not None


@lru_cache(maxsize=1)
def _openvino_core() -> Any:
    """Return the process's one core, which is never given back.

    Each core gives the main thread a stack for signals and takes it away when it goes. Of two,
    the second to go restores the stack of the first, and the next Ctrl-C is a crash.
    """
    import openvino as ov

    return ov.Core()


def _openvino(path: Path, threads: int | None) -> Engine:
    if not _has_openvino():
        raise MissingExtraError(
            "the engine 'openvino' needs the package openvino: pip install 'limner[openvino]'."
        )
    # A stream answers one request at a time: an engine of few threads gets as many streams as
    # the cores hold, or callers on several threads would take turns on one core.
    threads = threads or cpu_threads()
    streams = max(1, cpu_threads() // threads)
    settings = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams * threads}
    try:
        compiled = _openvino_core().compile_model(str(path), "CPU", settings)
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise WeightsError(f"{path} cannot be run by OpenVINO: {reason}") from error

    def run(chips: Any) -> FloatArray:
        # One request each: compiled models are shared between threads, requests are not.
        result = compiled.create_infer_request().infer([np.ascontiguousarray(chips)])
        return np.array(result[0], np.float32)

    return run


def _torch(module: Any, device: str) -> Engine:
    import torch

    module = module.to(device).eval()
    half = device == "cpu" and supports_bf16()

    def run(chips: Any) -> FloatArray:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=half),
        ):
            rows = module(torch.from_numpy(np.ascontiguousarray(chips)).to(device))
        return np.asarray(rows.float().cpu().numpy(), np.float32)

    return run
