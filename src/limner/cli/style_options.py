"""The options of ``limner style`` for the optimiser: the look, and how it is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from limner.style.kinds import ContentCost, StyleCost
from limner.style.presets import Precision

_LOOK = "The look"
_RUN = "The run"


def _look(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_LOOK)


def _run(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_RUN)


@dataclass(frozen=True)
class LookOptions:
    """What the picture should look like; what is not given is the preset's."""

    preset: Annotated[
        str,
        _look(
            "--preset", help="default, notes, fine, fast, strokes, abstract, portrait or classic."
        ),
    ] = "default"
    size: Annotated[
        int | None, _look("--size", metavar="PX", help="Longer side (notes: shorter) in pixels.")
    ] = None
    strength: Annotated[
        float | None, _look("--strength", help="0 (content) to 1 (style); 0.5: the preset's look.")
    ] = None
    style_scale: Annotated[
        float | None,
        _look("--style-scale", help="Size of the strokes; 2: twice as large as in the style."),
    ] = None
    style_weights: Annotated[
        str | None, _look("--style-weights", metavar="W,W", help="One for each style.")
    ] = None
    layers: Annotated[
        str | None,
        _look(
            "--layers",
            metavar="TAP:LAMBDA,..",
            help="Style layers, such as conv1_2:2,16,relu3_1/2.",
        ),
    ] = None
    content_layers: Annotated[
        str | None,
        _look("--content-layers", metavar="TAP:LAMBDA,..", help="Content layers."),
    ] = None
    alpha: Annotated[float | None, _look("--alpha", help="Weight of the content.")] = None
    beta: Annotated[float | None, _look("--beta", help="Weight of the style.")] = None
    smoothness: Annotated[
        float | None, _look("--smoothness", help="Weight of the total variation.")
    ] = None
    content_cost: Annotated[
        ContentCost | None, _look("--content-cost", help="How content is compared.")
    ] = None
    style_cost: Annotated[
        StyleCost | None, _look("--style-cost", help="How style is compared.")
    ] = None
    brush: Annotated[
        float | None,
        _look("--brush", metavar="PX", help="Width of lbfgs's first strokes; 0: single pixels."),
    ] = None
    colour: Annotated[
        Literal["style", "content", "moments", "histogram"] | None,
        _look("--colour", help="Whose colours; the last two match the content's."),
    ] = None
    underpainting: Annotated[
        Literal["content", "style"] | None,
        _look("--underpainting", help="Whose colours the content has before painting begins."),
    ] = None
    start: Annotated[
        str | None,
        _look(
            "--start",
            metavar="WORD|PICTURE",
            help="Begin with strokes, content, noise, fast or a file.",
        ),
    ] = None
    noise_ratio: Annotated[
        float | None,
        _look("--noise-ratio", help="Share of noise in --start noise, 0 to 1; 1: noise alone."),
    ] = None
    guidance: Annotated[
        float | None,
        _look("--guidance", help="Of --start strokes: how closely they follow, 0 to 1."),
    ] = None
    seed: Annotated[int | None, _look("--seed", help="Of the noise.")] = None
    mask: Annotated[
        str | None,
        _look("--mask", metavar="PICTURE", help="Which style goes where: a colour for each."),
    ] = None
    mask_colours: Annotated[
        str | None,
        _look("--mask-colours", metavar="C,C", help="In the order of the styles; else dark first."),
    ] = None

    @property
    def colours_of_mask(self) -> tuple[str, ...] | None:
        """The mask's colours, one for each style."""
        return tuple(self.mask_colours.split(",")) if self.mask_colours else None


@dataclass(frozen=True)
class RunOptions:
    """How it is computed."""

    steps: Annotated[
        int | None, _run("--steps", help="Closure calls over all sizes of the pyramid.")
    ] = None
    encoder: Annotated[
        str | None,
        _run("--encoder", help="auto, vgg19, vgg16, vgg16_oxford, alexnet or vgg16_hed."),
    ] = None
    pooling: Annotated[
        Literal["max", "average"] | None, _run("--pooling", help="Of the encoder.")
    ] = None
    border: Annotated[
        Literal["zero", "replicate", "replicate_all"] | None,
        _run("--border", help="What the encoder sees around the picture."),
    ] = None
    optimiser: Annotated[
        Literal["lbfgs", "notes_lbfgs", "adam"] | None,
        _run("--optimiser", help="notes_lbfgs: torch's, clamped in the closure."),
    ] = None
    history: Annotated[int | None, _run("--history", help="Steps that lbfgs remembers.")] = None
    line_search: Annotated[
        Literal["backtracking", "none"] | None,
        _run("--line-search", help="Of lbfgs; none: every step is taken whole."),
    ] = None
    skim: Annotated[
        float | None,
        _run("--skim", metavar="SHARE", help="Leave out deep layers that are less of the cost."),
    ] = None
    precision: Annotated[
        Precision | None,
        _run("--precision", help="auto: bf16 where the CPU multiplies it; fp64 for checks."),
    ] = None
    tile: Annotated[
        int | None, _run("--tile", metavar="PX", help="Side of a tile; 0: by the picture's size.")
    ] = None
    device: Annotated[str, _run("--device", help="auto, cpu, cuda, cuda:1, ...")] = "auto"
    report_every: Annotated[
        int | None, _run("--report-every", help="Say the costs every so many calls.")
    ] = None
    preview: Annotated[
        bool, _run("--preview/--no-preview", help="Show OUT-preview.jpg until the picture is done.")
    ] = True
    resume: Annotated[
        bool, _run("--resume", help="Go on where Ctrl-C or a crash ended the same command.")
    ] = False
