"""Models in the cache: load, look, verify."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limner.errors import WeightsError
from limner.weights import licences, registry
from limner.weights.cache import (
    HOME_VARIABLE,
    SIDECAR,
    cache_dir,
    disk_errors,
    is_intact,
    model_dir,
    original_in,
    sha256_of,
    sweep,
    write_whole,
)
from limner.weights.convert import (
    CONVERTER_VERSION,
    convert,
    kinds_of,
    module_from_state,
    path_of,
)
from limner.weights.locking import locked
from limner.weights.registry import ModelSpec

if TYPE_CHECKING:
    from limner.nets.preprocess import Preprocess
    from limner.weights.fetch import Progress

_log = logging.getLogger("limner.weights")

State = Literal["ready", "fetched", "absent"]


@dataclass(frozen=True)
class Loaded:
    """A model whose files are in the cache, with their digests checked.

    Attributes:
        spec: What the registry says.
        files: Paths by kind, `onnx`, `int8` and `safetensors`; empty for a composite.
        source: Where the original came from.
        digest: SHA-256 of the original that the files were made from; for a composite, of its
            parts.
        parts: The loaded parts of a composite.
    """

    spec: ModelSpec
    files: dict[str, Path]
    source: str
    digest: str
    parts: tuple[Loaded, ...] = ()


@dataclass(frozen=True)
class Status:
    """What the cache holds of a model, by file names and sizes alone.

    Attributes:
        name: The model.
        state: `ready` to use, `fetched` but not converted yet, or `absent`.
        folder: Where its files are or would be.
        bytes: How much it occupies.
        source: Where it came from, if known.
    """

    name: str
    state: State
    folder: Path
    bytes: int
    source: str | None


@dataclass(frozen=True)
class Verification:
    """The digests of a model's files, computed anew.

    Attributes:
        name: The model.
        files: `ok`, `damaged` or `missing` by file name.
    """

    name: str
    files: dict[str, Literal["ok", "damaged", "missing"]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged. A model that was never fetched has no damage."""
        words = set(self.files.values())
        return words <= {"ok"} or words <= {"missing"}


def load(
    name: str,
    *,
    progress: Progress | None = None,
    offline: bool = False,
    kinds: tuple[str, ...] | None = None,
    thorough: bool = False,
) -> Loaded:
    """Return a model's files; fetch and convert them first where the cache lacks them.

    Two processes may call this at once: one fetches, the other waits and uses the result.

    Args:
        name: A name from the registry.
        progress: Told (label, bytes so far, bytes in all or None) during long work.
        offline: Use the cache only.
        kinds: Check only these of the model's kinds of file, which saves reading the others;
            None for all of them. `torch_module` checks what it needs itself.
        thorough: Check, and if need be fetch again, the original file too, which inference
            does not read.

    Raises:
        UnknownNameError: If the registry has no model of that name.
        WeightsError: If no source delivered, a file is damaged, the cache cannot be written, or
            the model's licence is not one that `limner.weights.licences` lets be used.
    """
    return ensure(
        registry.spec(name), progress=progress, offline=offline, kinds=kinds, thorough=thorough
    )


def ensure(
    spec: ModelSpec,
    *,
    progress: Progress | None = None,
    offline: bool = False,
    kinds: tuple[str, ...] | None = None,
    thorough: bool = False,
) -> Loaded:
    """Do what `load` does, for a model that need not be in the registry."""
    licences.require(spec)
    for other in spec.needs:
        load(other, progress=progress, offline=offline, thorough=thorough)
    if spec.converter == "composite":
        parts = tuple(
            load(p.name, progress=progress, offline=offline, kinds=kinds, thorough=thorough)
            for p in spec.parts
        )
        return Loaded(spec, {}, "its parts", spec.sha256, parts)
    folder = model_dir(spec)
    found, trouble = _from_cache(spec, folder, kinds, thorough)
    if found is not None:
        return found
    if offline and original_in(spec, folder) is None:
        raise WeightsError(
            f"The weights of {spec.name} are not in the cache {folder.parent} and this call is "
            f"offline. Run `limner weights pull {spec.name}`, or copy the folder {folder.name} "
            f"from a machine that has it and set {HOME_VARIABLE} if it lies elsewhere."
        )
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        if progress is not None:
            progress(f"{spec.name}: waiting for another process", 0, None)

    with locked(folder / ".lock", waiting=waiting):
        found, trouble = _from_cache(spec, folder, kinds, thorough)
        if found is not None:
            return found
        if trouble:
            _log.warning("%s; %s is made again.", trouble, spec.name)
        sweep(folder)
        _make(spec, folder, progress)
    found, trouble = _from_cache(spec, folder, kinds, thorough)
    if found is None:
        raise WeightsError(f"The weights of {spec.name} in {folder} are unusable: {trouble}.")
    return found


