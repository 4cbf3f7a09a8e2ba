"""The engine: everything that requests and the page share, opened once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from limner import images
from limner.errors import LimnerError, ServiceError
from limner.faces import FaceAnalyzer
from limner.images import Limits
from limner.service.audit import Audit
from limner.service.decoders import Decoders
from limner.service.jobs import Jobs
from limner.service.keys import Key, Keys
from limner.service.lane import SlowLane
from limner.service.measures import Measures
from limner.service.pool import Looked, Pool
from limner.service.settings import Settings
from limner.service.state import State
from limner.types import Face, ImageArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limner.faces import Embedder
    from limner.gallery import Gallery
    from limner.images.sources import Source

LOG = logging.getLogger("limner.service")
_COUNT_S = 0.25
_P = ParamSpec("_P")
_T = TypeVar("_T")


class PooledAnalyzer(FaceAnalyzer):
    """A FaceAnalyzer whose photos go through the service's pool, batched with all others.

    It is what `limner.gallery.enrolment` and the page use in this process.

    Args:
        pool: The workers.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.detector, pool.embedder)
        self._pool = pool

    def analyze(self, photo: Source, *, embed: bool = True, keep_chips: bool = False) -> list[Face]:
        """Return the faces of one photo, largest first; an empty list where there is none.

        Args:
            photo: As `limner.images.read` takes it.
            embed: Whether faces get their embedding.
            keep_chips: Whether faces keep the chip that the embedder read.

        Raises:
            ImageError: If the photo cannot be read.
            ServiceError: If the queue is full.
        """
        looked = self._pool.submit(photo, embed=embed, keep_image=keep_chips).result()
        if not keep_chips or looked.image is None:
            return looked.faces
        faces = looked.faces
        return self.embed_faces(looked.image, faces, keep_chips=True) if faces else []


