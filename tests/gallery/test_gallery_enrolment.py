"""Photos and folders of people into a gallery, with toy models and with real ones."""

from __future__ import annotations

import io
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from gallery_helpers import (
    OTHER_EMBEDDER,
    ColourEmbedder,
    SquareDetector,
    board,
    emb,
    open_new,
    toy_analyzer,
    unit,
)
from hypothesis import given
from hypothesis import strategies as st

from limner import images
from limner.errors import (
    EmbedderMismatch,
    FaceCountError,
    GalleryError,
    ImageError,
    InputError,
)
from limner.faces import FaceAnalyzer
from limner.gallery import Gallery, PhotoRef
from limner.gallery.chips import MAX_SIDE_PX, cut_surroundings, encode_chip
from limner.gallery.enrolment import (
    PhotoEvent,
    enroll_photos,
    import_folder,
    photo_digest,
    read_people_folder,
)
from limner.gallery.reembed import re_embed
from limner.similarity import shipped
from limner.types import box_iou

RED, GREEN, BLUE = (200, 20, 30), (40, 200, 30), (90, 20, 220)


def test_one_person_from_photos(gallery: Gallery, tmp_path: Path) -> None:
    one, two = board(tmp_path / "1.png", RED), board(tmp_path / "2.png", (200, 60, 30))
    done = enroll_photos(gallery, toy_analyzer(), "Ada", [one, two], note="painted")
    assert (done.added, done.total, done.failed, done.skipped) == (2, 2, (), ())
    with gallery.locked() as store:
        first = next(iter(store.faces()))
    assert first.photo == str(one)
    assert first.digest == photo_digest(one)
    assert first.box_xyxy == (8.0, 10.0, 32.0, 34.0)
    assert first.score == pytest.approx(0.9)
    assert np.allclose(first.vector, ColourEmbedder().vector(RED))
    again = enroll_photos(gallery, toy_analyzer(), "ada", [one])
    assert (again.added, again.skipped) == (0, (str(one),))


def test_every_kind_of_source(gallery: Gallery, tmp_path: Path) -> None:
    path = board(tmp_path / "1.png", RED)
    data, pixels = path.read_bytes(), images.read(path)
    sources = [path, str(path), data, io.BytesIO(data), pixels]
    done = enroll_photos(gallery, toy_analyzer(), "Ada", sources)
    # Path and bytes have one digest, stream and array (their pixels) another, all one embedding.
    assert (done.added, len(done.skipped)) == (1, 4)
    assert enroll_photos(gallery, toy_analyzer(), "Bob", path).added == 1
    with pytest.raises(InputError, match="no photo was given"):
        enroll_photos(gallery, toy_analyzer(), "Bob", [])


def test_which_face(gallery: Gallery, tmp_path: Path) -> None:
    group = board(tmp_path / "group.png", RED, GREEN, BLUE)
    analyzer = toy_analyzer()
    with pytest.raises(FaceCountError, match="3 faces were found") as caught:
        enroll_photos(gallery, analyzer, "Ada", [group])
    assert caught.value.count == 3
    assert len(gallery) == 0
    enroll_photos(gallery, analyzer, "Ada", [group], pick="largest")
    box = (88.0, 10.0, 110.0, 30.0)
    enroll_photos(gallery, analyzer, "Bob", [group], pick=box)
    enroll_photos(gallery, analyzer, "All", [group], pick="all")
    probes = [emb(ColourEmbedder().vector(c)) for c in (RED, BLUE)]
    names = [gallery.lookalike(p, top=2)[0].person for p in probes]
    assert set(names) <= {"Ada", "Bob", "All"}
    assert {p.name: p.photos for p in gallery.people()} == {"Ada": 1, "Bob": 1, "All": 3}
    assert gallery.verify("Ada", probes[0], threshold=1e-6).verdict == "same"
    assert gallery.verify("Bob", probes[1], threshold=1e-6).verdict == "same"


