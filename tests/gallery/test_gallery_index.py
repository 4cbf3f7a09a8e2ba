"""Indexes against brute force, and the saved index as a cache that may be anything."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from gallery_helpers import OTHER_EMBEDDER, emb, near, open_new, squared, unit

from limner.errors import EmbedderMismatch
from limner.gallery import Gallery
from limner.gallery import index as indexes
from limner.gallery.cache import IndexCache, Stamp
from limner.gallery.index import ExactIndex
from limner.gallery.inverted import IvfIndex, lists_for, train_ivf
from limner.gallery.store import NOT_JUDGED
from limner.types import FloatArray

COUNT, WIDE = 3_000, 32


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the gallery think that 1,000 faces are many."""
    monkeypatch.setattr(indexes, "EXACT_BELOW", 1_000)


@pytest.fixture(scope="module")
def rows() -> FloatArray:
    return unit(COUNT, seed=1, dim=WIDE)


def brute_force(rows: FloatArray, query: FloatArray, k: int) -> list[int]:
    distances = ((rows.astype(np.float64) - query.astype(np.float64)) ** 2).sum(axis=1)
    return np.argsort(distances, kind="stable")[:k].tolist()


def test_exact_index_equals_brute_force(rows: FloatArray) -> None:
    index = ExactIndex(WIDE)
    for start in range(0, COUNT, 700):
        index.add(np.arange(start, min(start + 700, COUNT)) + 10, rows[start : start + 700])
    assert index.size == COUNT
    queries = unit(130, seed=2, dim=WIDE)
    found = index.search(queries, 7)
    for query, ids in zip(queries, found, strict=True):
        assert [i - 10 for i in ids.tolist()] == brute_force(rows, query, 7)
    for query in queries[:5]:
        assert index.search(query[None], 1)[0, 0] - 10 == brute_force(rows, query, 1)[0]


def test_exact_index_forgets(rows: FloatArray) -> None:
    index = ExactIndex(WIDE)
    index.add(np.arange(100), rows[:100])
    index.remove(np.array([3, 50, 99, 12345]))
    assert index.size == 97
    assert index.search(rows[3:4], 100)[0, 96:].tolist() != [3, -1, -1, -1]
    found = set(index.search(rows[3:4], 100)[0].tolist())
    assert found == set(range(100)) - {3, 50, 99} | {-1}
    # Nothing of the removed rows stays behind in memory.
    assert not np.isin(rows[[3, 50, 99]], index._matrix).all(axis=1).any()


def test_searching_for_more_than_there_is(rows: FloatArray) -> None:
    index = ExactIndex(WIDE)
    assert index.search(rows[:2], 3).tolist() == [[-1] * 3] * 2
    index.add(np.array([7]), rows[:1])
    assert index.search(rows[:2], 3).tolist() == [[7, -1, -1]] * 2


@pytest.mark.parametrize(("dim", "live"), [(32, 32), (30, 30), (7, 7), (130, 130), (96, 20)])
def test_ivf_index_finds_what_is_near(dim: int, live: int) -> None:
    rows = np.zeros((COUNT, dim), np.float32)
    rows[:, :live] = unit(COUNT, seed=1, dim=live)
    index = train_ivf(
        rows[:2000], count=COUNT, batches=[(np.arange(COUNT), rows)], trials=rows[2000:]
    )
    assert isinstance(index, IvfIndex)
    assert index.size == COUNT
    kept = int(index.kind.split(" directions")[0].split()[-1])
    assert live <= kept <= min(dim, live + 31)  # what no embedding uses is left out
    queries = [near(rows[i], 0.1, seed=i) for i in range(0, COUNT, 30)]
    hits = [i * 30 in index.search(q[None], 16)[0] for i, q in enumerate(queries)]
    assert np.mean(hits) > 0.95
    # With enough effort every list is looked into.
    everything = index.search(queries[0][None], COUNT, effort=100)[0]
    assert set(everything.tolist()) == set(range(COUNT))
    index.remove(np.array([0, 5]))
    assert index.size == COUNT - 2
    assert 0 not in index.search(queries[0][None], COUNT, effort=100)[0]


def test_number_of_lists() -> None:
    assert lists_for(100) == 16
    assert lists_for(1_000_000) == 1000


# --- the saved index ------------------------------------------------------------------------


def fill(gallery: Gallery, count: int, *, start: int = 0) -> FloatArray:
    rows = unit(count, seed=50 + start)
    gallery.enroll_many((f"P{start + i}", emb(row)) for i, row in enumerate(rows))
    return rows


