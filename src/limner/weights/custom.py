"""A user's own embedder: any ONNX file that turns face chips into vectors.

The graph is looked at, never trusted: the file is parsed as data, external tensors must lie
beside it, and input and output must have a shape that an embedder has.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from limner.errors import InputError, WeightsError
from limner.weights.cache import sha256_of

Layout = Literal["nchw", "nhwc"]
ChipCrop = Literal["arcface", "facenet", "dlib"]
FOLDER_FILE = "model.onnx"  # of a folder that `limner train` wrote, beside model.json
PREPROCESSING = 1  # counts up when limner prepares chips for custom embedders differently
_MAX_DIM = 16384
_MAX_SIZE = 2048
Triple = tuple[float, float, float]


def _triple(name: str, value: float | Sequence[float]) -> Triple:
    values = [value] * 3 if isinstance(value, int | float) else list(value)
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise InputError(f"{name} must be one number or three, got {value!r}.")
    return numbers[0], numbers[1], numbers[2]


@dataclass(frozen=True)
class OnnxOptions:
    """How to feed a custom embedder. The defaults are those of ArcFace-type models.

    Attributes:
        size_px: Height and width of a chip; None to read it from the graph.
        mean: Subtracted from pixel values 0..255, in the graph's colour order; one number
            stands for three.
        std: Divides the difference.
        colour: Colour order that the graph reads.
        layout: Order of the graph's axes; None to read it from the graph.
        output: Name of the output that is the embedding; None where there is only one.
        crop: How the chip is cut: by five landmarks as ArcFace's or dlib's, or as facenet's
            widened box.

    Raises:
        InputError: If a value is out of range or on the wrong scale.
    """

    size_px: int | None = None
    mean: float | Triple = 127.5
    std: float | Triple = 127.5
    colour: Literal["rgb", "bgr"] = "rgb"
    layout: Layout | None = None
    output: str | None = None
    crop: ChipCrop = "arcface"

    def __post_init__(self) -> None:
        size = self.size_px
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size is not None and not (whole and 16 <= size <= _MAX_SIZE):
            raise InputError(f"size_px must be a whole number in 16..{_MAX_SIZE}, got {size!r}.")
        mean, std = _triple("mean", self.mean), _triple("std", self.std)
        if min(std) <= 0:
            raise InputError(f"std must be positive, got {self.std!r}.")
        if 0 < max(mean) < 1:
            raise InputError(
                f"mean {self.mean!r} is on the scale 0..1; pixel values are 0..255, "
                "so multiply mean and std by 255."
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)
        if self.colour not in ("rgb", "bgr"):
            raise InputError(f"colour must be 'rgb' or 'bgr', got {self.colour!r}.")
        if self.layout not in (None, "nchw", "nhwc"):
            raise InputError(f"layout must be 'nchw' or 'nhwc', got {self.layout!r}.")
        if self.output is not None and not isinstance(self.output, str):
            raise InputError(f"output must be a name, got {self.output!r}.")
        if self.crop not in get_args(ChipCrop):
            raise InputError(
                f"crop must be one of {', '.join(get_args(ChipCrop))}, got {self.crop!r}."
            )


@dataclass(frozen=True)
class CustomModel:
    """A custom embedder, looked at and found usable.

    Attributes:
        path: The ONNX file.
        digest: SHA-256 of the file, and of its external tensors if it has any.
        dim: Width D of the embedding.
        chip_size: Height and width of a chip in pixels.
        input_name: The graph's input.
        output_name: The graph's output; reshape it to (N, D).
        layout: Order of the input's axes.
        dtype: What the input holds: `float32`, or `uint8` for a graph that normalises itself.
        batch: Number of chips per run that the graph insists on; None if it is free.
        options: As given or read, with mean and std as triples.
    """

    path: Path
    digest: str
    dim: int
    chip_size: int
    input_name: str
    output_name: str
    layout: Layout
    dtype: Literal["float32", "uint8"]
    batch: int | None
    options: OnnxOptions

    @property
    def name(self) -> str:
        """The file's name without its ending, fit for an embedder id.

        A trained model's file is always called `model.onnx`; its folder has the name.
        """
        stem = self.path.stem
        if self.path.name == FOLDER_FILE and self.path.with_suffix(".json").is_file():
            stem = self.path.absolute().parent.name
        return re.sub(r"[^A-Za-z0-9_.]+", "_", stem).strip("_") or "custom"

    @property
    def embedder_id(self) -> str:
        """Name, digest and a hash of everything that decides how chips are prepared."""
        decides = {
            **asdict(self.options),
            "size_px": self.chip_size,
            "layout": self.layout,
            "output": self.output_name,
            "preprocessing": PREPROCESSING,
        }
        if decides["crop"] == "arcface":
            del decides["crop"]  # ids from before there was a choice stay as they are
        options = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        return f"{self.name}-{self.digest[:12]}-{options[:8]}"


def read_options(path: Path) -> OnnxOptions:
    """Read options from a TOML file, such as `model.toml` beside `model.onnx`.

    Raises:
        InputError: If the file cannot be read, or holds unknown keys or bad values.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} cannot be read as TOML: {error}.") from error
    allowed = [f.name for f in fields(OnnxOptions)]
    unknown = sorted(set(document) - set(allowed))
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0]!r}; allowed are {', '.join(allowed)}.")
    try:
        return OnnxOptions(**document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def inspect_onnx(path: str | Path, options: OnnxOptions | None = None) -> CustomModel:
    """Look at a user's ONNX file and find out how to use it as an embedder.

    Args:
        path: The file.
        options: How to feed it; None to read `STEM.toml` beside it if there is one, else
            the defaults of `OnnxOptions`.

    Raises:
        WeightsError: If the file cannot be read, is not an ONNX graph, refers to files outside
            its folder, or has no input or output that an embedder has.
        InputError: If the options contradict the graph, or are needed and missing.
    """
    import onnx

    path = Path(path).expanduser()
    if options is None:
        beside = path.with_suffix(".toml")
        options = read_options(beside) if beside.is_file() else OnnxOptions()
    try:
        model = onnx.load(str(path), load_external_data=False)
        digest = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        raise WeightsError(f"{path} is not an ONNX model.") from error
    if not model.graph.node or not model.graph.output:
        raise WeightsError(f"{path} is not an ONNX model, or an empty one.")
    outside = _external_files(model, path)
    if outside:
        joined = [digest, *(sha256_of(file) for file in outside)]
        digest = hashlib.sha256("".join(joined).encode()).hexdigest()
    name, dims, dtype = _input(model, path)
    layout = _layout(dims, options, path)
    size = _size(dims, layout, options, path)
    batch = dims[0] if isinstance(dims[0], int) else None
    if batch is not None and batch != 1:
        raise WeightsError(f"{path} takes batches of exactly {batch}; 1 or any number is needed.")
    output, dim = _output(model, options, path)
    if dim is None:
        shape = (1, 3, size, size) if layout == "nchw" else (1, size, size, 3)
        dim = _measure(path, name, output, shape, dtype)
    if not 2 <= dim <= _MAX_DIM:
        raise WeightsError(
            f"{path} gives vectors of {dim} numbers; an embedding has 2 to {_MAX_DIM}."
        )
    return CustomModel(
        path, digest, dim, size, name, output, layout, dtype, batch, options
    )  # fmt: skip


def _dims(value: Any) -> list[int | str]:
    shape = value.type.tensor_type.shape
    return [int(d.dim_value) if d.dim_value > 0 else (d.dim_param or "?") for d in shape.dim]


def _words(dims: Sequence[int | str]) -> str:
    return "(" + ", ".join(str(d) for d in dims) + ")"


def _input(model: Any, path: Path) -> tuple[str, list[int | str], Literal["float32", "uint8"]]:
    import onnx

    weights = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in weights]
    if len(inputs) != 1:
        raise WeightsError(f"{path} has {len(inputs)} inputs; an embedder has one, the chips.")
    kinds: dict[int, Literal["float32", "uint8"]] = {
        onnx.TensorProto.FLOAT: "float32",
        onnx.TensorProto.UINT8: "uint8",
    }
    kind = kinds.get(inputs[0].type.tensor_type.elem_type)
    if kind is None:
        raise WeightsError(f"{path}: the input {inputs[0].name!r} must hold float32 or uint8.")
    dims = _dims(inputs[0])
    if len(dims) != 4:
        raise WeightsError(
            f"{path}: the input {inputs[0].name!r} has shape {_words(dims)}; chips have four "
            "axes, (N, 3, S, S) or (N, S, S, 3)."
        )
    return inputs[0].name, dims, kind


