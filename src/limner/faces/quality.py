"""Whether a face can be judged: signals read from its chip, and what they say together.

Quality is the chance, in [0, 1], that a face is recognised as its person's when it is compared with
another, good photo of that person at the threshold of verification. The chance is a small
network's, fitted to photos of LFW View 1 that were spoiled on purpose (``bench/fit_quality.py``);
people whose photos it was fitted on are not among those it was checked on.

Source: Grother, Ho and Tabassi, "Ongoing Face Recognition Vendor Test (FRVT) Part 5: Face Image
Quality Assessment", NIST, 2020, for quality as a predictor of false non-matches; Schlett and
others, "Face Image Quality Assessment: A Literature Survey", 2022, for the signals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.faces.align import ARCFACE, cut_chip, similarity_transform
from limner.types import Face, FloatArray, ImageArray

CHIP_PX = 112
"""The chip that signals are read from, whatever the embedder reads: five points, as ArcFace."""

SIGNALS = (
    "detail",
    "texture",
    "size",
    "score",
    "yaw",
    "pitch",
    "misfit",
    "light",
    "contrast",
    "dark",
    "bright",
)
"""What `photo_signals` returns, in this order."""

_FACE = slice(CHIP_PX // 8, CHIP_PX - CHIP_PX // 16)


def photo_signals(image: ImageArray, face: Face) -> FloatArray:
    """Return what can be read from a face without an embedder.

    Args:
        image: Shape (H, W, 3), uint8 RGB.
        face: A face of that photo.

    Returns:
        Shape (11,), float32: ``detail`` and ``texture``, the log of the variance of the Laplacian
        and of the difference of Gaussians (1.5 and 3 px) over the variance of the chip, both on the
        chip's own scale; ``size``, the log2 of the box's longer side in pixels; ``score``, the log
        odds of the detector; ``yaw``, how far the nose lies beside the middle of the eyes, over
        their distance; ``pitch``, where the nose lies between eyes and mouth, 0 to 1; ``misfit``,
        the landmarks' distance to their usual places over that of the eyes; ``light`` and
        ``contrast``, mean and deviation of the chip's luma in [0, 1]; ``dark`` and ``bright``, the
        share of pixels below 16 and above 239.
    """
    import cv2

    chip = cut_chip(image, face, ARCFACE, size=CHIP_PX)
    grey = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inner = grey[_FACE, _FACE]
    spread = float(inner.var()) + 1.0
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)[_FACE, _FACE]
    band = cv2.GaussianBlur(grey, (0, 0), 1.5) - cv2.GaussianBlur(grey, (0, 0), 3.0)
    sides = (face.box_xyxy[2] - face.box_xyxy[0], face.box_xyxy[3] - face.box_xyxy[1])
    longer = max(sides if face.head is None else face.head.size_wh)
    score = min(max(face.score, 0.01), 0.99)
    return np.array(
        [
            np.log(float(laplacian.var()) / spread + 1e-4),
            np.log(float(band[_FACE, _FACE].var()) / spread + 1e-4),
            np.log2(longer),
            np.log(score / (1 - score)),
            *_geometry(face),
            float(inner.mean()) / 255,
            float(inner.std()) / 255,
            float((inner < 16).mean()),
            float((inner > 239).mean()),
        ],
        np.float32,
    )


def _geometry(face: Face) -> tuple[float, float, float]:
    """Return yaw, pitch and misfit of five landmarks; zeros where they lie in one place."""
    points = face.landmarks_xy.astype(np.float64)
    if np.ptp(points, axis=0).max() <= 0:
        return 0.0, 0.0, 0.0
    template = np.asarray(ARCFACE.template_xy)
    upright = similarity_transform(points, template)
    placed = points @ upright[:, :2].T + upright[:, 2]
    left, right, nose, mouth = placed[0], placed[1], placed[2], placed[3:].mean(axis=0)
    apart = max(float(np.linalg.norm(right - left)), 1e-3)
    middle = (left + right) / 2
    yaw = float(nose[0] - middle[0]) / apart
    pitch = float(nose[1] - middle[1]) / max(float(mouth[1] - middle[1]), 1e-3)
    misfit = float(np.linalg.norm(placed - template, axis=1).mean()) / apart
    return abs(yaw), float(np.clip(pitch, -1, 2)), misfit


@dataclass(frozen=True, eq=False)
class QualityModel:
    """What the signals of a face say about its quality, for one embedder.

    Attributes:
        embedder_signals: How many signals of the embedder it reads after `SIGNALS`; see
            `limner.faces.embed.Reading`.
        mean: Shape (K,): taken from the signals.
        scale: Shape (K,): they are divided by this, and cut at 4 either side.
        hidden: Shape (K + 1, H): weights of the hidden units, the last row their bias.
        output: Shape (H + 1,): weights of the quality, the last one its bias.
        floor: A face of lower quality is too poor to judge.
        limits: Of some signals: (lowest, highest) among good faces.
    """

    embedder_signals: int
    mean: FloatArray
    scale: FloatArray
    hidden: FloatArray
    output: FloatArray
    floor: float
    limits: dict[str, tuple[float, float]]

    def quality(self, signals: NDArray[np.floating[Any]]) -> FloatArray:
        """Return the quality of faces.

        Args:
            signals: Shape (N, K): `SIGNALS`, then the embedder's.

        Returns:
            Shape (N,), float32, in [0, 1].
        """
        x = np.clip((np.asarray(signals, np.float32) - self.mean) / self.scale, -4.0, 4.0)
        units = np.tanh(x @ self.hidden[:-1] + self.hidden[-1])
        return np.asarray(1 / (1 + np.exp(-(units @ self.output[:-1] + self.output[-1]))))

    def reason(self, signals: NDArray[np.floating[Any]]) -> str:
        """Return why a face is too poor, in words: the signal furthest beyond its limits.

        Args:
            signals: Shape (K,).
        """
        worst, words = 0.0, "the face is covered, or hard to see"
        for number, name in enumerate(SIGNALS):
            if name not in self.limits:
                continue
            low, high = self.limits[name]
            value, step = float(signals[number]), float(self.scale[number])
            for beyond, why in ((low - value, _BELOW.get(name)), (value - high, _ABOVE.get(name))):
                if why is not None and beyond / step > worst:
                    worst, words = beyond / step, why.format(pixels=round(2**value))
        return words


NO_FACE = "there may be no face"
"""The reason of what the detector took for a face but hardly believes."""

_BELOW = {
    "detail": "the face is blurred",
    "texture": "the face is blurred",
    "size": "the face is too small ({pixels} pixels)",
    "score": NO_FACE,
    "pitch": "the face is turned up",
    "light": "the face is too dark",
    "contrast": "the face has too little contrast",
}
_ABOVE = {
    "detail": "the picture is too noisy or too strongly compressed",
    "yaw": "the face is turned away",
    "pitch": "the face is turned down",
    "light": "the face is overexposed",
    "dark": "the face is too dark",
    "bright": "the face is overexposed",
}


_BETTER = {
    "blurred": "a sharper photo",
    "too small": "a photo in which the face is larger",
    "may be no face": "a photo that shows the face clearly",
    "turned": "a photo in which the face looks into the camera",
    "too dark": "a brighter photo",
    "too little contrast": "a photo with more light on the face",
    "overexposed": "a darker photo",
    "noisy": "a photo of better quality",
    "covered": "a photo in which nothing covers the face",
}


def better_photo(reason: str) -> str:
    """Return what photo to use instead of one of which `Face.reason` says that."""
    return next((words for key, words in _BETTER.items() if key in reason), "another photo")


@cache
def _models() -> dict[str, QualityModel]:
    path = resources.files("limner.faces").joinpath("data/quality.json")
    models = {}
    for name, row in json.loads(path.read_text("utf-8")).items():
        arrays = {k: np.asarray(row[k], np.float32) for k in ("mean", "scale", "hidden", "output")}
        models[name] = QualityModel(
            embedder_signals=len(arrays["mean"]) - len(SIGNALS),
            floor=float(row["floor"]),
            limits={key: (float(low), float(high)) for key, (low, high) in row["limits"].items()},
            **arrays,
        )
    return models


def quality_model(embedder_id: str | None) -> QualityModel:
    """Return the model of an embedder of the registry, by its exact id; else the general one.

    The general one reads the photo alone. Fitted by ``bench/fit_quality.py``.
    """
    models = _models()
    return models.get(embedder_id or "", models[GENERAL])


GENERAL = "general"
"""The name of the model that reads the photo alone, for embedders of users and for detection."""
