"""Kills, full and read-only disks, two writers, and files that are no galleries."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest
from gallery_helpers import EMBEDDER, OTHER_EMBEDDER, board, emb, open_new, template, unit

from limner.errors import GalleryError, InputError
from limner.gallery import Gallery, opening, schema
from limner.gallery.enrolment import photo_digest
from limner.gallery.sqlite_store import SQLiteStore

HERE = Path(__file__).parent
V = unit(20)


@contextmanager
def worker(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "gallery_worker.py"), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def lines(stream: IO[str] | None) -> list[str]:
    assert stream is not None
    return stream.read().splitlines()


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def kill_after(process: subprocess.Popen[str], seconds: float) -> list[str]:
    """Kill -9 a while after it is ready; return what it had acknowledged by then."""
    wait_for(process, "ready")
    threading.Timer(seconds, lambda: process.send_signal(signal.SIGKILL)).start()
    return [line for line in lines(process.stdout) if line.startswith("did ")]


def assert_sound(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        people, faces = database.execute("SELECT people, faces FROM counts").fetchone()
        assert database.execute("SELECT count(*) FROM people").fetchone()[0] == people
        assert database.execute("SELECT count(*) FROM embeddings").fetchone()[0] == faces


# --- kill -9 --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 photos of 12 people."""
    folder = tmp_path_factory.mktemp("people")
    for person in range(12):
        for photo in range(10):
            board(folder / f"Person {person}" / f"{photo}.png", (20 * person, 20 * photo, 90))
    return folder


def kill_at(process: subprocess.Popen[str], acknowledgements: int) -> list[str]:
    """Kill -9 as soon as that many were heard; return all that were said."""
    wait_for(process, "ready")
    assert process.stdout is not None
    heard = [process.stdout.readline().strip() for _ in range(acknowledgements)]
    process.send_signal(signal.SIGKILL)
    heard += lines(process.stdout)
    return [line for line in heard if line.startswith("did ")]


def killed_imports(path: Path, folder: Path, times: int, seed: int) -> None:
    """Import again and again, killed at a random moment each time."""
    rng = random.Random(seed)
    total = len(list(folder.rglob("*.png")))
    acknowledged: set[str] = set()
    interrupted = 0
    for turn in range(times):
        if turn % 4 == 0:  # now and then from the beginning
            acknowledged.clear()
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
        with worker("import", path, folder) as process:
            left = total - len(acknowledged)
            if turn % 2:
                heard = kill_after(process, rng.random() * 0.002 * left)
            else:
                heard = kill_at(process, rng.randrange(left + 1))
        acknowledged |= {line[4:] for line in heard}
        assert_sound(path)
        with Gallery.open(path) as gallery, gallery.locked() as store:
            stored = {face.digest for face in store.faces()}
            assert {photo_digest(photo) for photo in acknowledged} <= stored
            assert len(stored) == store.state().faces  # nothing is there twice
        interrupted += len(stored) < total
    assert interrupted >= times // 4
    with worker("import", path, folder) as process:
        wait_for(process, "ready")
        end = lines(process.stdout)[-1].split()
    assert end[0] == "end"
    assert int(end[1]) + int(end[2]) == total


def test_killed_during_import(tmp_path: Path, people_folder: Path) -> None:
    killed_imports(tmp_path / "g.limner", people_folder, times=8, seed=1)


@pytest.mark.slow
def test_killed_a_hundred_times_during_import(tmp_path: Path, people_folder: Path) -> None:
    killed_imports(tmp_path / "g.limner", people_folder, times=100, seed=2)


def killed_churn(path: Path, times: int, seed: int) -> None:
    """Add and forget people with an index on the disk, killed at random moments."""
    rng = random.Random(seed)
    known: set[str] = set()
    for turn in range(times):
        with worker("churn", path, turn) as process:
            for line in kill_after(process, rng.random() * 0.8):
                _, action, *names = line.split()
                if action == "add":
                    known |= set(names)
                else:
                    known -= set(names)
        assert_sound(path)
        with Gallery.open(path) as gallery:
            present = {person.name for person in gallery.people()}
            # One change may have been finished without its acknowledgement being heard.
            assert len(known - present) <= 1
            fresh = present - known
            assert len({name.split("N")[0] for name in fresh}) <= 1
            known = present
            with gallery.locked() as store:
                for face in list(store.faces())[:40]:
                    (match,) = gallery.identify(emb(face.vector), threshold=0.001)
                    assert match.distance is not None
                    assert match.distance < 1e-6