def _layout(dims: list[int | str], options: OnnxOptions, path: Path) -> Layout:
    fits: dict[Layout, bool] = {
        "nchw": dims[1] == 3 or isinstance(dims[1], str),
        "nhwc": dims[3] == 3 or isinstance(dims[3], str),
    }
    if options.layout is not None:
        if not fits[options.layout]:
            raise InputError(f"{path} takes {_words(dims)}, which is not {options.layout}.")
        return options.layout
    sure: list[Layout] = [k for k, i in (("nchw", 1), ("nhwc", 3)) if dims[i] == 3]  # type: ignore[misc]
    if len(sure) == 1:
        return sure[0]
    if not any(fits.values()):
        raise WeightsError(f"{path} takes {_words(dims)}; three colour channels are needed.")
    raise InputError(
        f"{path} takes {_words(dims)}, which does not say where the channels are; "
        "give layout 'nchw' or 'nhwc'."
    )


def _size(dims: list[int | str], layout: Layout, options: OnnxOptions, path: Path) -> int:
    sides = dims[2:4] if layout == "nchw" else dims[1:3]
    fixed = {s for s in sides if isinstance(s, int)}
    if len(fixed) > 1:
        raise WeightsError(f"{path} takes {_words(dims)}; chips are square.")
    if not fixed:
        if options.size_px is None:
            raise InputError(f"{path} takes chips of any size; give size_px (--embedder-size).")
        return options.size_px
    size = fixed.pop()
    if options.size_px not in (None, size):
        raise InputError(f"{path} takes chips of {size} pixels, but size_px is {options.size_px}.")
    if not 16 <= size <= _MAX_SIZE:
        raise WeightsError(f"{path} takes chips of {size} pixels; 16 to {_MAX_SIZE} are usable.")
    return size


