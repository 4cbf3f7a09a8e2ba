"""What people hand to a gallery: faces and what holds them work, the rest is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from limner.errors import FaceCountError, ImageError, InputError
from limner.faces.analyzer import PhotoFaces
from limner.gallery import Gallery
from limner.types import Embedding, Face

RNG = np.random.default_rng(13)


def face(name: int, *, embed: bool = True) -> Face:
    vector = np.zeros(128, np.float32)
    vector[name] = 1
    points = RNG.uniform(0, 10, (5, 2)).astype(np.float32)
    embedding = Embedding(vector, "facenet-test") if embed else None
    return Face((0.0, 0.0, 10.0, 10.0), points, 0.9, embedding)


@pytest.fixture
def gallery(tmp_path: Path):
    with Gallery.open(tmp_path / "g.limner", create=True) as opened:
        opened.enroll("Ada", face(0))
        opened.enroll("Grace", [face(1).embedding, face(1)])
        yield opened


def names(matches):
    return [match.person for match in matches]


def test_faces_and_what_holds_them_work(gallery):
    both = PhotoFaces("a.jpg", [face(0), face(1)])
    assert names(gallery.identify(face(1), threshold=0.5)) == ["Grace"]
    assert names(gallery.identify([face(0), face(1).embedding], threshold=0.5)) == ["Ada", "Grace"]
    assert names(gallery.identify(both, threshold=0.5)) == ["Ada", "Grace"]
    assert names(gallery.identify([both, both], threshold=0.5)) == ["Ada", "Grace"] * 2
    assert names(gallery.identify((f for f in both.faces), threshold=0.5)) == ["Ada", "Grace"]
    assert gallery.identify([]) == gallery.identify(PhotoFaces("a.jpg", [])) == []
    assert gallery.verify("Ada", face(0), threshold=0.5).verdict == "same"
    assert gallery.verify("Ada", [face(1)], threshold=0.5).verdict == "different"
    assert gallery.lookalike(PhotoFaces("a.jpg", [face(1)]))[0].person == "Grace"
    assert gallery.enroll_many([("Linus", face(2)), ("Alan", face(3).embedding)]) == 2
    assert names(gallery.identify(face(2), threshold=0.5)) == ["Linus"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (face(0, embed=False), "without an embedding"),
        ([face(0), face(0, embed=False)], "without an embedding"),
        (None, "takes a Face, an Embedding, PhotoFaces, or a list of them, got NoneType"),
        ([None], "got NoneType"),
        (3, "got int"),
        ({"Ada": face(0)}, "got dict"),
        (np.zeros((4, 128), np.float32), r"array 4x128.*limner.Embedding\(vector"),
        (face(0).embedding.vector, "array 128"),
        (list(face(0).embedding.vector), "array of no axes"),
        ("photo.jpg", r"takes faces, not photos, got 'photo.jpg'.*FaceAnalyzer\(\).analyze"),
        (["photo.jpg"], "'photo.jpg'"),
        (Path("photo.jpg"), "'photo.jpg'"),
        (b"\xff\xd8", "the bytes of a file"),
        (PhotoFaces("a.jpg", None, ImageError("a.jpg is empty.")), "a.jpg is empty."),
    ],
)
def test_anything_else_is_one_sentence_that_says_what_to_pass(gallery, given, words):
    for call, ask in {
        "enroll": lambda: gallery.enroll("Eve", given),
        "identify": lambda: gallery.identify(given),
        "verify": lambda: gallery.verify("Ada", given),
        "lookalike": lambda: gallery.lookalike(given),
        "enroll_many": lambda: gallery.enroll_many([("Eve", given)]),
        "calibrate": lambda: gallery.calibrate({"Eve": given}),
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            ask()
        assert str(caught.value).startswith(call + " ")
    assert "Eve" not in gallery


@pytest.mark.parametrize("given", [[], [face(0), face(1)], PhotoFaces("a.jpg", [])])
def test_one_face_means_one(gallery, given):
    with pytest.raises(FaceCountError, match=r"verify takes one face, got [02]"):
        gallery.verify("Ada", given)
    with pytest.raises(FaceCountError, match="lookalike takes one face"):
        gallery.lookalike(given)


def test_vectors_of_another_width_are_still_refused(gallery):
    odd = replace(face(0), embedding=Embedding(np.eye(1, 64, dtype=np.float32)[0], "facenet-test"))
    with pytest.raises(InputError, match="width 128"):
        gallery.identify(odd)
