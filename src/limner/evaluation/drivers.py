"""A folder of photos in, figures out: the pairs protocol, identification, and fitting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import ImageError, ProtocolError, TooFewPairsError
from limner.evaluation.identification import (
    FPIRS,
    IdentificationScores,
    score_identification,
)
from limner.evaluation.pairfiles import PairList, read_pairs
from limner.evaluation.pairs import FARS, FOLDS, PairScores, draw_folds, score_pairs
from limner.evaluation.photos import EmbeddedPhotos, embed_photos
from limner.images import list_photos
from limner.similarity import (
    Calibration,
    LabelledPairs,
    fit_calibration,
    pairwise_squared_l2,
    squared_l2,
)

if TYPE_CHECKING:
    from limner.faces import Detector, Embedder

NO_FACE_DISTANCE = 4.0
"""What a pair with a faceless photo counts as: the largest squared L2 of unit vectors."""

_LISTED = 20
_BLOCK = 512


@dataclass(frozen=True, eq=False)
class PairsReport:
    """The pairs protocol on a folder of photos.

    Attributes:
        scores: The figures.
        pairs: The pairs file.
        paths: The file of each photo of `pairs`.
        photos: Their embeddings.
        distances: Shape (N,), squared L2; `NO_FACE_DISTANCE` where a photo has no face.
        faceless: Shape (N,), bool, pairs with such a photo.
        protocol: How the figures came about, in words.
        seconds: How long it took, reading the photos included.
    """

    scores: PairScores
    pairs: PairList
    paths: tuple[Path, ...]
    photos: EmbeddedPhotos
    distances: NDArray[np.float64]
    faceless: NDArray[np.bool_]
    protocol: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            **self.scores.to_json(),
            "no_face": _no_face(self.photos, [p.name for p in self.pairs.photos])
            | {"pairs": int(self.faceless.sum())},
            "wrong": int((~self.scores.right).sum()),
            "photos": len(self.paths),
            "embedder": self.photos.embedder_id,
            "distance": "squared_l2",
            "protocol": self.protocol,
            "seconds": round(self.seconds, 3),
            "cached": self.photos.cached,
        }


@dataclass(frozen=True, eq=False)
class IdentificationReport:
    """Open-set identification on a folder of people.

    Attributes:
        scores: The figures.
        paths: The photos.
        people: Whose photo each is.
        photos: Their embeddings.
        left_out: How many photos lie in no person's folder.
        seconds: How long it took, reading the photos included.
    """

    scores: IdentificationScores
    paths: tuple[Path, ...]
    people: tuple[str, ...]
    photos: EmbeddedPhotos
    left_out: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        scores = self.scores.to_json()
        return {
            **scores,
            "no_face": _no_face(self.photos, [p.name for p in self.paths]) | scores["no_face"],
            "people": len(set(self.people)),
            "photos": len(self.paths),
            "left_out": self.left_out,
            "embedder": self.photos.embedder_id,
            "distance": "squared_l2",
            "protocol": "open set: one photo a person enrolled, one-photo people are strangers",
            "seconds": round(self.seconds, 3),
            "cached": self.photos.cached,
        }


def _no_face(photos: EmbeddedPhotos, names: Sequence[str]) -> dict[str, Any]:
    without = np.flatnonzero(~photos.found)
    return {
        "photos": int(without.size),
        "unreadable": len(photos.unreadable),
        "first": [names[k] for k in without[:_LISTED]],
    }


def evaluate_pairs(
    pairs_file: str | Path,
    images: str | Path,
    embedder: Embedder,
    *,
    detector: Detector | None = None,
    cache: str | Path | None = None,
    fars: Sequence[float] = FARS,
    seed: int = 0,
    on_start: Callable[[int], None] | None = None,
    on_photo: Callable[[], None] | None = None,
) -> PairsReport:
    """Run the pairs protocol on a folder of photos.

    A pair with a photo in which no face is found counts as as distant as can be: it is judged
    different. A file without folds gets ten, drawn at random.

    Args:
        pairs_file: As `read_pairs` takes it.
        images: The folder that its photos lie in.
        embedder: Makes the embeddings; distances are squared L2.
        detector: Finds the faces; default: YuNet.
        cache: Folder for embeddings, see `embed_photos`.
        fars: False accept rates of the TAR.
        seed: Of the bootstrap, and of drawn folds.
        on_start: Called once with the number of photos.
        on_photo: Called after each photo.

    Raises:
        ProtocolError: If the pairs file is not one, or photos are missing.
        TooFewPairsError: If there are too few pairs for folds.
    """
    start = time.perf_counter()
    pairs = read_pairs(pairs_file)
    paths = pairs.locate(images)
    fold = pairs.fold if pairs.has_folds else draw_folds(pairs.same, seed=seed)
    if on_start is not None:
        on_start(len(paths))
    photos = embed_photos(paths, embedder, detector=detector, cache=cache, on_photo=on_photo)
    distances, faceless = pair_distances(pairs, photos)
    scores = score_pairs(distances, pairs.same, fold, fars=fars, seed=seed)
    count = np.unique(fold).size
    given = f"the file's {count}" if pairs.has_folds else f"{FOLDS} drawn (seed {seed})"
    return PairsReport(
        scores=scores,
        pairs=pairs,
        paths=tuple(paths),
        photos=photos,
        distances=distances,
        faceless=faceless,
        protocol=f"{pairs.form}, {given} folds: threshold from the others, tested on each",
        seconds=time.perf_counter() - start,
    )


def pair_distances(
    pairs: PairList, photos: EmbeddedPhotos
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return squared L2 of each pair, and which pairs lack a face (those are `4.0`)."""
    left, right = pairs.left, pairs.right
    distances = squared_l2(photos.vectors[left], photos.vectors[right]).astype(np.float64)
    faceless = ~(photos.found[left] & photos.found[right])
    distances[faceless] = NO_FACE_DISTANCE
    return distances, faceless


