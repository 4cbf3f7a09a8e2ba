"""Measure style transfer: limner beside the notes' plain loop, and against its own bars.

Each pair of pictures is one run of both, in turn, with the same encoder. Writes
``bench/results/style.json``.

Usage: ``python bench/style.py [--encoder NAME] [--only PART ...] [--race-side PX]``
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import torch

from common import RESULTS, machine, save
from limner.style import preset, stylize
from limner.style.encoder import Encoder, load_encoder
from limner.style.level import as_pixels
from limner.style.level import tensor_of as _tensor
from limner.style.objective import Goal, Objective, style_targets
from limner.style.pyramid import fit, noisy, resize
from limner.style.tiling import TiledObjective
from style_race import PAIRS, Clock, paths, race


def default_time(encoder_name: str, pair: str) -> dict[str, Any]:
    """Time the preset `default` and the preview, weights cached, as a user waits for them."""
    from limner.style import preview

    content, style = paths(pair)
    began = Clock()
    preview.paint(resized(_tensor(content), 384), [as_pixels(_tensor(style))])
    shown = began.read()
    began = Clock()
    result = stylize(content, style, options=preset("default", encoder=encoder_name))
    return {
        **began.read(),
        "preview": shown,
        "size_hw": list(result.image.shape[:2]),
        "best": result.provenance["levels"][-1]["best"],
    }


def resized(image: torch.Tensor, side: int) -> Any:
    return as_pixels(resize(image, fit(tuple(image.shape[-2:]), size=side, side="longer")))


def strength(encoder_name: str, side: int) -> dict[str, Any]:
    """Paint at five strengths; how far is each from the content, and from the one before?"""
    content, style = paths("golden gate x the scream")
    encoder = load_encoder(encoder_name, pooling="average", border="replicate_all")
    taps = ["relu1_2", "relu2_2", "relu3_3"]

    def seen(pixels: Any) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            found = encoder.features(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()), taps)
        return {tap: f / f.norm(dim=1, keepdim=True).clamp_min(1e-6) for tap, f in found.items()}

    def far(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return sum(float((a[t] - b[t]).square().sum(1).mean()) for t in taps)

    before = of_content = seen(resized(_tensor(content), side))
    steps, distances = [], []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        options = preset("default", encoder=encoder_name, size=side, strength=value)
        here = seen(stylize(content, style, options=options, encoder=encoder).pixels)
        distances.append(far(here, of_content))
        steps.append(far(here, before))
        before = here
    return {"size": side, "from_content": distances, "from_the_one_before": steps}


def macs_of(encoder: Encoder, size_hw: tuple[int, int]) -> int:
    """Count the multiplications of one forward pass of the convolutions."""
    (height, width), total, channels = size_hw, 0, 3
    for layer in encoder.trunk.layers:
        if layer.kind != "relu":
            height = (height + 2 * layer.padding - layer.kernel) // layer.stride + 1
            width = (width + 2 * layer.padding - layer.kernel) // layer.stride + 1
        if layer.kind == "conv":
            total += height * width * layer.width * channels * layer.kernel**2
        channels = layer.width
    return total


def matrix_rate(dtype: torch.dtype) -> float:
    """Measure this machine's FLOP a second in a large matrix product."""
    a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best


def plain_goal(encoder: Encoder, *, bf16: bool = False) -> Goal:
    """Return the paper's layers in one piece, to relu5_1."""
    return Goal(
        content_layers=(("relu4_2", 1.0),),
        style_layers=tuple((f"relu{block}_1", 0.2) for block in range(1, 6)),
        alpha=0.4,
        beta=3.0,
        smoothness=30.0,
        content_kind="target",
        style_kind="target",
        bf16=bf16,
    )


def closure(encoder_name: str) -> dict[str, Any]:
    """Time one closure call at 300 x 400 against the FLOPs it cannot do without."""
    from limner.device import supports_bf16

    encoder = load_encoder(encoder_name).cut("relu5_1")
    size = (300, 400)
    content, style, image = (torch.rand(1, 3, *size) for _ in range(3))
    flops = 2 * 2 * macs_of(encoder, size)  # forward, and the gradient of the picture
    found: dict[str, Any] = {"gflop": flops / 1e9}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        if bf16 and not supports_bf16():
            found["bf16"] = "this CPU does not multiply bfloat16"
            continue
        goal = plain_goal(encoder, bf16=bf16)
        objective = Objective(encoder, content, style_targets(encoder, [style], [1], goal), goal)
        objective.evaluate(image)
        times, rates = [], []
        for _ in range(12):  # side by side: the machine's speed changes from second to second
            rates.append(matrix_rate(torch.bfloat16 if bf16 else torch.float32))
            start = time.perf_counter()
            objective.evaluate(image)
            times.append(time.perf_counter() - start)
        shares = sorted(flops / r / t for r, t in zip(rates, times, strict=True))
        found[name] = {
            "seconds": statistics.median(times),
            "matrix_gflop_per_second": statistics.median(rates) / 1e9,
            "floor_seconds": flops / statistics.median(rates),
            "share_of_floor": statistics.median(shares),
            "shares": shares,
        }
    return found


