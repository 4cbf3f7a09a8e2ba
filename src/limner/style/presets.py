"""Everything that can be chosen about a run, and the choices that have names."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from limner.errors import InputError, UnknownNameError
from limner.style.colour import Colour
from limner.style.kinds import ContentCost, Resampling, StyleCost
from limner.style.taps import WeightedTaps, check_weighted
from limner.weights.encoders import ENCODERS

Side = Literal["longer", "shorter"]
Start = Literal["strokes", "content", "noise", "fast", "picture"]
Precision = Literal["auto", "fp32", "bf16", "fp64"]
Underpainting = Literal["content", "style"]

_WORDS: dict[str, tuple[str, ...]] = {
    "encoder": ("auto", *ENCODERS),
    "side": get_args(Side),
    "resampling": get_args(Resampling),
    "content_kind": get_args(ContentCost),
    "style_kind": get_args(StyleCost),
    "start": get_args(Start),
    "optimiser": ("lbfgs", "notes_lbfgs", "adam"),
    "line_search": ("backtracking", "none"),
    "pooling": ("max", "average"),
    "border": ("zero", "replicate", "replicate_all"),
    "precision": get_args(Precision),
    "colour": get_args(Colour),
    "underpainting": get_args(Underpainting),
}
_RANGES: dict[str, tuple[float, float]] = {
    "size": (32, 16384),
    "alpha": (0, math.inf),
    "beta": (0, math.inf),
    "smoothness": (0, math.inf),
    "strength": (0, 1),
    "style_scale": (0.05, 20),
    "guidance": (0, 1),
    "noise": (0, 1),
    "seed": (0, 2**63 - 1),
    "history": (1, 1000),
    "rate": (1e-6, 10),
    "brush": (0, 16),
    "skim": (0, 0.1),
    "tile": (0, 16384),
    "report_every": (0, 1_000_000),
}
_WHOLE = ("size", "seed", "history", "tile", "report_every")


@dataclass(frozen=True, kw_only=True)
class StyleOptions:
    """Every choice of a run; a run is repeated exactly by its options, inputs and versions.

    Attributes:
        preset: Where the options came from.
        encoder: As for `load_encoder`.
        size: Pixels of the side that `side` names.
        side: `longer` or `shorter`.
        resampling: How pictures are brought to the size, and how it is rounded; see `fit` and
            `resize` of `limner.style.pyramid`. `torchvision` is the notes' `Resize`.
        levels: From coarse to fine: share of the size, in (0, 1], and closure calls there.
        content_layers: Taps with their lambdas; VGG-19 names or indices.
        style_layers: Same.
        alpha: Weight of the content cost.
        beta: Weight of the style cost at strength 0.5.
        smoothness: Weight of the total variation; below strength 0.5 less, at 0 nought.
        content_kind: As for `content_cost`.
        style_kind: As for `style_cost`.
        strength: 0 to 1; 0.5 is the preset's own look. See `style_weight`.
        style_scale: Size of the brush strokes: of the style picture relative to the content.
        colour: `style`; `content` keeps the content's colours under the painted luminance;
            `moments` and `histogram` give the style the content's colours beforehand.
        underpainting: The first coat: whose colours the content has when painting begins, as
            start and for the content cost. `style`: it gets the mean and covariance of the
            style's colours, so that the two costs do not pull at the colours of a flat sky.
        start: `strokes` (laid in with the style's own strokes: `limner.style.strokes`), `content`,
            `noise`, `fast` (the feed-forward network's picture) or `picture` (one that is given).
        guidance: Of the start `strokes`: how closely they follow the content, 0 to 1.
        noise: Share of noise in the start `noise`.
        seed: Of the noise.
        optimiser: `lbfgs`, `notes_lbfgs` (torch's, as in the notes) or `adam`.
        history: Pairs that L-BFGS keeps; fewer where memory would not hold them.
        line_search: Of `lbfgs`.
        brush: Of `lbfgs`: it begins with steps that are blurred so many pixels wide, and a few
            calls leave no grain; 0 treats every pixel alike.
        skim: Share of J below which deep style layers are left out of most calls; 0: never. See
            `limner.style.skim`. Taps with octaves are never left out.
        rate: Step of Adam and of `notes_lbfgs`.
        pooling: Of the encoder, `max` or `average`.
        border: What convolutions see around the picture: `zero`, `replicate` (the first one its
            border pixels again) or `replicate_all` (every one).
        precision: Of the activations; `auto` is bf16 where the CPU multiplies it, else fp32.
            `fp64`: everything is computed in float64, for numerical checks.
        tile: Side of a tile in pixels; 0: chosen by the size of the picture.
        report_every: Say the costs every so many closure calls; 0: never.
    """

    preset: str = "default"
    encoder: str = "auto"
    size: int = 512
    side: Side = "longer"
    resampling: Resampling = "bicubic"
    levels: tuple[tuple[float, int], ...] = ((0.25, 40), (0.5, 35), (1.0, 15))
    content_layers: WeightedTaps = (("relu3_1", 1.0),)
    style_layers: WeightedTaps = (
        ("relu1_1", 0.2),
        ("relu2_1", 0.2),
        ("relu3_1", 0.2),
        ("relu4_1", 0.1),
        ("relu2_1/2", 0.2),
        ("relu3_1/2", 0.2),
        ("relu4_1/2", 0.1),
    )
    alpha: float = 0.5
    beta: float = 1.0
    smoothness: float = 20.0
    content_kind: ContentCost = "target"
    style_kind: StyleCost = "covariance"
    strength: float = 0.5
    style_scale: float = 1.6
    colour: Colour = "style"
    underpainting: Underpainting = "style"
    start: Start = "content"
    guidance: float = 0.7
    noise: float = 0.6
    seed: int = 0
    optimiser: Literal["lbfgs", "notes_lbfgs", "adam"] = "lbfgs"
    history: int = 30
    line_search: Literal["backtracking", "none"] = "backtracking"
    brush: float = 0.8
    skim: float = 0.0
    rate: float = 0.02
    pooling: Literal["max", "average"] = "max"
    border: Literal["zero", "replicate", "replicate_all"] = "replicate_all"
    precision: Precision = "auto"
    tile: int = 0
    report_every: int = 0

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise UnknownNameError(
                    f"{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}."
                )
        for name, (low, high) in _RANGES.items():
            _check_number(name, getattr(self, name), low, high, whole=name in _WHOLE)
        object.__setattr__(self, "content_layers", check_weighted(self.content_layers))
        object.__setattr__(self, "style_layers", check_weighted(self.style_layers))
        if not self.style_layers or not self.content_layers:
            raise InputError("At least one content layer and one style layer are needed.")
        if not self.levels:
            raise InputError("levels must name at least one level.")
        for share, calls in self.levels:
            _check_number("the share of a level", share, 0.01, 1)
            _check_number("the closure calls of a level", calls, 1, 1_000_000, whole=True)
        shares = [share for share, _ in self.levels]
        if shares != sorted(shares) or shares[-1] != 1:
            raise InputError(f"levels must grow up to a share of 1, got {shares}.")

    @property
    def style_weight(self) -> float:
        """Weight of the style cost as it is used: beta times 30 to the power of 2 strength - 1.

        The logarithm of beta over alpha is what the eye counts in: equal steps of the slider
        are equal factors, from beta / 30 to 30 beta.
        """
        return float(self.beta * 30 ** (2 * self.strength - 1))

    @property
    def thickness(self) -> float:
        """How thick strokes and smoothness are: 1 from strength 0.5 on, 0 at 0."""
        return min(1.0, 2 * self.strength)

    @property
    def stroke_guidance(self) -> float:
        """Guidance as it is used: less where the style is to be stronger than at strength 0.5."""
        return min(1.0, max(0.0, self.guidance + 0.8 * (0.5 - self.strength)))

    @property
    def calls(self) -> int:
        """Closure calls over all levels."""
        return sum(calls for _, calls in self.levels)

    def with_calls(self, total: int) -> StyleOptions:
        """Return options whose levels share `total` closure calls in the same proportions."""
        _check_number("steps", total, 1, 1_000_000, whole=True)
        levels: list[tuple[float, int]] = []
        left, old = total, self.calls
        for i, (share, calls) in enumerate(self.levels):
            last = i == len(self.levels) - 1
            mine = left if last else min(left - 1, round(total * calls / old))
            if mine > 0:
                levels.append((share, mine))
                left -= mine
        return replace(self, levels=tuple(levels))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_json` makes equal options."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> StyleOptions:
        """Read options from what `to_json` gave.

        Raises:
            InputError: If fields are unknown or have values that are not allowed.
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(document, dict) or set(document) - known:
            extra = sorted(set(document) - known) if isinstance(document, dict) else document
            raise InputError(f"The options have fields that this version does not know: {extra}.")
        values = dict(document)
        try:
            for name in ("levels", "content_layers", "style_layers"):
                if name in values:
                    values[name] = tuple((a, b) for a, b in values[name])
            return cls(**values)
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"The options cannot be read: {error}.") from error


def _check_number(
    name: str, value: object, low: float, high: float, *, whole: bool = False
) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
        kind = "whole" if whole else "finite"
        raise InputError(f"{name} must be a {kind} number, got {value!r}.")
    if not low <= value <= high:
        raise InputError(f"{name} must be from {low:g} to {high:g}, got {value:g}.")


_STROKES = StyleOptions(
    preset="strokes",
    levels=((1.0, 10),),
    style_layers=(
        ("relu1_1", 0.2),
        ("relu2_1", 0.2),
        ("relu1_1/2", 0.2),
        ("relu2_1/2", 0.2),
        ("relu3_1/2", 0.1),
        ("relu2_1/4", 0.2),
        ("relu3_1/4", 0.1),
    ),
    alpha=0.2,
    smoothness=40.0,
    style_scale=1.0,
    start="strokes",
    brush=1.5,
    pooling="average",
)

PRESETS: dict[str, StyleOptions] = {
    "default": StyleOptions(),
    # The notes' own, to the letter: one size, torch's L-BFGS, noise in the start. Their loop counts
    # closure calls inside an optimiser's step of 20 and ends after the step in which 180 is
    # passed: 200 calls.
    "notes": StyleOptions(
        preset="notes",
        encoder="auto",
        size=300,
        side="shorter",
        resampling="torchvision",
        levels=((1.0, 200),),
        content_layers=(("conv2_2", 1.0),),  # index 7
        style_layers=(  # indices 2, 7, 16, 25, 34
            ("conv1_2", 2.0),
            ("conv2_2", 3.0),
            ("conv3_4", 1.0),
            ("conv4_4", 1.0),
            ("conv5_4", 2.0),
        ),
        alpha=1.0,
        beta=1e6,
        smoothness=0.0,
        content_kind="mean",
        style_kind="chw",
        style_scale=1.0,
        underpainting="content",
        start="noise",
        noise=0.6,
        optimiser="notes_lbfgs",
        history=100,
        brush=0.0,
        rate=1.0,
        pooling="max",
        border="zero",
        precision="fp32",
        report_every=20,
    ),
    # Three octaves of the picture at every size, means instead of maxima: more of the style's
    # large forms, and now and then a block of it.
    "classic": StyleOptions(
        preset="classic",
        style_layers=(
            ("relu1_1", 0.2),
            ("relu2_1", 0.2),
            ("relu3_1", 0.2),
            ("relu2_1/2", 0.2),
            ("relu3_1/2", 0.2),
            ("relu4_1/2", 0.1),
            ("relu2_1/4", 0.2),
            ("relu3_1/4", 0.2),
            ("relu4_1/4", 0.1),
        ),
        pooling="average",
    ),
    "fine": StyleOptions(
        preset="fine", size=1024, levels=((0.125, 40), (0.25, 30), (0.5, 25), (1.0, 12))
    ),
    # Laid in with the painting's own strokes, then worked over: freer, and less is kept.
    "strokes": _STROKES,
    # Nothing but the layout is kept of the content, and the brush is broad.
    "abstract": replace(
        _STROKES,
        preset="abstract",
        content_layers=(("relu4_1/2", 1.0),),
        alpha=0.1,
        style_scale=1.6,
        guidance=0.25,
    ),
    # The sitter's features are held at three depths.
    "portrait": StyleOptions(
        preset="portrait",
        content_layers=(("relu2_1", 0.5), ("relu3_1", 1.0), ("relu3_1/2", 0.5)),
        alpha=0.6,
    ),
}


def preset(name: str = "default", **changes: Any) -> StyleOptions:
    """Return the options of a preset, with changes.

    Args:
        name: `default`, `notes`, `classic`, `fine`, `strokes`, `abstract` or `portrait`.
        changes: Fields of `StyleOptions`.

    Raises:
        UnknownNameError: If there is no such preset, or a word is unknown.
        InputError: If a field does not exist or is out of range.
    """
    if name not in PRESETS:
        raise UnknownNameError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}.")
    unknown = sorted(set(changes) - {f.name for f in fields(StyleOptions)})
    if unknown:
        raise InputError(f"There is no style option {', '.join(unknown)}.")
    return replace(PRESETS[name], **changes)
