"""A FaceAnalyzer in other processes, copied, and asked for many photos that are one."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import skimage.data
from PIL import Image

from limner import FaceAnalyzer
from limner.errors import InputError
from limner.faces import YuNet

COLLINS = skimage.data.astronaut()


def vector(analyzer: FaceAnalyzer) -> np.ndarray:
    (face,) = analyzer.analyze(COLLINS)
    assert face.embedding is not None
    return face.embedding.vector


def test_a_copy_answers_as_the_original() -> None:
    analyzer = FaceAnalyzer(min_size=30, mirror=True)
    before = vector(analyzer)
    for again in (pickle.loads(pickle.dumps(analyzer)), copy.deepcopy(analyzer)):
        assert again.embedder_id == analyzer.embedder_id
        assert np.array_equal(vector(again), before)
    assert len(pickle.dumps(analyzer)) < 4096  # settings, no weights


def test_settings_travel() -> None:
    few = pickle.loads(pickle.dumps(FaceAnalyzer(embedder=None, min_size=200)))
    assert few.analyze(COLLINS) == []
    assert few.embedder is None


def test_a_detector_of_ones_own_travels() -> None:
    own = FaceAnalyzer(YuNet(min_score=0.5, min_size=25), None)
    again = pickle.loads(pickle.dumps(own))
    assert isinstance(again.detector, YuNet)
    assert (again.detector.min_score, again.detector.min_size) == (0.5, 25)
    assert len(again.analyze(COLLINS)) == 1


def test_it_goes_to_a_worker_process() -> None:
    analyzer = FaceAnalyzer()
    here = vector(analyzer)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        (there,) = pool.map(vector, [analyzer])
    assert np.array_equal(here, there)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a.jpg", "a.jpg"),
        (b"12345", "<5 bytes>"),
        (COLLINS, "<array 512x512x3 uint8>"),
        (Image.fromarray(COLLINS), "<Pillow image 512x512 RGB>"),
        (io.BytesIO(b"12345"), "<BytesIO>"),
        (None, "<NoneType>"),
    ],
)
def test_one_photo_is_not_many(given: object, shown: str) -> None:
    with pytest.raises(InputError, match=r"analyze_many takes several photos.*analyze takes one"):
        FaceAnalyzer(embedder=None).analyze_many(given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"got {shown};"):
        FaceAnalyzer(embedder=None).analyze_many(given)  # type: ignore[arg-type]


def test_a_stack_of_frames_is_many() -> None:
    frames = np.stack([COLLINS, COLLINS[:, ::-1]])
    found = list(FaceAnalyzer(embedder=None).analyze_many(frames))
    assert [len(one.faces or ()) for one in found] == [1, 1]
