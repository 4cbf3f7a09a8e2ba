"""Paintings of our own for the page's first open: strokes that follow a field of flow."""

from __future__ import annotations

import functools

import numpy as np

from limner.types import FloatArray, ImageArray

HEIGHT, WIDTH = 420, 520
_PALETTES = {
    "Dusk": ("#0d1b3e", "#1f3f7f", "#3d6fa8", "#e7b24a", "#f2dc9a", "#143058", "#5b8fbf"),
    "Meadow": ("#2f4f2b", "#5f8c3a", "#a7c05a", "#e9d66b", "#d9743f", "#3d6b57", "#f3ead0"),
}


@functools.cache
def painting(title: str, *, strokes: int = 5200) -> ImageArray:
    """Return a painting that limner made itself.

    Args:
        title: ``Dusk`` or ``Meadow``.
        strokes: How many; the later ones are finer.

    Returns:
        Shape (420, 520, 3), uint8 RGB; the same at every call.
    """
    import cv2

    seed = sorted(_PALETTES).index(title)
    generator = np.random.default_rng(100 + seed)
    colours = np.array([_rgb(text) for text in _PALETTES[title]], np.float32)
    flow = _flow(generator)
    light = _smooth(generator, 70)
    canvas = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    canvas[:] = colours[0].astype(np.uint8)
    for number in range(strokes):
        share = number / strokes
        x, y = generator.uniform(0, WIDTH), generator.uniform(0, HEIGHT)
        tone = light[int(y), int(x)] + generator.normal(0, 0.09)
        place = np.clip(tone, 0, 0.999) * (len(colours) - 1)
        low, part = int(place), place % 1
        mixed = colours[low] * (1 - part) + colours[min(low + 1, len(colours) - 1)] * part
        mixed = np.clip(mixed + generator.normal(0, 9, 3), 0, 255)
        points = _stroke(flow, x, y, length=int(18 - 8 * share))
        wide = max(2, round(9 * (1 - share) ** 1.5 + generator.uniform(1, 3)))
        ink = tuple(int(v) for v in mixed)
        cv2.polylines(canvas, [points], False, ink, wide, cv2.LINE_AA)
    return canvas


def _rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _smooth(generator: np.random.Generator, width: float) -> FloatArray:
    """Return soft noise in [0, 1]."""
    import cv2

    noise = generator.normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(noise, (0, 0), width, borderType=cv2.BORDER_REFLECT))
    spread = (soft - soft.min()) / (soft.max() - soft.min())
    return np.asarray(spread, np.float32)


def _flow(generator: np.random.Generator) -> FloatArray:
    """Return angles, shape (H, W): along the contours of soft noise, with some whirls."""
    hills = _smooth(generator, 38)
    down_y, down_x = np.gradient(hills)
    angle = np.arctan2(down_x, -down_y)
    return np.asarray(angle, np.float32)


def _stroke(flow: FloatArray, x: float, y: float, *, length: int) -> np.ndarray:
    points = []
    for _ in range(length):
        points.append((round(x), round(y)))
        angle = flow[min(max(int(y), 0), HEIGHT - 1), min(max(int(x), 0), WIDTH - 1)]
        x, y = x + 3 * np.cos(angle), y + 3 * np.sin(angle)
    return np.array(points, np.int32)
