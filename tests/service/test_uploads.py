"""What is uploaded: one photo means one, and the client takes what a FaceAnalyzer takes."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from limner import errors, images


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.address, trust_env=False, timeout=60) as found:
        yield found


@pytest.mark.parametrize(
    ("path", "field", "form"),
    [
        ("detect", "photo", {}),
        ("embed", "photo", {}),
        ("identify", "photo", {}),
        ("verify", "photo", {"name": "Eileen"}),
        ("lookalike", "photo", {}),
        ("units", "photo", {}),
        ("classify", "file", {"model": "beats"}),
        ("style", "content", {"method": "fast"}),
    ],
)
def test_two_photos_where_one_is_expected(http, photos, path, field, form):
    files = [(field, ("a.jpg", photos["collins"])), (field, ("b.jpg", photos["hopper"]))]
    answer = http.post(f"/v1/{path}", files=files, data=form)
    assert answer.status_code == 422
    words = answer.json()["error"]
    assert words["type"] == "InputError"
    assert words["message"] == f"'{field}' came 2 times where one is expected; send one."


def test_compare_and_plain_fields_too(http, photos):
    one = ("a.jpg", photos["collins"])
    answer = http.post("/v1/compare", files=[("a", one), ("b", one), ("b", one)])
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("'b' came 2 times")
    answer = http.post(
        "/v1/compare", files=[("a", one), ("b", one)], data={"pick": ["one", "largest"]}
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("'pick' came 2 times")


def test_lists_stay_lists(client, photos):
    done = client.enroll("Eileen Collins", [photos["collins"], photos["collins2"]])
    assert done.added == 2


def test_the_client_takes_what_the_analyzer_takes(client, photos, tmp_path):
    data = photos["collins"]
    path = tmp_path / "collins.jpg"
    path.write_bytes(data)
    pixels = images.read(data)
    expected = client.detect(data)
    assert len(expected.faces) == 1
    with open(path, "rb") as stream:
        for given in (
            path,
            str(path),
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            stream,
            pixels,
            np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)]),
            Image.fromarray(pixels),
            Image.open(path),
        ):
            found = client.detect(given)
            assert found.size_hw == expected.size_hw
            assert np.allclose(found.faces[0].box_xyxy, expected.faces[0].box_xyxy, atol=0.01)


def test_one_upload_of_any_kind_enrols(client, photos):
    pixels = images.read(photos["collins"])
    assert client.enroll("A", pixels).added == 1
    assert client.enroll("B", io.BytesIO(photos["hopper"])).added == 1
    assert client.enroll("C", [Image.fromarray(pixels[:, ::-1])]).added == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "got int"),
        (None, "got NoneType"),
        (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        (np.zeros((4, 4, 3)), "must be uint8"),
        (io.StringIO("text"), "gives str, not bytes"),
        (Path("nowhere.jpg"), "cannot be read"),
    ],
)
def test_what_is_no_picture_is_said_before_it_is_sent(client, given, words):
    with pytest.raises(errors.ImageError, match=words):
        client.detect(given)
