"""Picture files made for the tests: one real photograph in many formats."""

from __future__ import annotations

import io
import struct
from functools import lru_cache

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data
from PIL import Image

ORIENTATION = 0x0112


@lru_cache(maxsize=1)
def grace_hopper_path() -> str:
    return str(get_sample_data("grace_hopper.jpg", asfileobj=False))


@lru_cache(maxsize=1)
def _photo(height: int = 48, width: int = 36) -> Image.Image:
    with Image.open(grace_hopper_path()) as image:
        return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def photo() -> Image.Image:
    """Grace Hopper at 36 x 48."""
    return _photo().copy()


def pixels() -> np.ndarray:
    return np.array(_photo())


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def heif(image: Image.Image, **options: object) -> bytes:
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer.getvalue()


def opencv(suffix: str, array: np.ndarray) -> bytes:
    """Encode an RGB, RGBA or grey array of any depth."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    if array.ndim == 3:
        array = array[..., order[array.shape[2]]]
    done, data = cv2.imencode(suffix, np.ascontiguousarray(array))
    assert done
    return data.tobytes()


def srgb_light(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def icc(
    columns: list[tuple[float, float, float]], gamma: float | str = 2.2, *, lut: bool = False
) -> bytes:
    """Build a matrix ICC profile: XYZ (D50) of red, green and blue; a gamma or "srgb"."""

    def xyz(v: tuple[float, float, float]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(c * 65536) for c in v))

    x = np.linspace(0, 1, 1024)
    if lut:  # the same curve as a table of 1,024 entries
        light = x**gamma if gamma != "srgb" else srgb_light(x)
        table = np.rint(light * 65535).astype(">u2").tobytes()
        curve = b"curv\0\0\0\0" + struct.pack(">I", 1024) + table
    elif gamma == "srgb":
        numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        fixed = (round(v * 65536) for v in numbers)
        curve = b"para\0\0\0\0" + struct.pack(">HH5i", 3, 0, *fixed)
    else:
        curve = b"para\0\0\0\0" + struct.pack(">HHi", 0, 0, round(gamma * 65536))
    text = b"limner test"
    description = (
        b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" + b"\0" * (8 + 3 + 67)
    )
    tags = [
        (b"desc", description),
        (b"wtpt", xyz((0.9642, 1.0, 0.8249))),
        (b"rXYZ", xyz(columns[0])),
        (b"gXYZ", xyz(columns[1])),
        (b"bXYZ", xyz(columns[2])),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    ]
    offset = 128 + 4 + 12 * len(tags)
    table_bytes, body = struct.pack(">I", len(tags)), b""
    for key, value in tags:
        value += b"\0" * (-len(value) % 4)
        table_bytes += key + struct.pack(">II", offset + len(body), len(value))
        body += value
    size = 128 + len(table_bytes) + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table_bytes + body


SRGB_RED = (0.43607, 0.22249, 0.01392)
SRGB_GREEN = (0.38515, 0.71687, 0.09708)
SRGB_BLUE = (0.14307, 0.06061, 0.71410)
P3 = [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]


def every_format() -> dict[str, bytes]:
    """The photograph in each file type that limner reads."""
    rgb = photo()
    array = np.array(rgb)
    sixteen = array.astype(np.uint16) * 257
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    palette = rgb.quantize(32)
    return {
        "jpeg": saved(rgb, "JPEG", quality=90),
        "jpeg-progressive": saved(rgb, "JPEG", quality=90, progressive=True),
        "jpeg-exif": saved(rgb, "JPEG", exif=exif(6), icc_profile=icc(P3)),
        "jpeg-grey": saved(rgb.convert("L"), "JPEG"),
        "jpeg-cmyk": saved(rgb.convert("CMYK"), "JPEG"),
        "png": saved(rgb, "PNG"),
        "png-palette": saved(palette, "PNG"),
        "png-palette-key": saved(palette, "PNG", transparency=3),
        "png-alpha": saved(alpha, "PNG", icc_profile=icc(P3)),
        "png-1": saved(rgb.convert("1"), "PNG"),
        "png-16": opencv(".png", sixteen),
        "png-grey-16": opencv(".png", sixteen[..., 1]),
        "webp": saved(rgb, "WEBP", quality=90),
        "webp-lossless": saved(alpha, "WEBP", lossless=True, exif=exif(3)),
        "bmp": saved(rgb, "BMP"),
        "gif": saved(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "tiff": saved(rgb, "TIFF"),
        "tiff-lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-16": opencv(".tiff", sixteen),
        "tiff-float": opencv(".tiff", (array / 255).astype(np.float32)),
        "tiff-cmyk": saved(rgb.convert("CMYK"), "TIFF"),
        "ppm": saved(rgb, "PPM"),
        "heic": heif(rgb),
        "avif": saved(rgb, "AVIF", quality=90),
        "jp2": saved(rgb, "JPEG2000"),
    }
