"""Measure style transfer: limner beside the notes' plain loop, and against its own bars.

Each pair of pictures is one run of both, in turn, with the same encoder. Writes
``bench/results/style.json``.

Usage: ``python bench/style.py [--encoder NAME] [--only race default closure tiles large bf16]``
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from common import DATA, machine, save
from limner.style import preset, stylize
from limner.style.encoder import Encoder, load_encoder
from limner.style.level import Step
from limner.style.level import tensor_of as _tensor
from limner.style.objective import Goal, Objective, style_targets
from limner.style.pyramid import fit, noisy, resize
from limner.style.taps import resolve_weighted
from limner.style.tiling import TiledObjective

PAIRS = {
    "tuebingen x starry night": ("tubingen.png", "00_Gogh_The_Starry_Night.jpg"),
    "golden gate x the scream": ("golden_gate.jpg", "01_Munch_The_Scream.jpg"),
    "kodak 04 x great wave": ("04.png", "04_Hokusai_The_Great_Wave_off_Kanagawa.jpg"),
    "kodak 13 x composition vii": ("13.png", "03_Kandinsky_Composition_VII.jpg"),
}
NOTES = preset("notes")


def paths(pair: str) -> tuple[Path, Path]:
    content, style = PAIRS[pair]
    return DATA / "contents" / content, DATA / "paintings" / style


def notes_layers(encoder: Encoder) -> tuple[str, dict[str, float]]:
    """Return the content layer and the style layers with lambdas, as this encoder names them."""
    content = resolve_weighted(NOTES.content_layers, encoder.architecture)[0][0]
    return content, dict(resolve_weighted(NOTES.style_layers, encoder.architecture))


def plain_loop(encoder: Encoder, content: torch.Tensor, style: torch.Tensor) -> dict[str, Any]:
    """Run the notes' loop, written from the notes: Gram over (c h w), torch's L-BFGS, clamped."""
    content_layer, lambdas = notes_layers(encoder)
    taps = [content_layer, *lambdas]

    def gram(f: torch.Tensor) -> torch.Tensor:
        _, c, h, w = f.shape
        flat = f.view(c, h * w) if f.is_contiguous() else f.reshape(c, h * w)
        return flat @ flat.t() / (c * h * w)

    began = time.perf_counter()
    with torch.no_grad():
        wanted = encoder.features(content, taps)[content_layer]
        grams = {t: gram(f) for t, f in encoder.features(style, list(lambdas)).items()}
    image = noisy(content, noise=0.6, seed=0).requires_grad_(True)
    optimiser = torch.optim.LBFGS([image])
    values: list[float] = []
    times: list[float] = []

    class Enough(Exception):
        pass

    def closure() -> torch.Tensor:
        if len(values) == 180:
            raise Enough
        with torch.no_grad():
            image.clamp_(0, 1)
        optimiser.zero_grad()
        found = encoder.features(image, taps)
        j_content = (found[content_layer] - wanted).square().mean()
        j_style = sum(w * (gram(found[t]) - grams[t]).square().mean() for t, w in lambdas.items())
        loss = j_content + 1e6 * j_style
        loss.backward()
        values.append(float(loss.detach()))
        times.append(time.perf_counter() - began)
        return loss

    try:
        while True:
            optimiser.step(closure)
    except Enough:
        pass
    return {"seconds": times[-1], "last": values[-1], "best": min(values), "calls": len(values)}


def race(encoder_name: str, pair: str) -> dict[str, Any]:
    """Time limner to the objective that the plain loop reaches in its 180 calls."""
    encoder = load_encoder(encoder_name, border="zero")
    content_path, style_path = paths(pair)
    content, style = _tensor(content_path), _tensor(style_path)
    size, style_size = (
        fit(tuple(p.shape[-2:]), size=300, side="shorter") for p in (content, style)
    )
    plain = plain_loop(encoder, resize(content, size), resize(style, style_size))
    bar = plain["best"]
    reached: list[float] = []
    options = preset(
        "notes",
        encoder=encoder.name,
        optimiser="lbfgs",
        start="content",
        levels=((0.25, 40), (0.5, 30), (1.0, 110)),
        history=50,
        report_every=0,
    )
    began = time.perf_counter()

    def watch(step: Step) -> None:
        if step.size_hw == size and step.terms.total <= bar:
            reached.append(time.perf_counter() - began)
            raise KeyboardInterrupt

    result = stylize(content_path, style_path, options=options, encoder=encoder, on_step=watch)
    ours = {
        "seconds": reached[0] if reached else None,
        "calls": [sum(t["level"] == i for t in result.losses) for i in range(3)],
        "best": min(t["total"] for t in result.losses if t["level"] == 2),
    }
    share = reached[0] / plain["seconds"] if reached else None
    return {"plain": plain, "limner": ours, "share_of_the_time": share}


def default_time(encoder_name: str, pair: str) -> dict[str, Any]:
    """Time the preset `default`, weights cached, as a user waits for it."""
    content, style = paths(pair)
    began = time.perf_counter()
    options = preset("default", encoder=encoder_name)
    result = stylize(content, style, options=options)
    return {
        "seconds": time.perf_counter() - began,
        "size_hw": list(result.image.shape[:2]),
        "best": result.provenance["levels"][-1]["best"],
    }


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
    options = preset("default")
    content, style = (
        resolve_weighted(t, encoder.architecture)
        for t in (options.content_layers, options.style_layers)
    )
    return Goal(
        content_layers=content,
        style_layers=style,
        alpha=options.alpha,
        beta=options.beta,
        smoothness=options.smoothness,
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
        times = []
        for _ in range(5):
            start = time.perf_counter()
            objective.evaluate(image)
            times.append(time.perf_counter() - start)
        rate = matrix_rate(torch.bfloat16 if bf16 else torch.float32)
        floor = flops / rate
        found[name] = {
            "seconds": statistics.median(times),
            "matrix_gflop_per_second": rate / 1e9,
            "floor_seconds": floor,
            "share_of_floor": floor / statistics.median(times),
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


def bf16(encoder_name: str) -> dict[str, Any]:
    """Compare final objectives in both precisions, same schedule, evaluated in fp32."""
    content, style = paths("tuebingen x starry night")
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        options = preset("default", encoder=encoder_name, size=256, precision=precision)
        began = time.perf_counter()
        result = stylize(content, style, options=options)
        judge = preset(
            "default", encoder=encoder_name, size=256, levels=((1.0, 1),), precision="fp32"
        )
        from dataclasses import replace

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
    parts = ("race", "default", "closure", "tiles", "large", "bf16")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="how many of the pairs")
    parser.add_argument("--large-calls", type=int, default=6)
    chosen = parser.parse_args()
    name = load_encoder(chosen.encoder).name
    found: dict[str, Any] = {"encoder": name, "machine": machine()}
    pairs = list(PAIRS)[: chosen.pairs]
    if "closure" in chosen.only:
        found["closure"] = closure(name)
    if "tiles" in chosen.only:
        found["tiles"] = tiles(name)
    if "race" in chosen.only:
        found["race"] = {pair: race(name, pair) for pair in pairs}
    if "default" in chosen.only:
        found["default"] = {pair: default_time(name, pair) for pair in pairs}
    if "bf16" in chosen.only:
        found["bf16"] = bf16(name)
    if "large" in chosen.only:
        found["large"] = large(name, chosen.large_calls)
    save("style", found, merge=True)


if __name__ == "__main__":
    main()
