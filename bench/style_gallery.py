"""Paint the gallery of docs/style-gallery.md: six photographs in the manner of six paintings.

Pictures that exist already are kept, so the script can be interrupted and run again.

Usage: ``python bench/style_gallery.py [--size PX] [--only ROW ...] [--again]``
"""

from __future__ import annotations

import argparse
import io
import json
import time
from pathlib import Path

from PIL import Image

from common import DATA, REPOSITORY, machine
from limner.style import preset, stylize

FOLDER = REPOSITORY / "docs" / "gallery"
PAGE = REPOSITORY / "docs" / "style-gallery.md"
CONTENTS = {
    "tuebingen": ("tubingen.png", "Tübingen"),
    "golden-gate": ("golden_gate.jpg", "Golden Gate"),
    "kodak-04": ("04.png", "Kodak 4"),
    "kodak-13": ("13.png", "Kodak 13"),
    "kodak-19": ("19.png", "Kodak 19"),
    "kodak-22": ("22.png", "Kodak 22"),
}
STYLES = {
    "starry-night": ("00_Gogh_The_Starry_Night.jpg", "van Gogh, *The Starry Night*, 1889"),
    "scream": ("01_Munch_The_Scream.jpg", "Munch, *The Scream*, 1893"),
    "great-wave": (
        "04_Hokusai_The_Great_Wave_off_Kanagawa.jpg",
        "Hokusai, *The Great Wave off Kanagawa*, about 1831",
    ),
    "composition-vii": ("03_Kandinsky_Composition_VII.jpg", "Kandinsky, *Composition VII*, 1913"),
    "water-lilies": ("09_Monet_Water_Lilies.jpg", "Monet, *Water Lilies*, 1919"),
    "udnie": ("06_Picabia_Udnie.jpg", "Picabia, *Udnie*, 1913"),
}
LARGEST_BYTES, ALL_BYTES = 1_000_000, 8_000_000


def paint(content: str, style: str, *, size: int) -> dict[str, object]:
    """Paint one picture of the table and write it as JPEG."""
    began = time.perf_counter()
    result = stylize(
        DATA / "contents" / CONTENTS[content][0],
        DATA / "paintings" / STYLES[style][0],
        options=preset("default", size=size),
    )
    data = io.BytesIO()
    Image.fromarray(result.image).save(data, "JPEG", quality=88, optimize=True)
    (FOLDER / f"{content}-{style}.jpg").write_bytes(data.getvalue())
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "encoder": result.provenance["encoder"]["name"],
        "size": size,
    }


def page(known: dict[str, dict[str, object]]) -> str:
    """Return the page: a table of the pictures that exist, and how they were made."""
    encoders = sorted({str(entry["encoder"]) for entry in known.values()})
    sizes = sorted({str(entry["size"]) for entry in known.values()})
    lines = [
        "# Gallery of styles",
        "",
        "Six photographs in the manner of six paintings, each by",
        "`limner style CONTENT STYLE -o OUT --size "
        f"{' or '.join(sizes)}`: the preset `default`, encoder {', '.join(encoders)}, nothing "
        "chosen by hand.",
        "Written by `python bench/style_gallery.py`. The paintings are in the public domain; the",
        "photographs are from Kodak's unrestricted set, and the two views that papers on style",
        "transfer use. How it is done is in [style.md](style.md).",
        "",
        "| | " + " | ".join(STYLES[s][1] for s in STYLES) + " |",
        "|" + "---|" * (len(STYLES) + 1),
    ]
    for content, (_, title) in CONTENTS.items():
        cells = [
            f"![{title}, {STYLES[s][1].replace('*', '')}](gallery/{content}-{s}.jpg)"
            if f"{content}-{s}" in known
            else ""
            for s in STYLES
        ]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def check_sizes() -> None:
    """Refuse pictures that are too large for the repository."""
    sizes = {path.name: path.stat().st_size for path in FOLDER.glob("*.jpg")}
    if max(sizes.values()) > LARGEST_BYTES or sum(sizes.values()) > ALL_BYTES:
        raise SystemExit(f"The gallery is too large: {sum(sizes.values()):,} bytes in all.")


def main() -> None:
    """Paint what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--only", nargs="*", choices=CONTENTS, default=list(CONTENTS))
    parser.add_argument("--styles", nargs="*", choices=STYLES, default=list(STYLES))
    parser.add_argument("--again", action="store_true", help="paint what exists, too")
    chosen = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = FOLDER / "made.json"
    known = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    made = known.setdefault("pictures", {})
    for content in chosen.only:
        for style in chosen.styles:
            name = f"{content}-{style}"
            if chosen.again or not (FOLDER / f"{name}.jpg").is_file():
                made[name] = paint(content, style, size=chosen.size)
                known["machine"] = machine()
                record.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
                print(f"{name}: {made[name]['seconds']} s", flush=True)
    check_sizes()
    Path(PAGE).write_text(page(made), "utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
