"""One level of the pyramid: its objective, its optimiser, its closure calls."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from limner.style.checkpoint import Checkpoint
from limner.style.presets import StyleOptions
from limner.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

    from limner.images.sources import Source
    from limner.style.encoder import Encoder
    from limner.style.masks import Masks
    from limner.style.objective import Goal, Terms
    from limner.style.octaves import Costing
    from limner.style.optimise import Optimiser

UNTILED_PIXELS = 1_500_000  # larger pictures are computed in tiles
TILE_PX = 512
_HISTORY_BYTES = 3 << 29  # 1.5 GiB


@dataclass(frozen=True)
class Step:
    """One closure call of a run, told to `on_step`.

    Attributes:
        level: Index of the pyramid's level, 0 the coarsest.
        call: Closure calls so far over all levels, from 1.
        calls: Closure calls that will be made in all.
        size_hw: Of the level.
        terms: The costs.
        picture: Returns the evaluated picture, shape (H, W, 3), float32 in [0, 1].
    """

    level: int
    call: int
    calls: int
    size_hw: tuple[int, int]
    terms: Terms
    picture: Callable[[], FloatArray]


class Run(Protocol):
    """What a level needs of the run it is part of."""

    options: StyleOptions
    content: Tensor
    styles: list[Tensor]
    start: Tensor | None
    masks: Masks | None
    weights: list[float]
    levels: list[tuple[float, int, tuple[int, int]]]
    encoder: Encoder
    goal: Goal
    fingerprint: str
    trace: list[dict[str, Any]]
    remarks: list[str]


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """Hold Ctrl-C back while the block runs, and let it through at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(came[0], None)