def _output(model: Any, options: OnnxOptions, path: Path) -> tuple[str, int | None]:
    """Return the name of the embedding and its width, if the graph states it."""
    import onnx

    outputs = list(model.graph.output)
    if not any(len(_dims(o)) for o in outputs):
        try:
            outputs = list(onnx.shape_inference.infer_shapes(model).graph.output)
        except Exception:
            outputs = list(model.graph.output)  # the width is then measured
    names = [o.name for o in outputs]
    if options.output is not None:
        if options.output not in names:
            raise InputError(f"{path} has no output {options.output!r}; it has {', '.join(names)}.")
        outputs = [o for o in outputs if o.name == options.output]
    vectors = [o for o in outputs if _is_vector(_dims(o))]
    if len(vectors) > 1:
        raise InputError(f"{path} has several outputs: {', '.join(names)}; give output.")
    if not vectors:
        shapes = ", ".join(f"{o.name} {_words(_dims(o))}" for o in outputs)
        raise WeightsError(f"{path} gives {shapes}; an embedder gives vectors (N, D).")
    dims = _dims(vectors[0])
    width = dims[1] if len(dims) > 1 else "?"
    return vectors[0].name, width if isinstance(width, int) else None


def _is_vector(dims: list[int | str]) -> bool:
    """Whether a shape is (N, D), (N, D, 1, 1), or not stated at all."""
    return len(dims) in (0, 2) or (len(dims) == 4 and dims[2:] == [1, 1])


def _measure(
    path: Path, input_name: str, output_name: str, shape: tuple[int, ...], dtype: str
) -> int:
    """Run the graph once, on a black chip, to learn the width of its output."""
    import numpy as np
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        result = session.run([output_name], {input_name: np.zeros(shape, dtype)})[0]
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be run: {reason}") from error
    if np.ndim(result) not in (2, 4) or np.shape(result)[0] != 1:
        raise WeightsError(
            f"{path} gives shape {np.shape(result)} for one chip; an embedder gives (1, D)."
        )
    return int(np.size(result))


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                if graph.node or graph.initializer:
                    yield from _tensors(graph)


def _in_memory(location: str) -> bool:
    """Tell whether ONNX Runtime would take a place for an address in its own memory."""
    return "_ort_mem_addr_" in location.lower()


def _external_files(model: Any, path: Path) -> list[Path]:
    """Return the files of external tensors, each inside the model's own folder."""
    import onnx

    folder = path.resolve().parent
    found: set[Path] = set()
    tensors = list(_tensors(model.graph))
    for function in model.functions:
        tensors.extend(_node_tensors(function.node))
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        places = [e.value for e in tensor.external_data if e.key == "location"]
        if len(places) != 1 or _in_memory(places[0]):
            raise WeightsError(f"{path} does not name one file for each tensor; that is refused.")
        location = places[0]
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder):
            raise WeightsError(
                f"{path} refers to the file {location!r} outside its folder; that is refused."
            )
        if not file.is_file():
            raise WeightsError(f"{path} needs the file {location!r} beside it, which is missing.")
        found.add(file)
    return sorted(found)
