"""Show a network that `limner style-train` trained: pictures, losses, figures.

    python bench/style_trained.py /path/great_wave.onnx PAINTING

Beside the network lies what the command left: ``great_wave.onnx.json`` with the losses, or, of a
training that still runs or was killed, ``great_wave.onnx.training``; then the network so far is
written to the folder of the results first. Writes docs/images/style-trained.jpg,
docs/images/style-trained-losses.png and bench/results/style_trained.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, REPOSITORY, machine, save
from limner import images
from limner.device import cpu_threads
from limner.images import read_float
from limner.style import fast
from limner.style.encoder import load_encoder
from limner.style.fast_paint import resized
from limner.style.score import CONTENT_TAPS, STYLE_TAPS, score

CONTENTS = ("tubingen.png", "golden_gate.jpg", "07.png")
PICTURES = REPOSITORY / "docs" / "images"
COLUMNS = ("step", "total", "content", "style", "variation")


def opened(path: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the network's file and what is known of its training."""
    note, state = Path(f"{path}.json"), Path(f"{path}.training")
    if note.is_file() and path.is_file() and not state.is_file():
        return path, json.loads(note.read_text("utf-8"))
    if not state.is_file():
        return path, {"losses": [], "finished": True}
    import torch

    from limner.nets.painter import Painter
    from limner.style.fast_export import export

    found = torch.load(state, weights_only=True)
    width = next(iter(found["painter"].values())).shape[0]
    painter = Painter(width)
    painter.load_state_dict(found["painter"])
    target = folder / path.name
    export(painter.eval(), target, notes={"steps": str(found["done"])})
    return target, {"losses": found["steps"], "finished": False, "steps": found["done"]}


def plot(losses: list[list[float]], target: Path) -> None:
    """Draw the costs against the steps, smoothed over fifty of them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = np.asarray(losses)
    width = max(1, min(50, len(table) // 10))
    kernel = np.ones(width) / width
    figure, axes = pyplot.subplots(figsize=(7, 3.6), dpi=130)
    colours = {"total": "#22303c", "style": "#c8623a", "content": "#2f6690", "variation": "#8a9a5b"}
    ends: list[tuple[float, str, str]] = []
    for name, colour in colours.items():
        values = table[:, COLUMNS.index(name)]
        axes.plot(table[:, 0], values, color=colour, alpha=0.15, linewidth=0.6)
        smooth = np.convolve(values, kernel, mode="valid")
        steps = table[width - 1 :, 0]
        axes.plot(steps, smooth, color=colour, linewidth=1.6)
        ends.append((float(np.log10(max(smooth[-1], 1e-9))), name, colour))
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("weighted cost")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    low, high = np.log10(axes.get_ylim())
    height = -np.inf  # names that would lie on each other are moved apart
    for place, name, colour in sorted(ends):
        height = max(place, height + 0.05 * (high - low))
        axes.annotate(name, (table[-1, 0], 10**height), (6, 0), textcoords="offset points",
                      va="center", color=colour, annotation_clip=False)  # fmt: skip
    figure.subplots_adjust(left=0.1, right=0.88, bottom=0.15, top=0.96)
    figure.savefig(target)


def laid_out(pictures: list[list[np.ndarray]], painting: np.ndarray) -> np.ndarray:
    """Return the painting on the left, and content above result for each photo."""
    from PIL import Image, ImageOps

    wide, tall, gap = 420, 315, 10
    sheet = Image.new(
        "RGB", (gap + (len(pictures) + 1) * (wide + gap), 2 * (tall + gap) + gap), (250, 249, 246)
    )

    def put(picture: np.ndarray, x: int, y: int) -> None:
        fitted = ImageOps.fit(Image.fromarray(picture), (wide, tall), Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x, y))

    put(painting, gap, gap + (tall + gap) // 2)
    for i, (content, result) in enumerate(pictures, 1):
        put(content, gap + i * (wide + gap), gap)
        put(result, gap + i * (wide + gap), 2 * gap + tall)
    return np.asarray(sheet)


def bytes_of(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture * 255).astype(np.uint8)


def main() -> None:
    """Paint three photos and measure them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("painting", type=Path)
    asked = parser.parse_args()
    painting = read_float(asked.painting)
    taps = sorted({*CONTENT_TAPS, *STYLE_TAPS})
    encoder = load_encoder("auto", deepest=max(taps))

    def features(picture: Any) -> Any:
        return encoder.features(picture, taps)

    rows, shown = [], []
    with tempfile.TemporaryDirectory() as folder:
        path, known = opened(asked.network, Path(folder))
        mine, any_painting = fast.own(path), fast.painting([painting])
        for name in CONTENTS:
            content = resized(read_float(DATA / "contents" / name), 1024)
            row: dict[str, Any] = {"content": name, "size_hw": list(content.shape[:2])}
            for which, paint in (("trained", mine), ("any painting", any_painting)):
                start, used = time.perf_counter(), time.process_time()
                result = paint(content)
                row[which] = {
                    "wall_s": round(time.perf_counter() - start, 3),
                    "processor_s": round(time.process_time() - used, 3),
                    **score(
                        content, painting, result, lambda x: encoder.features(x, taps)
                    ).to_json(),
                }
                if which == "trained":
                    shown.append([bytes_of(content), bytes_of(result)])
            rows.append(row)
            print(json.dumps(row), flush=True)
        size = path.stat().st_size
    PICTURES.mkdir(parents=True, exist_ok=True)
    sheet = laid_out(shown, bytes_of(painting))
    images.write(PICTURES / "style-trained.jpg", sheet, quality=85)
    losses = known.pop("losses")
    if losses:
        plot(losses, PICTURES / "style-trained-losses.png")
    thin = losses[:: max(1, len(losses) // 100)] if losses else []
    results = {
        "machine": {**machine(), "threads": cpu_threads()},
        "painting": asked.painting.name,
        "bytes": size,
        "training": known,
        "losses": [[round(v, 5) for v in row] for row in thin],
        "rows": rows,
    }
    save("style_trained", results)


if __name__ == "__main__":
    main()