class Level:
    """One level of the pyramid."""

    def __init__(
        self, run: Run, index: int, before: Tensor | None, point: Checkpoint | None
    ) -> None:
        from limner.style.pyramid import resize

        self.run_ = run
        self.index = index
        share, self.calls, self.size = run.levels[index]
        self.done = 0
        self.best_value = float("inf")
        self.best: Tensor | None = None
        self.optimiser: Optimiser | None = None
        self.objective: Costing | None = None
        content = resize(run.content, self.size, resampling=run.options.resampling)
        self.start = content if point is not None else self._start(content, before)
        self.point = point
        self._content, self._share = content, share

    def _start(self, content: Tensor, before: Tensor | None) -> Tensor:
        from limner.style.pyramid import noisy, resize

        options = self.run_.options
        if before is not None:
            return resize(before, self.size)
        if options.start == "noise":
            return noisy(content, noise=options.noise, seed=options.seed)
        if self.run_.start is not None:
            start = self.run_.start.to(content)
            return resize(start, self.size, resampling=options.resampling)
        return content

    def _objective(self) -> Costing:
        from limner.style.octaves import OctaveObjective, goals_by_octave
        from limner.style.pyramid import fit, resize
        from limner.style.skim import SkimmedObjective

        run, options = self.run_, self.run_.options
        wanted = options.size * self._share * options.style_scale
        how = options.resampling
        sizes = [
            fit(size_of(s), size=wanted, side=options.side, resampling=how) for s in run.styles
        ]
        styles = [resize(s, hw, resampling=how) for s, hw in zip(run.styles, sizes, strict=True)]
        if list(goals_by_octave(run.goal)) == [1]:
            if not options.skim:
                return self._octave(1, run.goal, styles)
            names = [layer.name for layer in run.encoder.trunk.layers]
            return SkimmedObjective(
                run.goal, lambda goal: self._octave(1, goal, styles), names, options.skim
            )
        return OctaveObjective(run.goal, lambda octave, goal: self._octave(octave, goal, styles))

    def _octave(self, octave: int, goal: Goal, styles: list[Tensor]) -> Costing:
        """Return what is asked of the picture at 1/octave of its size."""
        from limner.style.objective import Objective, style_targets
        from limner.style.octaves import shrink
        from limner.style.regions import Areas
        from limner.style.tiling import TiledObjective, tiled_style_targets

        run, options = self.run_, self.run_.options
        names = [layer.name for layer in run.encoder.trunk.layers]
        encoder = run.encoder.cut(max(goal.taps, key=names.index))
        content = shrink(self._content, octave)
        size, apart = size_of(content), run.masks is not None
        areas = Areas(run.masks, encoder, size) if run.masks is not None else None
        asked = (encoder, [shrink(s, octave) for s in styles], run.weights, goal)
        if size[0] * size[1] <= UNTILED_PIXELS and not options.tile:
            targets = style_targets(*asked, apart=apart)
            return Objective(encoder, content, targets, goal, areas)
        tile = options.tile or TILE_PX
        targets = tiled_style_targets(*asked, tile=tile, apart=apart)
        return TiledObjective(encoder, content, targets, goal, tile=tile, areas=areas)

    def run(
        self,
        on_step: Callable[[Step], None] | None,
        checkpoint: Path | None,
        every: int,
        began: float,
    ) -> None:
        """Make this level's closure calls."""
        self.optimiser = _optimiser(self.run_.options, self.start)
        if self.point is not None:
            self.optimiser.restore((self.point.tensors, self.point.numbers))
            self.done, self.best_value = self.point.done, self.point.best
            self.best = self.point.tensors.get("best")
        self.objective = objective = self._objective()
        if self.point is not None and "skim" in self.point.numbers:
            objective.restore(self.point.numbers["skim"])  # type: ignore[attr-defined]
        while self.done < self.calls:
            shown = self.optimiser.point
            terms, gradient = objective.evaluate(shown)
            with undivided():  # Ctrl-C waits until nothing is half done
                self._note(terms, shown)
                self.optimiser.tell(terms.total, gradient)
                self.done += 1
            if self.done % every == 0:
                self.keep(checkpoint, time.perf_counter() - began)
            if on_step is not None:
                on_step(self._step(terms, shown))

    def _note(self, terms: Terms, shown: Tensor) -> None:
        if terms.total < self.best_value or self.best is None:
            self.best_value, self.best = terms.total, shown
        self.run_.trace.append(
            {
                "level": self.index,
                "call": len(self.run_.trace) + 1,
                "total": terms.total,
                "content": terms.content,
                "style": terms.style,
                "variation": terms.variation,
            }
        )

    def _step(self, terms: Terms, shown: Tensor) -> Step:
        total = sum(calls for _, calls, _ in self.run_.levels)
        call = len(self.run_.trace)
        return Step(self.index, call, total, self.size, terms, lambda: as_pixels(shown))

    def state(self, seconds: float) -> Checkpoint:
        """Return everything that the following calls depend on."""
        from limner.style.skim import SkimmedObjective

        optimiser = self.optimiser or _optimiser(self.run_.options, self.start)
        tensors, numbers = optimiser.save()
        if self.best is not None:
            tensors = {**tensors, "best": self.best}
        if isinstance(self.objective, SkimmedObjective):
            numbers = {**numbers, "skim": self.objective.state()}
        return Checkpoint(
            self.run_.fingerprint,
            self.index,
            self.done,
            tensors,
            numbers,
            self.best_value,
            self.run_.trace,
            seconds,
        )

    def keep(self, checkpoint: Path | None, seconds: float) -> None:
        """Write the checkpoint, if one is wanted; a full disk does not end the run."""
        from limner.style import checkpoint as saved

        if checkpoint is not None:
            saved.keep(checkpoint, self.state(seconds), self.run_.remarks)

    def picture(self) -> Tensor:
        """Return what the level shows: the optimiser's own picture, else the best one."""
        own = self.optimiser.picture() if self.optimiser is not None else None
        if own is not None:
            return own
        return self.best if self.best is not None else self.start


def _optimiser(options: StyleOptions, start: Tensor) -> Optimiser:
    from limner.style.optimise import Adam, Lbfgs, NotesLbfgs

    fitting = max(3, _HISTORY_BYTES // (8 * start.numel()))
    history = min(options.history, fitting)
    if options.optimiser == "adam":
        return Adam(start, rate=options.rate)
    if options.optimiser == "notes_lbfgs":
        return NotesLbfgs(start, history=history, rate=options.rate)
    return Lbfgs(start, history=history, line_search=options.line_search, brush=options.brush)


def size_of(image: Tensor) -> tuple[int, int]:
    """Return height and width of a picture (1, 3, H, W)."""
    return int(image.shape[-2]), int(image.shape[-1])


def digest_of(picture: Tensor) -> str:
    """Return the SHA-256 of a picture's values."""
    return hashlib.sha256(picture.to("cpu").contiguous().numpy().tobytes()).hexdigest()


def tensor_of(source: Source) -> Tensor:
    """Return a picture as shape (1, 3, H, W), float32 RGB in [0, 1]."""
    import torch

    from limner.images import read_float

    pixels = read_float(source)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]


def as_pixels(picture: Tensor) -> FloatArray:
    """Return a picture (1, 3, H, W) as an array (H, W, 3), float32 in [0, 1]."""
    array = picture.detach()[0].permute(1, 2, 0).clamp(0, 1).to("cpu").float().numpy()
    return np.ascontiguousarray(array)
