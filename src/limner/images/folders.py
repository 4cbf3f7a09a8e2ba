"""The photos of a folder, and what in it is none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from limner.errors import ImageError
from limner.images.raw import RAW_SUFFIXES
from limner.images.sources import printable

PHOTO_SUFFIXES: frozenset[str] = RAW_SUFFIXES | frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .bmp .dib .tif .tiff .gif .heic .heif .hif .avif "
    ".jp2 .ppm .pgm .pnm".split()
)
_FILMS = frozenset(
    ".mp4 .mov .m4v .avi .mkv .webm .mpg .mpeg .mts .m2ts .3gp .wmv .flv .ogv .insv".split()
)
_SOUNDS = frozenset(".mp3 .m4a .wav .flac .ogg .oga .opus .aac .wma .aif .aiff .amr .mka".split())
_NAMED = 6


@dataclass(frozen=True)
class LeftFolder:
    """A folder that could not be read.

    Attributes:
        path: Where it is.
        reason: One sentence that names it.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        folder: The folder itself.
        photos: Paths that begin with `folder`, sorted.
        unreadable: Folders below that could not be read.
        left_out: How many files are no photos, by kind: ``video``, ``audio``, ``no suffix``,
            ``no file`` (a pipe or a socket), else the suffix in small letters. Hidden files are
            not counted.
    """

    folder: Path
    photos: tuple[Path, ...]
    unreadable: tuple[LeftFolder, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def summary(self) -> str | None:
        """Return one sentence about the files that were left out; None where there are none."""
        total = sum(self.left_out.values())
        if not total:
            return None
        kinds = sorted(self.left_out.items(), key=lambda kind: (-kind[1], kind[0]))
        named = [f"{count} {printable(kind)}" for kind, count in kinds[:_NAMED]]
        if len(kinds) > _NAMED:
            named.append(f"{sum(count for _, count in kinds[_NAMED:])} of other kinds")
        files = "file that is no photo" if total == 1 else "files that are no photos"
        return f"left out of {printable(str(self.folder))}: {total} {files} ({', '.join(named)})."


def scan_folder(folder: str | os.PathLike[str], *, recursive: bool = True) -> Listing:
    """List the photos of a folder, by their suffixes, and count what else is there.

    Files and folders whose names begin with a dot are passed over. A link to a folder is
    followed, but no folder is looked into twice, and a link that leads back to a folder that
    holds it is not followed. A folder below that cannot be read is left out.

    Args:
        folder: Where to look.
        recursive: Look into the folders below, too.

    Raises:
        ImageError: If it is not a folder, or cannot be read.
    """
    root = Path(folder)
    name = printable(str(root))
    if not root.exists():
        raise ImageError(f"{name} does not exist.")
    if not root.is_dir():
        raise ImageError(f"{name} is a file, not a folder.")
    walk = _Walk()
    walk.enter(root)
    if walk.unreadable:
        raise ImageError(walk.unreadable[0].reason)
    while recursive and (walk.folders or walk.links):
        # Folders first: where a link leads to one of them, its photos keep their own paths.
        if walk.folders:
            walk.enter(walk.folders.pop())
            continue
        link = walk.links.pop(min(range(len(walk.links)), key=walk.links.__getitem__))
        if not _leads_back(link):
            walk.enter(link)
    return Listing(
        root,
        tuple(sorted(walk.photos)),
        tuple(sorted(walk.unreadable, key=lambda left: left.path)),
        MappingProxyType(dict(walk.left_out)),
    )


def list_photos(folder: str | os.PathLike[str], *, recursive: bool = True) -> list[Path]:
    """Return the photos of a folder, sorted by path; what `scan_folder` says of the rest.

    Args:
        folder: Where to look.
        recursive: Look into the folders below, too.

    Returns:
        Paths that begin with `folder`; empty where there is none.

    Raises:
        ImageError: If it is not a folder, or cannot be read.
    """
    return list(scan_folder(folder, recursive=recursive).photos)


def leads_back(folder: Path) -> bool:
    """Tell whether a folder is a link to one of the folders that hold it."""
    return folder.is_symlink() and _leads_back(folder)


def _leads_back(link: Path) -> bool:
    target = Path(os.path.realpath(link))
    return Path(os.path.realpath(link.parent)).is_relative_to(target)


class _Walk:
    """One walk through a folder: what was found, and where it still has to go."""

    def __init__(self) -> None:
        self.photos: list[Path] = []
        self.unreadable: list[LeftFolder] = []
        self.left_out: Counter[str] = Counter()
        self.folders: list[Path] = []
        self.links: list[Path] = []
        self._seen: set[tuple[int, int]] = set()

    def enter(self, folder: Path) -> None:
        """Look into a folder that was not looked into yet."""
        try:
            status = os.stat(folder)
            place = (status.st_dev, status.st_ino)
            if place in self._seen and status.st_ino:
                return
            self._seen.add(place)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        self._take(entry)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            sentence = f"{printable(str(folder))} cannot be read: {reason}."
            self.unreadable.append(LeftFolder(folder, sentence))

    def _take(self, entry: os.DirEntry[str]) -> None:
        path = Path(entry.path)
        try:
            if entry.is_dir():
                (self.links if entry.is_symlink() else self.folders).append(path)
                return
            # A link that leads nowhere is listed: reading it says so.
            regular = entry.is_file() or entry.is_symlink()
        except OSError:
            regular = True  # so does reading this
        suffix = path.suffix.lower()
        if regular and suffix in PHOTO_SUFFIXES:
            self.photos.append(path)
        else:
            self.left_out[_kind(suffix) if regular else "no file"] += 1


def _kind(suffix: str) -> str:
    if suffix in _FILMS:
        return "video"
    if suffix in _SOUNDS:
        return "audio"
    return suffix or "no suffix"
