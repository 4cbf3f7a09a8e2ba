"""Train a feed-forward stylizer for one painting.

Source: Johnson, Alahi and Fei-Fei, ECCV 2016. Differs: see `limner.nets.painter`; every cost is
divided by the size of its target, as for the optimiser, so that the weights do not depend on
the painting; the learning rate follows half a cosine.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.device import supports_bf16
from limner.errors import ImageError, InputError
from limner.images import read
from limner.style.checkpoint import write_whole
from limner.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from torch import Tensor

    from limner.nets.painter import Painter

Features = Callable[["Tensor"], dict[str, "Tensor"]]

CONTENT_TAP = "relu3_3"
STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
_TINY = 1e-8
_ZOOM = 1.5
_LAST_RATE = 0.05


@dataclass(frozen=True)
class TrainOptions:
    """How a painter is trained.

    Attributes:
        steps: Batches in all.
        batch: Photos in a batch.
        size_px: Side of the square crops.
        style_px: Shorter side at which the painting is seen: smaller gives finer strokes.
        channels: Of the network's first layer.
        content: Weight of the content's cost.
        style: Weight of the style's.
        smoothness: Weight of the total variation (mean squared differences).
        rate: Of learning, at its highest.
        seed: Of crops, order and first weights.
    """

    steps: int = 4000
    batch: int = 4
    size_px: int = 256
    style_px: int = 384
    channels: int = 16
    content: float = 1.0
    style: float = 10.0
    smoothness: float = 20.0
    rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {"steps": 1, "batch": 1, "size_px": 32, "style_px": 32, "channels": 4, "seed": 0}
        for name, least in whole.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number from {least}, got {value!r}.")
        if self.size_px % 4:
            raise InputError(f"size_px must be a multiple of 4, got {self.size_px}.")
        for name in ("content", "style", "smoothness", "rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "rate" and value == 0):
                raise InputError(f"{name} must be a number that is not negative, got {value}.")


@dataclass(frozen=True)
class TrainStep:
    """What one batch cost, in weighted terms.

    Attributes:
        step: Counts from 1.
        total: The sum.
        content: Of the content.
        style: Of the style.
        variation: Of the smoothness.
    """

    step: int
    total: float
    content: float
    style: float
    variation: float


class Training:
    """A training that can stop and go on.

    Args:
        style: The painting, shape (H, W, 3), RGB in [0, 1].
        photos: Files to learn on.
        features: Gives the activations, name -> (N, C, h, w), of pictures (N, 3, H, W) in
            [0, 1], with gradients; for instance an encoder's at `CONTENT_TAP` and `STYLE_TAPS`.
        options: How.
        device: Where it computes, as `limner.device.resolve` returns it; `features` too.

    Attributes:
        painter: The network.
        done: Batches so far.
        steps: What each cost.

    Raises:
        InputError: If there is no photo.
    """

    def __init__(
        self,
        style: FloatArray,
        photos: Sequence[Path],
        features: Features,
        options: TrainOptions | None = None,
        *,
        device: str = "cpu",
    ) -> None:
        import torch

        from limner.nets.painter import Painter

        if not photos:
            raise InputError("There are no photos to train on.")
        self.options = options or TrainOptions()
        self.photos = list(photos)
        self.done = 0
        self.steps: list[TrainStep] = []
        self._features = features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options.seed)
            self.painter: Painter = Painter(self.options.channels).to(device)
        self._device = device
        self._adam = torch.optim.Adam(self.painter.parameters(), lr=self.options.rate)
        self._half = supports_bf16(device)
        seen = _shorter(np.rint(style * 255).astype(np.uint8), self.options.style_px)
        with torch.no_grad(), self._precision():
            found = features(_tensor([seen]).to(device))
            self._grams = {tap: _gram(found[tap].float()) for tap in STYLE_TAPS}
        self._mark = self._fingerprint(style)

    def _fingerprint(self, style: FloatArray) -> str:
        values = asdict(self.options) | {"photos": [p.name for p in self.photos]}
        text = json.dumps(values, sort_keys=True).encode()
        return hashlib.sha256(text + np.ascontiguousarray(style).tobytes()).hexdigest()

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        kind = self._device.partition(":")[0]
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self._half)

    def run(self, on_step: Callable[[TrainStep], None] | None = None) -> None:
        """Train until all steps are done. Ctrl-C leaves the last finished step behind it."""
        while self.done < self.options.steps:
            step = self._step()
            if on_step is not None:
                on_step(step)

    def _step(self) -> TrainStep:
        import torch

        share = self.done / self.options.steps
        wave = (1 + math.cos(math.pi * share)) / 2
        for group in self._adam.param_groups:
            group["lr"] = self.options.rate * (_LAST_RATE + (1 - _LAST_RATE) * wave)
        batch = _tensor(self._crops()).to(self._device)
        with self._precision():
            content, style, variation = self._costs(batch)
        total = content + style + variation
        self._adam.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self._adam.step()
        self.done += 1
        terms = [float(t.detach()) for t in (total, content, style, variation)]
        self.steps.append(TrainStep(self.done, *terms))
        return self.steps[-1]

    def _costs(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        import torch

        o = self.options
        with torch.no_grad():
            target = self._features(batch)[CONTENT_TAP].float()
        painted = self.painter(batch).float()
        found = self._features(painted)
        gap = (found[CONTENT_TAP].float() - target).square().mean()
        content = o.content * gap / (target.square().mean() + _TINY)
        style = content.new_zeros(())
        for tap, wanted in self._grams.items():
            gram = _gram(found[tap].float())
            error = (gram - wanted).square().sum((1, 2)) / (wanted.square().sum() + _TINY)
            style = style + o.style * error.mean() / len(self._grams)
        across = (painted[..., 1:] - painted[..., :-1]).square().mean()
        down = (painted[..., 1:, :] - painted[..., :-1, :]).square().mean()
        return content, style, o.smoothness * (across + down)

    def _crops(self) -> list[ImageArray]:
        """Return the batch of this step; it depends on the seed and the step alone."""
        o = self.options
        rng = np.random.default_rng([o.seed, self.done])
        found: list[ImageArray] = []
        misses = 0
        while len(found) < o.batch:
            photo = self.photos[int(rng.integers(len(self.photos)))]
            zoom, at_y, at_x, mirrored = rng.random(4)
            try:
                picture = _shorter(read(photo), round(o.size_px * (1 + (_ZOOM - 1) * zoom)))
            except ImageError:
                misses += 1
                if misses > 100:
                    raise
                continue
            y = int(at_y * (picture.shape[0] - o.size_px + 1))
            x = int(at_x * (picture.shape[1] - o.size_px + 1))
            crop = picture[y : y + o.size_px, x : x + o.size_px]
            found.append(crop[:, ::-1] if mirrored < 0.5 else crop)
        return found

    def save(self, path: Path) -> None:
        """Write where the training stands, whole or not at all.

        Raises:
            InputError: If the disk refuses.
        """
        import torch

        state = {
            "mark": self._mark,
            "done": self.done,
            "painter": self.painter.state_dict(),
            "adam": self._adam.state_dict(),
            "steps": [list(asdict(s).values()) for s in self.steps],
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Go on from where a training of the same painting, photos and options stood.

        Raises:
            InputError: If the file is damaged or of another training.
        """
        import torch

        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            mark = state["mark"]
        except Exception as error:
            raise InputError(f"{path} is not a training that can be read.") from error
        if mark != self._mark:
            raise InputError(f"{path} is of a training with another painting, photos or options.")
        self.painter.load_state_dict(state["painter"])
        self._adam.load_state_dict(state["adam"])
        self.done = int(state["done"])
        self.steps = [TrainStep(int(s[0]), *map(float, s[1:])) for s in state["steps"]]


def _gram(features: Tensor) -> Tensor:
    flat = features.flatten(2)
    gram: Tensor = flat @ flat.transpose(1, 2) / flat.shape[2]
    return gram


def _shorter(picture: ImageArray, size: int) -> ImageArray:
    """Return the picture with a shorter side of `size` pixels."""
    import cv2

    height, width = picture.shape[:2]
    factor = size / min(height, width)
    sides = (max(size, round(width * factor)), max(size, round(height * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, sides, interpolation=way), np.uint8)


def _tensor(pictures: Sequence[ImageArray]) -> Tensor:
    import torch

    stack = np.stack([p.transpose(2, 0, 1) for p in pictures])
    return torch.from_numpy(stack).float() / 255
