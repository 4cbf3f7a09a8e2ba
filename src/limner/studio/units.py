"""The tab Units: what excites a unit of a network, and which units a picture excites."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from limner import weights
from limner.errors import LimnerError
from limner.studio import markup
from limner.studio.crops import new_folder, photographs, write_crops
from limner.studio.desk import Desk
from limner.studio.events import Outcome, Turns, html, on
from limner.studio.uploads import photo_input

if TYPE_CHECKING:
    from limner.units import Network, TopPatches
    from limner.units.search import Excited

NETWORKS = ("vgg16", "alexnet", "dlib", "facenet", "vgg16_oxford", "vgg19", "vgg16_hed")
_SIZES = {name: 96 for name in NETWORKS} | {"alexnet": 128, "facenet": 160, "dlib": 150}
_LAYERS = 5
_PATCH_PX = 104
_UNITS_SHOWN = 8
_LOCK = threading.Lock()
_PASSES: dict[str, Pass] = {}


@dataclass(frozen=True, eq=False)
class Pass:
    """A network, and what excited its units in the sample crops."""

    net: Network
    top: TopPatches

    @property
    def layers(self) -> list[str]:
        """The layers that were looked at, from the eye to the answer."""
        return list(self.top.layers)

    def first_unit(self, layer: str) -> int:
        """Return a lively unit: the one whose crops differ most in how they excite it."""
        tally = self.top.layer(layer)
        known = tally.responses[: len(self.top.responders)].astype(np.float32)
        spread = known.std(axis=0) / (known.mean(axis=0) + 1e-6)
        lively = np.where(tally.dead | (known.mean(axis=0) < 1e-3), -1.0, spread)
        return int(np.argsort(lively)[int(0.9 * (len(lively) - 1))])


def look_into(name: str) -> Pass:
    """Run the sample crops through a network, once a process, whoever asks first.

    Raises:
        WeightsError: If its weights cannot be had.
    """
    from limner import units
    from limner.units.network import unit_layers

    with _LOCK:
        if name not in _PASSES:
            net = units.load_network(name, size=_SIZES[name], offline=True)
            every = unit_layers(net)
            places = np.linspace(0, len(every) - 1, min(_LAYERS, len(every)) + 1)[1:]
            layers = list(dict.fromkeys(every[round(p)] for p in places))
            crops = write_crops(new_folder())
            top = units.top_patches(net, crops, layers=layers, labels="none")
            _PASSES[name] = Pass(net, top)
        return _PASSES[name]


def build(desk: Desk) -> Outcome:
    """Lay the tab out; return what fills it when it is opened first."""
    names = [n for n in NETWORKS if weights.status(n).state == "ready"] or [NETWORKS[0]]
    network, layer, unit, another, picture, patches, excited = _lay_out(names)

    def on_network(name: str) -> tuple[Any, ...]:
        try:
            found = look_into(name)
        except LimnerError as error:
            return gr.update(choices=[]), 0, markup.problem(error)
        chosen = found.layers[len(found.layers) // 2]
        number = found.first_unit(chosen)
        layers = gr.update(choices=found.layers, value=chosen)
        return layers, number, show(found, chosen, number)

    def on_unit(name: str, where: str | None, number: float | None) -> str:
        return _safely(lambda found: show(found, _layer(found, where), int(number or 0)), name)

    def on_layer(name: str, where: str | None) -> tuple[Any, ...]:
        try:
            found = look_into(name)
            chosen = _layer(found, where)
            number = found.first_unit(chosen)
            return number, show(found, chosen, number)
        except LimnerError as error:
            return 0, markup.problem(error)

    def on_another(name: str, where: str | None) -> tuple[Any, ...]:
        try:
            found = look_into(name)
            chosen = _layer(found, where)
            alive = np.flatnonzero(~found.top.layer(chosen).dead)
            number = int(np.random.default_rng().choice(alive)) if len(alive) else 0
            return number, show(found, chosen, number)
        except LimnerError as error:
            return 0, markup.problem(error)

    def on_picture(path: str | None, name: str) -> str:
        return "" if path is None else _safely(lambda found: excites(desk, found, path), name)

    def on_open(name: str, event: gr.EventData) -> tuple[Any, ...]:
        data = event._data
        where, number = str(data["layer"]), int(data["unit"])
        shown = _safely(lambda found: show(found, where, number), name)
        return where, number, shown

    def first(request: gr.Request) -> tuple[Any, ...]:
        try:
            return *on_network(names[0]), photographs()["chelsea"]
        except LimnerError as error:
            return gr.update(), 0, markup.problem(error), None

    turns = Turns()
    on(network.input, on_network, [network], [layer, unit, patches], turns=turns)
    on(layer.input, on_layer, [network, layer], [unit, patches], turns=turns)
    for event in (unit.submit, unit.input):
        on(event, on_unit, [network, layer, unit], [patches], turns=turns)
    on(another.click, on_another, [network, layer], [unit, patches], turns=turns)
    on(picture.change, on_picture, [picture, network], [excited], turns=Turns())
    on(excited.submit, on_open, [network], [layer, unit, patches], turns=turns)
    return Outcome(first, [layer, unit, patches, picture])


def _lay_out(names: list[str]) -> tuple[Any, ...]:
    """Return the controls, and the two parts that are shown."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            network = gr.Dropdown(names, value=names[0], label="Network", elem_id="units-network")
            layer = gr.Dropdown([], label="Layer", elem_id="units-layer", interactive=True)
            unit = gr.Number(
                0, label="Unit", precision=0, minimum=0, step=1, elem_id="units-number"
            )
            another = gr.Button("Another unit", elem_id="units-another")
            picture = photo_input(
                format="png",
                label="Which units does this picture excite?",
                height=240,
                elem_id="units-picture",
            )
        with gr.Column(scale=3, min_width=320):
            patches = html(elem_id="units-found")
            excited = html(elem_id="units-excited")
    return network, layer, unit, another, picture, patches, excited


