"""Content and style in, a painted picture out."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import InputError
from limner.style.checkpoint import Checkpoint, fingerprint_of
from limner.style.level import Level, Step, as_pixels, digest_of, size_of, tensor_of
from limner.style.presets import StyleOptions
from limner.style.presets import preset as preset_of
from limner.style.provenance import known_input
from limner.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from torch import Tensor

    from limner.images.sources import Source
    from limner.style.encoder import Encoder, Progress
    from limner.style.masks import Masks
    from limner.style.objective import Goal


_MATCHED = ("moments", "histogram")  # the style has the content's colours already


@dataclass(frozen=True, eq=False)
class StyleResult:
    """A painted picture and how it came about.

    Attributes:
        image: Shape (H, W, 3), uint8 RGB.
        pixels: The same, float32 in [0, 1].
        losses: One entry a closure call: level, call, total, content, style, variation.
        seconds: What it took, over all sittings of a resumed run.
        provenance: Inputs, options, encoder, versions, costs: plain JSON values.
        finished: False where it was interrupted.
    """

    image: ImageArray
    pixels: FloatArray
    losses: tuple[dict[str, Any], ...]
    seconds: float
    provenance: dict[str, Any]
    finished: bool = True


def stylize(
    content: Source,
    style: Source | Sequence[Source],
    *,
    options: StyleOptions | str = "default",
    style_weights: Sequence[float] | None = None,
    start: Source | None = None,
    mask: Source | Masks | None = None,
    mask_colours: Sequence[str] | None = None,
    encoder: Encoder | None = None,
    device: str = "auto",
    offline: bool = False,
    progress: Progress | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_start: Callable[[FloatArray], None] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 20,
    resume: bool = False,
) -> StyleResult:
    """Paint the content in the manner of one or several styles.

    Args:
        content: A picture, as for `limner.images.read`.
        style: One, or several in a list.
        options: What `preset` returns, or the name of a preset.
        style_weights: One for each style; equal if not given.
        start: The picture to begin with, for the start `picture`.
        mask: Which style goes where, as for `limner.style.masks.read_masks`; there are as many
            regions as styles, and no weights.
        mask_colours: The mask's colours in the order of the styles; from dark to light if None.
        encoder: One that is loaded already, else `options.encoder` is; it must reach the
            deepest layer of the options.
        device: As for `limner.device.resolve`.
        offline: Take weights from the cache only.
        progress: Told of fetched weights.
        on_step: Told after every closure call. Ctrl-C inside it ends the run like elsewhere.
        on_start: Shown the picture to start from while that is made (of the start `strokes`
            once for each of its sizes), shape (H, W, 3), float32 in [0, 1].
        checkpoint: File that the run's state is kept in; removed when it finishes.
        checkpoint_every: Closure calls between two writes of it.
        resume: Go on from the checkpoint: the picture is bit for bit that of a run that was
            never interrupted, on the same machine with as many threads.

    Returns:
        The result. After Ctrl-C it is the best picture so far, `finished` is False, and the
        checkpoint is written.

    Raises:
        InputError: If a picture is too small, an option does not fit, or a checkpoint is of
            another run.
        UnknownNameError: If a layer or a word is unknown; the message lists those that exist.
        ImageError: If a picture cannot be read.
        WeightsError: If the encoder's weights cannot be had.
    """
    from limner.style.masks import masks_for

    chosen = preset_of(options) if isinstance(options, str) else options
    sources: list[Source] = list(style) if isinstance(style, list | tuple) else [style]  # type: ignore[list-item]
    if resume and checkpoint is None:
        raise InputError("resume needs a checkpoint file.")
    if (start is None) == (chosen.start == "picture"):
        raise InputError("The start 'picture' needs a picture to start from, and only it does.")
    masks = masks_for(len(sources), mask, colours=mask_colours, weights=style_weights)
    run = _Run(chosen, content, sources, style_weights, start, masks)
    if mask is not None and masks is not None:
        run.inputs.append(known_input(masks.shares if mask is masks else mask))  # type: ignore[arg-type]
    run.load(encoder, device=device, offline=offline, progress=progress)
    path = None if checkpoint is None else Path(checkpoint)
    return run.paint(on_step, on_start, path, checkpoint_every, resume)


class _Run:
    """One call of `stylize`."""

    def __init__(
        self,
        options: StyleOptions,
        content: Source,
        styles: list[Source],
        weights: Sequence[float] | None,
        start: Source | None,
        masks: Masks | None,
    ) -> None:
        from limner.style.pyramid import check_size

        self.options = options
        self.photo = self.content = tensor_of(content)
        self.masks = masks
        if masks is not None:
            masks.check(*size_of(self.content))
        self.styles = [self._recoloured(tensor_of(s), k) for k, s in enumerate(styles)]
        self.start = None if start is None else tensor_of(start)
        self.weights = [1.0] * len(styles) if weights is None else [float(w) for w in weights]
        if len(self.weights) != len(styles) or not styles:
            raise InputError(
                f"Each style needs one weight, got {len(styles)} styles and "
                f"{len(self.weights)} weights."
            )
        if not all(0 < w < float("inf") for w in self.weights):
            raise InputError(f"Style weights must be positive, got {self.weights}.")
        self.content = self._underpainted()
        self.inputs = [known_input(s) for s in (content, *styles)]
        if start is not None:
            self.inputs.append(known_input(start))
        original = size_of(self.content)
        self.size = self._fit(original, options.size)
        check_size(self.size, original, what="The content")
        for style in self.styles:
            size = self._fit(size_of(style), self._style_size(1.0))
            check_size(size, size_of(style), what="A style")
        self.levels = self._levels(original)
        self.trace: list[dict[str, Any]] = []
        self.remarks: list[str] = []

    def _recoloured(self, style: Tensor, index: int) -> Tensor:
        from limner.style.colour import recolour_style

        if self.options.colour not in _MATCHED:
            return style
        wanted = as_pixels(self.content)
        if self.masks is not None:  # the colours of its own region
            wanted = self.masks.cut(wanted, index)
        return tensor_of(recolour_style(as_pixels(style), wanted, self.options.colour))

    def _underpainted(self) -> Tensor:
        """Return the content as it is painted: in the styles' colours, or in its own."""
        from limner.style.underpainting import underpainted

        options = self.options
        if options.underpainting == "content" or options.colour in _MATCHED:
            return self.content
        coat = underpainted(
            as_pixels(self.content),
            [as_pixels(style) for style in self.styles],
            weights=self.weights,
            strength=options.strength,
            masks=self.masks,
        )
        return tensor_of(coat)

    def _levels(self, original: tuple[int, int]) -> list[tuple[float, int, tuple[int, int]]]:
        """Return share, calls and size of each level; one too small to read passes its calls on."""
        from limner.style.pyramid import MIN_SIDE_PX

        levels, waiting = [], 0
        for share, calls in self.options.levels:
            size = self._fit(original, self.options.size * share)
            styles = [self._fit(size_of(s), self._style_size(share)) for s in self.styles]
            if min(min(hw) for hw in (size, *styles)) < MIN_SIDE_PX:
                waiting += calls
            else:
                levels.append((share, calls + waiting, size))
                waiting = 0
        return levels

    def _fit(self, size_hw: tuple[int, int], size: float) -> tuple[int, int]:
        from limner.style.pyramid import fit

        options = self.options
        return fit(size_hw, size=size, side=options.side, resampling=options.resampling)

    def _style_size(self, share: float) -> float:
        return self.options.size * share * self.options.style_scale

    def load(
        self, encoder: Encoder | None, *, device: str, offline: bool, progress: Progress | None
    ) -> None:
        """Find the layers, load the encoder as deep as needed, and prepare the goal."""
        import torch

        from limner.device import supports_bf16
        from limner.nets.vgg import layers_of
        from limner.style.encoder import architecture_of, load_encoder
        from limner.style.objective import Goal
        from limner.style.taps import resolve_weighted, split_octave

        chosen = self.options
        self.offline = offline
        named = chosen.content_layers, chosen.style_layers
        first = encoder.architecture if encoder is not None else architecture_of(chosen.encoder)
        # Indices and names are those of the encoder that is asked for; `auto` is VGG-19.
        content_layers, style_layers = (resolve_weighted(taps, first) for taps in named)
        if encoder is None:
            encoder = load_encoder(
                chosen.encoder,
                deepest=None,
                pooling=chosen.pooling,
                border=chosen.border,
                device=device,
                offline=offline,
                progress=progress,
            )
        if encoder.chosen:
            self.remarks.append(encoder.chosen)
        if encoder.architecture != first:
            both, own = (content_layers, style_layers), encoder.architecture
            content_layers, style_layers = (resolve_weighted(taps, own) for taps in both)
        asked = {tap for taps in named for tap, _ in taps if not tap.isdigit()}
        moved = sorted(asked - {tap for tap, _ in (*content_layers, *style_layers)})
        if moved:
            self.remarks.append(
                f"{encoder.name} has no {', '.join(moved)}: the last convolution of the same "
                "block stands in."
            )
        wanted = chosen.precision
        self.goal: Goal = Goal(
            content_layers=content_layers,
            style_layers=style_layers,
            alpha=chosen.alpha,
            beta=chosen.style_weight,
            smoothness=chosen.smoothness * chosen.thickness,
            content_kind=chosen.content_kind,
            style_kind=chosen.style_kind,
            bf16=wanted == "bf16" or (wanted == "auto" and supports_bf16(encoder.device)),
        )
        if chosen.skim and any(split_octave(tap)[1] != 1 for tap in self.goal.taps):
            self.remarks.append("layers are read at several sizes: skim leaves none of them out.")
        order = [layer.name for layer in layers_of(encoder.architecture)]
        layers = [split_octave(tap)[0] for tap in self.goal.taps]
        self.whole_encoder = encoder
        self.encoder = encoder.cut(max(layers, key=order.index))
        dtype = torch.float64 if wanted == "fp64" else torch.float32
        if wanted == "fp64":
            self.encoder = copy.deepcopy(self.encoder).double()
        self.content = self.content.to(encoder.device, dtype)
        self.styles = [s.to(encoder.device, dtype) for s in self.styles]
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        """Return the digest of everything that the picture depends on."""
        from limner.style.provenance import pixels_digest

        begin = [] if self.start is None else [self.start]
        masks = [] if self.masks is None else [pixels_digest(self.masks.shares)]
        return fingerprint_of(
            [
                self.options.to_json(),
                [digest_of(t) for t in (self.content, *self.styles, *begin)],
                self.weights,
                self.encoder.name,
                self.encoder.digest,
                *masks,
            ]
        )

    def paint(
        self,
        on_step: Callable[[Step], None] | None,
        on_start: Callable[[FloatArray], None] | None,
        checkpoint: Path | None,
        every: int,
        resume: bool,
    ) -> StyleResult:
        """Go through the levels from coarse to fine."""
        from limner.style import checkpoint as saved
        from limner.style.pyramid import resize

        point: Checkpoint | None = None
        if resume and checkpoint is not None:
            point = saved.read(checkpoint, fingerprint=self.fingerprint)
            self.trace = list(point.trace)
        began = time.perf_counter() - (point.seconds if point else 0.0)
        if point is not None and not point.tensors:  # interrupted before the first call
            point = None
        picture: Tensor | None = None
        finished = point is not None or self._begun(on_start, checkpoint, began)
        for index in range(point.level if point else 0, len(self.levels) if finished else 0):
            level = Level(self, index, picture, point)
            point = None
            try:
                level.run(on_step, checkpoint, every, began)
            except KeyboardInterrupt:
                finished = False
                level.keep(checkpoint, time.perf_counter() - began)
            picture = level.picture()
            if level.optimiser is not None and level.optimiser.remark:
                self.remarks.append(f"level {index + 1}: {level.optimiser.remark}.")
            if not finished:
                break
        if picture is None:
            picture = self.content if self.start is None else self.start
        picture = resize(picture, self.size, resampling=self.options.resampling)
        seconds = time.perf_counter() - began
        if finished and checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        return self._result(picture, seconds, finished)

    def _begun(
        self,
        on_start: Callable[[FloatArray], None] | None,
        checkpoint: Path | None,
        began: float,
    ) -> bool:
        """Make the picture to start from, where that takes time; False if it was interrupted."""
        from limner.style import checkpoint as saved
        from limner.style.beginnings import beginnings

        try:
            for picture in beginnings(self):
                self.start = picture
                if on_start is not None:
                    on_start(as_pixels(picture))
        except KeyboardInterrupt:
            if checkpoint is not None:
                seconds = time.perf_counter() - began
                nothing = Checkpoint(self.fingerprint, 0, 0, {}, {}, math.inf, [], seconds)
                saved.keep(checkpoint, nothing, self.remarks)
            return False
        return True

    def _result(self, picture: Tensor, seconds: float, finished: bool) -> StyleResult:
        from limner.style.colour import drained, is_grey, keep_colour
        from limner.style.provenance import describe_run
        from limner.style.pyramid import resize

        grey = [is_grey(as_pixels(style)) for style in self.styles]
        pixels = drained(as_pixels(picture), grey, masks=self.masks, share=self.options.thickness)
        if self.options.colour == "content":
            pixels = keep_colour(pixels, as_pixels(resize(self.photo, self.size)))
        image: ImageArray = np.rint(pixels * 255).astype(np.uint8)
        provenance = describe_run(
            inputs=self.inputs,
            style_weights=self.weights,
            options=self.options,
            encoder=self.encoder,
            goal=self.goal,
            levels=[(size, calls) for _, calls, size in self.levels],
            trace=self.trace,
            remarks=self.remarks,
            seconds=seconds,
            finished=finished,
            pixels=pixels,
        )
        if self.masks is not None:
            provenance["mask_colours"] = [
                "#{:02x}{:02x}{:02x}".format(*c) for c in self.masks.colours
            ]
        return StyleResult(image, pixels, tuple(self.trace), seconds, provenance, finished)
