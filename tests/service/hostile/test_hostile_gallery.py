"""The gallery: forgetting cannot be undone, exports are private, nothing waits on the loop."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile

import httpx
import numpy as np
import pytest
from test_hostile_requests import serving

from limner.errors import GalleryError, InputError, NameTakenError, ServiceError, UnknownNameError
from limner.gallery import Gallery
from limner.gallery.names import normalise_name
from limner.gallery.transfer import MANIFEST, VECTORS
from limner.service import Settings, create_app
from limner.types import Embedding

EMBEDDER = "toy-1"


def embedding(seed):
    row = np.random.default_rng(seed).standard_normal(128)
    return Embedding((row / np.linalg.norm(row)).astype(np.float32), EMBEDDER)


@pytest.fixture
def gallery(tmp_path):
    with Gallery.open(tmp_path / "g.limner", create=True) as made:
        for number, name in enumerate(("Ada", "Grace", "Émile")):
            made.enroll(name, embedding(number), photo=f"{name}.jpg")
        yield made


# --- M4: ids inside the transaction -------------------------------------------


def test_what_is_forgotten_stays_forgotten_whoever_is_on_the_way(gallery):
    number = gallery.person("Ada").id
    gallery.forget(number)
    for change in (
        lambda: gallery.enroll(number, embedding(9)),
        lambda: gallery.rename(number, "Ada Lovelace"),
        lambda: gallery.set_note(number, "here again"),
        lambda: gallery.merge(number, gallery.person("Grace").id),
        lambda: gallery.merge("Grace", number),
        lambda: gallery.remove_photo(number, 1),
        lambda: gallery.forget(number),
    ):
        with pytest.raises(UnknownNameError, match=f"has the id {number}"):
            change()
    assert [person.name for person in gallery.people()] == ["Émile", "Grace"] or len(gallery) == 2


def test_a_rename_on_the_way_makes_no_second_person(gallery):
    number = gallery.person("Ada").id
    gallery.rename(number, "Countess of Lovelace")
    done = gallery.enroll(number, embedding(9))
    assert (done.person, done.total, done.created) == ("Countess of Lovelace", 2, False)
    assert len(gallery) == 3
    with pytest.raises(NameTakenError):
        gallery.rename(number, "GRACE")


def test_photos_on_the_way_do_not_bring_a_forgotten_person_back(tmp_path, monkeypatch):
    """As over HTTP: known when the request comes, gone when the photos are read."""
    from limner.service.routes import people

    app = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    engine = app.state.limner
    engine._gallery = Gallery.open(tmp_path / "g.limner", create=True)
    engine._gallery.enroll("Ada", embedding(0))
    number = engine._gallery.person("Ada").id
    reading, go_on = threading.Event(), threading.Event()

    async def see(photos, **options):
        import asyncio

        reading.set()
        await asyncio.to_thread(go_on.wait, 20)
        raise InputError("no face was found in the photo.")

    def store(engine, key, who, *given):
        return engine.gallery.enroll(who, embedding(1))

    monkeypatch.setattr(engine, "see", see)
    monkeypatch.setattr(people, "_store", store)
    answers = []
    with serving(app) as address:

        def add():
            files = {"photos": ("a.jpg", b"x")}
            answers.append(httpx.post(f"{address}/v1/people/{number}/photos", files=files))

        thread = threading.Thread(target=add)
        thread.start()
        assert reading.wait(20)
        assert httpx.delete(f"{address}/v1/people/{number}").status_code == 200
        go_on.set()
        thread.join()
    assert answers[0].status_code == 404
    assert engine._gallery.people() == []
    engine.close()


# --- M1, L3: locks ------------------------------------------------------------


def test_nothing_waits_on_the_loop_while_another_process_writes(tmp_path):
    app = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    engine = app.state.limner
    engine._gallery = Gallery.open(tmp_path / "g.limner", create=True)
    engine._gallery.enroll("Ada", embedding(0))
    other = sqlite3.connect(tmp_path / "g.limner", isolation_level=None)
    with serving(app) as address, httpx.Client(base_url=address, timeout=20) as client:
        assert "limner_people 1.0" in client.get("/metrics").text
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=engine._gallery.enroll, args=("Bea", embedding(1)))
        writer.start()
        time.sleep(0.2)
        for path in ("/healthz", "/metrics", "/readyz", "/v1/jobs", "/metrics", "/healthz"):
            began = time.monotonic()
            answer = client.get(path)
            assert time.monotonic() - began < 2, path
            assert answer.status_code in (200, 503)
        other.execute("ROLLBACK")
        other.close()
        writer.join()
        time.sleep(0.3)
        client.get("/metrics")
        assert "limner_people 2.0" in client.get("/metrics").text
    engine.close()


def test_a_full_state_disk_does_not_deny_what_is_in_the_gallery(tmp_path, monkeypatch):
    app = create_app(Settings(state=tmp_path / "state", gallery=tmp_path / "g.limner"))
    engine = app.state.limner

    def full(person, key):
        raise ServiceError("the disk is full", status=503)

    monkeypatch.setattr(engine.keys, "note_person", full)
    engine.note_person(1, None)  # logged, not raised
    engine.close()


# --- M9: exports --------------------------------------------------------------

EXPORT = """
import os, sys
from pathlib import Path
from limner.gallery import Gallery, transfer
write = transfer._write_parts
def slowly(store, parts, **options):
    manifest = write(store, parts, **options)
    print("parts", flush=True)
    sys.stdin.readline()
    return manifest