def evaluate_identification(
    images: str | Path,
    embedder: Embedder,
    *,
    detector: Detector | None = None,
    cache: str | Path | None = None,
    fpirs: Sequence[float] = FPIRS,
    seed: int = 0,
    on_start: Callable[[int], None] | None = None,
    on_photo: Callable[[], None] | None = None,
) -> IdentificationReport:
    """Run open-set identification on a folder with one folder a person.

    Args:
        images: The folder; a person's photos are taken in the order of their names.
        embedder: Makes the embeddings; distances are squared L2.
        detector: Finds the faces; default: YuNet.
        cache: Folder for embeddings, see `embed_photos`.
        fpirs: False-positive identification rates of the TPIR.
        seed: Of the bootstrap.
        on_start: Called once with the number of photos.
        on_photo: Called after each photo.

    Raises:
        ProtocolError: If it is not such a folder.
        TooFewPairsError: If nobody has two photos, or nobody has one.
    """
    start = time.perf_counter()
    root = Path(images)
    try:
        listed = list_photos(root)
    except ImageError as error:
        raise ProtocolError(str(error)) from error
    paths = tuple(p for p in listed if len(p.relative_to(root).parts) > 1)
    people = tuple(p.relative_to(root).parts[0] for p in paths)
    if not paths:
        raise ProtocolError(
            f"{root} holds no folder of a person with photos; wanted is {root}/NAME/PHOTO.jpg."
        )
    if on_start is not None:
        on_start(len(paths))
    photos = embed_photos(paths, embedder, detector=detector, cache=cache, on_photo=on_photo)
    scores = score_identification(
        photos.vectors, people, found=photos.found, fpirs=fpirs, seed=seed
    )
    return IdentificationReport(
        scores=scores,
        paths=paths,
        people=people,
        photos=photos,
        left_out=len(listed) - len(paths),
        seconds=time.perf_counter() - start,
    )


