"""Embedders: from chips to unit vectors.

One class serves the registry's networks and a user's own ONNX file; another joins two
embedders into one whose squared distance is the weighted mean of theirs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from limner import device as devices
from limner import weights
from limner.errors import ShapeError, UnknownNameError, WeightsError, ZeroNormError
from limner.faces.align import ARCFACE, DLIB, FACENET, Crop, cut_chip
from limner.faces.engine import Engine, resolve_engine
from limner.similarity import Calibration
from limner.similarity.shipped import bring
from limner.types import Face, FloatArray, ImageArray
from limner.weights.custom import FOLDER_FILE

CROPS: dict[str, Crop] = {"facenet": FACENET, "dlib": DLIB}
"""How each embedder of the registry wants its chip; counts towards ``preprocessing`` there."""

_CUSTOM_CROPS: dict[str, Crop] = {"arcface": ARCFACE, "facenet": FACENET, "dlib": DLIB}

BATCH = 16
"""Chips that go through a network at once: more gain nothing on a CPU and cost memory."""

EngineName = Literal["auto", "onnxruntime", "openvino", "torch"]


class Embedder(Protocol):
    """Anything that turns faces into embeddings.

    Attributes:
        name: Short name.
        embedder_id: Name, weights digest and preprocessing version, and ``-m`` for mirrored.
        dim: Width D of an embedding.
        chip_size: Height and width of a chip in pixels.
    """

    name: str
    embedder_id: str
    dim: int
    chip_size: int

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        """Cut the chip of a face, shape (chip_size, chip_size, 3), uint8 RGB."""
        ...

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        """Return unit embeddings, shape (N, dim), float32, of N chips."""
        ...


class NetworkEmbedder:
    """One network behind a chip.

    Args:
        name: For messages and JSON.
        embedder_id: What a gallery records.
        dim: Width of the embedding.
        chip_size: Height and width of a chip in pixels.
        crop: How the chip is cut.
        engine: What runs the network: uint8 RGB chips (N, S, S, 3) in, (N, D) out.
        mirror: Whether the chip's mirror image is embedded too and the two are averaged:
            twice the work for a little accuracy.
        reopen: Opens another engine for the same network with so many threads; None where
            the network runs on a GPU.
        centre: Shape (dim,): taken from every unit embedding before it is scaled to length
            one again. Faces then spread over the whole sphere instead of one side of it, and
            strangers lie further apart.
    """

    def __init__(
        self,
        *,
        name: str,
        embedder_id: str,
        dim: int,
        chip_size: int,
        crop: Crop,
        engine: Engine,
        mirror: bool = False,
        reopen: Callable[[int], Engine] | None = None,
        centre: FloatArray | None = None,
    ) -> None:
        self.name = name
        self.embedder_id = f"{embedder_id}-m" if mirror else embedder_id
        self.dim = dim
        self.chip_size = chip_size
        self.crop = crop
        self.engine = engine
        self.mirror = mirror
        self.centre = centre
        self._reopen = reopen
        self._one: NetworkEmbedder | None = None

    def single_threaded(self) -> NetworkEmbedder | None:
        """Return the same embedder on an engine of one thread; None on a GPU.

        A core each for several photos gets more faces through the network than all cores for
        one: the network's layers are too small to share out well (docs/benchmarks.md).
        """
        if self._one is None and self._reopen is not None:
            self._one = copy.copy(self)
            self._one.engine = self._reopen(1)
        return self._one

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        """Cut the chip of a face, shape (chip_size, chip_size, 3), uint8 RGB."""
        return cut_chip(image, face, self.crop, size=self.chip_size)

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        """Return unit embeddings, shape (N, dim), float32, of N chips.

        Raises:
            ShapeError: If a chip is not (chip_size, chip_size, 3), uint8.
            ZeroNormError: If the network answers with a vector of length zero or of NaN.
        """
        wanted = (self.chip_size, self.chip_size, 3)
        for chip in chips:
            if chip.shape != wanted or chip.dtype != np.uint8:
                raise ShapeError(
                    f"a chip for {self.name} must be uint8 of shape {wanted}, "
                    f"got {chip.dtype} of shape {chip.shape}."
                )
        if not len(chips):
            return np.zeros((0, self.dim), np.float32)
        parts = []
        for start in range(0, len(chips), BATCH):
            batch = np.stack(chips[start : start + BATCH])
            if self.mirror:
                both = unit_rows(self.engine(np.concatenate([batch, batch[:, :, ::-1]])))
                parts.append(both[: len(batch)] + both[len(batch) :])
            else:
                parts.append(self.engine(batch))
        rows = unit_rows(np.concatenate(parts))
        return rows if self.centre is None else unit_rows(rows - self.centre)


class FusedEmbedder:
    """Several embedders as one: the squared distance is the weighted mean of theirs.

    The unit embeddings are scaled by the roots of their weights and joined:
    ``||a - b||^2 = sum_k w_k ||a_k - b_k||^2`` with the weights summing to one.

    Args:
        name: For messages and JSON.
        embedder_id: What a gallery records.
        parts: Embedder and weight, the first one's chip being the chip that is kept.
    """

    def __init__(
        self, *, name: str, embedder_id: str, parts: Sequence[tuple[NetworkEmbedder, float]]
    ) -> None:
        total = sum(weight for _, weight in parts)
        self.name = name
        self.parts = [(part, float(np.sqrt(weight / total))) for part, weight in parts]
        self.embedder_id = f"{embedder_id}-m" if parts[0][0].mirror else embedder_id
        self.dim = sum(part.dim for part, _ in parts)
        # The chips of all parts are stacked below each other and padded to one width.
        self.chip_size = max(part.chip_size for part, _ in parts)

    def single_threaded(self) -> FusedEmbedder | None:
        """Return the same embedder on engines of one thread; None on a GPU."""
        ones = [(part.single_threaded(), root) for part, root in self.parts]
        found = [(part, root) for part, root in ones if part is not None]
        if len(found) < len(ones):
            return None
        clone = copy.copy(self)
        clone.parts = found
        return clone

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        """Cut the chips of all parts, one below the other: (parts * S, S, 3), uint8 RGB."""
        size = self.chip_size
        sheet = np.zeros((len(self.parts) * size, size, 3), np.uint8)
        for i, (part, _) in enumerate(self.parts):
            s = part.chip_size
            sheet[i * size : i * size + s, :s] = part.chip(image, face)
        return sheet

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        """Return unit embeddings, shape (N, dim), float32, of N stacked chips.

        Raises:
            ShapeError: If a chip is not what `chip` returns.
        """
        size = self.chip_size
        wanted = (len(self.parts) * size, size, 3)
        for chip in chips:
            if chip.shape != wanted:
                raise ShapeError(
                    f"a chip for {self.name} must have shape {wanted}, got {chip.shape}."
                )
        joined = []
        for i, (part, root) in enumerate(self.parts):
            s = part.chip_size
            own = [chip[i * size : i * size + s, :s] for chip in chips]
            joined.append(part.embed_chips(own) * np.float32(root))
        return unit_rows(np.concatenate(joined, axis=1))


def shipped_centre(name: str) -> FloatArray | None:
    """Return the mean unit embedding that is taken from an embedder's; None where none is.

    It was computed on the photos of LFW View 1 by ``bench/fit_shipped.py``, and counts
    towards ``preprocessing`` in the registry.
    """
    text = resources.files("limner.faces").joinpath("data/centres.json").read_text("utf-8")
    row = json.loads(text).get(name)
    return None if row is None else np.asarray(row, np.float32)


def unit_rows(rows: FloatArray) -> FloatArray:
    """Scale each row of (N, D) to length one.

    Raises:
        ZeroNormError: If a row has length zero or holds NaN.
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ZeroNormError(
            "the embedder answered with a vector of length zero or of NaN; "
            "check its mean, std and colour order."
        )
    return np.asarray(rows / norms, np.float32)