def _layer(found: Pass, where: str | None) -> str:
    return where if where in found.layers else found.layers[0]


def _safely(work: Any, name: str) -> str:
    try:
        return str(work(look_into(name)))
    except LimnerError as error:
        return markup.problem(error)


def show(found: Pass, layer: str, unit: int) -> str:
    """Return the nine patches of a unit, and how much of a picture it sees.

    Raises:
        InputError: If there is no such unit.
    """
    from limner.units import patches_of

    tally = found.top.check_unit(layer, unit)
    facts = found.top.facts[layer]
    side = int(facts["size"][0])
    sees = "the whole picture" if facts["whole"] or side >= found.net.size_px else f"{side} px"
    head = (
        f"<h2>Unit {unit} <span class='l-soft'>of {facts['channels']} in {markup.esc(layer)}, "
        f"{markup.esc(found.net.name)}; it sees {sees} of {found.net.size_px}</span></h2>"
    )
    if bool(tally.dead[unit]):
        return head + markup.notice(
            "Nothing in the sample pictures excites this unit.", "Look at another unit."
        )
    shown = "".join(
        f'<li><img src="{markup.data_uri(one.image, longest=160)}" alt="Patch {n}: '
        f'{_origin(one.photo)}, activation {one.value:.2f}"><span>{one.value:.2f}</span></li>'
        for n, one in enumerate(patches_of(found.top, layer, unit, side=_PATCH_PX)[:9], start=1)
    )
    words = (
        f"The places that excite it most in {len(found.top.photos)} crops of sample photographs; "
        "the number is its activation. Stripes lie outside the crop."
    )
    return f'{head}<ol class="l-patches">{shown}</ol><p class="l-soft">{words}</p>'


def _origin(path: str) -> str:
    return markup.esc(Path(path).stem.rpartition("-")[0].replace("_", " "))


def excites(desk: Desk, found: Pass, source: Any) -> str:
    """Return the units that a picture excites most, each with what it sees there.

    Raises:
        ImageError: If the picture cannot be read.
    """
    from limner import units
    from limner.units import photos as framing

    data = desk.read(source) if isinstance(source, str) else source
    pixels = desk.engine.read_now(data)
    strongest = units.excites(pixels, found.net, found.top, count=_UNITS_SHOWN)

    def row(one: Excited) -> str:
        patch = framing.cut(pixels, one.box_xyxy, _PATCH_PX, _PATCH_PX)
        name = f"{markup.esc(one.layer)}, unit {one.unit}"
        share = f"{100 * one.above:.0f} % of the samples"
        above = "more than any sample does" if one.above >= 1 else f"more than {share}"
        return (
            f'<li><button class="l-thumb" data-do="open" data-layer="{markup.esc(one.layer)}" '
            f'data-unit="{one.unit}" aria-label="Open {name}">'
            f'<img src="{markup.data_uri(patch, longest=160)}" alt=""></button>'
            f'<span><b>{name}</b><br><span class="l-soft">{above}</span></span></li>'
        )

    rows = "".join(row(one) for one in strongest)
    return f'<h2>What the picture excites</h2><ol class="l-excited">{rows}</ol>'
