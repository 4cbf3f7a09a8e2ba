"""What a compressed upload holds when it is unpacked, known before anything is kept of it."""

from __future__ import annotations

import io
import zipfile
import zlib

from limner.errors import InputError

TIMES = 16
"""Uploads may unpack to so many times the largest upload."""
_MOST_MEMBERS = 1_000
_BLOCK = 1 << 18


def check_unpacked(data: bytes, ending: str, *, most: int) -> None:
    """Refuse an upload of arrays that unpacks to too much, or that says one thing twice.

    Args:
        data: The file.
        ending: Of its name: ``.npz`` is an archive, ``.gz`` a compressed file, others are neither.
        most: Bytes that it may unpack to.

    Raises:
        InputError: If it does.
    """
    if ending == ".npz":
        size = _archive(data)
    elif ending.endswith(".gz"):
        size = _stream(data, most)
    else:
        return
    if size > most:
        raise InputError(
            f"the file unpacks to more than the {most:,} bytes that are read; send less at once."
        )


def _archive(data: bytes) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"the file is not a sound npz archive: {error}.") from error
    names = [member.filename.removesuffix(".npy") for member in members]
    if len(names) != len(set(names)) or len(names) > _MOST_MEMBERS:
        raise InputError("the archive holds two arrays of one name, or too many; write it anew.")
    return sum(member.file_size for member in members)


def _stream(data: bytes, most: int) -> int:
    """Return the unpacked size, or some larger one than `most`; nothing is kept."""
    size, left = 0, data
    try:
        while left and size <= most:
            inflater = zlib.decompressobj(wbits=31)
            while not inflater.eof and size <= most:
                part = inflater.decompress(left, _BLOCK)
                left = inflater.unconsumed_tail or inflater.unused_data
                size += len(part)
                if not part and not left:
                    return size
    except zlib.error as error:
        raise InputError(f"the file is not sound gzip: {error}.") from error
    return size
