"""The race to the objective that the notes' plain loop reaches, for `style.py`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from common import DATA
from limner.style import preset, stylize
from limner.style.colour import match_moments
from limner.style.encoder import Encoder, load_encoder
from limner.style.level import Step, as_pixels
from limner.style.level import tensor_of as _tensor
from limner.style.pyramid import fit, noisy, resize
from limner.style.taps import resolve_weighted

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


class Enough(KeyboardInterrupt):
    """The end of a run that is long enough."""


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


def race(encoder_name: str, pair: str, side: int) -> dict[str, Any]:
    """Time limner to the objective that the plain loop reaches in its 180 calls.

    The same objective, in full, from the content in the style's colours; limner's L-BFGS.
    """
    encoder = load_encoder(encoder_name, border="zero")
    content_path, style_path = paths(pair)
    content, style = _tensor(content_path), _tensor(style_path)
    size, style_size = (
        fit(tuple(p.shape[-2:]), size=side, side="shorter") for p in (content, style)
    )
    began = Clock()
    plain = plain_loop(encoder, resize(content, size), resize(style, style_size))
    plain |= began.read()
    bar = plain["best"]
    began = Clock()
    options = preset(
        "notes",
        encoder=encoder.name,
        size=side,
        optimiser="lbfgs",
        start="picture",
        levels=((1.0, 180),),
        history=50,
        report_every=0,
    )

    def watch(step: Step) -> None:
        if step.terms.total <= bar:
            raise Enough

    coat = match_moments(as_pixels(resize(content, size)), as_pixels(style))
    result = stylize(
        content_path, style_path, options=options, encoder=encoder, on_step=watch, start=coat
    )
    best = min(step["total"] for step in result.losses)
    ours = began.read() | {"calls": len(result.losses), "best": best, "reached": best <= bar}
    share = {
        name: ours[what] / plain[what] if best <= bar else None
        for name, what in (
            ("share_of_the_time", "seconds"),
            ("share_of_the_cpu_time", "cpu_seconds"),
        )
    }
    return {"size_hw": list(size), "plain": plain, "limner": ours, **share}


class Clock:
    """Seconds on the wall and of this process's CPU time; the second is fair on a busy machine."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return the seconds since the clock was made."""
        return {
            "seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
        }
