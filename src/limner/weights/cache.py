"""The cache folder: where it is, digests, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from limner.errors import WeightsError
from limner.weights.registry import ModelSpec

HOME_VARIABLE = "LIMNER_HOME"
SIDECAR = "limner.json"  # notes beside a model: its source and the digests of what was made
_checked: dict[tuple[str, int, int, int], str] = {}


def cache_dir() -> Path:
    """Return the folder that weights are kept in; it need not exist yet.

    `LIMNER_HOME/weights` if that variable is set, else `weights` in the user's cache folder.
    """
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser().absolute() / "weights"
    import platformdirs

    return Path(platformdirs.user_cache_dir("limner", appauthor=False)) / "weights"


def model_dir(spec: ModelSpec) -> Path:
    """Return the folder of one model; another digest is another folder."""
    return cache_dir() / f"{spec.name}-{spec.sha256[:12]}"


def sha256_of(path: Path, *, anew: bool = False) -> str:
    """Return the SHA-256 of a file.

    Within a process a file whose size and times are unchanged is read once, unless `anew`.
    """
    facts = path.stat()
    key = (str(path), facts.st_ino, facts.st_size, facts.st_mtime_ns)
    if anew or key not in _checked:
        with path.open("rb") as file:
            _checked[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _checked[key]


def is_intact(path: Path, sha256: str, *, anew: bool = False) -> bool:
    """Tell whether a file is there, can be read, and has the digest."""
    try:
        return sha256_of(path, anew=anew) == sha256
    except OSError:
        return False


def original_in(spec: ModelSpec, folder: Path) -> ModelSpec | None:
    """Return the form of a model whose original file the folder holds, its digest right."""
    return next((f for f in spec.forms if is_intact(folder / f.file, f.sha256)), None)


def cache_error(path: Path, error: OSError) -> WeightsError:
    """Turn a failure of the disk into one clear sentence."""
    reason = error.strerror or str(error)
    return WeightsError(
        f"The weights cannot be written to {path}: {reason}. Make room or give rights there, "
        f"or set {HOME_VARIABLE} to a folder that can be written."
    )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn any `OSError` inside into a `WeightsError` that names the path."""
    try:
        yield
    except OSError as error:
        raise cache_error(path, error) from error


def publish(temporary: Path, final: Path) -> None:
    """Rename a finished file into place, so that it survives a power cut as a whole.

    Raises:
        OSError: If the disk refuses.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)
    if os.name == "posix":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def temporary_name(final: Path) -> Path:
    """Return a name beside the final one that no other process uses."""
    return final.with_name(f".{final.name}.{os.getpid()}.tmp")


def write_whole(final: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    Raises:
        WeightsError: If the disk is full or cannot be written.
    """
    temporary = temporary_name(final)
    with disk_errors(final.parent):
        try:
            temporary.write_bytes(data)
            publish(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left behind. Call with the folder's lock held."""
    import shutil

    with disk_errors(folder):
        for path in folder.iterdir():
            if path.name.endswith(".tmp"):
                path.unlink(missing_ok=True)
            elif path.name.startswith("package-") and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