def _make(spec: ModelSpec, folder: Path, progress: Progress | None) -> None:
    """Fetch unless the original is there, convert, and note what was made."""
    source = _read_sidecar(folder).get("source") or "a file that was in the cache"
    original = original_in(spec, folder)
    if original is None:
        from limner.weights.fetch import fetch  # brings http and ssl, which a full cache spares

        source = fetch(spec, folder, progress=progress)
        original = original_in(spec, folder) or spec
    if progress is not None and spec.converter != "as_is":
        progress(f"{spec.name}: converting", 0, None)
    convert(original, folder)
    with disk_errors(folder):
        files = {
            kind: {
                "file": path_of(spec, kind, folder).name,
                "sha256": sha256_of(path_of(spec, kind, folder)),
                "bytes": path_of(spec, kind, folder).stat().st_size,
            }
            for kind in kinds_of(spec)
        }
    document = {
        "model": spec.name,
        "source": source,
        "original": {
            "file": original.file,
            "sha256": original.sha256,
            "bytes": original.bytes,
        },
        "converter": CONVERTER_VERSION,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": files,
    }
    write_whole(folder / SIDECAR, json.dumps(document, indent=2).encode())


def _read_sidecar(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / SIDECAR).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _from_cache(
    spec: ModelSpec, folder: Path, kinds: tuple[str, ...] | None, thorough: bool
) -> tuple[Loaded | None, str]:
    """Return the model if the cache has it whole; else what is wrong (empty: merely absent)."""
    sidecar = _read_sidecar(folder)
    if not sidecar or sidecar.get("converter") != CONVERTER_VERSION:
        return None, ""
    files: dict[str, Path] = {}
    for kind in kinds_of(spec):
        path = path_of(spec, kind, folder)
        try:
            wanted = str(sidecar["files"][kind]["sha256"])
        except (KeyError, TypeError):
            return None, f"The note {folder / SIDECAR} is damaged"
        if spec.converter == "as_is":
            wanted = spec.sha256
        if kinds is None or kind in kinds:
            if not path.exists():
                return None, f"{path} is missing"
            if not is_intact(path, wanted):
                return None, f"{path} is damaged"
        files[kind] = path
    original = _form_of(spec, sidecar)
    if thorough and not is_intact(folder / original.file, original.sha256):
        return None, f"{folder / original.file} is missing or damaged"
    return Loaded(spec, files, str(sidecar.get("source")), original.sha256), ""


def _form_of(spec: ModelSpec, sidecar: dict[str, Any]) -> ModelSpec:
    """Return the form of the model that its note says the files were made from."""
    noted = sidecar.get("original")
    digest = noted.get("sha256") if isinstance(noted, dict) else None
    return next((form for form in spec.forms if form.sha256 == digest), spec)


def status(name: str) -> Status:
    """Return what the cache holds of a model, without reading the files themselves.

    Raises:
        UnknownNameError: If the registry has no model of that name.
    """
    spec = registry.spec(name)
    order: tuple[State, ...] = ("absent", "fetched", "ready")
    others = [status(other) for other in (*(p.name for p in spec.parts), *spec.needs)]
    if spec.converter == "composite":
        worst = min((other.state for other in others), key=order.index)
        return Status(name, worst, cache_dir(), 0, "its parts")
    folder = model_dir(spec)
    sidecar = _read_sidecar(folder)
    paths = {path_of(spec, kind, folder) for kind in kinds_of(spec)}
    state: State = "absent"
    if sidecar.get("converter") == CONVERTER_VERSION and all(p.is_file() for p in paths):
        state = "ready"
    elif any((folder / form.file).is_file() for form in spec.forms):
        state = "fetched"
    state = min((state, *(other.state for other in others)), key=order.index)
    try:
        size = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
    except OSError:
        size = 0
    return Status(name, state, folder, size, sidecar.get("source"))


def verify(name: str) -> Verification:
    """Compute the digests of a model's files anew and compare them.

    Raises:
        UnknownNameError: If the registry has no model of that name.
    """
    spec = registry.spec(name)
    files: dict[str, Literal["ok", "damaged", "missing"]] = {}
    for other in (*(part.name for part in spec.parts), *spec.needs):
        files.update(verify(other).files)
    if spec.converter == "composite":
        return Verification(name, files)
    folder = model_dir(spec)
    sidecar = _read_sidecar(folder)
    original = _form_of(spec, sidecar)
    wanted: dict[Path, str] = {folder / original.file: original.sha256}
    for kind in kinds_of(spec):
        path = path_of(spec, kind, folder)
        if path not in wanted:
            try:
                wanted[path] = str(sidecar["files"][kind]["sha256"])
            except (KeyError, TypeError):
                wanted[path] = ""
    files.update({path.name: _verdict(path, digest) for path, digest in wanted.items()})
    return Verification(name, files)


def _verdict(path: Path, digest: str) -> Literal["ok", "damaged", "missing"]:
    if not path.exists():
        return "missing"
    return "ok" if is_intact(path, digest, anew=True) else "damaged"


def torch_module(loaded: Loaded) -> Preprocess:
    """Return an embedder's torch module, built from its safetensors file.

    It takes the same chips as the ONNX graph, uint8 RGB (N, S, S, 3), and gives the same
    embeddings (N, D) to 1e-4, not normalised to unit length.

    Raises:
        WeightsError: If the model has no torch module, or the file does not fit it.
    """
    if "safetensors" not in loaded.files:
        raise WeightsError(f"{loaded.spec.name} has no torch module; use its ONNX file.")
    # `loaded` may come from a call that looked at the ONNX file alone.
    path = ensure(loaded.spec, kinds=("safetensors",)).files["safetensors"]
    from safetensors.torch import load_file

    try:
        return module_from_state(loaded.spec, load_file(path))
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path} does not fit the network: {error}.") from error