def fit_from_files(
    train_file: str | Path,
    test_file: str | Path | None,
    images: str | Path,
    embedder: Embedder,
    *,
    fitted_on: str | None = None,
    detector: Detector | None = None,
    cache: str | Path | None = None,
    on_start: Callable[[int], None] | None = None,
    on_photo: Callable[[], None] | None = None,
) -> Calibration:
    """Fit pair heads on one pairs file, check them on another, and tabulate false matches.

    The table of false-match rates comes from every pair of photos of two people in both
    files; where a file does not name people (a CSV), from its different pairs. Pairs with a
    photo in which no face is found are left out, and counted.

    Args:
        train_file: The heads are fitted on these pairs.
        test_file: Accuracy, log loss and calibration error come from these; None for none.
        images: The folder that the photos lie in.
        embedder: Makes the embeddings.
        fitted_on: The data, in words; default: the train file's name.
        detector: Finds the faces; default: YuNet.
        cache: Folder for embeddings, see `embed_photos`.
        on_start: Called once with the number of photos.
        on_photo: Called after each photo.

    Returns:
        The calibration; ``figures["left_out_pairs"]`` counts what was left out.

    Raises:
        ProtocolError: If a file is not a pairs file, or photos are missing.
        TooFewPairsError: If there are too few pairs to fit.
    """
    lists = [read_pairs(file) for file in (train_file, test_file) if file]
    located = [pairs.locate(images) for pairs in lists]
    distinct = dict.fromkeys(path for paths in located for path in paths)
    order = {path: number for number, path in enumerate(distinct)}
    if on_start is not None:
        on_start(len(order))
    photos = embed_photos(list(order), embedder, detector=detector, cache=cache, on_photo=on_photo)
    parts = [
        _labelled(pairs, np.array([order[p] for p in paths]), photos)
        for pairs, paths in zip(lists, located, strict=True)
    ]
    labelled = [pairs for pairs, _ in parts]
    impostors = _impostor_distances(lists, located, order, photos, labelled)
    words = f"{Path(train_file).name} ({labelled[0].same.size:,} pairs)"
    calibration, figures = fit_calibration(
        labelled[0],
        labelled[1] if test_file else None,
        impostors,
        embedder_id=photos.embedder_id,
        fitted_on=fitted_on or words,
    )
    figures["left_out_pairs"] = sum(left_out for _, left_out in parts)
    return calibration


def _labelled(
    pairs: PairList, index: NDArray[np.int64], photos: EmbeddedPhotos
) -> tuple[LabelledPairs, int]:
    """Return the pairs whose photos both show a face, and how many do not."""
    left, right = index[pairs.left], index[pairs.right]
    seen = photos.found[left] & photos.found[right]
    a, b = photos.vectors[left[seen]], photos.vectors[right[seen]]
    return LabelledPairs(a, b, pairs.same[seen]), int((~seen).sum())


def _impostor_distances(
    lists: Sequence[PairList],
    located: Sequence[Sequence[Path]],
    order: dict[Path, int],
    photos: EmbeddedPhotos,
    labelled: Sequence[LabelledPairs],
) -> NDArray[np.float32]:
    """Return squared L2 between photos of different people, sorted."""
    people: dict[int, str] = {}
    for pairs, paths in zip(lists, located, strict=True):
        for reference, path in zip(pairs.photos, paths, strict=True):
            if reference.person is None:
                listed = [squared_l2(p.a[~p.same], p.b[~p.same]) for p in labelled]
                return np.sort(np.concatenate(listed)).astype(np.float32)
            people[order[path]] = reference.person
    rows = np.array([k for k in sorted(people) if photos.found[k]], dtype=np.int64)
    if rows.size < 2:
        raise TooFewPairsError("false matches need photos of two people; fewer show a face.")
    return cross_distances(photos.vectors[rows], [people[int(k)] for k in rows])


def cross_distances(vectors: NDArray[np.float32], people: Sequence[str]) -> NDArray[np.float32]:
    """Return squared L2 of every pair of rows that belong to different people.

    Args:
        vectors: Shape (N, D), unit rows.
        people: N names.

    Returns:
        Shape (P,), float32, ascending; each pair once.
    """
    _, number = np.unique(np.asarray(people), return_inverse=True)
    parts = []
    for start in range(0, len(vectors), _BLOCK):
        stop = min(start + _BLOCK, len(vectors))
        table = pairwise_squared_l2(vectors[start:stop], vectors[start:])
        later = np.arange(table.shape[1])[None] > np.arange(stop - start)[:, None]
        apart = number[start:stop, None] != number[None, start:]
        parts.append(table[later & apart].astype(np.float32))
    distances = np.concatenate(parts)
    distances.sort()
    return distances