transfer._write_parts = slowly
os.umask(0)
with Gallery.open(sys.argv[1]) as gallery:
    gallery.export(sys.argv[2])
"""


def test_an_export_is_private_from_its_first_byte_and_a_killed_one_is_swept(gallery, tmp_path):
    out = tmp_path / "exports"
    out.mkdir()
    words = [sys.executable, "-c", EXPORT, gallery.location, str(out / "all.zip")]
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "parts\n"
    (folder,) = out.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    for part in folder.iterdir():
        assert part.stat().st_mode & 0o777 == 0o600, part
    gallery.export(out / "other.zip")
    assert folder.exists(), "its maker lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    gallery.export(out / "other.zip")
    assert sorted(p.name for p in out.iterdir()) == ["other.zip"]
    assert (out / "other.zip").stat().st_mode & 0o777 == 0o600


# --- L6, L7: imports ----------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Geo\u200brge", "Geo\u200crge", "\ufeffGeorge", "Geor\u00adge", "George\u2060", "G\u200deorge",
     "George\u200e", "Ge\U000e0041orge", "\u3164", "George\u200d"],
)  # fmt: skip
def test_no_name_looks_like_another_one(name):
    with pytest.raises(InputError, match=r"invisible|control"):
        normalise_name(name)


JOINED = (
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
    "\u0915\u094d\u200d\u0937",  # Devanagari
    "\U0001f469\u200d\U0001f52c Ada",  # a scientist
    "Ödön von Horváth",
)


@pytest.mark.parametrize("name", JOINED)
def test_joiners_stay_where_they_belong(name):
    assert normalise_name(name)


def forge(path, target, change):
    """Rewrite an export with other members, its digests right again."""
    import hashlib

    with zipfile.ZipFile(path) as bundle:
        members = {name: bundle.read(name) for name in bundle.namelist()}
    manifest = json.loads(members[MANIFEST])
    kinds = change(members, manifest) or {}
    for name, entry in manifest["members"].items():
        entry |= {"bytes": len(members[name]), "sha256": hashlib.sha256(members[name]).hexdigest()}
    members[MANIFEST] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data, kinds.get(name, zipfile.ZIP_STORED))


def _face(**values):
    def change(members, manifest):
        lines = [json.loads(line) for line in members["faces.jsonl"].splitlines()]
        lines[0] |= values
        members["faces.jsonl"] = b"".join(json.dumps(one).encode() + b"\n" for one in lines)

    return change


def _person(**values):
    def change(members, manifest):
        lines = [json.loads(line) for line in members["people.jsonl"].splitlines()]
        lines[0] |= values
        members["people.jsonl"] = b"".join(json.dumps(one).encode() + b"\n" for one in lines)

    return change


def _crowd(members, manifest):
    line = json.dumps({"name": "A", "note": "", "created": "2020-01-01"}).encode() + b"\n"
    members["people.jsonl"] += line * 100_000


def _packed(members, manifest):
    return {VECTORS: zipfile.ZIP_DEFLATED}


def _count(members, manifest):
    manifest["people"] = 10**9


def _embedder(members, manifest):
    manifest["embedder_id"] = "toy-1\n\x1b[31mred"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_crowd, "more people than it says"),
        (_packed, "is compressed"),
        (_count, "manifest is not one"),
        (_embedder, "manifest is not one"),
        (_face(photo="a\x1b[31mred.jpg"), "photo's name"),
        (_face(photo="x" * 5000), "photo's name"),
        (_face(created="yesterday"), "cannot be read"),
        (_face(created="2020-01-01" + " " * 100), "a time"),
        (_person(created="\x1b[31m"), "cannot be read"),
        (_person(note="x" * 20_000), "cannot be read"),
        (_person(name="Geo\u200brge"), "invisible"),
    ],
)
def test_a_forged_export_is_refused_as_a_whole(gallery, tmp_path, change, words):
    gallery.export(tmp_path / "good.zip")
    forge(tmp_path / "good.zip", tmp_path / "bad.zip", change)
    with Gallery.open(tmp_path / "new.limner", create=True) as target:
        with pytest.raises(GalleryError, match=words):
            target.import_file(tmp_path / "bad.zip")
        assert len(target) == 0


def test_an_honest_export_still_comes_in(gallery, tmp_path):
    gallery.export(tmp_path / "good.zip")
    forge(tmp_path / "good.zip", tmp_path / "same.zip", lambda members, manifest: None)
    with Gallery.open(tmp_path / "new.limner", create=True) as target:
        assert target.import_file(tmp_path / "same.zip").added == 3
    assert os.listdir(tmp_path).count("good.zip") == 1