def load_embedder(
    name_or_path: str | Path = "facenet",
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
        engine: ``auto`` is torch on a GPU, and on a CPU what was measured fastest there.
        mirror: Whether mirrored chips are averaged in.
        options: How to feed a user's own file; None to read the file beside it.
        threads: Threads of the engine; None for all that this process may use.

    Raises:
        UnknownNameError: If there is no embedder of that name.
        WeightsError: If the weights cannot be had or read.
        InputError: If a user's file contradicts its options.
    """
    if engine not in get_args(EngineName):
        words = ", ".join(repr(word) for word in get_args(EngineName))
        raise UnknownNameError(f"engine must be one of {words}, got {engine!r}.")
    where = devices.resolve(device)
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
            (_registered(p.name, where, engine, mirror, threads), p.weight) for p in spec.parts
        ]
        return FusedEmbedder(name=name, embedder_id=spec.embedder_id, parts=parts)
    return _registered(name, where, engine, mirror, threads)


def _registered(
    name: str, where: str, engine: EngineName, mirror: bool, threads: int | None
) -> NetworkEmbedder:
    loaded = weights.load(name, kinds=("onnx",))
    spec = loaded.spec
    if spec.size_px is None or spec.dim is None:
        raise WeightsError(f"{name}: the registry states neither size_px nor dim.")

    def open_engine(count: int | None) -> Engine:
        return resolve_engine(
            engine,
            where,
            onnx_path=loaded.files["onnx"],
            module=lambda: weights.torch_module(loaded),
            threads=count,
        )

    return NetworkEmbedder(
        name=name,
        embedder_id=spec.embedder_id,
        dim=spec.dim,
        chip_size=spec.size_px,
        crop=CROPS[name],
        engine=open_engine(threads),
        mirror=mirror,
        reopen=open_engine if where == "cpu" and engine != "torch" else None,
        centre=shipped_centre(name),
    )


def _custom(
    path: Path,
    options: weights.OnnxOptions | None,
    where: str,
    engine: EngineName,
    mirror: bool,
    threads: int | None,
) -> NetworkEmbedder:
    model = weights.inspect_onnx(path, options)
    if engine == "torch":
        raise UnknownNameError(
            f"{path} is an ONNX file, which the engine 'torch' cannot run; "
            "use 'auto', 'onnxruntime' or 'openvino'."
        )

    def open_engine(count: int | None) -> Engine:
        runner = resolve_engine(engine, "cpu", onnx_path=path, module=None, threads=count)

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
        reopen=open_engine,
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
            f"{folder} holds no embedder; a classifier answers `limner classify face`."
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
