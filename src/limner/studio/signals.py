"""The tab Signals & volumes: of what class is it, and what did the network look at?"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np

from limner.errors import InputError, LimnerError
from limner.service.shelf import find, shelved
from limner.service.unpacked import TIMES, check_unpacked
from limner.studio import lessons, markup
from limner.studio.desk import Desk
from limner.studio.events import Outcome, Turns, html, on
from limner.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from limner.training.array_model import ArrayModel
    from limner.training.array_report import Answer
    from limner.training.samples import Samples

TOYS = {"Toy: heart beats": 1, "Toy: shapes": 3}
_ENDINGS = [".csv", ".tsv", ".txt", ".ucr", ".npz", ".npy", ".nii", ".gz"]
_MOST = 6
_WIDTH, _HEIGHT = 640, 170
_AXES = ("across the depth", "across the height", "across the width")


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when it is opened first."""
    own = [m.name for m in shelved(desk.engine.settings.models) if m.kind in ("series", "volumes")]
    names = [*own, *TOYS]
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            model = gr.Dropdown(names, value=names[0], label="Model", elem_id="signal-model")
            file = gr.File(
                label="A signal or a volume: csv, npz, npy, NIfTI",
                file_types=_ENDINGS,
                elem_id="signal-file",
                height=150,
            )
            another = gr.Button("Another sample", elem_id="signal-sample")
            words = html(elem_id="signal-words")
        with gr.Column(scale=3, min_width=320):
            answer = html(elem_id="signal-answer")

    def from_file(path: str | None, name: str) -> str:
        if path is None:
            return markup.notice("No file yet.", "Drop one on the left, or look at a sample.")
        try:
            held = _model(desk, name)
            return render(held, _read(desk, held, path))
        except LimnerError as error:
            return markup.problem(error)

    def from_sample(name: str) -> tuple[str, str]:
        try:
            held = _model(desk, name)
            if name not in TOYS:
                kind = "one row a signal" if held.net.dims == 1 else "NIfTI or npy"
                ask = markup.notice(f"Drop a file for {name} on the left: {kind}.")
                return _about(held, name), ask
            seed = int(np.random.default_rng().integers(1 << 30))
            return _about(held, name), render(held, lessons.make(held.net.dims, each=1, seed=seed))
        except LimnerError as error:
            return "", markup.problem(error)

    turns = Turns()
    on(file.upload, from_file, [file, model], [answer], turns=turns)
    on(file.clear, from_file, [file, model], [answer], turns=turns)
    on(model.input, from_sample, [model], [words, answer], turns=turns)
    on(another.click, from_sample, [model], [words, answer], turns=turns)
    return Outcome(lambda request: from_sample(names[0]), [words, answer])


def _model(desk: Desk, name: str) -> ArrayModel:
    """Return a toy, or a model of the folder that the service was started with."""
    if name in TOYS:
        return lessons.taught(TOYS[name])
    return _load(find(desk.engine.settings.models, name, "series", "volumes").folder)


@functools.lru_cache(4)
def _load(folder: Path) -> ArrayModel:
    from limner.training.array_model import load_model

    return load_model(folder)


def _read(desk: Desk, model: ArrayModel, path: str) -> Samples:
    from limner.training import series, volumes

    read = series.read_for if model.net.dims == 1 else volumes.read_for
    most = TIMES * desk.engine.settings.max_bytes
    check_unpacked(desk.read(path), Path(path).suffix.lower(), most=most)
    samples = read(model, str(desk.file(path)))
    if not len(samples):
        raise InputError("the file holds nothing.")
    return samples


def _about(model: ArrayModel, name: str) -> str:
    sides = " x ".join(str(n) for n in model.net.shape[1:])
    rows = [
        ("Classes", ", ".join(markup.esc(c) for c in model.net.classes)),
        ("Reads", f"{model.net.shape[0]} channel(s) of {sides} samples"),
    ]
    note = ""
    if name in TOYS:
        note = markup.notice(
            "A toy.",
            "It learned made-up data in a few seconds, here. Never judge a patient by it. Train "
            "your own with limner train, and name its folder with limner serve --models.",
        )
    return note + markup.definition(rows)


