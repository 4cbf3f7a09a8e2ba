"""The race to the objective that the notes' plain loop reaches, for `style.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
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


def gram(f: torch.Tensor) -> torch.Tensor:
    """Return the notes' Gram matrix, over (c h w)."""
    _, c, h, w = f.shape
    flat = f.view(c, h * w) if f.is_contiguous() else f.reshape(c, h * w)
    return flat @ flat.t() / (c * h * w)


def notes_objective(
    encoder: Encoder, content: torch.Tensor, style: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the notes' own J of a picture, by their own formula."""
    content_layer, lambdas = notes_layers(encoder)
    taps = [content_layer, *lambdas]
    with torch.no_grad():
        wanted = encoder.features(content, taps)[content_layer]
        grams = {t: gram(f) for t, f in encoder.features(style, list(lambdas)).items()}

    def value(image: torch.Tensor) -> torch.Tensor:
        found = encoder.features(image, taps)
        j_content = (found[content_layer] - wanted).square().mean()
        j_style = sum(w * (gram(found[t]) - grams[t]).square().mean() for t, w in lambdas.items())
        return j_content + 1e6 * j_style

    return value


def plain_loop(encoder: Encoder, content: torch.Tensor, style: torch.Tensor) -> dict[str, Any]:
    """Run the notes' loop, written from the notes: torch's L-BFGS, clamped, 180 calls."""
    began = time.perf_counter()
    objective = notes_objective(encoder, content, style)
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
        loss = objective(image)
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

    limner begins with the content in the style's colours and leaves out layers that are less
    than a hundredth of J, most of the time. Where it believes to be there, the notes' own
    formula, in full, is asked, on limner's clock; only its answer counts.
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
        skim=0.01,
        report_every=0,
    )
    objective = notes_objective(encoder, resize(content, size), resize(style, style_size))
    asked: list[float] = []

    def watch(step: Step) -> None:
        if step.terms.total > bar:
            return
        with torch.no_grad():
            picture = torch.from_numpy(step.picture().transpose(2, 0, 1)[None].copy())
            asked.append(float(objective(picture)))
        if asked[-1] <= bar:
            raise Enough

    coat = match_moments(as_pixels(resize(content, size)), as_pixels(style))
    result = stylize(
        content_path, style_path, options=options, encoder=encoder, on_step=watch, start=coat
    )
    best = min(asked, default=math.inf)
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