def tiles(encoder_name: str) -> dict[str, Any]:
    """Compare the tiled gradient with the untiled one."""
    encoder = load_encoder(encoder_name, border="replicate").cut("relu5_1")
    content = _tensor(paths("tuebingen x starry night")[0])
    style = resize(_tensor(paths("tuebingen x starry night")[1]), (320, 400))
    content = resize(content, (360, 480))
    goal = plain_goal(encoder)
    targets = style_targets(encoder, [style], [1], goal)
    image = noisy(content, noise=0.3, seed=1)
    whole, gradient = Objective(encoder, content, targets, goal).evaluate(image)
    parts, tiled = TiledObjective(encoder, content, targets, goal, tile=128).evaluate(image)
    return {
        "gradient_relative_difference": float((tiled - gradient).norm() / gradient.norm()),
        "cost_relative_difference": abs(parts.total - whole.total) / whole.total,
    }


def large(encoder_name: str, calls: int) -> dict[str, Any]:
    """Paint 4,000 x 3,000 px in a process of its own and return its peak memory."""
    code = (
        "import sys; sys.path.insert(0, 'bench'); import style; "
        f"style.paint_large({encoder_name!r}, {calls})"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"calls": calls, "peak_gib": peak / 2**30, "seconds": time.perf_counter() - began}


def paint_large(encoder_name: str, calls: int) -> None:
    content, style = paths("tuebingen x starry night")
    options = preset("default", encoder=encoder_name, size=4000, levels=((1.0, calls),))
    stylize(content, style, options=options)


def bf16(encoder_name: str, side: int) -> dict[str, Any]:
    """Compare final objectives in both precisions, same schedule, evaluated in fp32."""
    content, style = paths("tuebingen x starry night")
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        options = preset("default", encoder=encoder_name, size=side, precision=precision)
        began = time.perf_counter()
        result = stylize(content, style, options=options)
        judge = preset(
            "default", encoder=encoder_name, size=side, levels=((1.0, 1),), precision="fp32"
        )
        seen = stylize(content, style, options=replace(judge, start="picture"), start=result.pixels)
        found[precision] = {
            "objective": seen.losses[0]["total"],
            "seconds": time.perf_counter() - began,
        }
    found["ratio"] = found["bf16"]["objective"] / found["fp32"]["objective"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="auto")
    parts = ("race", "default", "closure", "tiles", "large", "bf16", "strength")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--pairs", nargs="*", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--large-calls", type=int, default=6)
    parser.add_argument("--race-side", type=int, default=300, help="shorter side in pixels")
    parser.add_argument("--small", type=int, default=256, help="longer side for bf16, strength")
    chosen = parser.parse_args()
    name = load_encoder(chosen.encoder).name
    found: dict[str, Any] = {"encoder": name, "machine": machine()}
    pairs = chosen.pairs
    if "closure" in chosen.only:
        found["closure"] = closure(name)
    if "tiles" in chosen.only:
        found["tiles"] = tiles(name)
    if "race" in chosen.only:
        found["race"] = {pair: race(name, pair, chosen.race_side) for pair in pairs}
    if "default" in chosen.only:
        found["default"] = {pair: default_time(name, pair) for pair in pairs}
    if "bf16" in chosen.only:
        found["bf16"] = bf16(name, chosen.small)
    if "strength" in chosen.only:
        found["strength"] = strength(name, chosen.small)
    if "large" in chosen.only:
        found["large"] = large(name, chosen.large_calls)
    old = RESULTS / "style.json"
    before = json.loads(old.read_text("utf-8")) if old.is_file() else {}
    for part in ("race", "default"):  # pairs that were not run this time are kept
        if part in found:
            found[part] = {**before.get(part, {}), **found[part]}
    save("style", found, merge=True)


if __name__ == "__main__":
    main()
