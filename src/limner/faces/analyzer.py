"""FaceAnalyzer: from photos to faces with embeddings."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limner import images, weights
from limner.device import cpu_threads
from limner.errors import FaceCountError, InputError, LimnerError, UnknownNameError
from limner.faces.detect import Detector, YuNet
from limner.faces.embed import BATCH, Embedder
from limner.faces.load import EngineName, load_embedder
from limner.images.sources import is_one
from limner.types import BoxXYXY, Embedding, Face, ImageArray

if TYPE_CHECKING:
    from limner.images.sources import Source

GROUP = 4
"""Photos that a core takes at a time: their faces share one pass through the weights."""

Pick = Literal["one", "largest", "all"]


@dataclass(frozen=True)
class PhotoFaces:
    """What was found in one photo.

    Attributes:
        photo: The photo's path, or words for what it was read from.
        faces: The faces, largest first; None where the photo could not be read.
        error: Why it could not be read; None where it could.
        size_hw: Height and width of the upright photo; None where it could not be read.
    """

    photo: str
    faces: list[Face] | None
    error: LimnerError | None = None
    size_hw: tuple[int, int] | None = None


class FaceAnalyzer:
    """Finds the faces of photos, and embeds them.

    Weights are loaded on first use, not here. One analyzer serves many threads.

    Args:
        detector: ``"yunet"``, or an object with its own ``detect``.
        embedder: A name of the registry, the path of an ONNX file, an object with its own
            ``embed_chips``, or None to find faces only.
        device: As `limner.device.resolve` takes it.
        engine: What runs the embedder; see `limner.faces.load_embedder`.
        mirror: Whether mirrored chips are averaged in: more accurate, twice the work.
        options: How to feed a user's own ONNX file.
        min_size: Faces whose longer box side is below this many pixels are left out.
        min_score: Faces below this detector score, in (0, 1), are left out.

    Raises:
        UnknownNameError: If there is no such detector.
    """

    def __init__(
        self,
        detector: str | Detector = "yunet",
        embedder: str | Path | Embedder | None = "facenet",
        *,
        device: str = "auto",
        engine: EngineName = "auto",
        mirror: bool = False,
        options: weights.OnnxOptions | None = None,
        min_size: float = 20.0,
        min_score: float = 0.6,
    ) -> None:
        if isinstance(detector, str) and detector != "yunet":
            raise UnknownNameError(f"detector must be 'yunet', got {detector!r}.")
        self._detector = None if isinstance(detector, str) else detector
        self._own_detector = self._detector is not None
        self._many_detector: Detector | None = self._detector
        self._embedder_name = embedder
        self._embedder: Any = None
        if embedder is not None and not isinstance(embedder, str | Path):
            self._embedder = embedder
        self._device, self._engine, self._mirror = device, engine, mirror
        self._options = options
        self._min_size, self._min_score = min_size, min_score
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings alone: a copy, or another process, loads the weights anew."""
        state = {name: value for name, value in self.__dict__.items() if name != "_lock"}
        if not self._own_detector:
            state["_detector"] = state["_many_detector"] = None
        if self._embedder_name is None or isinstance(self._embedder_name, str | Path):
            state["_embedder"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def embedder(self) -> Embedder | None:
        """The embedder, loaded on first use; None where only faces are wanted."""
        with self._lock:
            if self._embedder is None and self._embedder_name is not None:
                self._embedder = load_embedder(
                    self._embedder_name,  # type: ignore[arg-type]
                    device=self._device,
                    engine=self._engine,
                    mirror=self._mirror,
                    options=self._options,
                )
            found: Embedder | None = self._embedder
            return found

    @property
    def embedder_id(self) -> str:
        """What a gallery records of the embedder.

        Raises:
            InputError: If the analyzer was made without an embedder.
        """
        return self._needed_embedder().embedder_id

    def _needed_embedder(self) -> Embedder:
        embedder = self.embedder
        if embedder is None:
            raise InputError("this FaceAnalyzer was made with embedder=None; it only finds faces.")
        return embedder

    @property
    def detector(self) -> Detector:
        """The detector, loaded on first use."""
        with self._lock:
            if self._detector is None:
                self._detector = YuNet(min_score=self._min_score, min_size=self._min_size)
            return self._detector

    def _single_threaded_detector(self) -> Detector:
        with self._lock:
            if self._many_detector is None:
                self._many_detector = YuNet(
                    min_score=self._min_score, min_size=self._min_size, threads=1
                )
            return self._many_detector

    def analyze(self, photo: Source, *, embed: bool = True, keep_chips: bool = False) -> list[Face]:
        """Return the faces of one photo, largest first; an empty list where there is none.

        Args:
            photo: A path, bytes, file object, array or Pillow image, as `limner.images.read`
                takes it.
            embed: Whether faces get their embedding.
            keep_chips: Whether faces keep the chip that the embedder read.

        Raises:
            ImageError: If the photo cannot be read.
        """
        image = images.read(photo)
        faces = self.detector.detect(image)
        if not (embed or keep_chips) or self.embedder is None or not faces:
            return faces
        embedder = self._needed_embedder()
        chips = [embedder.chip(image, face) for face in faces]
        return _finish(embedder, faces, chips, embed=embed, keep_chips=keep_chips)

    def embed_faces(
        self, photo: Source, faces: Sequence[Face], *, keep_chips: bool = False
    ) -> list[Face]:
        """Return the given faces of a photo with their embeddings.

        Raises:
            ImageError: If the photo cannot be read.
        """
        embedder = self._needed_embedder()
        image = images.read(photo)
        chips = [embedder.chip(image, face) for face in faces]
        return _finish(embedder, faces, chips, embed=True, keep_chips=keep_chips)

    def analyze_many(
        self,
        photos: Iterable[Source],
        *,
        embed: bool = True,
        keep_chips: bool = False,
        on_error: Literal["raise", "yield"] = "raise",
    ) -> Iterator[PhotoFaces]:
        """Yield the faces of many photos, in their order.

        Each core takes whole photos, from reading to embedding; on a GPU the cores read and
        search, and the faces of several photos go through the embedder together. Memory is
        bounded: a few photos a core are under way.

        Args:
            photos: As `analyze` takes them; may be a generator.
            embed: Whether faces get their embedding.
            keep_chips: Whether faces keep the chip that the embedder read.
            on_error: ``"yield"`` hands an unreadable photo over with its error instead of
                raising it.

        Raises:
            ImageError: If a photo cannot be read and ``on_error`` is ``"raise"``.
            InputError: If `photos` is one photo, not several.
        """
        if on_error not in ("raise", "yield"):
            raise UnknownNameError(f"on_error must be 'raise' or 'yield', got {on_error!r}.")
        if is_one(photos) or not isinstance(photos, Iterable):
            what = images.describe(photos)  # type: ignore[arg-type]
            raise InputError(
                f"analyze_many takes several photos, such as a list of paths, got {what}; "
                "analyze takes one."
            )
        return self._many(photos, embed=embed, keep_chips=keep_chips, on_error=on_error)

    def _many(
        self, photos: Iterable[Source], *, embed: bool, keep_chips: bool, on_error: str
    ) -> Iterator[PhotoFaces]:
        embedder = self.embedder if embed or keep_chips else None
        alone = getattr(embedder, "single_threaded", lambda: None)() if embed else None
        finish = partial(_finish, embed=embed, keep_chips=keep_chips)
        look = partial(_look, self._single_threaded_detector(), embedder)
        ready: list[tuple[PhotoFaces, list[ImageArray]]] = []
        waiting = 0
        for found, chips in _ahead(photos, partial(_look_at_group, look, alone, finish)):
            if found.error is not None and on_error == "raise":
                raise found.error
            ready.append((found, chips))
            waiting += len(chips)
            if waiting >= BATCH or (not chips and len(ready) >= BATCH) or alone or not embedder:
                yield from _flush(ready, embedder, finish)
                ready, waiting = [], 0
        yield from _flush(ready, embedder, finish)


def _finish(
    embedder: Embedder,
    faces: Sequence[Face],
    chips: list[ImageArray],
    *,
    embed: bool,
    keep_chips: bool,
) -> list[Face]:
    """Give faces what was asked for: their chips, their embeddings."""
    done = list(faces)
    if keep_chips:
        done = [replace(face, chip=chip) for face, chip in zip(done, chips, strict=True)]
    if embed:
        rows = embedder.embed_chips(chips)
        done = [
            replace(face, embedding=Embedding(vector=row, embedder_id=embedder.embedder_id))
            for face, row in zip(done, rows, strict=True)
        ]
    return done


def _flush(
    ready: list[tuple[PhotoFaces, list[ImageArray]]],
    embedder: Embedder | None,
    finish: Callable[..., list[Face]],
) -> Iterator[PhotoFaces]:
    """Put the waiting chips of several photos through the embedder together."""
    flat = [face for found, chips in ready if chips for face in found.faces or []]
    chips = [chip for _, own in ready for chip in own]
    done = iter(finish(embedder, flat, chips) if embedder and flat else [])
    for found, own in ready:
        yield replace(found, faces=[next(done) for _ in own]) if own else found


def _look(
    detector: Detector, embedder: Embedder | None, photo: Source
) -> tuple[PhotoFaces, list[ImageArray]]:
    """Read and search one photo, and cut the chips that the embedder is to read."""
    name = images.describe(photo)
    try:
        image = images.read(photo)
        faces = detector.detect(image)
        chips = [embedder.chip(image, face) for face in faces] if embedder else []
    except LimnerError as error:
        return PhotoFaces(photo=name, faces=None, error=error), []
    size_hw = (int(image.shape[0]), int(image.shape[1]))
    return PhotoFaces(photo=name, faces=faces, size_hw=size_hw), chips


def _look_at_group(
    look: Callable[[Source], tuple[PhotoFaces, list[ImageArray]]],
    alone: Embedder | None,
    finish: Callable[..., list[Face]],
    group: list[Source],
) -> list[tuple[PhotoFaces, list[ImageArray]]]:
    """Look at a few photos; embed their faces here if the embedder has a core to itself."""
    looked = [look(photo) for photo in group]
    return [(found, []) for found in _flush(looked, alone, finish)] if alone else looked


def _ahead(
    photos: Iterable[Source],
    look: Callable[[list[Source]], list[tuple[PhotoFaces, list[ImageArray]]]],
) -> Iterator[tuple[PhotoFaces, list[ImageArray]]]:
    """Look at photos on a thread a core, a bounded number ahead of the caller."""
    workers = cpu_threads()
    pending: deque[Future[list[tuple[PhotoFaces, list[ImageArray]]]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="limner-faces")
    stream = iter(photos)
    try:
        while group := list(islice(stream, GROUP)):
            pending.append(pool.submit(look, group))
            if len(pending) >= 3 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def choose(
    faces: Sequence[Face], *, pick: Pick | BoxXYXY = "one", photo: str = "the photo"
) -> list[Face]:
    """Choose among the faces of a photo.

    Args:
        faces: The faces of one photo.
        pick: ``"one"`` insists on exactly one face, ``"largest"`` takes the largest,
            ``"all"`` takes all; a box ``(x0, y0, x1, y1)`` takes the face that overlaps it most.
        photo: The photo's name, for the message.

    Returns:
        At least one face.

    Raises:
        FaceCountError: If there is no face, several where one is expected, or none at the box.
        UnknownNameError: If ``pick`` is another word.
    """
    if not faces:
        raise FaceCountError(
            f"no face was found in {photo}; use a photo in which the face is larger than "
            "20 pixels and turned to the camera, or lower --min-score.",
            count=0,
        )
    if not isinstance(pick, str):
        return [_at_box(faces, pick, photo)]
    if pick == "all":
        return list(faces)
    if pick == "largest":
        return [max(faces, key=lambda face: face.area)]
    if pick != "one":
        raise UnknownNameError(f"pick must be 'one', 'largest', 'all' or a box, got {pick!r}.")
    if len(faces) > 1:
        raise FaceCountError(
            f"{len(faces)} faces were found in {photo} where one is expected; "
            "choose with --largest, --all or --box x0,y0,x1,y1 (limner detect shows the boxes).",
            count=len(faces),
        )
    return [faces[0]]


def _at_box(faces: Sequence[Face], box: BoxXYXY, photo: str) -> Face:
    overlaps = [_iou(face.box_xyxy, box) for face in faces]
    best = int(np.argmax(overlaps))
    if overlaps[best] <= 0.1:
        raise FaceCountError(
            f"none of the {len(faces)} faces of {photo} lies at the box {box}; "
            "limner detect shows where they are.",
            count=len(faces),
        )
    return faces[best]


def _iou(a: BoxXYXY, b: BoxXYXY) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inter / (area - inter)
