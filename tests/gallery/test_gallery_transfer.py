"""One portable file: out, in, and everything that may be wrong with it."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_helpers import EMBEDDER, OTHER_EMBEDDER, emb, open_new, toy_calibration, unit

from limner.errors import EmbedderMismatch, GalleryError, InputError, NameTakenError
from limner.gallery import Gallery, PhotoRef

V = unit(30)
BOX = (1.0, 2.5, 30.0, 40.0)


def fill(gallery: Gallery) -> None:
    chip = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    photo = PhotoRef("ä/a.jpg", "ab" * 32, BOX, 0.75)
    gallery.enroll("Zoë", [emb(V[0]), emb(V[1])], photo=[photo, "b.jpg"], chips=[chip, None])
    gallery.enroll("佐藤", emb(V[2]), note="two\nlines")


def contents(gallery: Gallery) -> list[tuple[Any, ...]]:
    with gallery.locked() as store:
        return [
            (
                f.person,
                f.vector.tobytes(),
                f.photo,
                f.digest,
                f.box_xyxy,
                f.score,
                f.created,
                store.chip(f.id),
            )
            for f in store.faces()
        ]


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    with open_new(tmp_path, "source.limner") as gallery:
        fill(gallery)
        with gallery.locked() as store:
            store.set_meta({"calibration": json.dumps(toy_calibration().to_json())})
        report = gallery.export(tmp_path / "out.zip")
    assert (report.people, report.faces, report.chips) == (2, 3, 1)
    assert report.bytes == (tmp_path / "out.zip").stat().st_size
    return tmp_path / "out.zip"


def test_round_trip(exported: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "source.limner") as source, open_new(tmp_path) as target:
        report = target.import_file(exported)
        assert (report.people, report.faces, report.added, report.skipped) == (2, 3, 3, 0)
        assert contents(target) == contents(source)
        assert target.people() == source.people()
        assert target.embedder_id == EMBEDDER
        assert target.own_calibration is not None
        assert target.own_calibration.to_json() == toy_calibration().to_json()


def test_the_file_is_private_and_has_only_the_named_members(exported: Path) -> None:
    assert exported.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(exported) as bundle:
        assert sorted(bundle.namelist()) == [
            "chips.bin",
            "faces.jsonl",
            "manifest.json",
            "people.jsonl",
            "vectors.f32",
        ]


def test_nothing_else_is_left_in_the_folder(exported: Path) -> None:
    assert sorted(p.name for p in exported.parent.iterdir()) == ["out.zip", "source.limner"]


def test_chips_may_stay_at_home(tmp_path: Path) -> None:
    with open_new(tmp_path) as gallery:
        fill(gallery)
        assert gallery.export(tmp_path / "out.zip", chips=False).chips == 0
    with open_new(tmp_path, "t.limner") as target:
        target.import_file(tmp_path / "out.zip")
        assert target.info().chips == 0


def test_people_who_are_there_already(exported: Path, tmp_path: Path) -> None:
    with open_new(tmp_path) as target:
        target.enroll("ZOË", [emb(V[1]), emb(V[9])], note="mine")
        before = contents(target)
        with pytest.raises(NameTakenError, match=r"'Zoë' are in the gallery .* nothing was"):
            target.import_file(exported)
        assert contents(target) == before
        assert target.own_calibration is None

        skipped = target.import_file(exported, on_conflict="skip")
        assert (skipped.added, skipped.skipped) == (1, 2)
        target.forget("佐藤")
        merged = target.import_file(exported, on_conflict="merge")
        assert (merged.added, merged.skipped) == (2, 1)
        people = {p.name: (p.photos, p.note) for p in target.people()}
        assert people == {"ZOË": (3, "mine"), "佐藤": (1, "two\nlines")}
        again = target.import_file(exported, on_conflict="merge")
        assert (again.added, again.skipped) == (0, 3)
        # A gallery with people of its own keeps its own thresholds.
        assert target.own_calibration is None
        with pytest.raises(InputError, match="'refuse', 'merge' or 'skip', got 'ask'"):
            target.import_file(exported, on_conflict="ask")  # type: ignore[arg-type]


def test_another_embedder_is_refused(exported: Path, tmp_path: Path) -> None:
    with open_new(tmp_path) as target:
        target.enroll("Bob", emb(V[3], OTHER_EMBEDDER))
        with pytest.raises(EmbedderMismatch, match=EMBEDDER):
            target.import_file(exported)
        assert [p.name for p in target.people()] == ["Bob"]


def test_an_empty_gallery_travels(tmp_path: Path) -> None:
    with open_new(tmp_path) as gallery:
        assert gallery.export(tmp_path / "out.zip").faces == 0
        assert gallery.import_file(tmp_path / "out.zip").added == 0


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    with open_new(tmp_path) as gallery:
        fill(gallery)
        with pytest.raises(InputError, match="is a folder"):
            gallery.export(tmp_path)
        with pytest.raises(InputError, match="is the gallery itself"):
            gallery.export(tmp_path / "g.limner")
        with pytest.raises(GalleryError, match=r"cannot be written: no such file"):
            gallery.export(tmp_path / "no" / "out.zip")
        assert len(gallery) == 2


# --- damaged and hostile files --------------------------------------------------------------


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def write(path: Path, parts: dict[str, bytes], *, seal: bool = True) -> Path:
    """Write an archive; with `seal` its manifest has the right digests."""
    if seal:
        from hashlib import sha256

        manifest = json.loads(parts["manifest.json"])
        for name in manifest["members"]:
            if name in parts:
                manifest["members"][name] = {
                    "bytes": len(parts[name]),
                    "sha256": sha256(parts[name]).hexdigest(),
                }
        parts = {**parts, "manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as bundle:
        for name, data in parts.items():
            bundle.writestr(name, data)
    return path


def change_manifest(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        manifest = {**json.loads(parts["manifest.json"]), **changes}
        parts["manifest.json"] = json.dumps(manifest).encode()

    return change


def change_face(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        rows = [json.loads(line) for line in parts["faces.jsonl"].splitlines()]
        rows[0].update(changes)
        parts["faces.jsonl"] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return change


def replace(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts[name] = data

    return change


def drop_chips(parts: dict[str, bytes]) -> None:
    del parts["chips.bin"]


NAN_ROWS = np.full((3, 16), np.nan, "<f4").tobytes()
LONG_ROWS = np.ones((3, 16), "<f4").tobytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace("../../evil.txt", b"x"), r"holds '../../evil.txt'"),
        (replace("/etc/passwd", b"x"), "holds '/etc/passwd'"),
        (drop_chips, "part is missing"),
        (change_manifest(kind="other"), "manifest is not one"),
        (change_manifest(format=2), r"newer limner \(format 2"),
        (change_manifest(faces=4), "not as many"),
        (change_manifest(dim=-16), "manifest is not one"),
        (change_manifest(dim="wide"), "manifest is not one"),
        (change_manifest(embedder_id=7), "manifest is not one"),
        (change_manifest(calibration={"format": 1}), "calibration cannot be read"),
        (replace("manifest.json", b"[1, 2"), "manifest is not one"),
        (replace("manifest.json", b" " * 2_000_000), "manifest is too large"),
        (replace("vectors.f32", NAN_ROWS), "does not have length 1"),
        (replace("vectors.f32", LONG_ROWS), "does not have length 1"),
        (replace("people.jsonl", b'{"name": "a\\u0000b", "note": "", "created": ""}\n'), "control"),
        (replace("people.jsonl", b"not json\n"), "not JSON"),
        (replace("people.jsonl", b"[]\n"), "not an object"),
        (replace("people.jsonl", b'{"name": "A"'), "cut short"),
        (replace("faces.jsonl", b""), "says 3 faces and holds 0"),
        (change_face(person=2), "person 2 of 2"),
        (change_face(person=-1), "person -1 of 2"),
        (change_face(digest="zz"), "64 hexadecimal digits"),
        (change_face(box_xyxy=[1, 2, 3]), "face 0 cannot be read"),
        (change_face(score=7), "score must lie"),
        (change_face(chip=10**12), "impossible size"),
        (change_face(chip=5), "not a PNG"),
    ],
)
def test_bad_files_are_refused_as_a_whole(
    exported: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], words: str
) -> None:
    parts = members(exported)
    change(parts)
    seal = words not in ("manifest is not one", "manifest is too large")
    bad = write(tmp_path / "bad.zip", parts, seal=seal)
    with open_new(tmp_path) as target:
        with pytest.raises(GalleryError, match=words) as caught:
            target.import_file(bad)
        assert str(bad) in str(caught.value)
        assert len(target) == 0
        assert target.own_calibration is None
    assert not (tmp_path.parent.parent / "evil.txt").exists()


@pytest.mark.parametrize("name", ["vectors.f32", "faces.jsonl", "people.jsonl", "chips.bin"])
def test_changed_bytes_are_noticed(exported: Path, tmp_path: Path, name: str) -> None:
    parts = members(exported)
    data = bytearray(parts[name])
    data[len(data) // 3] ^= 1
    parts[name] = bytes(data)
    bad = write(tmp_path / "bad.zip", parts, seal=False)
    with open_new(tmp_path) as target, pytest.raises(GalleryError, match=f"digest of {name}"):
        target.import_file(bad)


def test_flipped_bits_and_cuts_of_the_archive(exported: Path, tmp_path: Path) -> None:
    good = exported.read_bytes()
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.zip"
    refused = 0
    for turn in range(60):
        data = bytearray(good)
        if turn % 4 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        bad.write_bytes(data)
        with open_new(tmp_path, f"{turn}.limner") as target:
            try:
                target.import_file(bad)
            except GalleryError:
                refused += 1
                assert len(target) == 0
            else:  # a bit that carries no meaning, such as a date
                assert target.info().faces == 3
    assert refused > 30


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 but no more", b"\x00" * 5000])
def test_files_that_are_no_archives(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with open_new(tmp_path) as target:
        with pytest.raises(GalleryError, match="not a gallery export"):
            target.import_file(path)
        with pytest.raises(GalleryError, match="does not exist"):
            target.import_file(tmp_path / "none.zip")
        with pytest.raises(GalleryError, match="cannot be read: is a directory"):
            target.import_file(tmp_path)


def test_a_zip_bomb_is_refused_by_its_manifest(exported: Path, tmp_path: Path) -> None:
    parts = members(exported)
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in parts.items():
            if name == "people.jsonl":
                with bundle.open(name, "w") as stream:
                    for _ in range(64):
                        stream.write(bytes(1 << 20))
            else:
                bundle.writestr(name, data, zipfile.ZIP_STORED)
    with open_new(tmp_path) as target, pytest.raises(GalleryError, match="another size"):
        target.import_file(bad)


def test_a_gallery_file_is_no_export(tmp_path: Path) -> None:
    with open_new(tmp_path) as gallery:
        fill(gallery)
        shutil.copy(tmp_path / "g.limner", tmp_path / "copy.limner")
        with pytest.raises(GalleryError, match="not a gallery export"):
            gallery.import_file(tmp_path / "copy.limner")


def test_an_encrypted_member_is_refused(exported: Path, tmp_path: Path) -> None:
    data = bytearray(exported.read_bytes())
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        offset = bundle.getinfo("manifest.json").header_offset
    data[offset + 6] |= 1
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    bad = tmp_path / "bad.zip"
    bad.write_bytes(data)
    with open_new(tmp_path) as target, pytest.raises(GalleryError, match="not a gallery export"):
        target.import_file(bad)
