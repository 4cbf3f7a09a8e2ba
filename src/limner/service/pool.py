"""The worker pool: photos in, faces with embeddings out, batched across requests.

Each worker has a core to itself and takes whatever is most useful next: it embeds waiting
faces when a batch is full, when no photo is left to search, or when a face has waited long
enough; otherwise it reads and searches a photo. Alone, a face is embedded at once; while other
requests are still on their way in, it waits a moment for theirs, so that the faces of many
share one pass through the network.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limner.errors import InputError, ServiceError
from limner.faces.reading import CutFace, FaceReader
from limner.faces.upright import Upright
from limner.types import Face, ImageArray

if TYPE_CHECKING:
    from limner.faces import Detector, Embedder
    from limner.images.sources import Source

MAX_WAIT_S = 0.1
"""How long a face may wait while photos are still being searched."""
LINGER_S = 0.02
"""How long it may wait for the photos of requests that have come, but not yet to the pool."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What was found in one photo.

    Attributes:
        faces: Largest first.
        size_hw: Height and width of the upright photo.
        image: The photo itself, shape (H, W, 3), uint8 RGB, if it was asked for.
    """

    faces: list[Face]
    size_hw: tuple[int, int]
    image: ImageArray | None = None


@dataclass(eq=False)
class _Task:
    photo: Source
    embed: bool
    keep_image: bool
    future: Future[Looked]
    looked: Looked | None = None
    faces: list[Face] = field(default_factory=list)
    left: int = 0


@dataclass(eq=False)
class _Chip:
    task: _Task
    place: int
    cut: CutFace
    since: float


class Pool:
    """Threads that read photos, find faces and embed them.

    Args:
        detector: On one thread.
        embedder: On one thread.
        threads: How many workers.
        batch: Most faces that go through the embedder together.
        queue: Most photos that may wait.
        max_faces: A photo with more is refused.
        read: Makes pixels of a photo, within limits.
        on_batch: Told how many faces shared a pass.
        under_way: Tells how many requests may bring a photo, those that did included.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: Embedder,
        *,
        threads: int,
        batch: int,
        queue: int,
        max_faces: int,
        read: Callable[[Source], ImageArray],
        on_batch: Callable[[int], Any] = lambda count: None,
        under_way: Callable[[], int] = lambda: 0,
    ) -> None:
        self.detector, self.embedder = detector, embedder
        self._upright, self._reader = Upright(detector), FaceReader(embedder)
        self._batch, self._queue, self._max_faces = batch, queue, max_faces
        self._read, self._on_batch, self._under_way = read, on_batch, under_way
        self._photos: deque[_Task] = deque()
        self._chips: deque[_Chip] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._inside = 0  # photos that came and were not answered yet
        # running means of a worker's time for a photo, and for a face
        self._look_s, self._face_s = 0.02, 0.03
        self._threads = [
            threading.Thread(target=self._work, name=f"limner-pool-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many photos wait."""
        return len(self._photos)

    @property
    def alive(self) -> bool:
        """Whether every worker is running."""
        return not self._closing and all(thread.is_alive() for thread in self._threads)

    def retry_after_s(self) -> int:
        """Return when the present queue will have been worked off, in whole seconds."""
        seconds = (self.waiting + 1) * (self._look_s + self._face_s) / len(self._threads)
        return max(1, min(60, math.ceil(seconds)))

    def submit(
        self, photo: Source, *, embed: bool = True, keep_image: bool = False
    ) -> Future[Looked]:
        """Queue a photo.

        Args:
            photo: As `limner.images.read` takes it; it is read by a worker.
            embed: Whether the faces get their embeddings.
            keep_image: Whether the pixels come back as well.

        Returns:
            A future of what was found; `InputError` if the photo cannot be used.

        Raises:
            ServiceError: If the queue is full (429) or the pool is closing (503).
        """
        task = _Task(photo, embed, keep_image, Future())
        with self._changed:
            if self._closing:
                raise ServiceError("the service is stopping.", status=503, kind="Stopping")
            if len(self._photos) >= self._queue:
                raise too_busy(self.retry_after_s())
            self._photos.append(task)
            self._inside += 1
            self._changed.notify()
        task.future.add_done_callback(self._left)
        return task.future

    def _left(self, _future: Future[Looked]) -> None:
        with self._changed:
            self._inside -= 1

    def close(self) -> None:
        """Finish what is queued and end the workers."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # --- the workers -------------------------------------------------------------------

    def _work(self) -> None:
        step_back(5)  # the thread that speaks to clients goes first
        while True:
            with self._changed:
                task = self._next()
            if task is None:
                return
            if isinstance(task, list):
                self._embed(task)
            elif task.future.set_running_or_notify_cancel():
                self._look(task)

    def _next(self) -> _Task | list[_Chip] | None:
        """Wait for a photo to search or for faces to embed; None: the pool is closed."""
        while True:
            wait_s = self._patience_s()
            if self._chips and wait_s <= 0:
                count = min(len(self._chips), self._batch)
                return [self._chips.popleft() for _ in range(count)]
            if self._photos:
                return self._photos.popleft()
            if self._closing and not self._chips:
                return None
            self._changed.wait(wait_s if self._chips else None)

    def _patience_s(self) -> float:
        """Return how much longer the waiting faces may wait, in seconds; 0 or less: no longer."""
        if not self._chips or len(self._chips) >= self._batch:
            return 0.0
        if self._photos:
            most_s = MAX_WAIT_S
        elif self._under_way() > self._inside and not self._closing:
            most_s = LINGER_S
        else:
            return 0.0
        return most_s - (time.monotonic() - self._chips[0].since)

    def _look(self, task: _Task) -> None:
        began = time.monotonic()
        try:
            image = self._read(task.photo)
            task.photo = b""
            faces = self._upright.detect(image)
            if len(faces) > self._max_faces:
                raise InputError(
                    f"the photo shows {len(faces)} faces; at most {self._max_faces} are taken."
                )
            cuts = [self._reader.cut(image, face) for face in faces]
        except BaseException as error:
            task.future.set_exception(error)
            return
        size_hw = (int(image.shape[0]), int(image.shape[1]))
        task.looked = Looked(faces, size_hw, image if task.keep_image else None)
        task.faces, task.left = list(faces), len(cuts)
        now = time.monotonic()
        self._look_s += 0.05 * (now - began - self._look_s)
        if not cuts or not task.embed:
            task.future.set_result(replace(task.looked, faces=self._reader.judge(cuts)))
            return
        with self._changed:
            self._chips.extend(_Chip(task, n, cut, now) for n, cut in enumerate(cuts))
            self._changed.notify()

    def _embed(self, batch: Sequence[_Chip]) -> None:
        began = time.monotonic()
        try:
            faces = self._reader.read([chip.cut for chip in batch])
        except BaseException as error:
            for task in {id(chip.task): chip.task for chip in batch}.values():
                _fail(task.future, error)
            return
        self._on_batch(len(batch))
        done = []
        self._face_s += 0.05 * ((time.monotonic() - began) / len(batch) - self._face_s)
        with self._changed:  # two workers may hold faces of one photo
            for chip, face in zip(batch, faces, strict=True):
                task = chip.task
                task.faces[chip.place] = face
                task.left -= 1
                if task.left == 0:
                    done.append(task)
        for task in done:
            if task.looked is not None and not task.future.done():
                task.future.set_result(replace(task.looked, faces=task.faces))


def _fail(future: Future[Looked], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def step_back(niceness: int = 10) -> None:
    """Let other threads go first, where the system can do that for one thread."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def too_busy(retry_after_s: int) -> ServiceError:
    """Return the error of a queue that is full."""
    return ServiceError(
        f"the service is busy; try again in {retry_after_s} s.",
        status=429,
        kind="TooBusy",
        retry_after_s=retry_after_s,
    )
