"""A person without a terminal: enrol, recognise, compare, paint, look into a network."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
from PIL import Image

pytest.importorskip("playwright")

TABS = {
    "Recognise": "#recognised .l-picture",
    "Compare": "#compared .l-verdict",
    "Look-alike": "#alike .l-ranks",
    "Style": "#stage .l-ba",
    "Units": "#units-found .l-patches",
    "Signals & volumes": "#signal-answer .l-class",
    "About": "#about table",
}
# Of axe-core: what a person who cannot see, or has no mouse, would stumble over.
GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        grace = own.convert("RGB")
    grace.save(folder / "grace.jpg")
    turned = grace.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(10, expand=True)
    party = Image.new("RGB", (1200, 640), (120, 120, 120))
    party.paste(Image.fromarray(skimage.data.astronaut()), (0, 0))
    party.paste(turned.resize((500, 580)), (600, 20))
    party.save(folder / "party.jpg")
    Image.fromarray(skimage.data.coffee()).resize((300, 200)).save(folder / "coffee.png")
    swirl = np.indices((128, 160)).sum(axis=0)
    colours = np.stack([127 + 120 * np.sin(swirl / f) for f in (5, 7, 11)], axis=2)
    Image.fromarray(colours.astype(np.uint8)).save(folder / "painting.png")
    (folder / "broken.jpg").write_bytes(b"no picture at all")
    return folder


def choose(page, where: str, *files: Path) -> None:
    page.locator(f"{where} input[type=file]").first.set_input_files([str(f) for f in files])


def test_enrols_a_person_from_a_file_and_recognises_her_in_another_picture(sheet, photos):
    page = sheet().page
    choose(page, "#photos", photos / "grace.jpg")
    page.get_by_text("grace.jpg · 1 face, 0 recognised").wait_for()
    page.get_by_label("Name of face 1").fill("Grace <b>Hopper</b> {{1}}")
    page.get_by_role("button", name="Enrol").click()
    page.get_by_text("is enrolled from 1 photo.").wait_for()
    page.get_by_text("grace.jpg · 1 face, 1 recognised").wait_for()
    # A name is text, whatever it looks like.
    assert page.locator("#people .l-name").inner_text() == "Grace <b>Hopper</b> {{1}}"
    page.get_by_label("Change Grace").click()
    page.locator("#people input[name=name]").fill("Grace Hopper")
    page.get_by_role("button", name="Rename").click()
    page.get_by_text("is called Grace Hopper now.").wait_for()

    page.get_by_label(re.compile("clear|remove", re.I)).first.click()
    page.get_by_text("No photo yet.").wait_for()
    choose(page, "#photos", photos / "party.jpg", photos / "broken.jpg")
    page.get_by_text("party.jpg · 2 faces, 1 recognised").wait_for()
    names = page.locator("#recognised .l-face b").all_inner_texts()
    assert sorted(name.partition(". ")[2] for name in names) == ["Grace Hopper", "Not known"]
    plates = page.locator("#recognised .l-plate").all_inner_texts()
    assert any("Grace Hopper · over 99.9 %" in text for text in plates)
    alert = page.locator("#recognised [role=alert]").inner_text()
    assert "JPEG, PNG" in alert
    assert "/" not in alert.replace("JPEG, PNG", "")  # no path

    page.get_by_label("Change Grace Hopper").click()
    page.get_by_role("button", name="Forget Grace Hopper").click()
    page.get_by_text("Grace Hopper is forgotten.").wait_for()
    page.get_by_text("Nobody is enrolled yet.").first.wait_for()


def test_compares_two_photos(sheet, photos):
    at = sheet()
    page = at.page
    at.open("Compare")
    page.locator("#compared .l-verdict.l-yes").wait_for()  # a sample, at once
    page.get_by_role("button", name="Sample: two people").click()
    page.locator("#compared .l-verdict.l-no").wait_for()
    scale = page.locator("#compared .l-scale").get_attribute("aria-label")
    found = re.search(r"Distance (\d\.\d+) .* threshold tau is (\d\.\d+)", scale)
    assert found
    assert float(found[1]) > float(found[2])
    assert "two different people" in page.locator("#compared").inner_text().lower()
    page.locator("#compare-b").get_by_label(re.compile("clear|remove", re.I)).first.click()
    page.get_by_text("Two photos are needed.").wait_for()
    choose(page, "#compare-b", photos / "coffee.png")
    page.locator("#compared [role=alert]").wait_for()
    assert "no face was found" in page.locator("#compared").inner_text().lower()


def test_styles_a_small_picture_and_shows_it_forming(sheet, photos):
    at = sheet()
    page = at.page
    at.open("Style")
    page.get_by_text("A first idea.").wait_for()
    kept = page.locator("#style-history .l-thumb").count()  # other tests paint as well
    choose(page, "#style-content", photos / "coffee.png")
    page.get_by_label("256").check()
    page.get_by_text("Colour, brush and care").click()
    page.get_by_label("A sketch").check()
    page.get_by_role("button", name="Paint", exact=True).click()
    seen = set()
    done = page.get_by_role("link", name="Download")
    while not done.is_visible():
        bar = page.locator("#stage progress")
        if bar.count():
            seen.add(bar.first.get_attribute("value", timeout=2000))
        page.wait_for_timeout(100)
    assert len(seen) >= 3, seen  # it was seen to go on
    data = done.get_attribute("href").partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(data))) as painted:
        assert painted.size == (256, 171)
        plain = Image.open(photos / "coffee.png").convert("RGB").resize(painted.size)
        change = np.abs(np.asarray(painted, float) - np.asarray(plain, float)).mean()
    assert change > 15  # of 255: it is another picture
    slider = page.get_by_label("Share of the picture that shows the original")
    slider.fill("80")
    assert page.locator("#stage .l-ba").evaluate("e => e.style.getPropertyValue('--at')") == "80%"
    assert page.locator("#style-history .l-thumb").count() == kept + 1


def test_opens_a_unit(sheet, photos):
    at = sheet()
    page = at.page
    at.open("Units")
    page.locator("#units-found .l-patches img").nth(8).wait_for()
    before = page.locator("#units-found h2").inner_text()
    page.locator("#units-excited button").first.click()
    page.wait_for_function(
        "old => document.querySelector('#units-found h2').innerText !== old", arg=before
    )
    values = page.locator("#units-found .l-patches span").all_inner_texts()
    assert [float(v) for v in values] == sorted(map(float, values), reverse=True)


def test_every_tab_shows_something_and_axe_finds_nothing_grave(sheet):
    import axe_playwright_python

    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
    for width, scheme in ((1280, "light"), (390, "dark")):
        at = sheet(width=width, scheme=scheme)
        at.page.evaluate(script)
        for tab, something in TABS.items():
            at.open(tab)
            at.page.wait_for_selector(something)
            wide = at.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{tab} is wider than {width} px"
            found = at.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            grave = [
                (v["id"], [n["html"][:160] for n in v["nodes"]][:3])
                for v in found["violations"]
                if v["impact"] in GRAVE
            ]
            assert grave == [], f"{tab} at {width} px, {scheme}"


def test_the_keyboard_reaches_the_tabs(sheet):
    page = sheet().page
    page.get_by_role("tab", name="Recognise").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#compared .l-verdict")
