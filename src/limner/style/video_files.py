"""Frames from and to files: video by PyAV, animated GIF, WebP and PNG by Pillow, folders."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from limner.errors import ImageError, MissingExtraError, ShapeError
from limner.images import list_photos, read, write
from limner.types import FloatArray, ImageArray

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
ANIMATION_SUFFIXES = (".gif", ".webp", ".png", ".apng")
_RATE = Fraction(25)
_CODECS = {".webm": "libvpx-vp9", ".avi": "mpeg4"}


@dataclass(frozen=True)
class Clip:
    """What is known of a moving picture before its frames are read.

    Attributes:
        path: The file or folder.
        rate: Frames a second.
        count: How many frames, if that is known.
        kind: `video`, `animation` or `folder`.
    """

    path: Path
    rate: Fraction
    count: int | None
    kind: str


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            "video files need the package av: pip install 'limner[video]'. Animated GIFs and "
            "folders of pictures work without it."
        ) from error
    return av


def is_moving(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is a video by its suffix, or an animation by its frames."""
    suffix = Path(path).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    if suffix not in ANIMATION_SUFFIXES or not Path(path).is_file():
        return False
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except Exception:  # a broken file is the reader's to report
        return False


def open_clip(path: str | os.PathLike[str]) -> Clip:
    """Look at a video, an animation or a folder of frames (in the order of their names).

    Raises:
        ImageError: If it cannot be read, or holds no frame.
        MissingExtraError: If it is a video file and PyAV is not installed.
    """
    path = Path(path)
    if path.is_dir():
        photos = list_photos(path, recursive=False)
        if not photos:
            raise ImageError(f"{path} holds no pictures.")
        return Clip(path, _RATE, len(photos), "folder")
    if not path.is_file():
        raise ImageError(f"{path} does not exist.")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return _open_video(path)
    from PIL import Image

    try:
        with Image.open(path) as picture:
            count = getattr(picture, "n_frames", 1)
            durations = []
            for i in range(count):
                picture.seek(i)
                durations.append(picture.info.get("duration", 0) or 0)
    except Exception as error:
        raise ImageError(f"{path} is not a moving picture that can be read.") from error
    total_ms = round(sum(durations))
    rate = Fraction(1000 * count, total_ms) if total_ms > 0 else Fraction(10)
    return Clip(path, rate.limit_denominator(1001), count, "animation")


def _open_video(path: Path) -> Clip:
    av = _av()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or _RATE
            return Clip(path, Fraction(rate), stream.frames or None, "video")
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise ImageError(f"{path} is not a video that can be read.") from error


def frames_of(clip: Clip) -> Iterator[ImageArray]:
    """Yield the frames of a clip, uint8 RGB (H, W, 3), one at a time.

    Raises:
        ImageError: If a frame cannot be read.
    """
    if clip.kind == "folder":
        for photo in list_photos(clip.path, recursive=False):
            yield read(photo)
        return
    if clip.kind == "video":
        yield from _video_frames(clip.path)
        return
    from PIL import Image

    with Image.open(clip.path) as picture:
        for i in range(clip.count or 0):
            try:
                picture.seek(i)
                yield read(picture.convert("RGBA"))
            except (EOFError, OSError, ValueError) as error:
                raise ImageError(f"{clip.path}: frame {i + 1} cannot be read.") from error


def _video_frames(path: Path) -> Iterator[ImageArray]:
    av = _av()
    seen = 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                seen += 1
                yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise ImageError(f"{path} cannot be read after frame {seen}.") from error
    if seen == 0:
        raise ImageError(f"{path} holds no frame.")


class Writer:
    """Writes frames to a video, an animation or a folder; use it in a `with` block.

    A file is written beside its place and renamed when the block ends without an error, so
    that there is a whole file or none. Frames in a folder stay.

    Args:
        path: Ends in a video's suffix or .gif, .webp, .png (animated); anything without a
            suffix is a folder of PNG pictures.
        rate: Frames a second.

    Raises:
        ImageError: If the suffix is unknown or the file cannot be written.
        MissingExtraError: If it is a video file and PyAV is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, rate: Fraction) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in (*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES, ""):
            allowed = ", ".join((*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES))
            raise ImageError(
                f"{self.path} cannot be written: its suffix is {suffix!r}, allowed are "
                f"{allowed}, or none for a folder of frames."
            )
        self.count = 0
        self._rate = rate
        self._size: tuple[int, ...] = ()
        self._video = suffix in VIDEO_SUFFIXES
        self._part = self.path.with_name(f".{secrets.token_hex(8)}.part{suffix}")
        self._kept: list[ImageArray] = []
        self._container: Any = None
        if self._video:
            _av()
        if suffix == "":
            self.path.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def add(self, image: FloatArray) -> None:
        """Write one frame.

        Args:
            image: Shape (H, W, 3), RGB in [0, 1].

        Raises:
            ShapeError: If its size is not that of the first frame.
            ImageError: If it cannot be written.
        """
        frame = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        self._size = self._size or frame.shape
        if frame.shape != self._size:
            raise ShapeError(f"Frames must have one size, got {self._size} and {frame.shape}.")
        self.count += 1
        if self.path.suffix == "":
            write(self.path / f"{self.count:06d}.png", frame)
        elif self._video:
            self._add_video(frame)
        else:
            self._kept.append(frame)

    def _add_video(self, frame: ImageArray) -> None:
        av = _av()
        height, width = frame.shape[:2]
        # The usual colour layout needs even sides: the last row or column is repeated.
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            if self._container is None:
                self._container = av.open(str(self._part), "w")
                codec = _CODECS.get(self.path.suffix.lower(), "libx264")
                self._stream = self._container.add_stream(codec, rate=self._rate)
                self._stream.width, self._stream.height = even.shape[1], even.shape[0]
                self._stream.pix_fmt = "yuv420p"
                self._stream.options = {"crf": "17"} if codec != "mpeg4" else {"qscale": "3"}
            packets = self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24"))
            self._container.mux(packets)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"{self.path} cannot be written: {error}.") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.path.suffix and self.count:
                self._finish()
                os.replace(self._part, self.path)
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise ImageError(f"{self.path} cannot be written: {reason}.") from problem
        finally:
            if self._container is not None:
                with contextlib.suppress(Exception):
                    self._container.close()
            self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        if self._video:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None
            return
        from PIL import Image

        first, *others = (Image.fromarray(f) for f in self._kept)
        kind = {".gif": "GIF", ".webp": "WEBP"}.get(self.path.suffix.lower(), "PNG")
        first.save(
            self._part,
            kind,
            save_all=True,
            append_images=others,
            duration=round(1000 / self._rate),
            loop=0,
        )
