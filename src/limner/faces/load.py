"""Load an embedder: one of the registry, a user's own ONNX file, or a trained one."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from limner import device as devices
from limner import weights
from limner.errors import InputError, UnknownNameError, WeightsError
from limner.faces.align import ARCFACE, DLIB, DLIB_POINTS, FACENET, Crop
from limner.faces.embed import FusedEmbedder, NetworkEmbedder
from limner.faces.engine import Engine, resolve_engine
from limner.faces.five_points import FivePoints
from limner.similarity import Calibration
from limner.similarity.shipped import bring
from limner.types import FloatArray, ImageArray
from limner.weights.custom import FOLDER_FILE
from limner.weights.registry import DEFAULT_EMBEDDER, MIRRORED

CROPS: dict[str, Crop] = {"facenet": FACENET, "dlib": DLIB_POINTS, "sface": ARCFACE}
"""How each embedder of the registry wants its chip; counts towards ``preprocessing`` there."""

_CUSTOM_CROPS: dict[str, Crop] = {"arcface": ARCFACE, "facenet": FACENET, "dlib": DLIB}

EngineName = Literal["auto", "int8", "onnxruntime", "openvino", "torch"]


def shipped_centre(name: str) -> tuple[FloatArray, FloatArray] | None:
    """Return what is taken from an embedder's unit embeddings; None where nothing is.

    It was computed on the photos of LFW View 1 by ``bench/fit_shipped.py``, and counts
    towards ``preprocessing`` in the registry.

    Returns:
        The mean unit embedding, shape (D,), and the directions of nuisance, shape (K, D).
    """
    text = resources.files("limner.faces").joinpath("data/centres.json").read_text("utf-8")
    row = json.loads(text).get(name)
    if row is None:
        return None
    return np.asarray(row["centre"], np.float32), np.asarray(row["nuisance"], np.float32)


def load_embedder(
    name_or_path: str | Path = DEFAULT_EMBEDDER,
    *,
    device: str = "auto",
    engine: EngineName = "auto",
    mirror: bool = False,
    options: weights.OnnxOptions | None = None,
    threads: int | None = None,
) -> NetworkEmbedder | FusedEmbedder:
    """Load an embedder: one of the registry, or a user's own ONNX file.

    Args:
        name_or_path: A name of the registry, a path that ends in ``.onnx``, or a folder that
            ``limner train embed`` wrote.
        device: As `limner.device.resolve` takes it.
        engine: ``auto`` is torch on a GPU, and on a CPU what was measured fastest there:
            ``int8`` for the embedders that have such a graph, ONNX Runtime in 8-bit integers.
        mirror: Whether mirrored chips are averaged in; duo always does that.
        options: How to feed a user's own file; None to read the file beside it.
        threads: Threads of the engine; None for all that this process may use.

    Raises:
        UnknownNameError: If there is no embedder of that name, or it has no graph for that engine.
        WeightsError: If the weights cannot be had or read.
        InputError: If a user's file contradicts its options.
    """
    if engine not in get_args(EngineName):
        words = ", ".join(repr(word) for word in get_args(EngineName))
        raise UnknownNameError(f"engine must be one of {words}, got {engine!r}.")
    own = str(name_or_path).endswith(".onnx") or (
        Path(name_or_path).is_dir() and str(name_or_path) not in weights.names()
    )
    where = _place(device, engine, own=own)
    if str(name_or_path).endswith(".onnx"):
        return _custom(Path(name_or_path), options, where, engine, mirror, threads)
    name = str(name_or_path)
    known = [n for n in weights.names() if weights.spec(n).task == "embedder"]
    if name not in known and Path(name).is_dir():
        return _from_folder(Path(name), options, where, engine, mirror, threads)
    if name not in known:
        raise UnknownNameError(
            f"there is no embedder {name!r}; there are {', '.join(known)}, "
            "or give the path of your own .onnx file, or a folder that limner train wrote."
        )
    spec = weights.spec(name)
    if spec.parts:
        parts = [
            (_registered(p.name, where, engine, mirror or p.mirror, threads), p.weight)
            for p in spec.parts
        ]
        more = mirror and not all(p.mirror for p in spec.parts)
        own_id = f"{spec.embedder_id}{MIRRORED}" if more else spec.embedder_id
        return FusedEmbedder(name=name, embedder_id=own_id, parts=parts)
    return _registered(name, where, engine, mirror, threads)


def _place(device: str, engine: EngineName, *, own: bool) -> str:
    """Return where a network computes: its engine decides which devices there are."""
    if engine in ("openvino", "int8"):
        if device not in ("auto", "cpu"):
            raise InputError(f"the engine {engine!r} computes on the CPU alone, got {device!r}.")
        return "cpu"
    if engine == "onnxruntime" or own:
        return devices.resolve_onnx(device)
    return devices.resolve(device)


def _registered(
    name: str, where: str, engine: EngineName, mirror: bool, threads: int | None
) -> NetworkEmbedder:
    spec = weights.spec(name)
    if engine == "int8" and not spec.int8:
        raise UnknownNameError(
            f"{name} has no graph for the engine 'int8'; use 'auto', 'onnxruntime', 'openvino' or "
            "'torch'."
        )
    int8 = spec.int8 and (engine == "int8" or (engine == "auto" and where == "cpu"))
    kind = "int8" if int8 else "onnx"
    loaded = weights.load(name, kinds=(kind,))
    if spec.size_px is None or spec.dim is None:
        raise WeightsError(f"{name}: the registry states neither size_px nor dim.")

    def open_engine(count: int | None) -> Engine:
        return resolve_engine(
            "onnxruntime" if int8 else engine,
            where,
            onnx_path=loaded.files[kind],
            module=lambda: weights.torch_module(loaded),
            threads=count,
        )

    centre, nuisance = shipped_centre(name) or (None, None)
    return NetworkEmbedder(
        name=name,
        embedder_id=spec.embedder_id,
        dim=spec.dim,
        chip_size=spec.size_px,
        crop=CROPS[name],
        engine=open_engine(threads),
        mirror=mirror,
        reopen=open_engine if where == "cpu" and engine != "torch" else None,
        centre=centre,
        nuisance=nuisance,
        points=_five_points() if "dlib_points" in spec.needs else None,
    )


def _five_points() -> FivePoints:
    from safetensors.numpy import load_file

    return FivePoints(load_file(weights.load("dlib_points").files["safetensors"]))


def _custom(
    path: Path,
    options: weights.OnnxOptions | None,
    where: str,
    engine: EngineName,
    mirror: bool,
    threads: int | None,
) -> NetworkEmbedder:
    model = weights.inspect_onnx(path, options)
    if engine in ("torch", "int8"):
        raise UnknownNameError(
            f"{path} is an ONNX file, which the engine {engine!r} cannot run; "
            "use 'auto', 'onnxruntime' or 'openvino'."
        )

    def open_engine(count: int | None) -> Engine:
        runner = resolve_engine(engine, where, onnx_path=path, module=None, threads=count)

        def feed(chips: ImageArray) -> FloatArray:
            rows = [_prepare(chips, model)] if model.batch is None else _one_by_one(chips, model)
            return np.concatenate([runner(batch).reshape(len(batch), -1) for batch in rows])

        return feed

    return NetworkEmbedder(
        name=model.name,
        embedder_id=model.embedder_id,
        dim=model.dim,
        chip_size=model.chip_size,
        crop=_CUSTOM_CROPS[model.options.crop],
        engine=open_engine(threads),
        mirror=mirror,
        reopen=open_engine if where == "cpu" else None,
    )


def _from_folder(
    folder: Path,
    options: weights.OnnxOptions | None,
    where: str,
    engine: EngineName,
    mirror: bool,
    threads: int | None,
) -> NetworkEmbedder:
    """Load a trained embedder, and its thresholds and probabilities where it has them."""
    path = folder / FOLDER_FILE
    if not path.is_file():
        raise WeightsError(
            f"{folder} holds no trained embedder: there is no {FOLDER_FILE}; "
            "`limner train embed DIR -o FOLDER` writes one."
        )
    if not path.with_suffix(".toml").is_file():
        raise WeightsError(
            f"{folder} holds no embedder: it was trained on whole photos (crop: whole); "
            "`limner classify face` asks it."
        )
    embedder = _custom(path, options, where, engine, mirror, threads)
    heads = folder / "pair_heads.json"
    if heads.is_file():
        calibration = Calibration.load(heads)
        if calibration.embedder_id == embedder.embedder_id:
            bring(calibration)
    return embedder


def _one_by_one(chips: ImageArray, model: weights.CustomModel) -> list[Any]:
    return [_prepare(chips[i : i + 1], model) for i in range(len(chips))]


def _prepare(chips: ImageArray, model: weights.CustomModel) -> Any:
    if model.options.colour == "bgr":
        chips = chips[..., ::-1]
    if model.dtype == "uint8":
        values: Any = chips
    else:
        mean = np.asarray(model.options.mean, np.float32)
        std = np.asarray(model.options.std, np.float32)
        values = (chips.astype(np.float32) - mean) / std
    if model.layout == "nchw":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)