def render(model: ArrayModel, samples: Samples) -> str:
    """Return the class of each item, and the item in the warmth of its class map."""
    from limner.training.series import classify_series
    from limner.training.volumes import classify_volume

    classify = classify_series if model.net.dims == 1 else classify_volume
    answers = classify(model, samples)
    shown = "".join(
        _item(values, found)
        for values, found in zip(samples.values[:_MOST], answers[:_MOST], strict=True)
    )
    rest = len(answers) - _MOST
    more = f'<p class="l-soft">and {rest:,} more.</p>' if rest > 0 else ""
    return (
        f'{shown}{more}<p class="l-soft">Warm is what speaks for the answer: the class map of '
        "the last layer.</p>"
    )


def _item(values: FloatArray, found: Answer) -> str:
    name, label = markup.esc(found.name), markup.esc(found.label)
    right = "" if found.truth is None or found.truth == "?" else f" · made as {found.truth}"
    rows = "".join(
        f'<li><span>{markup.esc(c)}</span><span class="l-bar" aria-hidden="true">'
        f'<i style="width:{100 * share:.1f}%"></i></span><span>{markup.percent(share)}</span></li>'
        for c, share in sorted(found.scores.items(), key=lambda pair: -pair[1])[:4]
    )
    head = f"<h2>{label} <span class='l-soft'>{name}{markup.esc(right)}</span></h2>"
    picture = _signal(values, found) if values.ndim == 2 else _slices(values[0], found)
    return f'{head}{picture}<ul class="l-class">{rows}</ul>'


def _signal(leads: FloatArray, found: Answer) -> str:
    """Draw the leads as lines, warm behind what spoke for the answer."""
    heat = _heat(found.class_map)
    count = len(heat)
    bands = "".join(
        f'<rect x="{_WIDTH * i / count:.2f}" y="0" width="{_WIDTH / count:.2f}" '
        f'height="{_HEIGHT}" fill-opacity="{0.6 * h:.2f}" shape-rendering="crispEdges"/>'
        for i, h in enumerate(heat)
        if h > 0.03
    )
    lines = ""
    for lead in leads[:3]:
        low, high = float(lead.min()), float(lead.max())
        y = _HEIGHT - 12 - (lead - low) / ((high - low) or 1) * (_HEIGHT - 24)
        x = np.linspace(0, _WIDTH, len(lead))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines += f'<polyline points="{points}"/>'
    start, end = _warmest(heat)
    words = markup.esc(
        f"The signal; what spoke most for {found.label} lies from {start} to {end} of {count}."
    )
    return (
        f'<div class="l-signal"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{words}" preserveAspectRatio="none">{bands}{lines}</svg></div>'
    )


def _heat(class_map: FloatArray) -> FloatArray:
    positive = np.maximum(class_map, 0)
    return np.asarray(positive / (positive.max() or 1.0), np.float32)


def _warmest(heat: FloatArray) -> tuple[int, int]:
    warm = np.flatnonzero(heat >= 0.5)
    return (int(warm[0]), int(warm[-1])) if len(warm) else (0, len(heat))


def _slices(volume: FloatArray, found: Answer) -> str:
    """Draw three slices through the place that spoke most for the answer."""
    from limner.training.array_plots import orthogonal_slices

    figures = "".join(
        f'<figure><img src="{markup.data_uri(_enlarged(one))}" alt="Slice {words}, warm where it '
        f'spoke for the answer"><figcaption>{words}</figcaption></figure>'
        for one, words in zip(orthogonal_slices(volume, found.class_map), _AXES, strict=True)
    )
    return f'<div class="l-slices">{figures}</div>'


def _enlarged(picture: ImageArray) -> ImageArray:
    factor = max(1, 240 // max(picture.shape[:2]))
    return np.repeat(np.repeat(picture, factor, axis=0), factor, axis=1)
