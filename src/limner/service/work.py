"""What jobs do: each kind is a function of a `limner.service.jobs.Running`."""

from __future__ import annotations

import functools
import io
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from limner import images
from limner.errors import InputError, WeightsError
from limner.service.jobs import Interrupted, Running, Work
from limner.types import FloatArray, ImageArray

CONTENT, RESULT, FACTS, CHECKPOINT = "content", "result.png", "result.json", "checkpoint"
PREVIEW = "preview.jpg"
LOG = logging.getLogger("limner.service")
_FAST = ("arbitrary_predict", "arbitrary_transform", "multistyle26")
_PREVIEW_EVERY_S = 1.0


def style(running: Running) -> None:
    """Paint a picture: by the optimiser, in minutes, or by a feed-forward network, at once."""
    began = time.perf_counter()
    wanted = running.job.parameters
    names = [name for name in wanted["files"] if name != CONTENT]
    if wanted["method"] == "fast":
        image, facts = _fast(running, wanted, names)
    else:
        image, facts = _optimised(running, wanted, names)
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(image).save(buffer, "PNG")
    (running.folder / RESULT).write_bytes(buffer.getvalue())
    facts["seconds"] = round(time.perf_counter() - began, 2)
    (running.folder / FACTS).write_text(json.dumps(facts), "utf-8")
    (running.folder / PREVIEW).write_bytes(_jpeg(image))


def _fast(
    running: Running, wanted: dict[str, Any], names: list[str]
) -> tuple[ImageArray, dict[str, Any]]:
    import numpy as np

    from limner.device import cpu_threads
    from limner.style import fast

    running.report(0.1, "loading the network")
    if names:
        styles = [images.read_float(running.read(name)) for name in names]
        painter = fast.painting(styles, offline=True, threads=cpu_threads())
    else:
        painter = fast.builtin(wanted["look"], offline=True, threads=cpu_threads())
    content = _reduced(images.read_float(running.read(CONTENT)), wanted["size"])
    if running.must_end:
        raise Interrupted
    running.report(0.4, "painting")
    pixels = painter(content, strength=wanted["strength"])
    return np.rint(pixels * 255).astype(np.uint8), {"method": "fast", "style": painter.name}


def _reduced(picture: FloatArray, longer: int) -> FloatArray:
    import cv2
    import numpy as np

    height, width = picture.shape[:2]
    share = longer / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.clip(np.asarray(small, np.float32), 0, 1)


def _optimised(
    running: Running, wanted: dict[str, Any], names: list[str]
) -> tuple[ImageArray, dict[str, Any]]:
    from limner.style import StyleOptions, preset, stylize
    from limner.style.level import Step

    options: StyleOptions = preset(
        wanted["preset"],
        size=wanted["size"],
        strength=wanted["strength"],
        colour=wanted["colour"],
        style_scale=wanted["style_scale"],
        seed=wanted["seed"],
    )
    if wanted["steps"] is not None:
        options = options.with_calls(wanted["steps"])
    shown = 0.0

    def on_start(picture: FloatArray) -> None:
        if running.must_end:
            raise KeyboardInterrupt
        height, width = picture.shape[:2]
        words = f"laying in the strokes, {width} x {height}"
        running.report(1 / (options.calls + 2), words, _jpeg(_bytes_of(picture)))

    def on_step(step: Step) -> None:
        nonlocal shown
        if running.must_end:
            raise KeyboardInterrupt  # `stylize` writes its checkpoint and returns
        preview = None
        if time.monotonic() - shown >= _PREVIEW_EVERY_S:
            shown = time.monotonic()
            preview = _jpeg(images.read(_bytes_of(step.picture())))
        height, width = step.size_hw
        words = f"step {step.call} of {step.calls}, {width} x {height}"
        running.report((step.call + 1) / (step.calls + 2), words, preview)

    checkpoint = running.folder / CHECKPOINT
    given: dict[str, Any] = {
        "options": options,
        "on_start": on_start,
        "on_step": on_step,
        "checkpoint": checkpoint,
        "offline": True,  # a request starts no download
    }
    content = running.read(CONTENT)
    styles = [running.read(name) for name in names]
    running.report(0.0, "loading the network")
    try:
        result = stylize(content, styles, resume=checkpoint.exists(), **given)
    except InputError:
        if not checkpoint.exists():
            raise
        checkpoint.unlink()  # of another version: begin anew
        result = stylize(content, styles, **given)
    if not result.finished:
        raise Interrupted
    facts = {"method": "optimise", "calls": len(result.losses), "preset": wanted["preset"]}
    return result.image, facts


def fetch_weights() -> None:
    """Fetch what painting needs; whoever starts the service does that, and never a request."""
    from limner import weights
    from limner.style.encoder import load_encoder

    loads: list[Callable[[], object]] = [functools.partial(weights.load, n) for n in _FAST]
    for load in (*loads, load_encoder):
        try:
            load()
        except WeightsError as error:
            LOG.warning("painting lacks weights: %s", error)


def _bytes_of(picture: FloatArray) -> ImageArray:
    import numpy as np

    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _jpeg(image: ImageArray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    picture.thumbnail((640, 640))
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


KINDS: dict[str, Work] = {"style": style}
