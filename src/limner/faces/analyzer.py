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

from limner import images, weights
from limner.device import cpu_threads
from limner.errors import InputError, LimnerError, UnknownNameError
from limner.faces.detect import Detector, YuNet
from limner.faces.embed import BATCH, Embedder
from limner.faces.large import looked_at
from limner.faces.load import EngineName, load_embedder
from limner.faces.reading import CutFace, FaceReader
from limner.faces.upright import Upright
from limner.images.sources import Limits, is_one
from limner.types import Face
from limner.weights.registry import DEFAULT_EMBEDDER

if TYPE_CHECKING:
    from limner.images.sources import Source

GROUP = 4
"""Photos that a core takes at a time: their faces share one pass through the weights."""


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
        min_size: Faces whose longer box side is below this many pixels are left out. Default:
            20, and more in photos above 24.5 megapixels, see `limner.faces.large`.
        min_score: Faces below this detector score, in (0, 1), are left out.
        any_rotation: Whether each face is looked for at any angle by itself, as in a crowd seen
            from above: four times the detector's work. Otherwise heads that lean are stood
            up, and a photo that lies on its side or upside down is turned as a whole.
        limits: On the photos that are decoded; default: `limner.images.Limits.default`.

    Raises:
        UnknownNameError: If there is no such detector.
    """

    def __init__(
        self,
        detector: str | Detector = "yunet",
        embedder: str | Path | Embedder | None = DEFAULT_EMBEDDER,
        *,
        device: str = "auto",
        engine: EngineName = "auto",
        mirror: bool = False,
        options: weights.OnnxOptions | None = None,
        min_size: float | None = None,
        min_score: float = 0.6,
        any_rotation: bool = False,
        limits: Limits | None = None,
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
        self._any_rotation = any_rotation
        self._limits = limits
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
    def limits(self) -> Limits:
        """The most bytes and pixels of a photo that is decoded."""
        return Limits.default() if self._limits is None else self._limits

    @property
    def _whole(self) -> bool:
        """Whether giant photos are never reduced: small faces in them were asked for."""
        return self._own_detector or self._min_size is not None

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

    def _upright(self, detector: Detector) -> Upright:
        return Upright(detector, any_rotation=self._any_rotation)

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
        detector, reader = self._upright(self.detector), self._reader(embed=embed or keep_chips)
        with looked_at(photo, detector, self.limits, whole=self._whole) as look:
            cuts = look.cut(reader)
        return _finish(reader, cuts, embed, keep_chips)

    def embed_faces(
        self, photo: Source, faces: Sequence[Face], *, keep_chips: bool = False
    ) -> list[Face]:
        """Return the given faces of a photo with their embeddings.

        Raises:
            ImageError: If the photo cannot be read.
        """
        self._needed_embedder()
        image, reader = images.read(photo, limits=self.limits), self._reader(embed=True)
        return _finish(reader, [reader.cut(image, face) for face in faces], True, keep_chips)

    def _reader(self, *, embed: bool) -> FaceReader:
        return FaceReader(self.embedder if embed else None)

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
        reader = self._reader(embed=embed or keep_chips)
        # Where the embedder can have a core to itself, each core finishes its own photos.
        alone = getattr(reader.embedder, "single_threaded", lambda: None)() if embed else None
        here = FaceReader(alone) if alone or not embed else None
        detector = self._upright(self._single_threaded_detector())
        one = partial(_look, detector, reader, self.limits, self._whole)
        look = partial(_look_at_group, one, here, embed, keep_chips)
        ready: list[LookedAt] = []
        waiting = 0
        for found, cuts in _ahead(photos, look):
            if found.error is not None and on_error == "raise":
                raise found.error
            ready.append((found, cuts))
            waiting += len(cuts)
            if waiting >= BATCH or (not cuts and len(ready) >= BATCH) or here:
                yield from _flush(ready, reader, embed, keep_chips)
                ready, waiting = [], 0
        yield from _flush(ready, reader, embed, keep_chips)


LookedAt = tuple[PhotoFaces, list[CutFace]]
"""A photo that was searched, and the faces of it that are still to be read."""


def _finish(
    reader: FaceReader, cuts: Sequence[CutFace], embed: bool, keep_chips: bool
) -> list[Face]:
    """Give faces what was asked for: their quality, their chips, their embeddings."""
    faces = reader.read(cuts) if embed else reader.judge(cuts)
    if not keep_chips:
        return faces
    return [replace(face, chip=cut.chip) for face, cut in zip(faces, cuts, strict=True)]


def _flush(
    ready: Sequence[LookedAt], reader: FaceReader, embed: bool, keep_chips: bool
) -> Iterator[PhotoFaces]:
    """Put the waiting faces of several photos through the embedder together."""
    cuts = [cut for _, own in ready for cut in own]
    done = iter(_finish(reader, cuts, embed, keep_chips) if cuts else [])
    for found, own in ready:
        yield replace(found, faces=[next(done) for _ in own]) if own else found


def _look(
    detector: Detector, reader: FaceReader, limits: Limits, whole: bool, photo: Source
) -> LookedAt:
    """Read and search one photo, and cut the faces that are to be read."""
    name = images.describe(photo)
    try:
        with looked_at(photo, detector, limits, whole=whole) as look:
            cuts = look.cut(reader)
    except LimnerError as error:
        return PhotoFaces(photo=name, faces=None, error=error), []
    faces = [cut.face for cut in cuts]
    return PhotoFaces(photo=name, faces=faces, size_hw=look.size_hw), cuts


def _look_at_group(
    look: Callable[[Source], LookedAt],
    here: FaceReader | None,
    embed: bool,
    keep_chips: bool,
    group: list[Source],
) -> list[LookedAt]:
    """Look at a few photos; read their faces here if the embedder has a core to itself."""
    looked = [look(photo) for photo in group]
    if here is None:
        return looked
    return [(found, []) for found in _flush(looked, here, embed, keep_chips)]


def _ahead(
    photos: Iterable[Source],
    look: Callable[[list[Source]], list[LookedAt]],
) -> Iterator[LookedAt]:
    """Look at photos on a thread a core, a bounded number ahead of the caller."""
    workers = cpu_threads()
    pending: deque[Future[list[LookedAt]]] = deque()
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
