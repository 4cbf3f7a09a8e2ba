"""Is somebody still recognised in a painted portrait? The presets, judged by the face embedder.

    python bench/style_portrait.py

Portraits that come with scikit-image and Matplotlib (astronaut, Grace Hopper), two paintings, the
presets `portrait` and `default`; `limner compare` says whether photo and painting show one person.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.cbook
import numpy as np
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from common import DATA, machine, save
from limner import images
from limner.cli import main as cli
from limner.style import preset, stylize

PAINTINGS = ("00_Gogh_The_Starry_Night.jpg", "04_Hokusai_The_Great_Wave_off_Kanagawa.jpg")


def portraits() -> dict[str, np.ndarray]:
    with Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as own:
        hopper = np.asarray(own.convert("RGB"))
    return {
        "astronaut": skimage.data.astronaut()[20:280, 100:360],
        "grace_hopper": hopper[20:420, 60:460],
    }


def compared(photo: Path, painted: Path) -> dict[str, Any]:
    done = CliRunner().invoke(cli.app, ["compare", str(photo), str(painted), "--json"])
    document = json.loads(done.stdout)
    if "error" in document:
        return {"verdict": "no face", "distance": None}
    return {key: document[key] for key in ("verdict", "distance", "threshold")}


def main() -> None:
    """Paint and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--paintings", type=int, default=len(PAINTINGS))
    parser.add_argument("--presets", nargs="*", default=["portrait", "default"])
    parser.add_argument("--keep", type=Path, help="folder for the pictures")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in asked.presets:
            for who, photo in portraits().items():
                source = folder / f"{who}.png"
                images.write(source, photo)
                for painting in PAINTINGS[: asked.paintings]:
                    target = folder / f"{name}-{who}-{painting[:2]}.png"
                    options = preset(name, size=asked.size)
                    if asked.steps:
                        options = options.with_calls(asked.steps)
                    result = stylize(source, DATA / "paintings" / painting, options=options)
                    images.write(target, result.image)
                    row = {"preset": name, "portrait": who, "style": painting}
                    rows.append({**row, **compared(source, target)})
                    print(json.dumps(rows[-1]), flush=True)
    save("style_portrait", {"machine": machine(), "size_px": asked.size, "rows": rows})


if __name__ == "__main__":
    main()
