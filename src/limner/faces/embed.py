"""Embedders: from chips to unit vectors.

One class serves the registry's networks and a user's own ONNX file; another joins two
embedders into one whose squared distance is the weighted mean of theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from limner.errors import ShapeError, ZeroNormError
from limner.faces.align import Crop, cut_chip
from limner.faces.engine import Engine
from limner.types import Face, FloatArray, ImageArray

BATCH = 16
"""Chips that go through a network at once: more gain nothing on a CPU and cost memory."""


class Embedder(Protocol):
    """Anything that turns faces into embeddings.

    Attributes:
        name: Short name.
        embedder_id: Name, weights digest and preprocessing version, and ``-m`` for mirrored.
        dim: Width D of an embedding.
        chip_size: Height and width of a chip in pixels.
    """

    name: str
    embedder_id: str
    dim: int
    chip_size: int

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        """Cut the chip of a face, shape (chip_size, chip_size, 3), uint8 RGB."""
        ...

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        """Return unit embeddings, shape (N, dim), float32, of N chips."""
        ...


@dataclass(frozen=True, eq=False)
class Reading:
    """What an embedder read in N chips.

    Attributes:
        rows: Shape (N, D), float32: unit embeddings.
        signals: Shape (N, K), float32, what else it can tell of the faces' quality: for each
            network the log of the length of the vector that it gave (short where it saw little
            that it knows), and how far that lay along each direction of nuisance. None where the
            embedder does not tell.
    """

    rows: FloatArray
    signals: FloatArray | None


class NetworkEmbedder:
    """One network behind a chip.

    Args:
        name: For messages and JSON.
        embedder_id: What a gallery records.
        dim: Width of the embedding.
        chip_size: Height and width of a chip in pixels.
        crop: How the chip is cut.
        points: Finds the landmarks that the crop is fitted to; None for the detector's.
        engine: What runs the network: uint8 RGB chips (N, S, S, 3) in, (N, D) out.
        mirror: Whether the chip's mirror image is embedded too and the two are averaged:
            twice the work for a little accuracy.
        reopen: Opens another engine for the same network with so many threads; None where
            the network runs on a GPU.
        centre: Shape (dim,): taken from every unit embedding before it is scaled to length
            one again. Faces then spread over the whole sphere instead of one side of it, and
            strangers lie further apart.
        nuisance: Shape (K, dim), orthonormal rows, after the centre: the directions in which
            embeddings move when a photo is spoiled. What lies along them is taken away, or
            two strangers' blurred photos would be alike for being blurred.

    Source: Solomonoff, Campbell and Boardman, "Advances in Channel Compensation for SVM Speaker
    Recognition", 2005, for nuisance attribute projection.
    """

    def __init__(
        self,
        *,
        name: str,
        embedder_id: str,
        dim: int,
        chip_size: int,
        crop: Crop,
        engine: Engine,
        mirror: bool = False,
        reopen: Callable[[int], Engine] | None = None,
        centre: FloatArray | None = None,
        nuisance: FloatArray | None = None,
        points: Callable[[ImageArray, Face], FloatArray] | None = None,
    ) -> None:
        self.name = name
        self.embedder_id = f"{embedder_id}-m" if mirror else embedder_id
        self.dim = dim
        self.chip_size = chip_size
        self.crop = crop
        self.engine = engine
        self.mirror = mirror
        self.centre = centre
        self.nuisance = nuisance
        self.points = points
        self._reopen = reopen
        self._one: NetworkEmbedder | None = None

    def single_threaded(self) -> NetworkEmbedder | None:
        """Return the same embedder on an engine of one thread; None on a GPU.

        A core each for several photos gets more faces through the network than all cores for
        one: the network's layers are too small to share out well (docs/benchmarks.md).
        """
        if self._one is None and self._reopen is not None:
            self._one = copy.copy(self)
            self._one.engine = self._reopen(1)
        return self._one

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        """Cut the chip of a face, shape (chip_size, chip_size, 3), uint8 RGB."""
        if self.points is not None:
            face = replace(face, landmarks_xy=self.points(image, face))
        return cut_chip(image, face, self.crop, size=self.chip_size)

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        """Return unit embeddings, shape (N, dim), float32, of N chips.

        Raises:
            ShapeError: If a chip is not (chip_size, chip_size, 3), uint8.
            ZeroNormError: If the network answers with a vector of length zero or of NaN.
        """
        return self.read_chips(chips).rows

    def read_chips(self, chips: Sequence[ImageArray]) -> Reading:
        """Return unit embeddings of N chips, and the lengths of the network's own vectors.

        Raises:
            ShapeError: If a chip is not (chip_size, chip_size, 3), uint8.
            ZeroNormError: If the network answers with a vector of length zero or of NaN.
        """
        wanted = (self.chip_size, self.chip_size, 3)
        for chip in chips:
            if chip.shape != wanted or chip.dtype != np.uint8:
                raise ShapeError(
                    f"a chip for {self.name} must be uint8 of shape {wanted}, "
                    f"got {chip.dtype} of shape {chip.shape}."
                )
        if not len(chips):
            return Reading(np.zeros((0, self.dim), np.float32), None)
        done = []
        for start in range(0, len(chips), BATCH):
            batch = np.stack(chips[start : start + BATCH])
            if self.mirror:
                both = self.engine(np.concatenate([batch, batch[:, :, ::-1]]))
                done.append(self.finish(both[: len(batch)], both[len(batch) :]))
            else:
                done.append(self.finish(self.engine(batch)))
        return Reading(
            np.concatenate([reading.rows for reading in done]),
            np.concatenate([reading.signals for reading in done if reading.signals is not None]),
        )

    def finish(self, raw: FloatArray, mirrored: FloatArray | None = None) -> Reading:
        """Return unit embeddings from what the network gave.

        Args:
            raw: Shape (N, dim), for the chips.
            mirrored: Shape (N, dim), for their mirror images; None where they are not averaged in.

        Raises:
            ZeroNormError: If a row has length zero or holds NaN.
        """
        rows = unit_rows(raw)
        signals = [np.log(np.linalg.norm(raw, axis=1, keepdims=True))]
        if mirrored is not None:
            rows = unit_rows(rows + unit_rows(mirrored))
        if self.centre is not None:
            rows = np.asarray(rows - self.centre, np.float32)
            if self.nuisance is not None:
                along = rows @ self.nuisance.T
                signals.append(along)
                rows = np.asarray(rows - along @ self.nuisance, np.float32)
            rows = unit_rows(rows)
        return Reading(rows, np.concatenate(signals, axis=1).astype(np.float32))


class FusedEmbedder:
    """Several embedders as one: the squared distance is the weighted mean of theirs.

    The unit embeddings are scaled by the roots of their weights and joined:
    ``||a - b||^2 = sum_k w_k ||a_k - b_k||^2`` with the weights summing to one.

    Args:
        name: For messages and JSON.
        embedder_id: What a gallery records.
        parts: Embedder and weight, the first one's chip being the chip that is kept.
    """

    def __init__(
        self, *, name: str, embedder_id: str, parts: Sequence[tuple[NetworkEmbedder, float]]
    ) -> None:
        total = sum(weight for _, weight in parts)
        self.name = name
        self.parts = [(part, float(np.sqrt(weight / total))) for part, weight in parts]
        self.embedder_id = embedder_id
        self.dim = sum(part.dim for part, _ in parts)
        # The chips of all parts are stacked below each other and padded to one width.
        self.chip_size = max(part.chip_size for part, _ in parts)

    def single_threaded(self) -> FusedEmbedder | None:
        """Return the same embedder on engines of one thread; None on a GPU."""
        ones = [(part.single_threaded(), root) for part, root in self.parts]
        found = [(part, root) for part, root in ones if part is not None]
        if len(found) < len(ones):
            return None
        clone = copy.copy(self)
        clone.parts = found
        return clone

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        """Cut the chips of all parts, one below the other: (parts * S, S, 3), uint8 RGB."""
        size = self.chip_size
        sheet = np.zeros((len(self.parts) * size, size, 3), np.uint8)
        for i, (part, _) in enumerate(self.parts):
            s = part.chip_size
            sheet[i * size : i * size + s, :s] = part.chip(image, face)
        return sheet

    def embed_chips(self, chips: Sequence[ImageArray]) -> FloatArray:
        """Return unit embeddings, shape (N, dim), float32, of N stacked chips.

        Raises:
            ShapeError: If a chip is not what `chip` returns.
        """
        return self.read_chips(chips).rows

    def read_chips(self, chips: Sequence[ImageArray]) -> Reading:
        """Return unit embeddings of N stacked chips, and the lengths of each part's vectors.

        Raises:
            ShapeError: If a chip is not what `chip` returns.
        """
        size = self.chip_size
        wanted = (len(self.parts) * size, size, 3)
        for chip in chips:
            if chip.shape != wanted:
                raise ShapeError(
                    f"a chip for {self.name} must have shape {wanted}, got {chip.shape}."
                )
        readings = []
        for i, (part, _) in enumerate(self.parts):
            s = part.chip_size
            readings.append(part.read_chips([chip[i * size : i * size + s, :s] for chip in chips]))
        return self.join(readings)

    def join(self, readings: Sequence[Reading]) -> Reading:
        """Return the embeddings of all parts as one."""
        pairs = list(zip(readings, self.parts, strict=True))
        rows = np.concatenate([r.rows * np.float32(root) for r, (_, root) in pairs], axis=1)
        signals = [reading.signals for reading in readings if reading.signals is not None]
        told = np.concatenate(signals, axis=1) if len(signals) == len(readings) else None
        return Reading(unit_rows(rows), told)


def unit_rows(rows: FloatArray) -> FloatArray:
    """Scale each row of (N, D) to length one.

    Raises:
        ZeroNormError: If a row has length zero or holds NaN.
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ZeroNormError(
            "the embedder answered with a vector of length zero or of NaN; "
            "check its mean, std and colour order."
        )
    return np.asarray(rows / norms, np.float32)
