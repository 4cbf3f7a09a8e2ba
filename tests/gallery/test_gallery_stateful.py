"""Any sequence of changes against a dictionary and brute force."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from gallery_helpers import DIM, emb, near, squared, unit
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from limner.errors import NameTakenError, UnknownNameError
from limner.gallery import Gallery
from limner.gallery import index as indexes
from limner.types import FloatArray

NAMES = st.sampled_from(["Ada", "Zo\u00eb", "佐藤", "O'Neil", "Bob", "Eve", "Ольга", "Max"])
POOL = unit(400, seed=123)
FEW, MANY = 10**9, 40  # always exact; approximate from 40 faces on


def mean_of(vectors):
    """Return the unit vector along the mean, or the first where the mean has no direction."""
    mean = np.mean(np.array(vectors, np.float64), axis=0)
    length = np.linalg.norm(mean)
    return np.asarray(vectors[0] if length < 1e-3 else mean / length)


class GalleryMachine(RuleBasedStateMachine):
    """Two handles on one file, a dictionary beside them."""

    exact_below = FEW

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "g.limner"
        self.model: dict[str, list[FloatArray]] = {}
        self.notes: dict[str, str] = {}
        self.used = 0
        self.handles: list[Gallery] = []

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(indexes, "EXACT_BELOW", self.exact_below)
        self.handles = [Gallery.open(self.path, create=True) for _ in range(2)]

    def fresh(self, count: int) -> list[FloatArray]:
        assume(self.used + count <= len(POOL))
        self.used += count
        return list(POOL[self.used - count : self.used])

    @rule(name=NAMES, count=st.integers(1, 3), who=st.integers(0, 1), upper=st.booleans())
    def enroll(self, name: str, count: int, who: int, upper: bool) -> None:
        vectors = self.fresh(count)
        typed = name.upper() if upper and name in self.model else name
        done = self.handles[who].enroll(typed, [emb(v) for v in vectors])
        self.model.setdefault(name, []).extend(vectors)
        self.notes.setdefault(name, "")
        assert done.person == name
        assert done.total == len(self.model[name])

    @rule(count=st.integers(5, 25), who=st.integers(0, 1))
    def enroll_many(self, count: int, who: int) -> None:
        vectors = self.fresh(count)
        names = [f"Bulk {(self.used + i) // 3}" for i in range(count)]
        pairs = list(zip(names, vectors, strict=True))
        assert self.handles[who].enroll_many((n, emb(v)) for n, v in pairs) == count
        for name, vector in pairs:
            self.model.setdefault(name, []).append(vector)
            self.notes.setdefault(name, "")

    @rule(name=NAMES, who=st.integers(0, 1))
    def forget(self, name: str, who: int) -> None:
        if name in self.model:
            assert self.handles[who].forget(name) == len(self.model.pop(name))
            del self.notes[name]
        else:
            with pytest.raises(UnknownNameError):
                self.handles[who].forget(name)

    @rule(old=NAMES, new=NAMES, who=st.integers(0, 1))
    def rename(self, old: str, new: str, who: int) -> None:
        if old not in self.model:
            with pytest.raises(UnknownNameError):
                self.handles[who].rename(old, new)
        elif new in self.model and new != old:
            with pytest.raises(NameTakenError):
                self.handles[who].rename(old, new)
        else:
            self.handles[who].rename(old, new)
            self.model[new] = self.model.pop(old)
            self.notes[new] = self.notes.pop(old)

    @rule(source=NAMES, into=NAMES, who=st.integers(0, 1))
    def merge(self, source: str, into: str, who: int) -> None:
        assume(source != into and {source, into} <= set(self.model))
        total = self.handles[who].merge(source, into)
        self.model[into] += self.model.pop(source)
        self.notes[into] = self.notes[into] or self.notes[source]
        del self.notes[source]
        assert total == len(self.model[into])

    @rule(name=NAMES, note=st.text("abc\n", max_size=5), who=st.integers(0, 1))
    def note(self, name: str, note: str, who: int) -> None:
        assume(name in self.model)
        self.handles[who].set_note(name, note)
        self.notes[name] = note.strip()

    @rule(who=st.integers(0, 1))
    def reopen(self, who: int) -> None:
        self.handles[who].close()
        self.handles[who] = Gallery.open(self.path)

    @rule(damage=st.sampled_from(["gone", "cut", "noise"]), seed=st.integers(0, 99))
    def lose_the_index(self, damage: str, seed: int) -> None:
        for file in self.folder.glob("g.limner.index/*"):
            data = bytearray(file.read_bytes())
            if damage == "noise" and data:
                data[seed * len(data) // 100] ^= 0x55
            file.unlink() if damage == "gone" else file.write_bytes(
                data[: len(data) // 2] if damage == "cut" else data
            )

    @rule(who=st.integers(0, 1))
    def vacuum(self, who: int) -> None:
        self.handles[who].vacuum()

    @precondition(lambda self: self.model)
    @rule(pick=st.integers(0, 10**6), distance=st.floats(0, 0.5), who=st.integers(0, 1))
    def ask(self, pick: int, distance: float, who: int) -> None:
        """Identification and look-alikes name whom brute force names."""
        everything = [(n, v) for n, vectors in self.model.items() for v in vectors]
        query = near(everything[pick % len(everything)][1], distance, seed=pick)
        best: dict[str, float] = {}
        for name, vector in everything:
            best[name] = min(best.get(name, 9.0), squared(query, vector))
        ranked = sorted(best.items(), key=lambda item: item[1])
        (match,) = self.handles[who].identify(emb(query), threshold=4.0)
        alike = self.handles[who].lookalike(emb(query), top=len(best))
        # Everybody comes once, with the exact distance, in the right order.
        assert {a.person: a.distance for a in alike} == pytest.approx(best, abs=1e-5)
        assert np.all(np.diff([a.distance for a in alike]) >= 0)
        # Of the three with the nearest single embeddings the nearest mean is named.
        means = {name: squared(query, mean_of(vectors)) for name, vectors in self.model.items()}
        assert match.distance == pytest.approx(means[match.person or ""], abs=1e-4)
        if self.exact_below == FEW or distance < 0.2:
            assert match.distance <= means[ranked[0][0]] + 1e-4
        if self.exact_below == FEW and len(ranked) <= 3:
            assert match.distance == pytest.approx(min(means.values()), abs=1e-4)

    @invariant()
    def both_handles_agree_with_the_model(self) -> None:
        for handle in self.handles:
            people = {p.name: (p.photos, p.note) for p in handle.people()}
            assert people == {n: (len(v), self.notes[n]) for n, v in self.model.items()}
            assert len(handle) == len(self.model)

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        if self.handles:
            self.patch.undo()
        shutil.rmtree(self.folder)


class ApproximateMachine(GalleryMachine):
    exact_below = MANY


COMMON = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}


class TestExact(GalleryMachine.TestCase):
    settings = settings(max_examples=25, stateful_step_count=25, **COMMON)


class TestApproximate(ApproximateMachine.TestCase):
    settings = settings(max_examples=12, stateful_step_count=25, **COMMON)


def test_the_pool_is_what_the_machine_needs() -> None:
    assert POOL.shape == (400, DIM)
    apart = ((POOL[:, None] - POOL[None]) ** 2).sum(axis=2)[~np.eye(400, dtype=bool)]
    assert apart.min() > 0.1
