"""Paint the contact sheets of the docs, and write docs/style-sheets.md around those that exist.

python bench/style_sheets.py depth layers beta --size 320
python bench/style_sheets.py sizes --size 2048
python bench/style_sheets.py                 # the page alone
"""

from __future__ import annotations

import argparse
import json

from PIL import Image

from common import DATA, REPOSITORY
from limner.style import preset
from limner.style.sheets import PRESETS, TEXTS, style_sheet

CONTENT = DATA / "contents" / "tubingen.png"
STYLE = DATA / "paintings" / "00_Gogh_The_Starry_Night.jpg"
PICTURES = REPOSITORY / "docs" / "images"
HEAD = """# What the choices do

One picture, painted several times with one choice changed. Each sheet is made by one command, such
as `limner style-sheet depth content.jpg painting.jpg -o sheet.png`; `sheet.png.json` has the costs
and the provenance of every picture. Those below were painted by `python bench/style_sheets.py`.
"""


def paint(kind: str, size: int, steps: int | None, encoder: str) -> None:
    options = preset(PRESETS[kind], size=size, encoder=encoder)
    if steps is not None:
        options = options.with_calls(steps)
    sheet = style_sheet(kind, CONTENT, STYLE, options=options)  # type: ignore[arg-type]
    PICTURES.mkdir(parents=True, exist_ok=True)
    target = PICTURES / f"style-sheet-{kind}.jpg"
    Image.fromarray(sheet.image).save(target, quality=84, optimize=True)
    figures = [
        {"label": t.label, "size_hw": t.image.shape[:2], "costs": t.to_json()["costs"]}
        for t in sheet.tiles
    ]
    encoder = sheet.tiles[0].result.provenance["encoder"]["name"]
    note = {"preset": PRESETS[kind], "encoder": encoder, "size_px": size}
    note |= {"calls": options.calls, "tiles": figures}
    target.with_suffix(".json").write_text(json.dumps(note, indent=1) + "\n")
    print(target, flush=True)


def page() -> None:
    parts = [HEAD]
    for kind, (title, text) in TEXTS.items():
        picture = PICTURES / f"style-sheet-{kind}.jpg"
        if picture.is_file():
            note = json.loads(picture.with_suffix(".json").read_text())
            parts.append(
                f"## {title}: `{kind}`\n\n![{title}](images/{picture.name})\n\n{text} "
                f"(Preset `{note['preset']}`, {note['encoder']}, {note['size_px']} px, "
                f"{note['calls']} closure calls a picture.)\n"
            )
    (REPOSITORY / "docs" / "style-sheets.md").write_text("\n".join(parts))


def main() -> None:
    """Paint the sheets that are asked for, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*TEXTS, []])
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--encoder", default="auto")
    asked = parser.parse_args()
    for kind in asked.kinds:
        paint(kind, asked.size, asked.steps, asked.encoder)
    page()


if __name__ == "__main__":
    main()
