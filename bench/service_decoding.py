"""What decoding in a child costs beside decoding here: a part of bench/service.py."""

from __future__ import annotations

import io
import statistics
import time
from typing import Any

import skimage.data
from PIL import Image

from limner import images
from limner.images import Limits
from limner.service.decoders import Decoders

SIDES = (250, 512, 1024, 3000, 6000)


def decoding(short: float) -> dict[str, Any]:
    """Return milliseconds in this process and in a child, and their ratio, by the photo's side."""
    limits = Limits(max_bytes=20 << 20, max_pixels=50_000_000, max_decoded_bytes=200_000_000)
    portrait = Image.fromarray(skimage.data.astronaut())
    found: dict[str, Any] = {}
    children = Decoders(1, limits)
    for side in SIDES:
        buffer = io.BytesIO()
        portrait.resize((side, side)).save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
        rounds = max(3, round(min(200, 60_000_000 / side**2) / short))
        direct, child = [], []
        children.read(data)
        for _ in range(rounds):  # by turns, so that both see the same machine
            for read, seconds in ((_here(limits), direct), (children.read, child)):
                began = time.perf_counter()
                read(data)
                seconds.append(time.perf_counter() - began)
        here_ms, child_ms = (1e3 * statistics.median(times) for times in (direct, child))
        found[str(side)] = {
            "here_ms": round(here_ms, 2),
            "child_ms": round(child_ms, 2),
            "ratio": round(child_ms / here_ms, 2),
            "rounds": rounds,
        }
    children.close()
    return found


def _here(limits: Limits) -> Any:
    return lambda data: images.read(data, limits=limits)
