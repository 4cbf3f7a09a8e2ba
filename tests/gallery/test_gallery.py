"""Gallery: enrol, ask, change. Oracles: squared distances in float64."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from gallery_helpers import (
    DIM,
    EMBEDDER,
    OTHER_EMBEDDER,
    SLOPE,
    TAU,
    emb,
    near,
    open_new,
    squared,
    template,
    toy_calibration,
    unit,
)

from limner.errors import (
    EmbedderMismatch,
    GalleryError,
    InputError,
    NameTakenError,
    ShapeError,
    UnknownNameError,
    ZeroNormError,
)
from limner.gallery import Gallery, PhotoRef, default_location

V = unit(40)


def test_enrol_and_reopen(tmp_path: Path) -> None:
    with open_new(tmp_path) as gallery:
        first = gallery.enroll("Ada", [emb(V[0]), emb(V[1])], note="countess")
        assert (first.person, first.added, first.total, first.created) == ("Ada", 2, 2, True)
        second = gallery.enroll("ADA", emb(V[2]))
        assert (second.person, second.added, second.total, second.created) == ("Ada", 1, 3, False)
    with Gallery.open(tmp_path / "g.limner") as gallery:
        (person,) = gallery.people()
        assert (person.name, person.photos, person.note) == ("Ada", 3, "countess")
        assert gallery.embedder_id == EMBEDDER
        assert len(gallery) == 1
        assert "ada" in gallery
        assert "Bob" not in gallery


def test_verify_measures_to_the_mean_of_the_photos(gallery: Gallery) -> None:
    gallery.enroll("Ada", [emb(V[0]), emb(V[1]), emb(V[2])])
    mean = template(V[:3])
    probe = near(mean, 0.3)
    pair = gallery.verify("ada", emb(probe), threshold=0.31)
    assert pair.distance == pytest.approx(squared(probe, mean), abs=1e-6)
    assert pair.verdict == "same"
    assert gallery.verify("Ada", emb(probe), threshold=0.29).verdict == "different"
    with pytest.raises(UnknownNameError, match=r"nobody .* called 'Adda'; did you mean 'Ada'\?"):
        gallery.verify("Adda", emb(probe), threshold=1.0)


def test_identify_names_the_nearest_or_nobody(gallery: Gallery) -> None:
    for number in range(10):
        gallery.enroll(f"P{number}", [emb(V[2 * number]), emb(V[2 * number + 1])])
    means = [template(V[2 * number : 2 * number + 2]) for number in range(10)]
    probes = [near(means[3], 0.2), V[30], near(means[6], 0.1)]
    answers = gallery.identify([emb(p) for p in probes], threshold=0.25)
    assert [a.person for a in answers] == ["P3", None, "P6"]
    for probe, answer in zip(probes, answers, strict=True):
        # Of the three people with the nearest photos, the one with the nearest mean.
        photos = [min(squared(probe, V[2 * n]), squared(probe, V[2 * n + 1])) for n in range(10)]
        distances = {n: squared(probe, means[n]) for n in np.argsort(photos)[:3]}
        assert answer.distance == pytest.approx(min(distances.values()), abs=1e-6)
        assert answer.nearest == f"P{min(distances, key=distances.__getitem__)}"
    assert answers[1].verdict == "not_recognised"
    assert gallery.identify([]) == []


def test_an_empty_gallery_recognises_nobody(gallery: Gallery) -> None:
    (answer,) = gallery.identify(emb(V[0]), threshold=1.0)
    assert answer.verdict == "not_recognised"
    assert answer.distance is None
    assert answer.nearest is None
    assert gallery.lookalike(emb(V[0])) == []


def test_lookalikes_are_people_ranked_by_their_best_photo(gallery: Gallery) -> None:
    for number in range(10):
        gallery.enroll(f"P{number}", [emb(V[3 * number + i]) for i in range(3)])
    probe = V[35]
    best = {f"P{n}": min(squared(probe, V[3 * n + i]) for i in range(3)) for n in range(10)}
    ranked = gallery.lookalike(emb(probe), top=4)
    assert [r.person for r in ranked] == sorted(best, key=best.__getitem__)[:4]
    assert [r.distance for r in ranked] == pytest.approx(sorted(best.values())[:4], abs=1e-6)
    assert len(gallery.lookalike(emb(probe), top=99)) == 10
    with pytest.raises(InputError, match="top must be 1 or larger, got 0"):
        gallery.lookalike(emb(probe), top=0)


def test_one_person_with_very_many_photos_does_not_hide_the_others(gallery: Gallery) -> None:
    crowd = [near(V[0], 0.01, seed=i) for i in range(300)]
    gallery.enroll("Crowd", [emb(v) for v in crowd])
    gallery.enroll("Shy", emb(V[1]))
    assert [r.person for r in gallery.lookalike(emb(V[0]), top=2)] == ["Crowd", "Shy"]


# --- thresholds and probabilities -----------------------------------------------------------


def test_thresholds_come_from_the_gallerys_own_calibration(calibrated: Gallery) -> None:
    gallery = calibrated
    gallery.enroll("Ada", emb(V[0]))
    probe = near(V[0], 0.75)
    pair = gallery.verify("Ada", emb(probe))
    assert pair.threshold == TAU
    assert pair.probability == pytest.approx(1 / (1 + np.exp(SLOPE * (pair.distance - TAU))))
    for number in range(1, 30):
        gallery.enroll(f"P{number}", emb(V[number]))
    (answer,) = gallery.identify(emb(probe))
    assert answer.threshold == toy_calibration().threshold_for(30) < TAU
    assert answer.verdict == "not_recognised"
    assert answer.probability is not None
    assert answer.probability < 0.5


@pytest.mark.parametrize("distance", [0.0, 0.3, 0.59, 0.61, 1.2])
def test_probability_and_default_verdict_agree(calibrated: Gallery, distance: float) -> None:
    calibrated.enroll("Ada", emb(V[0]))
    probe = emb(near(V[0], distance))
    pair, (match,) = calibrated.verify("Ada", probe), calibrated.identify(probe)
    for answer, yes in ((pair, pair.verdict == "same"), (match, match.verdict == "recognised")):
        assert answer.probability is not None
        assert (answer.probability >= 0.5) == yes
    # A user's own threshold moves the verdict, not the probability.
    moved = calibrated.identify(probe, threshold=4.0)[0]
    assert moved.verdict == "recognised"
    assert moved.probability == match.probability


def test_a_larger_gallery_is_stricter(calibrated: Gallery) -> None:
    taus = []
    for number in range(12):
        calibrated.enroll(f"P{number}", emb(V[number]))
        taus.append(calibrated.info().identify_threshold)
    assert taus == sorted(taus, reverse=True)
    assert taus[-1] is not None
    assert taus[0] is not None
    assert taus[-1] < taus[0]


def test_without_calibration_a_threshold_must_be_given(gallery: Gallery) -> None:
    gallery.enroll("Ada", emb(V[0]))
    words = "no threshold is known .*limner gallery calibrate .*limner evaluate fit"
    with pytest.raises(InputError, match=words):
        gallery.verify("Ada", emb(V[0]))
    with pytest.raises(InputError, match=words):
        gallery.identify(emb(V[0]))
    assert gallery.verify("Ada", emb(V[0]), threshold=0.5).probability is None
    assert gallery.lookalike(emb(V[0]))[0].probability is None


@pytest.mark.parametrize("threshold", [-0.1, 4.1, float("nan"), float("inf")])
def test_impossible_thresholds_are_refused(gallery: Gallery, threshold: float) -> None:
    gallery.enroll("Ada", emb(V[0]))
    with pytest.raises(InputError, match="threshold must lie between 0 and 4"):
        gallery.verify("Ada", emb(V[0]), threshold=threshold)
    with pytest.raises(InputError, match="threshold must lie between 0 and 4"):
        gallery.identify(emb(V[0]), threshold=threshold)


# --- what may come in -----------------------------------------------------------------------


def test_embeddings_of_another_embedder_are_refused(gallery: Gallery, tmp_path: Path) -> None:
    gallery.enroll("Ada", emb(V[0]))
    stranger = emb(V[1], OTHER_EMBEDDER)
    calls = [
        lambda: gallery.enroll("Bob", stranger),
        lambda: gallery.verify("Ada", stranger, threshold=1.0),
        lambda: gallery.identify(stranger, threshold=1.0),
        lambda: gallery.lookalike(stranger),
        lambda: Gallery.open(tmp_path / "g.limner", embedder_id=OTHER_EMBEDDER),
    ]
    for call in calls:
        with pytest.raises(EmbedderMismatch) as caught:
            call()
        text = str(caught.value)
        assert EMBEDDER in text
        assert OTHER_EMBEDDER in text
        assert f"limner gallery re-embed --gallery {gallery.location} --embedder other" in text
    assert len(gallery) == 1


def test_wrong_vectors_are_refused(gallery: Gallery) -> None:
    gallery.enroll("Ada", emb(V[0]))
    with pytest.raises(ShapeError, match=f"width {DIM}"):
        gallery.identify(emb(unit(1, dim=DIM + 1)[0]), threshold=1.0)
    with pytest.raises(InputError, match="length 1, got 2"):
        gallery.enroll("Bob", emb(2 * V[0]))
    with pytest.raises(ZeroNormError):
        gallery.enroll("Bob", emb(0 * V[0]))
    with pytest.raises(InputError, match="at least one embedding"):
        gallery.enroll("Bob", [])
    with pytest.raises(InputError, match="one for each of 2"):
        gallery.enroll("Bob", [emb(V[0]), emb(V[1])], photo=["a", "b", "c"])
    assert [p.name for p in gallery.people()] == ["Ada"]


def _ref(name: str, digit: str, box: tuple[float, float, float, float] | None = None) -> PhotoRef:
    return PhotoRef(name, digit * 64, box, 0.9)


def test_a_photo_is_enrolled_once(gallery: Gallery) -> None:
    box, other_box = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)
    gallery.enroll("Ada", emb(V[0]), photo=_ref("a.jpg", "0", box))
    again = gallery.enroll("Ada", [emb(V[0]), emb(V[1])], photo=[_ref("b.jpg", "0", box), "c.jpg"])
    assert again.skipped == ("b.jpg",)
    assert (again.added, again.total) == (1, 2)
    # Another face of the same photo is another face.
    assert gallery.enroll("Ada", emb(V[2]), photo=_ref("a.jpg", "0", other_box)).added == 1
    # Two faces of one new photo in one call are both taken, the same face twice is not.
    two = [_ref("d.jpg", "1", box), _ref("d.jpg", "1", other_box), _ref("d.jpg", "1", box)]
    assert gallery.enroll("Ada", [emb(V[i]) for i in (3, 4, 5)], photo=two).added == 2


def test_the_same_face_under_two_names_is_warned_about(calibrated: Gallery) -> None:
    calibrated.enroll("Ada", emb(V[0]), photo=_ref("a.jpg", "0"))
    done = calibrated.enroll("Bob", emb(near(V[0], 0.2)), photo=_ref("a.jpg", "0"))
    assert done.added == 1
    close, shared = done.warnings
    tau = toy_calibration().threshold_for(1)
    assert f"'Bob' looks like 'Ada': distance 0.200, threshold {tau:.3f}" in close
    assert "merge" in close
    assert shared == "the same face of a.jpg is enrolled as 'Ada' too."


def test_only_other_people_nearer_than_tau_are_warned_about(calibrated: Gallery) -> None:
    calibrated.enroll("Ada", emb(V[0]))
    assert calibrated.enroll("ada", emb(near(V[0], 0.1, seed=9))).warnings == ()
    assert calibrated.enroll("Bob", emb(near(V[0], 1.6, seed=3))).warnings == ()
    assert calibrated.enroll("Dora", emb(near(V[0], 0.75, seed=5))).warnings == ()
    done = calibrated.enroll("Cleo", [emb(near(V[0], 0.55)), emb(near(V[0], 0.4))])
    assert len(done.warnings) == 1
    nearest = min(squared(near(V[0], 0.4), v) for v in (V[0], near(V[0], 0.1, seed=9)))
    assert f"distance {nearest:.3f}" in done.warnings[0]


# --- changing -------------------------------------------------------------------------------


def test_forget(gallery: Gallery) -> None:
    gallery.enroll("Ada", [emb(V[0]), emb(V[1])])
    gallery.enroll("Bob", emb(V[2]))
    assert gallery.forget("ADA") == 2
    assert [p.name for p in gallery.people()] == ["Bob"]
    (answer,) = gallery.identify(emb(V[0]), threshold=4.0)
    assert answer.person == "Bob"
    with pytest.raises(UnknownNameError):
        gallery.forget("Ada")


def test_rename(gallery: Gallery) -> None:
    gallery.enroll("Ada", emb(V[0]))
    gallery.enroll("Bob", emb(V[1]))
    assert gallery.rename("ada", "Ada King") == "Ada King"
    assert gallery.identify(emb(V[0]), threshold=0.1)[0].person == "Ada King"
    assert gallery.rename("Bob", "BOB") == "BOB"
    with pytest.raises(NameTakenError, match=r"merge 'BOB' into 'Ada King'"):
        gallery.rename("bob", "ada king")
    with pytest.raises(UnknownNameError):
        gallery.rename("Ada", "Eve")
    with pytest.raises(InputError, match="empty"):
        gallery.rename("BOB", " ")


def test_composed_and_decomposed_spellings_are_one_person(gallery: Gallery) -> None:
    gallery.enroll("Zo\u00eb", emb(V[0]))
    assert gallery.enroll("Zoe\u0308", emb(V[1])).total == 2
    gallery.enroll("Bob", emb(V[2]))
    with pytest.raises(NameTakenError):
        gallery.rename("Bob", "ZOE\u0308")


def test_merge(gallery: Gallery) -> None:
    gallery.enroll("Ada", [emb(V[0]), emb(V[1])], note="first")
    gallery.enroll("A. L.", emb(V[2]))
    assert gallery.merge("Ada", "a. l.") == 3
    (person,) = gallery.people()
    assert (person.name, person.photos, person.note) == ("A. L.", 3, "first")
    (match,) = gallery.identify(emb(V[0]), threshold=1.0)
    assert match.person == "A. L."
    assert match.distance == pytest.approx(squared(V[0], template(V[:3])), abs=1e-6)
    with pytest.raises(InputError, match="into itself"):
        gallery.merge("A. L.", "a. l.")
    with pytest.raises(UnknownNameError, match="'Ada'"):
        gallery.merge("Ada", "A. L.")


def test_notes(gallery: Gallery) -> None:
    gallery.enroll("Ada", emb(V[0]), note="one")
    gallery.enroll("Ada", emb(V[1]))
    assert gallery.people()[0].note == "one"
    gallery.set_note("ada", "two\nlines")
    assert gallery.people()[0].note == "two\nlines"
    with pytest.raises(UnknownNameError):
        gallery.set_note("Bob", "x")


# --- opening --------------------------------------------------------------------------------


def test_a_missing_gallery_is_not_made_by_asking(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match=r"there is no gallery at .*limner enroll"):
        Gallery.open(tmp_path / "none.limner")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GalleryError, match=r"folder .* does not exist; make it first"):
        Gallery.open(tmp_path / "no" / "g.limner", create=True)
    with pytest.raises(InputError, match="a gallery is a file"):
        Gallery.open("postgresql://localhost/faces", create=True)


def test_default_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMNER_GALLERY", str(tmp_path / "mine.limner"))
    assert default_location() == tmp_path / "mine.limner"
    monkeypatch.delenv("LIMNER_GALLERY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with Gallery.open(create=True) as gallery:
        assert gallery.location.endswith("faces.limner")
        assert str(tmp_path) in gallery.location


def test_a_new_gallery_is_private(gallery: Gallery) -> None:
    assert Path(gallery.location).stat().st_mode & 0o077 == 0


def test_odd_paths(tmp_path: Path) -> None:
    folder = tmp_path / "a#b?c %41 ü"
    folder.mkdir()
    with open_new(folder, "g;x.limner") as gallery:
        gallery.enroll("Ada", emb(V[0]))
    with Gallery.open(folder / "g;x.limner") as gallery:
        assert len(gallery) == 1
    assert [p.name for p in folder.iterdir()] == ["g;x.limner"]


def test_a_closed_gallery_says_so(tmp_path: Path) -> None:
    gallery = open_new(tmp_path)
    gallery.close()
    with pytest.raises(GalleryError, match="has been closed"):
        gallery.people()


def test_info(calibrated: Gallery) -> None:
    calibrated.enroll("Ada", [emb(V[0]), emb(V[1])])
    info = calibrated.info()
    assert (info.people, info.faces, info.dim, info.embedder_id) == (1, 2, DIM, EMBEDDER)
    assert info.calibration == "this gallery's own: toys"
    assert info.verify_threshold == TAU
    assert info.bytes > 0
    assert not info.read_only


def test_many_threads(gallery: Gallery) -> None:
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                face = emb(near(V[number], 1e-4 * turn, seed=turn))
                gallery.enroll(f"T{number}", face, photo=f"{turn}.jpg")
                (answer,) = gallery.identify(emb(V[number]), threshold=0.01)
                assert answer.person == f"T{number}"
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [p.photos for p in gallery.people()] == [10] * 6


def test_enroll_many_can_be_repeated(gallery: Gallery) -> None:
    rows = unit(200, seed=3)
    items = [(f"P{i // 2}", emb(row)) for i, row in enumerate(rows)]
    seen: list[int] = []
    assert gallery.enroll_many(iter(items[:120]), progress=seen.append) == 120
    assert gallery.enroll_many(items) == 80
    assert seen == [120]
    assert (gallery.info().people, gallery.info().faces) == (100, 200)
