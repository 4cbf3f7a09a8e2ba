"""A gallery keeps how good each enrolled photo was, and takes files from before it did."""

from __future__ import annotations

import sqlite3

import pytest
from gallery_helpers import DIM, EMBEDDER, unit

from limner.gallery import Gallery
from limner.gallery.schema import APPLICATION_ID, MIGRATIONS
from limner.types import Embedding


def old_file(path, vector):
    """A gallery as it was before quality: the first step alone."""
    with sqlite3.connect(path) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for key, value in (
            ("embedder_id", EMBEDDER),
            ("dim", str(DIM)),
            ("created", "2026-01-01T00:00:00+00:00"),
            ("epoch", "0"),
        ):
            db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))
        db.execute(
            "INSERT INTO people (name, key, created) VALUES ('Ada', 'ada', '2026-01-01T00:00:00')"
        )
        db.execute(
            "INSERT INTO embeddings (person_id, vector, created) VALUES (1, ?, '2026-01-01')",
            (vector.astype("<f4").tobytes(),),
        )
    db.close()


def columns(path):
    db = sqlite3.connect(path)
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        rows = db.execute("SELECT quality, reason FROM embeddings ORDER BY id").fetchall()
        return version, rows
    finally:
        db.close()


def test_a_file_of_the_first_schema_becomes_one_of_today(tmp_path):
    path = tmp_path / "old.limner"
    first, second = unit(2)
    old_file(path, first)
    with Gallery.open(path) as gallery:
        found = gallery.verify("Ada", Embedding(first, EMBEDDER, 0.9, None), threshold=0.5)
        assert found.distance == pytest.approx(0, abs=1e-5)
        gallery.enroll("Ada", Embedding(second, EMBEDDER, 0.25, "the face is blurred"))
    assert columns(path) == (len(MIGRATIONS), [(None, None), (0.25, "the face is blurred")])


def test_an_export_carries_quality_and_reason(tmp_path):
    first, second = unit(2)
    with Gallery.open(tmp_path / "a.limner", create=True) as source:
        source.enroll("Ada", Embedding(first, EMBEDDER, 0.93, None))
        source.enroll("Ada", Embedding(second, EMBEDDER, 0.125, "the face is too dark"))
        source.export(tmp_path / "out.zip")
    with Gallery.open(tmp_path / "b.limner", create=True) as target:
        target.import_file(tmp_path / "out.zip")
    wanted = [(0.93, None), (0.125, "the face is too dark")]
    assert columns(tmp_path / "a.limner")[1] == wanted
    assert columns(tmp_path / "b.limner")[1] == wanted
