"""From a face in a photo to its embedding and its quality: one way for every caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from limner.faces.embed import Embedder, Reading
from limner.faces.quality import QualityModel, photo_signals, quality_model
from limner.types import Embedding, Face, FloatArray, ImageArray


@dataclass(frozen=True, eq=False)
class CutFace:
    """What is kept of a photo to read one of its faces.

    Attributes:
        face: Where it is.
        chip: What the embedder reads; None where only the quality is wanted.
        signals: As `limner.faces.quality.photo_signals` returns them.
    """

    face: Face
    chip: ImageArray | None
    signals: FloatArray


class FaceReader:
    """An embedder, and what judges the faces that it reads.

    Args:
        embedder: Makes the embeddings; None to judge faces only.
    """

    def __init__(self, embedder: Embedder | None) -> None:
        self.embedder = embedder
        self._model = quality_model(None if embedder is None else embedder.embedder_id)

    def cut(self, image: ImageArray, face: Face) -> CutFace:
        """Cut a face out of its photo, shape (H, W, 3), uint8 RGB."""
        chip = None if self.embedder is None else self.embedder.chip(image, face)
        return CutFace(face, chip, photo_signals(image, face))

    def judge(self, cuts: Sequence[CutFace]) -> list[Face]:
        """Return faces with the quality that their photo alone shows; nothing is embedded."""
        model = quality_model(None)
        return [_judged(cut.face, cut.signals, model) for cut in cuts]

    def read(self, cuts: Sequence[CutFace]) -> list[Face]:
        """Return faces with embedding, quality and, where it is too low, the reason."""
        embedder = self.embedder
        chips = [cut.chip for cut in cuts if cut.chip is not None]
        if embedder is None or not chips:
            return self.judge(cuts)
        read = getattr(embedder, "read_chips", None)
        reading = read(chips) if read else Reading(embedder.embed_chips(chips), None)
        faces = []
        for number, cut in enumerate(cuts):
            row = reading.rows[number]
            face = _judged(cut.face, self._signals(cut, reading, number), self._model)
            embedding = Embedding(row, embedder.embedder_id, face.quality, face.reason)
            faces.append(replace(face, embedding=embedding))
        return faces

    def _signals(self, cut: CutFace, reading: Reading, number: int) -> FloatArray:
        """Return the signals that the model reads: the photo's, and the embedding's own."""
        if reading.signals is None or not self._model.embedder_signals:
            return cut.signals
        return np.concatenate([cut.signals, reading.signals[number]])


def _judged(face: Face, signals: FloatArray, model: QualityModel) -> Face:
    quality = float(model.quality(signals[None])[0])
    reason = model.reason(signals) if quality < model.floor else None
    return replace(face, quality=min(1.0, max(0.0, quality)), reason=reason)
