"""How a painted picture came about: recorded in the picture and in a JSON file beside it.

PNG keeps it in an iTXt chunk named `limner`, JPEG and WebP in the EXIF user comment, TIFF in
its image description. `read` finds it in any of them, or in ``PICTURE.json``.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import ImageError, InputError
from limner.types import FloatArray

if TYPE_CHECKING:
    from limner.images.sources import Source
    from limner.style.encoder import Encoder
    from limner.style.objective import Goal
    from limner.style.presets import StyleOptions

KIND = "limner style"
VERSION = 1
_USER_COMMENT, _EXIF_IFD, _DESCRIPTION = 0x9286, 0x8769, 0x010E
_ASCII = b"ASCII\0\0\0"


def known_input(source: Source) -> dict[str, Any]:
    """Return what provenance says of an input: its path if it has one, its digest."""
    from limner.images import describe

    if isinstance(source, str | Path):
        path = Path(source)
        data = path.read_bytes() if path.is_file() else b""
        return {
            "name": path.name,
            "path": str(path.absolute()),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    if isinstance(source, np.ndarray):
        data = np.ascontiguousarray(source).tobytes()
        return {"name": describe(source), "sha256": hashlib.sha256(data).hexdigest()}
    return {"name": describe(source)}


def describe_run(
    *,
    inputs: Sequence[dict[str, Any]],
    style_weights: Sequence[float],
    options: StyleOptions,
    encoder: Encoder,
    goal: Goal,
    levels: Sequence[tuple[tuple[int, int], int]],
    trace: Sequence[dict[str, Any]],
    remarks: Sequence[str],
    seconds: float,
    finished: bool,
    pixels: FloatArray,
) -> dict[str, Any]:
    """Return what is recorded of a run, as plain JSON values."""
    import torch

    ends = []
    for index, (size, calls) in enumerate(levels):
        mine = [t for t in trace if t["level"] == index]
        if mine:
            ends.append(
                {
                    "size_hw": list(size),
                    "calls": len(mine),
                    "of": calls,
                    "first": mine[0]["total"],
                    "best": min(t["total"] for t in mine),
                    "last": {k: mine[-1][k] for k in ("total", "content", "style", "variation")},
                }
            )
    return {
        "kind": KIND,
        "version": VERSION,
        "inputs": list(inputs),
        "style_weights": list(style_weights),
        "options": options.to_json(),
        "encoder": {
            "name": encoder.name,
            "sha256": encoder.digest,
            "pooling": encoder.trunk.pooling,
            "border": encoder.trunk.border,
            "precision": _precision(options, goal),
            "content_layers": [list(t) for t in goal.content_layers],
            "style_layers": [list(t) for t in goal.style_layers],
            "device": encoder.device,
            "threads": torch.get_num_threads(),
        },
        "levels": ends,
        "remarks": list(remarks),
        "seconds": round(seconds, 2),
        "finished": finished,
        "pixels_sha256": pixels_digest(pixels),
        "versions": {
            "limner": metadata.version("limner"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def pixels_digest(pixels: FloatArray) -> str:
    """Return the SHA-256 of a picture's float32 values, row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype="<f4").tobytes()).hexdigest()


def beside(path: str | Path) -> Path:
    """Return where the JSON file of a picture lies: ``out.png.json``."""
    return Path(f"{path}.json")


def read(path: str | Path) -> dict[str, Any]:
    """Return the provenance of a picture that limner painted.

    Args:
        path: The picture, or its JSON file.

    Raises:
        ImageError: If the file cannot be read.
        InputError: If it holds no provenance and has none beside it.
    """
    path = Path(path)
    if path.suffix == ".json":
        text = _text_of(path)
    else:
        text = _embedded(path) or (_text_of(beside(path)) if beside(path).exists() else "")
    try:
        document = json.loads(text) if text else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError(
            f"{path} does not say how it was made: it has no provenance of limner inside, nor "
            f"in {beside(path).name}."
        )
    if document.get("version") != VERSION:
        raise InputError(f"{path} was made by another version of limner, which wrote other notes.")
    return document


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{path} cannot be read: {str(reason).lower()}.") from error


def _embedded(path: Path) -> str:
    """Return the text in a picture, or an empty one."""
    from limner.images import Limits
    from limner.images.decoding import one_error, open_header
    from limner.images.sources import load_bytes

    # 16-bit pictures of limner's own may be larger than what is accepted from strangers.
    limits = Limits(max_bytes=1 << 31, max_pixels=400_000_000)
    data = load_bytes(path, limits, str(path))
    with one_error(str(path)), open_header(data, limits, str(path)) as image:
        if image.format == "PNG":
            image.load()
            found = getattr(image, "text", {}).get("limner", "")
        elif image.format == "TIFF":
            found = getattr(image, "tag_v2", {}).get(_DESCRIPTION, "")
        else:
            found = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    if isinstance(found, bytes):
        found = found.removeprefix(_ASCII).decode("utf-8", "replace")
    return str(found).rstrip("\0")


def inputs_of(document: dict[str, Any]) -> list[Path]:
    """Return the files a picture was made of, after checking that they are unchanged.

    Raises:
        InputError: If one was not a file, is gone, or has other bytes now.
    """
    paths = []
    for one in document.get("inputs", []):
        if "path" not in one:
            raise InputError(f"{one.get('name')} was not a file, so the run cannot be repeated.")
        path = Path(one["path"])
        if not path.is_file():
            raise InputError(f"{path}, which the picture was made of, is not there any more.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != one.get("sha256"):
            raise InputError(f"{path} is not the file any more that the picture was made of.")
        paths.append(path)
    return paths


def _precision(options: StyleOptions, goal: Goal) -> str:
    """Return what the activations were computed in."""
    if options.precision == "fp64":
        return "fp64"
    return "bf16" if goal.bf16 else "fp32"