def test_killed_while_the_index_changes(tmp_path: Path) -> None:
    killed_churn(tmp_path / "g.limner", times=5, seed=3)


@pytest.mark.slow
def test_killed_fifty_times_while_the_index_changes(tmp_path: Path) -> None:
    killed_churn(tmp_path / "g.limner", times=50, seed=4)


def test_killed_during_re_embedding(tmp_path: Path, people_folder: Path) -> None:
    template = tmp_path / "template.limner"
    with worker("import", template, people_folder) as process:
        lines(process.stdout)
    seen = set()
    for turn, delay in enumerate((0.0, 0.02, 0.05, 0.1, 5.0)):
        path = tmp_path / f"{turn}.limner"
        shutil.copy(template, path)
        with worker("re-embed", path, people_folder) as process:
            done = kill_after(process, delay)
        with Gallery.open(path) as gallery:
            info = gallery.info()
            assert (info.people, info.faces) == (12, 120)
            expected = (OTHER_EMBEDDER, 8) if info.embedder_id == OTHER_EMBEDDER else (EMBEDDER, 16)
            assert (info.embedder_id, info.dim) == expected
            with gallery.locked() as store:
                assert {face.vector.size for face in store.faces()} == {info.dim}
            assert not done or info.embedder_id == OTHER_EMBEDDER
            seen.add(info.embedder_id)
    assert OTHER_EMBEDDER in seen


# --- several writers ------------------------------------------------------------------------


def test_two_processes_enrol_at_once(tmp_path: Path) -> None:
    path = tmp_path / "g.limner"
    with worker("enrol", path, "a", 60) as one, worker("enrol", path, "bb", 60) as other:
        for process in (one, other):
            wait_for(process, "ready")
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = lines(one.stdout) + lines(other.stdout)
    assert len(answers) == 120
    with Gallery.open(path) as gallery:
        assert {p.name for p in gallery.people()} == {line[4:] for line in answers}
    assert_sound(path)


def test_what_another_process_writes_is_seen_at_the_next_question(tmp_path: Path) -> None:
    with open_new(tmp_path) as one, Gallery.open(tmp_path / "g.limner") as other:
        for number in range(10):
            one.enroll(f"P{number}", emb(V[number]))
            assert other.identify(emb(V[number]), threshold=0.01)[0].person == f"P{number}"
        other.forget("P3")
        assert one.identify(emb(V[3]), threshold=0.01)[0].person is None
        other.rename("P4", "Ada")
        assert one.identify(emb(V[4]), threshold=0.01)[0].person == "Ada"
        one.merge("P5", "Ada")
        both = template(V[4:6])
        assert other.identify(emb(both), threshold=0.01)[0].person == "Ada"


