"""Measure units: fields against an oracle, the pass against brute force, the atlas in a browser.

Writes ``bench/results/units.json``. The pass runs in a process of its own, so that its peak of
memory is its own.

Usage: ``python bench/units.py [--only top brute atlas fields] [--photos DIR] [--sample N]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import DATA, REPOSITORY, machine, save
from limner import units
from limner.images import list_photos
from limner.units.atlas import write_atlas

sys.path.insert(0, str(REPOSITORY / "tests" / "units"))

PHOTOS = DATA / "photos"
STATE = REPOSITORY / "out" / "units" / "vgg16_hed.safetensors"
SAMPLE = 96


def top(folder: Path) -> dict[str, Any]:
    """Time the pass over all photos and all convolutions, in a fresh process."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    STATE.unlink(missing_ok=True)
    code = (
        "import json,resource,time,torch\n"
        "torch.set_num_threads(2)\n"
        "from limner import units\n"
        "net=units.load_network('vgg16_hed')\n"
        "t,c=time.monotonic(),time.process_time()\n"
        f"top=units.top_patches(net,{str(folder)!r},state={str(STATE)!r})\n"
        "print(json.dumps({'seconds':time.monotonic()-t,'cpu_seconds':time.process_time()-c,"
        "'peak_gib':resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20,"
        "'photos':len(top.photos),'near_duplicates':top.duplicates,"
        "'units':sum(t.units for t in top.layers.values()),"
        "'dead':{n:int(t.dead.sum()) for n,t in top.layers.items()}}))"
    )
    before = os.getloadavg()[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found["load_before_and_after"] = [round(before, 1), round(os.getloadavg()[0], 1)]
    return found


def brute(folder: Path, sample: int) -> dict[str, Any]:
    """Compare all units over a sample of the photos with a plain loop that sorts everything."""
    net = units.load_network("vgg16_hed")
    every = list_photos(folder)
    paths = every[:: max(1, len(every) // sample)][:sample]
    found = units.top_patches(net, paths)
    modules = dict(net.module.named_children())
    values: dict[str, list[np.ndarray]] = {name: [] for name in found.layers}
    places: dict[str, list[np.ndarray]] = {name: [] for name in found.layers}
    with torch.no_grad():
        for number in range(len(found.photos)):
            x = net.prepare(found.photo_pixels(number)[None])
            for name, module in modules.items():
                x = module(x)
                if name in values:
                    flat = x[0].flatten(1).numpy()
                    index = flat.argmax(1)
                    values[name].append(flat[np.arange(len(flat)), index])
                    places[name].append(np.stack(divmod(index, x.shape[3]), 1))
    wrong = ties = checked = 0
    largest = 0.0
    for name, tally in found.layers.items():
        table, where = np.stack(values[name], 1), np.stack(places[name], 1)
        for unit in range(tally.units):
            order = np.argsort(-table[unit], kind="stable")
            if found.duplicates:
                kinds = np.asarray(found.groups)[order]
                order = order[np.sort(np.unique(kinds, return_index=True)[1])]
            order = order[:9]
            checked += 1
            difference = np.abs(table[unit, order] - tally.value[unit]).max()
            scale = max(1.0, float(np.abs(tally.value[unit]).max()))
            largest = max(largest, float(difference) / scale)
            if difference > 1e-5 * scale:
                wrong += 1
            elif not (
                (tally.photo[unit] == order).all()
                and (tally.place[unit] == where[unit, order]).all()
            ):
                ties += 1  # the same values at other places: equals up to rounding
    return {
        "photos": len(found.photos),
        "units": checked,
        "other_values": wrong,
        "other_places_of_equal_value": ties,
        "largest_relative_difference": largest,
    }


_NOTE_LOADS = """
window.loaded = new Map();
document.addEventListener("load", e => window.loaded.set(e.target, performance.now()), true);
"""
_LAST_LOAD = """
Math.max(...[...document.images].filter(i => i.getBoundingClientRect().top < innerHeight)
  .map(i => window.loaded.get(i)))
"""


def atlas() -> dict[str, Any]:
    """Write the atlas of one layer of 512 units and open it in Chromium.

    The browser's own clock tells when the last picture of the first screen had loaded, from the
    beginning of the navigation; seen from outside, Playwright's polling comes on top.
    """
    found = units.TopPatches.load(STATE)
    found.layers = {"conv5_3": found.layers["conv5_3"]}
    folder = REPOSITORY / "out" / "units" / "conv5_3"
    started = time.monotonic()
    written = write_atlas(found, folder)
    result: dict[str, Any] = {
        "units": found.layer("conv5_3").units,
        "photos": len(found.photos),
        "seconds_to_write": time.monotonic() - started,
        "bytes": sum(written.bytes.values()),
        "bytes_by_part": written.bytes,
    }
    from playwright.sync_api import sync_playwright

    chromium = "/usr/bin/chromium"
    options = {"executable_path": chromium} if Path(chromium).exists() else {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(args=["--no-sandbox"], **options)
        paints, loads, waits = [], [], []
        for _ in range(5):
            page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
            page.add_init_script(_NOTE_LOADS)
            started = time.monotonic()
            page.goto((folder / "conv5_3.html").as_uri())
            page.wait_for_function(
                "[...document.images].filter(i=>i.getBoundingClientRect().top<innerHeight)"
                ".every(i=>i.complete&&i.naturalWidth)"
            )
            waits.append(time.monotonic() - started)
            loads.append(page.evaluate(_LAST_LOAD))
            paints.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
            page.context.close()
        browser.close()
    result["first_paint_ms"] = sorted(paints)
    result["first_screen_images_ms"] = sorted(loads)
    result["first_screen_seen_from_outside_s"] = sorted(waits)
    return result


def oracle_networks() -> dict[str, tuple[Any, int]]:
    """Return what is compared with the oracle: how to build it, and the picture's side."""
    from torchvision import models

    from limner.nets.dlib_resnet import DlibResNet
    from limner.nets.inception import FRModel
    from limner.nets.inception_resnet import InceptionResNetV1
    from limner.nets.nn4_small2 import Nn4Small2

    def trunk(name: str) -> Any:
        return lambda: units.load_network(name, weights="random").module

    return {
        "AlexNet": (trunk("alexnet"), 224),
        "VGG-19": (trunk("vgg19"), 64),
        "ResNet-18": (models.resnet18, 64),
        "the notes' FRModel": (FRModel, 64),
        "nn4.small2": (Nn4Small2, 96),
        "dlib": (DlibResNet, 150),
        "GoogLeNet": (lambda: models.googlenet(init_weights=False, aux_logits=False), 64),
        "FaceNet": (InceptionResNetV1, 112),
    }


def oracle(names: list[str]) -> dict[str, Any]:
    """Compare receptive fields with the support of a gradient, layer by layer."""
    from gradient_support import compare
    from test_receptive import random_net

    rows: dict[str, Any] = {}
    for name, (make, size) in oracle_networks().items():
        if names and name not in names:
            continue
        layers, wrong = compare(make(), size, inner=0)
        rows[name] = {"layers": layers, "size_px": size, "wrong": wrong}
        print(name, layers, len(wrong), flush=True)
    layers, wrong = 0, []
    for seed in range(60):
        count, other = compare(random_net(seed), 29, inner=1)
        layers, wrong = layers + count, wrong + other
    rows["60 random networks"] = {"layers": layers, "size_px": 29, "wrong": wrong}
    return {
        "networks": rows,
        "layers": sum(row["layers"] for row in rows.values()),
        "wrong": sum(len(row["wrong"]) for row in rows.values()),
    }


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=["top", "brute", "atlas", "fields"])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--sample", type=int, default=SAMPLE, help="Photos for brute force.")
    parser.add_argument("--networks", nargs="*", default=[], help="Of the oracle; default: all.")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    parts = {
        "top": lambda: top(arguments.photos),
        "brute": lambda: brute(arguments.photos, arguments.sample),
        "atlas": atlas,
        "fields": lambda: oracle(arguments.networks),
    }
    for name in arguments.only:
        started, worked = time.monotonic(), time.process_time()
        result = parts[name]()
        result["took_s"] = round(time.monotonic() - started, 1)
        result["took_cpu_s"] = round(time.process_time() - worked, 1)
        save("units", {"machine": machine(), name: result}, merge=True)
        print(name, json.dumps(result)[:400], flush=True)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "GiB")


if __name__ == "__main__":
    main()