@pytest.fixture(scope="module")
def large_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FloatArray]:
    """A closed gallery of 1,500 people with a saved index."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch, open_new(folder) as gallery:
        patch.setattr(indexes, "EXACT_BELOW", 1_000)
        rows = fill(gallery, 1_500)
        gallery.prepare()
        assert gallery.info().index.startswith("IVF")
    return folder, rows


@pytest.fixture
def large(
    tmp_path: Path, small_limit: None, large_template: tuple[Path, FloatArray]
) -> tuple[Path, FloatArray]:
    """A copy of the large gallery."""
    folder, rows = large_template
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return tmp_path / "g.limner", rows


def index_file(path: Path) -> Path:
    return IndexCache(path, read_only=True).path


def names(path: Path, rows: FloatArray) -> list[str | None]:
    with Gallery.open(path) as gallery:
        return [m.person for m in gallery.identify([emb(r) for r in rows], threshold=0.01)]


def test_a_saved_index_is_used_again(
    large: tuple[Path, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = large

    def no_training(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("limner.gallery.search.train_ivf", no_training)
    assert names(path, rows[::100]) == [f"P{i}" for i in range(0, 1500, 100)]


def test_small_changes_do_not_train_again(
    large: tuple[Path, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = large
    monkeypatch.setattr("limner.gallery.search.train_ivf", None)
    with Gallery.open(path) as gallery:
        late = np.stack([near(unit(1, seed=99)[0], 0.004, seed=i) for i in range(3)])
        gallery.enroll("Late", [emb(v) for v in late])
        assert gallery.identify(emb(late[1]), threshold=0.01)[0].person == "Late"
        gallery.forget("P7")
        assert gallery.identify(emb(rows[7]), threshold=0.01)[0].person is None
    assert names(path, np.stack([late[0], rows[7], rows[8]])) == ["Late", None, "P8"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text", "gone", "tail", "long"])
def test_a_damaged_index_is_made_anew(large: tuple[Path, FloatArray], damage: str) -> None:
    path, rows = large
    file = index_file(path)
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x10
    elif damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "empty":
        data.clear()
    elif damage == "text":
        data[:] = b"hello world\n" * 10
    elif damage == "tail":
        data[-12] ^= 0xFF
    elif damage == "long":
        data += b"more"
    file.write_bytes(data)
    if damage == "gone":
        file.unlink()
    assert names(path, rows[:20]) == [f"P{i}" for i in range(20)]
    assert IndexCache(path, read_only=True).load() is not None


def test_every_flipped_bit_is_noticed(large: tuple[Path, FloatArray]) -> None:
    path, _ = large
    file = index_file(path)
    good = file.read_bytes()
    cache = IndexCache(path, read_only=True)
    assert cache.load() is not None
    rng = np.random.default_rng(0)
    for position in [*rng.integers(0, len(good), 60).tolist(), 0, 4, len(good) - 1]:
        data = bytearray(good)
        data[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        assert cache.load() is None, position


def test_an_index_of_another_gallery_is_not_used(
    large: tuple[Path, FloatArray], tmp_path: Path
) -> None:
    path, _ = large
    with open_new(tmp_path, "other.limner") as other:
        rows = fill(other, 1_500, start=5000)
        file = index_file(tmp_path / "other.limner")
        file.parent.mkdir()
        file.write_bytes(index_file(path).read_bytes())
        matches = other.identify([emb(r) for r in rows[:20]], threshold=0.01)
        assert [m.person for m in matches] == [f"P{5000 + i}" for i in range(20)]


def test_nothing_of_a_forgotten_person_stays_in_the_saved_index(
    large: tuple[Path, FloatArray],
) -> None:
    path, _ = large
    with Gallery.open(path) as gallery:
        gallery.forget("P3")
    loaded = IndexCache(path, read_only=True).load()
    assert loaded is not None
    index, stamp = loaded
    assert index.size == 1_499
    assert stamp.last_removal == 1
    assert 4 not in index.search(unit(1), 1_499, effort=1000)


def test_a_gallery_that_shrinks_becomes_exact(
    large: tuple[Path, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = large
    with Gallery.open(path) as gallery:
        gallery.prepare()
        assert gallery.info().index.startswith("IVF")
        monkeypatch.setattr(indexes, "EXACT_BELOW", 4_000)  # the same as having shrunk
        gallery.enroll("P1200", emb(near(rows[1200], 1e-4)))
        assert gallery.identify(emb(rows[1200]), threshold=0.01)[0].person == "P1200"
        assert gallery.info().index == "exact"
        gallery.forget("P1200")
    assert not index_file(path).exists()


def test_a_gallery_that_grows_gets_an_index(tmp_path: Path, small_limit: None) -> None:
    with open_new(tmp_path) as gallery:
        first = fill(gallery, 500)
        gallery.prepare()
        assert gallery.info().index == "exact"
        second = fill(gallery, 1_700, start=500)
        found = gallery.identify([emb(first[3]), emb(second[4])], threshold=0.01)
        assert [m.person for m in found] == ["P3", "P504"]
        assert gallery.info().index.startswith("IVF")
        trained = gallery._searcher.index
        third = fill(gallery, 6_700, start=3_000)
        assert gallery.identify(emb(third[5]), threshold=0.01)[0].person == "P3005"
        assert gallery._searcher.index is not trained


def test_the_approximate_gallery_agrees_with_brute_force(large: tuple[Path, FloatArray]) -> None:
    path, rows = large
    right = 0
    with Gallery.open(path) as gallery:
        for number in range(100):
            probe = near(rows[number * 7], 0.15, seed=number)
            (match,) = gallery.identify(emb(probe), threshold=4.0)
            distances = [squared(probe, row) for row in rows]
            best = int(np.argmin(distances))
            right += match.person == f"P{best}"
            if match.person == f"P{best}":
                assert match.distance == pytest.approx(distances[best], abs=1e-6)
    assert right >= 98


def test_lookalikes_beyond_the_probed_lists(large: tuple[Path, FloatArray]) -> None:
    path, rows = large
    with Gallery.open(path) as gallery:
        ranked = gallery.lookalike(emb(rows[0]), top=1_500)
    assert len({r.person for r in ranked}) == 1_500
    assert ranked[0].person == "P0"


def test_an_unwritable_cache_is_no_reason_to_fail(tmp_path: Path, small_limit: None) -> None:
    with open_new(tmp_path) as gallery:
        (tmp_path / "g.limner.index").write_text("a file where the folder should be")
        rows = fill(gallery, 1_200)
        assert gallery.identify(emb(rows[5]), threshold=0.01)[0].person == "P5"
        gallery.forget("P5")
        assert gallery.identify(emb(rows[5]), threshold=0.01)[0].person is None


def test_a_failure_half_way_leaves_no_half_index(
    large: tuple[Path, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows = large
    with Gallery.open(path) as gallery:
        gallery.prepare()
        late = fill(gallery, 300, start=7_000)

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(IvfIndex, "add", stop)
            with pytest.raises(KeyboardInterrupt):
                gallery.prepare()
        found = gallery.identify([emb(rows[9]), emb(late[7])], threshold=0.01)
        assert [m.person for m in found] == ["P9", "P7007"]
        index = gallery._searcher.index
        assert index is not None
        assert index.size == 1_800


def test_re_embedding_by_another_process_voids_the_index(large: tuple[Path, FloatArray]) -> None:
    path, rows = large
    with Gallery.open(path) as gallery, Gallery.open(path) as other:
        gallery.prepare()
        turned = unit(1_500, seed=31, dim=24)
        with other.locked() as store:
            faces = [face.id for face in store.faces()]
            store.replace_vectors(
                {face: (row, NOT_JUDGED) for face, row in zip(faces, turned, strict=True)},
                embedder_id=OTHER_EMBEDDER,
                dim=24,
                changes=store.state().changes,
            )
        with pytest.raises(EmbedderMismatch):
            gallery.identify(emb(rows[0]), threshold=0.01)
        (match,) = gallery.identify(emb(turned[8], OTHER_EMBEDDER), threshold=0.01)
        assert match.person == "P8"
        assert gallery.info().dim == 24


def test_leftovers_of_killed_runs_are_swept(large: tuple[Path, FloatArray]) -> None:
    path, _ = large
    cache = IndexCache(path, read_only=False)
    old, young = (cache.folder / f"ivf.index.{n}.part" for n in ("old", "young"))
    for leftover in (old, young):
        leftover.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    loaded = cache.load()
    assert loaded is not None
    assert cache.save(loaded[0], Stamp("e", 16, 1, 1, 1))
    assert not old.exists()
    assert young.exists()