def test_a_writer_that_never_ends_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_S", 0.2)
    with open_new(tmp_path) as gallery:
        gallery.enroll("Ada", emb(V[0]))
        with closing(sqlite3.connect(tmp_path / "g.limner", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(GalleryError, match="another process has been writing"):
                gallery.enroll("Bob", emb(V[1]))
            assert gallery.identify(emb(V[0]), threshold=0.1)[0].person == "Ada"
            other.execute("ROLLBACK")
        assert gallery.enroll("Bob", emb(V[1])).added == 1


# --- disks ----------------------------------------------------------------------------------


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def seal(folder: Path) -> None:
    for entry in folder.iterdir():
        entry.chmod(0o444)
    folder.chmod(0o555)


def test_a_read_only_gallery_answers_and_refuses_changes(open_folder: Path) -> None:
    path = open_folder / "g.limner"
    with open_new(open_folder) as gallery:
        gallery.enroll("Ada", emb(V[0]))
    seal(open_folder)
    with worker("nobody", path, "read") as process:
        assert lines(process.stdout) == ["did Ada", "did ['Ada'] True"]
    with worker("nobody", path, "write") as process:
        (line,) = lines(process.stdout)
    assert line.startswith(f"GalleryError the gallery {path} is on a read-only disk or folder")
    assert line.endswith("nothing was changed.")


def test_a_read_only_gallery_whose_writer_was_killed(open_folder: Path) -> None:
    path = open_folder / "g.limner"
    # So many that it is killed before it is through, however slow this process is.
    with worker("enrol", path, "a", 5_000) as process:
        wait_for(process, "ready")
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        process.kill()
        process.wait()
    assert Path(f"{path}-wal").exists()
    seal(open_folder)
    with worker("nobody", path, "read") as process:
        answer = lines(process.stdout)
    assert answer[-1].startswith("did ['a0', 'a1'"), answer
    # Without the shared memory file the log cannot be read there: that is said, not hidden.
    open_folder.chmod(0o755)
    Path(f"{path}-shm").unlink()
    seal(open_folder)
    with worker("nobody", path, "read") as process:
        (line,) = lines(process.stdout)
    assert line.startswith(f"GalleryError the gallery {path} has changes in g.limner-wal")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who writes where others cannot")
def test_a_reader_who_may_not_write_sees_what_others_write(open_folder: Path) -> None:
    path = open_folder / "g.limner"
    with open_new(open_folder) as gallery:
        gallery.enroll("Ada", emb(V[0]))
    seal(open_folder)
    with worker("nobody", path, "watch") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "did ['Ada']"
        with Gallery.open(path) as gallery:
            gallery.enroll("Bob", emb(V[1]))
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == "did ['Ada', 'Bob']"
            gallery.forget("Ada")
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "did ['Bob']"


def test_no_gallery_can_be_made_on_a_read_only_disk(open_folder: Path) -> None:
    seal(open_folder)
    with worker("nobody", open_folder / "g.limner", "create") as process:
        (line,) = lines(process.stdout)
    assert line.startswith("GalleryError the gallery ")
    assert "cannot be made: permission denied" in line
    assert list(open_folder.iterdir()) == []


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "g.limner"
    with worker("small-disk", path, 600_000) as process:
        *acknowledged, error, count = lines(process.stdout)
    assert len(acknowledged) > 20
    assert error.startswith(f"GalleryError the disk of the gallery {path} ")
    assert "full" in error
    assert "nothing was changed" in error
    assert count == f"people {len(acknowledged)}"
    assert_sound(path)
    with Gallery.open(path) as gallery:
        assert {f"did {p.name}" for p in gallery.people()} == set(acknowledged)
        assert gallery.enroll("After", emb(V[0])).added == 1


def test_a_full_database_is_one_sentence(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "g.limner", create_missing=True)
    with closing(store):
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        gallery = Gallery(store)
        with pytest.raises(GalleryError, match=r"is full; nothing was changed. Free some space"):
            gallery.enroll_many((f"P{i}", emb(V[i % 20])) for i in range(500))
        assert len(gallery) == 0
        assert gallery.enroll("Ada", emb(V[0])).added == 1


# --- files that are no galleries ------------------------------------------------------------


def good_gallery(folder: Path, people: int = 200) -> Path:
    with open_new(folder) as gallery:
        rows = unit(people, seed=8)
        gallery.enroll_many((f"P{i}", emb(row)) for i, row in enumerate(rows))
    return folder / "g.limner"


def test_a_text_file_is_no_gallery(tmp_path: Path) -> None:
    path = tmp_path / "g.limner"
    path.write_text("I am a text file, long enough to have room for a header.\n" * 30)
    with pytest.raises(GalleryError, match="is not a limner gallery: it is not a database"):
        Gallery.open(path, create=True)
    assert path.read_text().startswith("I am a text file")


def test_an_empty_file_and_a_folder_are_no_galleries(tmp_path: Path) -> None:
    path = tmp_path / "g.limner"
    path.touch()
    with pytest.raises(GalleryError, match=r"is empty \(0 bytes\), not a limner gallery"):
        Gallery.open(path, create=True)
    with pytest.raises(GalleryError, match="is a folder; a gallery is a file"):
        Gallery.open(tmp_path, create=True)


@pytest.mark.parametrize("kept", [10, 50, 100, 1000, 4096, 20_000])
def test_a_truncated_gallery(tmp_path: Path, kept: int) -> None:
    path = good_gallery(tmp_path)
    with open(path, "r+b") as stream:
        stream.truncate(kept)
    with pytest.raises(GalleryError, match=r"not a limner gallery|damaged"):
        Gallery.open(path)


def test_another_applications_database(tmp_path: Path) -> None:
    path = tmp_path / "g.limner"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (a)")
    with pytest.raises(GalleryError, match="is a database, but not a limner gallery"):
        Gallery.open(path, create=True)


def test_a_gallery_of_a_newer_limner(tmp_path: Path) -> None:
    path = good_gallery(tmp_path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(GalleryError, match=r"newer limner \(schema 99, .*upgrade limner"):
        Gallery.open(path)


def test_flipped_bits_never_crash(tmp_path: Path) -> None:
    path = good_gallery(tmp_path)
    good = path.read_bytes()
    rng = random.Random(0)
    messages = []
    for _ in range(40):
        data = bytearray(good)
        for _ in range(rng.choice([1, 20, 400])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            with Gallery.open(path) as gallery:
                gallery.people()
                gallery.identify(emb(V[0]), threshold=0.5)
                gallery.enroll("Ada", emb(V[0]))
                gallery.forget("Ada")
        except (GalleryError, InputError) as error:
            messages.append(str(error))
        for leftover in tmp_path.glob("g.limner-*"):
            leftover.unlink()
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)


# --- schema ---------------------------------------------------------------------------------


def test_migrations_bring_an_old_file_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = good_gallery(tmp_path, people=3)
    before = len(schema.MIGRATIONS)
    step = ("ALTER TABLE people ADD COLUMN nickname TEXT NOT NULL DEFAULT '-'",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, step))
    with Gallery.open(path) as gallery:
        assert gallery.info().schema == before + 1
        assert len(gallery.people()) == 3
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT nickname FROM people").fetchall() == [("-",)] * 3


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = good_gallery(tmp_path, people=3)
    before = len(schema.MIGRATIONS)
    bad = ("CREATE TABLE extra (a)", "INSERT INTO nowhere VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, bad))
        with pytest.raises(GalleryError, match="nowhere"):
            Gallery.open(path)
    with Gallery.open(path) as gallery:
        assert gallery.info().schema == before
    with closing(sqlite3.connect(path)) as database:
        assert not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchall()


# --- nothing stays of the forgotten ---------------------------------------------------------


def test_forgetting_leaves_no_bytes_on_the_disk(tmp_path: Path) -> None:
    with open_new(tmp_path) as gallery:
        rows = unit(50, seed=4)
        gallery.enroll_many((f"P{i}", emb(row)) for i, row in enumerate(rows))
        secret = unit(1, seed=77)[0]
        gallery.enroll("Mallory Unforgettable", emb(secret), note="secret note", photo="m.jpg")

        def found() -> set[str]:
            data = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
            needles = {
                "vector": secret.tobytes(),
                "name": b"Mallory",
                "note": b"secret note",
                "photo": b"m.jpg",
            }
            return {name for name, needle in needles.items() if needle in data}

        assert found() == {"vector", "name", "note", "photo"}
        gallery.forget("Mallory Unforgettable")
        assert found() == set()
    assert found() == set()


def test_forgetting_while_another_process_reads(tmp_path: Path) -> None:
    path = good_gallery(tmp_path)
    with Gallery.open(path) as gallery:
        vector = unit(200, seed=8)[5].tobytes()
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM people").fetchone()
            started = time.monotonic()
            assert gallery.forget("P5") == 1
            assert time.monotonic() - started < 10
            reader.execute("ROLLBACK")
    assert vector not in path.read_bytes()
    assert not Path(f"{path}-wal").exists()