def test_good_photos_among_bad_ones(gallery: Gallery, tmp_path: Path) -> None:
    good = board(tmp_path / "good.png", RED)
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.jpg"
    empty.touch()
    text.write_text("no picture")
    nobody = board(tmp_path / "nobody.png")
    gone = tmp_path / "gone.jpg"
    bad = [empty, text, nobody, gone]
    done = enroll_photos(gallery, toy_analyzer(), "Ada", [*bad, good])
    assert done.added == 1
    assert [p.photo for p in done.failed] == [str(p) for p in bad]
    assert all(str(path) in problem.reason for path, problem in zip(bad, done.failed, strict=True))
    with pytest.raises(ImageError, match=r"empty\.jpg is empty"):
        enroll_photos(gallery, toy_analyzer(), "Bob", bad)
    assert len(gallery) == 1


def test_enrolling_with_another_embedder(gallery: Gallery, tmp_path: Path) -> None:
    photo = board(tmp_path / "1.png", RED)
    enroll_photos(gallery, toy_analyzer(), "Ada", [photo])
    with pytest.raises(EmbedderMismatch):
        enroll_photos(gallery, toy_analyzer(OTHER_EMBEDDER), "Bob", [photo])


# --- a folder of people ---------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for number, name in enumerate(["Ada", "Bob", "佐藤"]):
        for photo in range(4):
            board(root / name / f"{photo}.png", (60 * number + 20, 40 * photo, 10))
    return root


def test_import_folder(gallery: Gallery, folder: Path) -> None:
    events: list[PhotoEvent] = []
    report = import_folder(gallery, toy_analyzer(), folder, progress=events.append)
    assert (report.people, report.photos, report.added, report.already) == (3, 12, 12, 0)
    assert report.failed == ()
    assert [e.photo for e in events] == [str(p) for p in sorted(folder.rglob("*.png"))]
    assert {e.status for e in events} == {"added"}
    assert {p.name: p.photos for p in gallery.people()} == {"Ada": 4, "Bob": 4, "佐藤": 4}
    events.clear()
    again = import_folder(gallery, toy_analyzer(), folder, progress=events.append)
    assert (again.added, again.already) == (0, 12)
    assert [e.status for e in events] == ["already"] * 12


def test_additions_are_announced_when_they_are_on_the_disk(gallery: Gallery, folder: Path) -> None:
    with Gallery.open(gallery.location) as other:

        def progress(event: PhotoEvent) -> None:
            with other.locked() as store:
                assert photo_digest(event.photo) in store.digests_of(event.person)

        assert import_folder(gallery, toy_analyzer(), folder, progress=progress).added == 12


def test_a_broken_import_goes_on_where_it_stopped(gallery: Gallery, folder: Path) -> None:
    def stop(event: PhotoEvent) -> None:
        if event.person == "Bob":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_folder(gallery, toy_analyzer(), folder, progress=stop)
    report = import_folder(gallery, toy_analyzer(), folder)
    assert (report.added, report.already) == (4, 8)
    assert gallery.info().faces == 12


