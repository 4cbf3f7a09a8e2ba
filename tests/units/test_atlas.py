"""The atlas: pages that refer to nothing outside of their folder, and show what was found."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from limner import images
from limner.errors import EmbedderMismatch, InputError
from limner.units import gram_pairs, top_patches
from limner.units.atlas import write_atlas
from limner.units.sheet import choose_units, draw_excited, draw_gram, draw_sheet


@pytest.fixture
def top(net, photo_folder):
    return top_patches(net, photo_folder, layers=["conv1", "conv2"])


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href") and value:
                self.found.append(value)
            if name == "id":
                self.ids.add(value)


def data_of(path: Path):
    text = path.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_every_link_leads_to_a_file_of_the_atlas(top, net, tmp_path):
    atlas = write_atlas(top, tmp_path / "atlas", net=net, explained=2, ideals=1)
    pages = sorted(atlas.folder.glob("*.html"))
    assert [p.name for p in pages] == ["conv1.html", "conv2.html", "index.html"]
    for page in pages:
        links = Links()
        links.feed(page.read_text("utf-8"))
        assert links.found
        for target in links.found:
            if target != "data:,":
                assert (atlas.folder / target).is_file(), target
    for style in ("atlas.css", "atlas.js"):
        assert "http" not in (atlas.folder / style).read_text("utf-8")
    used = {int(p) for name in top.layers for p in np.unique(top.layer(name).photo)}
    assert {p.name for p in (atlas.folder / "photos").iterdir()} == {f"{n}.webp" for n in used}
    assert sum(atlas.bytes.values()) == sum(
        p.stat().st_size
        for p in atlas.folder.rglob("*")
        if p.is_file() and p.name not in ("index.html", "atlas.css", "atlas.js")
    )


def test_the_pages_data_are_the_passs(top, net, tmp_path):
    atlas = write_atlas(top, tmp_path, net=net, explained=2, ideals=1)
    data = data_of(atlas.folder / "conv2.html")
    tally = top.layer("conv2")
    assert len(data["units"]) == 12
    explained = [n for n, u in enumerate(data["units"]) if u.get("x")]
    assert explained == choose_units(top, "conv2", 2)
    for unit, row in enumerate(data["units"]):
        assert row["p"] == tally.photo[unit].tolist()
        assert row["v"] == pytest.approx(tally.value[unit], rel=1e-3)
        assert row["h"] == tally.histogram[unit].tolist()
        for number, box in zip(row["p"], row["b"], strict=True):
            assert data["photos"][str(number)] == os.path.basename(top.photos[number])
            assert 0 <= box[0] <= box[2] <= 1
            assert 0 <= box[1] <= box[3] <= 1
    assert sum("i" in row for row in data["units"]) == 1


def test_a_patch_of_the_atlas_is_the_patch(top, tmp_path):
    from limner.units import patches_of
    from limner.units.sheet import patch_side

    atlas = write_atlas(top, tmp_path)
    side = patch_side(top, "conv2")
    sprite = images.read(atlas.folder / "conv2" / "3.webp")
    for rank, patch in enumerate(patches_of(top, "conv2", 3, side=side)):
        y, x = (rank // 3) * (side + 2), (rank % 3) * (side + 2)
        part = sprite[y + 4 : y + side - 4, x + 4 : x + side - 4].astype(float)
        truth = patch.image[4:-4, 4:-4].astype(float)
        assert np.abs(part - truth).mean() < 12  # WebP is lossy


def test_names_of_files_cannot_break_out(net, photo_folder, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, path in enumerate(sorted(photo_folder.rglob("*.png"))[:6]):
        images.write(folder / f"<script>alert({i})<_script>&.png", images.read(path))
    top = top_patches(net, folder, layers=["conv1"])
    atlas = write_atlas(top, tmp_path / "out")
    text = (atlas.folder / "conv1.html").read_text("utf-8")
    assert "</script>&" not in text
    data = data_of(atlas.folder / "conv1.html")
    assert "<script>alert(0)<_script>&.png" in data["photos"].values()


def test_sheets(top, net, photo_folder):
    sheet = draw_sheet(top, "conv2")
    assert sheet.ndim == 3
    assert sheet.std() > 20
    chosen = choose_units(top, "conv2")
    assert len(chosen) == len(set(chosen)) == 9
    assert draw_sheet(top, "conv2", [1, 2]).shape[1] < sheet.shape[1]
    picture = images.read(photo_folder / "cat" / "3.png")
    pairs = gram_pairs(picture, net, "conv2", top=top, count=2)
    assert draw_gram(picture, pairs, top).shape[2] == 3
    with pytest.raises(InputError, match="units 0 to 11"):
        draw_sheet(top, "conv2", [12])
    with pytest.raises(InputError, match="nothing to draw"):
        draw_excited(picture, [], top)


def test_bad_input(top, net, tmp_path):
    from small_network import small_network

    with pytest.raises(InputError, match="need the network"):
        write_atlas(top, tmp_path, explained=1)
    with pytest.raises(EmbedderMismatch):
        write_atlas(top, tmp_path, net=small_network(size=48), explained=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_atlas(top, tmp_path / "file")
    top.done = 3
    with pytest.raises(InputError, match="not complete"):
        write_atlas(top, tmp_path)


def test_it_works_in_a_browser(top, net, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("chromium is absent")
    atlas = write_atlas(top, tmp_path, net=net, explained=1)
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(atlas.index.as_uri())
        page.click("text=conv2")
        page.click("[data-n='3']")
        assert page.inner_text("dialog h1") == "conv2 · unit 3"
        assert page.locator("dialog figure").count() == 9
        page.keyboard.press("ArrowRight")
        assert page.inner_text("dialog h1") == "conv2 · unit 4"
        page.keyboard.press("Escape")
        page.select_option("#sort", "strength")
        order = page.eval_on_selector_all(".unit", "e=>e.map(x=>+x.dataset.strength)")
        assert order == sorted(order, reverse=True)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
        wide = page.evaluate("document.documentElement.scrollWidth<=innerWidth")
        assert wide
        browser.close()
    assert faults == []
