"""Stopping, going back, a page behind keys, and a camera."""

from __future__ import annotations

import io
import re

import httpx
import matplotlib.cbook
import pytest
import skimage.data
from PIL import Image

pytest.importorskip("playwright")


def test_stops_a_painting_and_opens_an_earlier_one(sheet, tmp_path):
    at = sheet()
    page = at.page
    Image.fromarray(skimage.data.coffee()).resize((300, 200)).save(tmp_path / "coffee.png")
    at.open("Style")
    page.get_by_text("A first idea.").wait_for()
    page.locator("#style-content input[type=file]").first.set_input_files(tmp_path / "coffee.png")
    page.get_by_label("256").check()
    page.get_by_text("Colour, brush and care").click()
    page.get_by_label("A sketch").check()
    page.get_by_role("button", name="Paint", exact=True).click()
    page.get_by_role("link", name="Download").wait_for(timeout=180_000)
    shown = page.locator("#style-history .l-thumb").count()
    page.get_by_label("A painting").check()
    page.get_by_label("512").check()
    page.get_by_role("button", name="Paint", exact=True).click()
    page.get_by_text(re.compile(r"step \d+ of")).wait_for(timeout=180_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Stopped.").wait_for(timeout=180_000)
    assert page.get_by_role("link", name="Download").count() == 0
    assert page.locator("#style-history .l-thumb").count() == shown
    page.locator("#style-history .l-thumb").first.click()
    page.get_by_role("link", name="Download").wait_for(timeout=180_000)
    assert "256 x 171" in page.locator("#stage").inner_text()


def test_a_page_behind_keys(sheet, locked):  # the service ends before the page is closed
    address, admin, reader = locked
    for password, status in ((None, 401), ("wrong", 401), (reader, 403), (admin, 200)):
        auth = None if password is None else ("any", password)
        assert httpx.get(address, auth=auth, trust_env=False).status_code == status
    at = sheet(address=address, http_credentials={"username": "any", "password": admin})
    at.open("Compare")
    at.page.locator("#compared .l-verdict.l-yes").wait_for()
    at.outlive_the_service()


@pytest.fixture
def camera(launch, tmp_path):
    """A browser with a camera before which Grace Hopper's picture stands."""
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        face = own.convert("RGB").resize((480, 572)).crop((0, 0, 480, 480))
    picture = Image.new("RGB", (640, 480), (120, 120, 120))
    picture.paste(face, (80, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    film = tmp_path / "film.mjpeg"
    film.write_bytes(buffer.getvalue() * 30)
    running = launch(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )
    yield running
    running.close()


def test_a_face_before_the_camera(camera, sheet):
    page = sheet(by=camera, permissions=["camera"]).page
    page.get_by_text("Use the webcam").click()
    page.locator("#webcam").get_by_text("Click to Access Webcam").click()
    page.locator("#webcam video").wait_for()
    page.locator("#webcam").get_by_role("button", name="capture photo").click()
    captions = page.locator("#recognised figcaption")
    page.wait_for_function(
        "document.querySelectorAll('#recognised figcaption').length === 1"  # the samples are gone
    )
    assert "1 face, 0 recognised" in captions.inner_text()