def test_what_cannot_be_imported_is_reported(gallery: Gallery, folder: Path) -> None:
    (folder / "Ada" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    (folder / "Ada" / "empty.png").touch()
    (folder / "Ada" / "notes.txt").write_text("not a photo, not meant as one")
    board(folder / "Bob" / "group.png", RED, GREEN)
    board(folder / "Bob" / "nobody.png")
    board(folder / "loose.png", RED)
    shutil.copy(folder / "Bob" / "0.png", folder / "Bob" / "copy of 0.png")
    board(folder / "bad\nname" / "1.png", RED)
    (folder / "Nobody here").mkdir()
    board(folder / ".hidden" / "1.png", RED)
    report = import_folder(gallery, toy_analyzer(), folder)
    assert report.added == 12
    assert report.already == 1  # the copy
    reasons = {Path(p.photo).name.split("\\")[0]: p.reason for p in report.failed}
    assert set(reasons) == {
        "broken.jpg",
        "empty.png",
        "group.png",
        "nobody.png",
        "loose.png",
        "bad",
    }
    assert "2 faces were found" in reasons["group.png"]
    assert "no face was found" in reasons["nobody.png"]
    assert "empty (0 bytes)" in reasons["empty.png"]
    assert "named after the person" in reasons["loose.png"]
    assert "control characters" in reasons["bad"]
    with_largest = import_folder(gallery, toy_analyzer(), folder, pick="largest")
    assert (with_largest.added, with_largest.already) == (1, 13)


def test_folders_without_people(gallery: Gallery, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="holds no people: there is no photo in it; make one"):
        import_folder(gallery, toy_analyzer(), empty)
    board(empty / "1.png", RED)
    board(empty / "2.png", RED)
    with pytest.raises(InputError, match="its 2 photos lie loose; make one folder for each"):
        import_folder(gallery, toy_analyzer(), empty)
    with pytest.raises(ImageError, match="does not exist"):
        import_folder(gallery, toy_analyzer(), tmp_path / "none")
    with pytest.raises(ImageError, match="is a file, not a folder"):
        import_folder(gallery, toy_analyzer(), empty / "1.png")


def test_spellings_of_one_name_are_one_person(gallery: Gallery, tmp_path: Path) -> None:
    for name in ("Zo\u00eb", "Zoe\u0308", "ZO\u00cb"):
        board(tmp_path / "p" / name / f"{len(name)}{name[0]}{name[1]}.png", (9, len(name), 80))
    listing = read_people_folder(tmp_path / "p")
    assert len(listing.people) == 1
    report = import_folder(gallery, toy_analyzer(), tmp_path / "p")
    assert (report.people, len(gallery)) == (1, 1)
    (person,) = gallery.people()
    assert unicodedata.is_normalized("NFC", person.name)


def test_the_same_face_in_two_folders_is_warned_about(calibrated: Gallery, folder: Path) -> None:
    shutil.copytree(folder / "Ada", folder / "Ada again")
    report = import_folder(calibrated, toy_analyzer(), folder)
    assert report.added == 16
    assert any("'Ada again' looks like 'Ada'" in w for w in report.warnings)
    assert any("is enrolled as 'Ada' too" in w for w in report.warnings)


def test_an_import_that_runs_into_a_full_disk_keeps_what_it_said(
    tmp_path: Path, folder: Path
) -> None:
    with open_new(tmp_path) as gallery:
        told: list[str] = []
        with gallery.locked() as store:
            pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
            store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")

        def progress(event: PhotoEvent) -> None:
            told.append(photo_digest(event.photo))

        for number in range(30):
            board(folder / "Zed" / f"{number}.png", (170, 8 * number, 10))
        with pytest.raises(GalleryError, match="full"):
            import_folder(gallery, toy_analyzer(), folder, progress=progress)
        with gallery.locked() as store:
            assert {face.digest for face in store.faces()} == set(told)


# --- kept chips and re-embedding ------------------------------------------------------------


def test_surroundings() -> None:
    image = np.arange(100 * 120 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 120, 3)
    part = cut_surroundings(image, (50.0, 40.0, 70.0, 60.0))
    assert np.array_equal(part, image[28:72, 38:82])
    edge = cut_surroundings(image, (-10.0, -10.0, 10.0, 10.0))
    assert np.array_equal(edge, image[:22, :22])
    large = cut_surroundings(np.zeros((3000, 2000, 3), np.uint8), (0.0, 0.0, 2000.0, 3000.0))
    assert large.shape == (MAX_SIDE_PX, 341, 3)


def test_chips_are_lossless() -> None:
    chip = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(images.read(encode_chip(chip)), chip)
    with pytest.raises(InputError, match="a chip must be uint8"):
        encode_chip(chip.astype(np.float32))  # type: ignore[arg-type]


def other_analyzer() -> FaceAnalyzer:
    return FaceAnalyzer(SquareDetector(), ColourEmbedder(OTHER_EMBEDDER, dim=24, seed=77))


def expected(colour: tuple[int, int, int]) -> np.ndarray:
    return ColourEmbedder(OTHER_EMBEDDER, dim=24, seed=77).vector(colour)


def test_re_embedding_from_chips(calibrated: Gallery, tmp_path: Path) -> None:
    gallery = calibrated
    colours = {"Ada": RED, "Bob": GREEN}
    for name, colour in colours.items():
        photo = board(tmp_path / f"{name}.png", colour, BLUE)
        enroll_photos(gallery, toy_analyzer(), name, [photo], pick="largest", keep_chips=True)
        photo.unlink()
    assert gallery.info().chips == 2
    report = re_embed(gallery, other_analyzer())
    assert (report.from_chips, report.from_photos, report.dropped) == (2, 0, ())
    assert (gallery.embedder_id, gallery.info().dim) == (OTHER_EMBEDDER, 24)
    assert gallery.own_calibration is None  # it belonged to the other embedder
    for name, colour in colours.items():
        (match,) = gallery.identify(emb(expected(colour), OTHER_EMBEDDER), threshold=1e-6)
        assert match.person == name
    with pytest.raises(EmbedderMismatch):
        gallery.identify(emb(unit(1)[0]), threshold=1.0)


def test_re_embedding_from_photos_that_were_moved(gallery: Gallery, tmp_path: Path) -> None:
    first = board(tmp_path / "a" / "1.png", RED, GREEN, BLUE)
    enroll_photos(gallery, toy_analyzer(), "Ada", [first], pick=(48.0, 10.0, 71.0, 32.0))
    enroll_photos(gallery, toy_analyzer(), "Bob", [first], pick="largest")
    second = board(tmp_path / "a" / "2.png", BLUE)
    enroll_photos(gallery, toy_analyzer(), "Cleo", [second])
    moved = tmp_path / "b" / "deep"
    moved.mkdir(parents=True)
    first.rename(moved / "renamed.png")
    (tmp_path / "b" / "junk.jpg").write_text("junk")
    with Gallery.open(gallery.location) as other:
        assert len(other) == 3
        with pytest.raises(
            InputError, match=r"1 of 3 faces .* cannot be made anew: Cleo: .*2\.png"
        ):
            re_embed(gallery, other_analyzer(), photos=tmp_path / "b")
        assert other.embedder_id != OTHER_EMBEDDER
        seen: list[tuple[int, int]] = []
        report = re_embed(
            gallery,
            other_analyzer(),
            photos=tmp_path / "b",
            drop_missing=True,
            progress=lambda done, count: seen.append((done, count)),
        )
        assert (report.from_photos, len(report.dropped)) == (2, 1)
        assert seen == [(1, 3), (2, 3), (3, 3)]
        assert [p.name for p in gallery.people()] == ["Ada", "Bob"]
        for name, colour in (("Ada", GREEN), ("Bob", RED)):
            # The other handle notices, too.
            (match,) = other.identify(emb(expected(colour), OTHER_EMBEDDER), threshold=1e-6)
            assert match.person == name


def test_re_embedding_finds_changed_photos_by_place_and_name(
    gallery: Gallery, tmp_path: Path
) -> None:
    photo = board(tmp_path / "Ada" / "1.png", RED)
    enroll_photos(gallery, toy_analyzer(), "Ada", [photo])
    board(photo, (201, 20, 30))  # saved again by some other program
    assert re_embed(gallery, other_analyzer(), photos=tmp_path).from_photos == 1
    # A photo of that name in another folder is somebody else's.
    with open_new(tmp_path, "two.limner") as second:
        enroll_photos(second, toy_analyzer(), "Ada", [photo])
        board(photo, (202, 20, 30))
        os.rename(tmp_path / "Ada", tmp_path / "Eve")
        with pytest.raises(InputError, match="photo was not found"):
            re_embed(second, other_analyzer(), photos=tmp_path)


def test_re_embedding_with_the_same_embedder_does_nothing(gallery: Gallery, tmp_path: Path) -> None:
    enroll_photos(gallery, toy_analyzer(), "Ada", [board(tmp_path / "1.png", RED)])
    report = re_embed(gallery, toy_analyzer())
    assert (report.from_chips, report.from_photos, report.dropped) == (0, 0, ())
    assert len(gallery) == 1


def test_re_embedding_refuses_when_somebody_changed_the_gallery(
    gallery: Gallery, tmp_path: Path
) -> None:
    photo = board(tmp_path / "1.png", RED)
    enroll_photos(gallery, toy_analyzer(), "Ada", [photo], keep_chips=True)

    def meddle(done: int, count: int) -> None:
        with Gallery.open(gallery.location) as other:
            other.enroll("Eve", emb(unit(1)[0]))

    with pytest.raises(GalleryError, match=r"changed the gallery .* in the meantime"):
        re_embed(gallery, other_analyzer(), progress=meddle)
    assert [p.name for p in gallery.people()] == ["Ada", "Eve"]


@given(
    st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(51, 99)] * 2),
    st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(51, 99)] * 2),
)
def test_overlap_of_boxes(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> None:
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
    assert 0 < box_iou(a, b) <= 1 + 1e-9  # both hold the middle
    assert box_iou(a, a) == pytest.approx(1)


def test_overlap_of_known_boxes() -> None:
    assert box_iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 2, 2), (2, 0, 3, 2)) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"digest": "12"}, "64 hexadecimal"),
        ({"box_xyxy": (0.0, 0.0, 0.0, 5.0)}, "x1 > x0"),
        ({"box_xyxy": (0.0, 0.0, float("nan"), 5.0)}, "finite"),
        ({"score": 1.5}, r"\[0, 1\]"),
    ],
)
def test_photo_references_are_checked(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PhotoRef("a.jpg", **fields)  # type: ignore[arg-type]


# --- real models ----------------------------------------------------------------------------


def test_real_faces(gallery: Gallery, shared_data: Path) -> None:
    """George W Bush from one photo among four others, with the shipped thresholds."""
    lfw = shared_data / "lfw" / "images"
    people = ["George_W_Bush", "Colin_Powell", "Serena_Williams", "Gerhard_Schroeder"]
    analyzer = FaceAnalyzer()
    for name in people:
        photo = lfw / name / f"{name}_0001.jpg"
        done = enroll_photos(
            gallery, analyzer, name.replace("_", " "), [photo], pick="largest", keep_chips=True
        )
        assert done.warnings == ()
    probe = analyzer.analyze(lfw / "Colin_Powell" / "Colin_Powell_0002.jpg")[0]
    stranger = analyzer.analyze(lfw / "Tony_Blair" / "Tony_Blair_0001.jpg")[0]
    assert probe.embedding is not None
    assert stranger.embedding is not None
    if shipped(analyzer.embedder_id) is None:
        pytest.skip("no calibration is shipped for facenet")
    found, unknown = gallery.identify([probe.embedding, stranger.embedding])
    assert (found.person, unknown.person) == ("Colin Powell", None)
    assert found.probability is not None
    assert unknown.probability is not None
    assert found.probability > 0.5 > unknown.probability
    # Kept chips are good enough for another embedder's own alignment.
    dlib = FaceAnalyzer(embedder="dlib")
    assert re_embed(gallery, dlib).from_chips == 4
    again = dlib.analyze(lfw / "Colin_Powell" / "Colin_Powell_0001.jpg")[0]
    assert again.embedding is not None
    assert gallery.verify("Colin Powell", again.embedding, threshold=0.05).verdict == "same"
