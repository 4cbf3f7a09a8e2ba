"""The pool: right answers, shared batches, bounded queue, orderly end. Toy models."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner import images
from limner.errors import ImageError, InputError, ServiceError
from limner.images import Limits
from limner.service import pool as pool_module
from limner.service.pool import Pool
from limner.types import Face, FloatArray, ImageArray

DIM = 8


class Squares:
    """A photo has as many faces as its first pixel says; a gate holds the workers."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def detect(self, image: ImageArray) -> list[Face]:
        self.gate.wait(60)
        points = np.zeros((5, 2), np.float32)
        return [Face((n, 0.0, n + 1.0, 1.0), points, 0.9) for n in range(int(image[0, 0, 0]))]


class Colours:
    """Embeds the colour of a photo and the place of the face; counts its batches."""

    name, embedder_id, dim, chip_size = "toy", "toy-1", DIM, 1

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fails = False

    def vector(self, colour: int, place: int) -> FloatArray:
        row = np.random.default_rng(colour * 1000 + place).standard_normal(DIM)
        return (row / np.linalg.norm(row)).astype(np.float32)

    def chip(self, image: ImageArray, face: Face) -> ImageArray:
        return np.array([[[image[0, 0, 1], int(face.box_xyxy[0]), 0]]], np.uint8)

    def embed_chips(self, chips: Any) -> FloatArray:
        if self.fails:
            raise RuntimeError("the network is ill")
        self.batches.append(len(chips))
        return np.stack([self.vector(int(c[0, 0, 0]), int(c[0, 0, 1])) for c in chips])


def png(pixels: ImageArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo(faces: int, colour: int) -> ImageArray:
    return np.full((4, 4, 3), (faces, colour, 0), np.uint8)


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[Pool, Squares, Colours]]]:
    pools = []

    def make(**given: Any) -> tuple[Pool, Squares, Colours]:
        squares, colours = Squares(), Colours()
        chosen = {"threads": 2, "batch": 4, "queue": 100, "max_faces": 20, "read": images.read}
        pools.append((Pool(squares, colours, **{**chosen, **given}), squares))
        return pools[-1][0], squares, colours

    yield make
    for pool, squares in pools:
        squares.gate.set()
        pool.close()


def test_every_face_gets_its_own_embedding_however_they_are_batched(made):
    pool, _, colours = made(threads=3)
    counts = np.random.default_rng(0).integers(0, 10, 60)
    futures = [pool.submit(photo(int(n), colour)) for colour, n in enumerate(counts)]
    for colour, (n, future) in enumerate(zip(counts, futures, strict=True)):
        looked = future.result(30)
        assert len(looked.faces) == n
        assert looked.size_hw == (4, 4)
        for place, face in enumerate(looked.faces):
            assert face.box_xyxy[0] == place
            assert np.array_equal(face.embedding.vector, colours.vector(colour, place))
    assert sum(colours.batches) == counts.sum()
    assert max(colours.batches) <= 4


def test_faces_of_several_requests_share_a_pass_under_load(made):
    pool, squares, colours = made(threads=1, batch=16)
    squares.gate.clear()
    futures = [pool.submit(photo(1, n)) for n in range(9)]
    squares.gate.set()
    for future in futures:
        future.result(30)
    assert colours.batches == [9]


def test_a_face_waits_a_moment_for_those_on_their_way(made, monkeypatch):
    monkeypatch.setattr(pool_module, "LINGER_S", 60.0)
    monkeypatch.setattr(pool_module, "MAX_WAIT_S", 60.0)
    coming = [2]
    pool, _, colours = made(threads=1, under_way=lambda: coming[0])
    first = pool.submit(photo(1, 1))
    with pytest.raises(TimeoutError):
        first.result(0.3)
    second = pool.submit(photo(1, 2))
    assert first.result(30).faces[0].embedding is not None
    assert second.result(30).faces[0].embedding is not None
    assert colours.batches == [2]
    coming[0] = 1
    assert pool.submit(photo(1, 3)).result(30).faces[0].embedding is not None


def test_nobody_who_does_not_come_is_waited_for(made):
    pool, _, _ = made(under_way=lambda: 5)
    assert pool.submit(photo(1, 1)).result(1).faces[0].embedding is not None


def test_one_photo_alone_is_answered_at_once(made):
    pool, _, colours = made()
    assert pool.submit(photo(1, 1)).result(30).faces[0].embedding is not None
    assert colours.batches == [1]


def test_without_embeddings_nothing_is_embedded(made):
    pool, _, colours = made()
    faces = pool.submit(photo(3, 1), embed=False).result(30).faces
    assert [face.embedding for face in faces] == [None] * 3
    assert colours.batches == []


def test_a_full_queue_refuses_and_says_when(made):
    pool, squares, _ = made(threads=1, queue=2)
    squares.gate.clear()
    taken = []

    def flood():
        for n in range(10):
            taken.append(pool.submit(photo(1, n)))

    with pytest.raises(ServiceError) as caught:
        flood()
    assert (caught.value.status, caught.value.kind) == (429, "TooBusy")
    assert caught.value.retry_after_s >= 1
    assert 2 <= len(taken) <= 4
    squares.gate.set()
    assert all(future.result(30).faces for future in taken)


def test_a_bad_photo_spoils_no_other(made):
    pool, _, _ = made()
    futures = [pool.submit(b"no picture" if n == 3 else photo(1, n)) for n in range(6)]
    for n, future in enumerate(futures):
        if n == 3:
            with pytest.raises(ImageError):
                future.result(30)
        else:
            assert len(future.result(30).faces) == 1


def test_too_many_faces_and_too_many_pixels_are_refused(made):
    pool, _, _ = made(max_faces=2, read=partial(images.read, limits=Limits(max_pixels=16)))
    with pytest.raises(InputError, match=r"shows 3 faces; at most 2"):
        pool.submit(photo(3, 1)).result(30)
    with pytest.raises(ImageError, match="pixels"):
        pool.submit(png(np.zeros((5, 4, 3), np.uint8))).result(30)


def test_an_ill_network_fails_the_requests_and_not_the_workers(made):
    pool, _, colours = made()
    colours.fails = True
    with pytest.raises(RuntimeError, match="ill"):
        pool.submit(photo(2, 1)).result(30)
    colours.fails = False
    assert len(pool.submit(photo(2, 1)).result(30).faces) == 2
    assert pool.alive


def test_closing_finishes_what_is_queued_and_refuses_more(made):
    pool, squares, _ = made(threads=1)
    squares.gate.clear()
    futures = [pool.submit(photo(2, n)) for n in range(5)]
    threading.Timer(0.05, squares.gate.set).start()
    pool.close()
    assert all(len(future.result(0).faces) == 2 for future in futures)
    with pytest.raises(ServiceError) as caught:
        pool.submit(photo(1, 1))
    assert caught.value.status == 503
    assert not pool.alive


def test_a_cancelled_photo_is_not_read(made):
    pool, squares, _ = made(threads=1)
    squares.gate.clear()
    first, second = pool.submit(photo(1, 1)), pool.submit(photo(1, 2))
    assert second.cancel()
    squares.gate.set()
    assert len(first.result(30).faces) == 1
    assert len(pool.submit(photo(1, 3)).result(30).faces) == 1
