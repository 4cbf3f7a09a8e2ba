from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from limner import images
from limner.errors import FaceCountError, ImageError, InputError, UnknownNameError
from limner.faces import FaceAnalyzer, choose
from limner.types import Face


@pytest.fixture(scope="module")
def folder(tmp_path_factory, astronaut, hopper):
    place = tmp_path_factory.mktemp("photos")
    images.write(place / "a.png", astronaut)
    images.write(place / "b.png", hopper)
    (place / "c.jpg").write_text("not a picture")
    images.write(place / "d.png", np.full((80, 80, 3), 90, np.uint8))
    images.write(place / "e.png", np.concatenate([astronaut, astronaut[:, ::-1]], axis=1))
    return place


def face(x, y, side):
    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    return Face(
        box_xyxy=(x, y, x + side, y + side),
        landmarks_xy=(points * side + [x, y]).astype(np.float32),
        score=0.9,
    )


def test_many_photos_give_what_each_gives_alone(facenet, folder):
    photos = sorted(folder.iterdir()) * 5
    results = list(facenet.analyze_many(photos, on_error="yield"))
    assert [r.photo for r in results] == [str(p) for p in photos]
    for photo, result in zip(photos[:5], results[:5], strict=True):
        if photo.suffix == ".jpg":
            assert result.faces is None
            assert isinstance(result.error, ImageError)
            continue
        alone = facenet.analyze(photo)
        assert len(result.faces) == len(alone)
        for a, b in zip(result.faces, alone, strict=True):
            np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=1e-3)
            np.testing.assert_allclose(a.embedding.vector, b.embedding.vector, atol=1e-3)
    assert len(results[4].faces) == 2
    assert results[3].faces == []
    assert results[3].size_hw == (80, 80)


def test_an_unreadable_photo_among_many_raises_when_asked_to(facenet, folder):
    with pytest.raises(ImageError, match=r"c\.jpg"):
        list(facenet.analyze_many(sorted(folder.iterdir())))
    with pytest.raises(UnknownNameError, match="on_error"):
        list(facenet.analyze_many([], on_error="ignore"))


def test_many_photos_are_read_a_bounded_number_ahead(facenet, astronaut):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield astronaut

    stream = facenet.analyze_many(endless(), embed=False)
    next(stream)
    assert len(taken) < 200
    stream.close()


def test_faces_only(astronaut):
    analyzer = FaceAnalyzer(embedder=None)
    faces = analyzer.analyze(astronaut)
    assert len(faces) == 1
    assert faces[0].embedding is None
    assert next(analyzer.analyze_many([astronaut])).faces[0].embedding is None
    with pytest.raises(InputError, match="only finds faces"):
        _ = analyzer.embedder_id


def test_chips_are_kept_only_when_asked_for(facenet, astronaut):
    assert facenet.analyze(astronaut)[0].chip is None
    kept = facenet.analyze(astronaut, keep_chips=True)[0]
    assert kept.chip.shape == (160, 160, 3)


def test_given_faces_are_embedded(facenet, astronaut):
    found = facenet.analyze(astronaut)[0]
    again = facenet.embed_faces(astronaut, [found])[0]
    np.testing.assert_allclose(again.embedding.vector, found.embedding.vector, atol=1e-5)


def test_one_analyzer_serves_many_threads(facenet, astronaut, hopper):
    expected = [facenet.analyze(image)[0].embedding.vector for image in (astronaut, hopper)]
    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(lambda i: facenet.analyze((astronaut, hopper)[i % 2]), range(12)))
    for i, faces in enumerate(rows):
        np.testing.assert_allclose(faces[0].embedding.vector, expected[i % 2], atol=1e-4)


def test_an_unknown_detector_is_refused():
    with pytest.raises(UnknownNameError, match="yunet"):
        FaceAnalyzer(detector="mtcnn")


def test_a_detector_of_ones_own_is_used(astronaut):
    class Fixed:
        def detect(self, image):
            return [face(170, 60, 100)]

    faces = FaceAnalyzer(detector=Fixed(), embedder=None).analyze(astronaut)
    assert faces[0].box_xyxy == (170, 60, 270, 160)


def test_choosing_among_faces():
    small, large = face(0, 0, 20), face(100, 100, 80)
    assert choose([large]) == [large]
    assert choose([small, large], pick="largest") == [large]
    assert choose([small, large], pick="all") == [small, large]
    assert choose([small, large], pick=(1, 1, 19, 21)) == [small]
    with pytest.raises(FaceCountError, match="2 faces were found in party"):
        choose([small, large], photo="party")
    with pytest.raises(FaceCountError, match="no face was found") as caught:
        choose([], photo="wall")
    assert caught.value.count == 0
    with pytest.raises(FaceCountError, match="none of the 2"):
        choose([small, large], pick=(300, 300, 320, 320))
    with pytest.raises(UnknownNameError, match="pick"):
        choose([small], pick="best")