class Engine:
    """The gallery, the workers, the jobs and the books of one service.

    It is made in an instant; `open` loads the weights and the index.

    Args:
        settings: What the service was started with.

    Raises:
        ServiceError: If the state folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State(settings.state_folder, exclusive=True)
        self.keys = Keys(self.state)
        self.audit = Audit(settings.state_folder)
        self.measures = Measures()
        self.limits = Limits(
            max_bytes=settings.max_bytes,
            max_pixels=settings.max_pixels,
            max_decoded_bytes=4 * settings.max_pixels,
        )
        self.jobs = Jobs(self.state, settings, read=self.read_now)
        self.slow = SlowLane()
        self.stopping = threading.Event()
        self.problem: str | None = None
        self.under_way = 0  # requests that may bring a photo; the guard counts them
        self.people = 0  # as counted last
        self._counting: asyncio.Future[int] | None = None
        self._closed = False
        self._gallery: Gallery | None = None
        self._decoders: Decoders | None = None
        self._pool: Pool | None = None
        self._analyzer: PooledAnalyzer | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="limner-gallery")
        self.measures.watch(self)

    # --- opening and closing -----------------------------------------------------------

    def open(self) -> None:
        """Load the weights, open the gallery, start the workers and resume jobs.

        Raises:
            LimnerError: If one of them cannot be had; `problem` keeps the sentence.
        """
        try:
            gallery = self._open_gallery()
            try:
                self._decoders = Decoders(self.settings.workers, self.limits)
                pool = self._open_pool(gallery)
            except BaseException:
                if self._decoders is not None:
                    self._decoders.close()
                gallery.close()
                raise
        except LimnerError as error:
            self.problem = str(error)
            raise
        self._gallery, self._pool, self._analyzer = gallery, pool, PooledAnalyzer(pool)
        self.jobs.start()
        self.problem = None

    def open_or_log(self) -> None:
        """Open; a failure is logged and shown by `/readyz`, not raised."""
        try:
            self.open()
        except LimnerError as error:
            LOG.error("the service is not ready: %s", error)
        except Exception as error:
            self.problem = f"{type(error).__name__}"
            LOG.exception("the service is not ready")

    def _open_gallery(self) -> Gallery:
        from limner.gallery import Gallery

        return Gallery.open(self.settings.gallery, create=True)

    def _open_pool(self, gallery: Gallery) -> Pool:
        import cv2
        from threadpoolctl import threadpool_limits

        from limner.faces import YuNet
        from limner.gallery.store import embedder_mismatch

        # A worker has one core. OpenBLAS's other threads would spin for 50 ms after each product.
        cv2.setNumThreads(1)
        threadpool_limits(1, user_api="blas")
        chosen = self.settings
        embedder = self._load_embedder(gallery.embedder_id)
        pinned = gallery.embedder_id
        if pinned is not None and embedder.embedder_id != pinned:
            raise embedder_mismatch(gallery.location, pinned, embedder.embedder_id)
        gallery.prepare()
        return Pool(
            YuNet(min_score=chosen.min_score, min_size=chosen.min_size, threads=1),
            embedder,
            threads=chosen.workers,
            batch=chosen.batch,
            queue=chosen.queue,
            max_faces=chosen.max_faces,
            read=self.read_now,
            on_batch=self.measures.batches.observe,
            under_way=lambda: self.under_way,
        )

    def _load_embedder(self, pinned: str | None) -> Embedder:
        """Return the embedder of the settings or of the gallery, on one thread."""
        from limner.faces import load_embedder
        from limner.weights.registry import DEFAULT_EMBEDDER, MIRRORED, embedder_named

        loaded = load_embedder(
            self.settings.embedder or embedder_named(pinned) or DEFAULT_EMBEDDER,
            device=self.settings.device,
            mirror=(pinned or "").endswith(MIRRORED),
        )
        alone: Embedder | None = getattr(loaded, "single_threaded", lambda: None)()
        return loaded if alone is None else alone

    def begin_stop(self) -> None:
        """Take no more work: called when the stop signal comes, before requests have ended."""
        self.stopping.set()
        self.jobs.begin_stop()

    def close(self) -> None:
        """End the jobs (they are checkpointed), the workers and the gallery; once is enough."""
        if self._closed:
            return
        self._closed = True
        self.begin_stop()
        self.jobs.close()
        if self._pool is not None:
            self._pool.close()
        if self._decoders is not None:
            self._decoders.close()
        self._threads.shutdown(wait=True)
        self.slow.close()
        if self._gallery is not None:
            self._gallery.close()
        self._gallery = self._pool = self._analyzer = None
        self.audit.close()
        self.state.close()

    # --- asking ------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether photos and jobs can be answered."""
        alive = self._pool is not None and self._pool.alive and self.jobs.alive
        return alive and not self.stopping.is_set()

    def _not_ready(self) -> ServiceError:
        words = "is stopping" if self.stopping.is_set() else "is not ready yet"
        return ServiceError(
            f"the service {words}; try again in 2 s.",
            status=503,
            kind="NotReady",
            retry_after_s=2,
        )

    @property
    def opened(self) -> bool:
        """Whether everything was loaded."""
        return self._pool is not None

    @property
    def gallery(self) -> Gallery:
        """The gallery.

        Raises:
            ServiceError: While the service is not ready.
        """
        if self._gallery is None:
            raise self._not_ready()
        return self._gallery

    @property
    def pool(self) -> Pool:
        """The workers.

        Raises:
            ServiceError: While the service is not ready.
        """
        if self._pool is None:
            raise self._not_ready()
        return self._pool

    @property
    def analyzer(self) -> PooledAnalyzer:
        """Finds and embeds faces through the pool; for callers in this process.

        Raises:
            ServiceError: While the service is not ready.
        """
        if self._analyzer is None:
            raise self._not_ready()
        return self._analyzer

    def note_person(self, person: int, key: Key) -> None:
        """Remember who enrolled a person; what is in the gallery stays there if that fails."""
        try:
            self.keys.note_person(person, key)
        except ServiceError as error:
            LOG.error("who enrolled person %d is not written down: %s", person, error)

    def drop_person(self, person: int) -> None:
        """Forget who enrolled a person that is gone; a failure is logged."""
        try:
            self.keys.drop_person(person)
        except ServiceError as error:
            LOG.error("who enrolled person %d is still written down: %s", person, error)

    async def count_people(self) -> None:
        """Count the people for `people`; whoever has the gallery is waited for a moment only."""
        if self._gallery is None or (self._counting and not self._counting.done()):
            return
        self._counting = asyncio.ensure_future(self.run(len, self._gallery))
        done, _ = await asyncio.wait({self._counting}, timeout=_COUNT_S)
        if done and self._counting.exception() is None:
            self.people = self._counting.result()

    def look(self, photo: Source, *, embed: bool = True) -> list[Face]:
        """Return the faces of a photo; waits for the pool. For callers in this process.

        Raises:
            ImageError: If the photo cannot be read.
            ServiceError: If the queue is full, or the service is not ready.
        """
        return self.analyzer.analyze(photo, embed=embed)

    async def see(
        self, photos: Sequence[Source], *, embed: bool = True, keep_image: bool = False
    ) -> list[Looked]:
        """Return what is in photos, in their order; four of a request are under way at most.

        Raises:
            InputError: If one of them cannot be used.
            ServiceError: If the queue is full.
        """
        pool, found = self.pool, []
        for start in range(0, len(photos), 4):
            futures: list[Future[Looked]] = []
            try:
                for photo in photos[start : start + 4]:
                    futures.append(pool.submit(photo, embed=embed, keep_image=keep_image))
                found += await asyncio.gather(*map(asyncio.wrap_future, futures))
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return found

    async def read(self, data: bytes) -> ImageArray:
        """Return an uploaded picture's pixels, (H, W, 3), uint8 RGB.

        Raises:
            ImageError: If it cannot be read, or exceeds the limits.
        """
        return await self.run(self.read_now, data)

    def read_now(self, source: Source) -> ImageArray:
        """Return a picture's pixels, (H, W, 3), uint8 RGB; a file's bytes are read in a child.

        Raises:
            ImageError: If it cannot be read, or exceeds the limits.
            ServiceError: While the service is not ready.
        """
        if not isinstance(source, bytes):
            return images.read(source, limits=self.limits)
        if self._decoders is None:
            raise self._not_ready()
        return self._decoders.read(source)

    async def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run something that waits for the disk on one of two threads beside the pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))
