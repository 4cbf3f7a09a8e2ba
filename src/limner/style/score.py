"""How good is a stylized picture? Distances to the content and to the style, in figures.

All are small where things are alike, 0 for a picture and itself, and deterministic: pictures
are brought to a fixed size first (shorter side `SIZE_PX`), directions come from a fixed seed.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric,
CVPR 2018 (LPIPS); Chung, Hyun and Heo, Style Injection in Diffusion, CVPR 2024 (CFSD); Gatys,
Ecker and Bethge, CVPR 2016 (Gram); Heitz et al., A Sliced Wasserstein Loss for Neural Texture
Synthesis, CVPR 2021. Differs: `content_perceptual` has no learned weights, every channel
counts alike; `content_structure` compares features averaged over a grid of 32 x 32 cells, as
cosines, and is the mean over cells; the Wasserstein distance is in units of the style's own
deviation. The figures depend on the encoder, so compare only those of one encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import InputError, ShapeError, UnknownNameError
from limner.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Features = Callable[["Tensor"], dict[str, "Tensor"]]

SIZE_PX = 384
CONTENT_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
STYLE_TAPS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
STRUCTURE_TAP = "relu3_3"
_CELLS = 32
_DIRECTIONS = 32
_QUANTILES = 512
_SEED = 20260101
_LONGEST = 4
_TINY = 1e-10


@dataclass(frozen=True)
class Score:
    """The figures of one stylized picture; all of them are distances, 0 means alike.

    Attributes:
        content_perceptual: To the content: mean squared difference of unit-length feature
            vectors, averaged over the taps; from 0 to 2.
        content_structure: To the content: how much it changed which places resemble which
            (CFSD), in nats per cell.
        style_gram: To the style: squared relative error of the Gram matrix, mean over taps.
        style_wasserstein: To the style: sliced Wasserstein-2 distance of the feature
            distributions, in deviations of the style's features, mean over taps.
        colour: To the style: sliced Wasserstein-1 distance of colours in CIELAB units.
        size_px: Shorter side at which all were computed.
    """

    content_perceptual: float
    content_structure: float
    style_gram: float
    style_wasserstein: float
    colour: float
    size_px: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def score(
    content: FloatArray,
    style: FloatArray,
    result: FloatArray,
    features: Features,
    *,
    content_taps: Sequence[str] = CONTENT_TAPS,
    style_taps: Sequence[str] = STYLE_TAPS,
    structure_tap: str = STRUCTURE_TAP,
) -> Score:
    """Compute all figures of a stylized picture.

    Args:
        content: Shape (H, W, 3), RGB in [0, 1].
        style: Shape (H, W, 3), any size.
        result: Shape (H, W, 3), of the content's proportions.
        features: Gives the activations, name -> (1, C, h, w), of a picture (1, 3, H, W) in
            [0, 1]; for instance an encoder's. Take taps that were not optimised: a method
            should not be judged by its own goal.
        content_taps: Where `content_perceptual` looks.
        style_taps: Where `style_gram` and `style_wasserstein` look.
        structure_tap: Where `content_structure` looks.

    Raises:
        ShapeError: If a picture has another shape.
        InputError: If the proportions of content and result differ by more than 3 %.
        UnknownNameError: If `features` lacks a tap.
    """
    import torch

    for name, picture in (("content", content), ("style", style), ("result", result)):
        if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise ShapeError(f"{name} must have shape (H, W, 3), got {picture.shape}.")
    shape = [p.shape[0] / p.shape[1] for p in (content, result)]
    if abs(shape[0] / shape[1] - 1) > 0.03:
        raise InputError(
            f"The result ({result.shape[1]} x {result.shape[0]}) does not have the proportions "
            f"of the content ({content.shape[1]} x {content.shape[0]})."
        )
    size = _size(content)
    same = [_sized(content, size), _sized(style, _size(style)), _sized(result, size)]
    wanted = {*content_taps, *style_taps, structure_tap}
    with torch.inference_mode():
        of_content, of_style, of_result = (_features(features, p, wanted) for p in same)
        return Score(
            content_perceptual=_mean(
                _perceptual(of_content[t], of_result[t]) for t in content_taps
            ),
            content_structure=structure_distance(
                of_content[structure_tap], of_result[structure_tap]
            ),
            style_gram=_mean(gram_distance(of_result[t], of_style[t]) for t in style_taps),
            style_wasserstein=_mean(
                sliced_wasserstein(of_result[t], of_style[t]) for t in style_taps
            ),
            colour=colour_distance(same[2], same[1]),
            size_px=SIZE_PX,
        )


def _features(features: Features, picture: FloatArray, wanted: set[str]) -> dict[str, Tensor]:
    import torch

    found = features(torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()))
    lacking = sorted(wanted - set(found))
    if lacking:
        raise UnknownNameError(
            f"The encoder gave no tap {', '.join(lacking)}; it gave {', '.join(found)}."
        )
    return {name: found[name].float() for name in wanted}


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _size(picture: FloatArray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    factor = SIZE_PX / min(height, width)
    tall, wide = (min(_LONGEST * SIZE_PX, round(n * factor / 16) * 16) for n in (height, width))
    return tall, wide


def _sized(picture: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    import cv2

    shrinks = picture.shape[0] > size_hw[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    sized = cv2.resize(np.asarray(picture, np.float32), size_hw[::-1], interpolation=way)
    return np.clip(np.asarray(sized, np.float32), 0, 1)


def _perceptual(a: Tensor, b: Tensor) -> float:
    unit = [x / (x.square().sum(1, keepdim=True) + _TINY).sqrt() for x in (a, b)]
    return float((unit[0] - unit[1]).square().sum(1).mean())


def structure_distance(content: Tensor, result: Tensor) -> float:
    """Return the content feature structural distance (CFSD).

    Args:
        content: Shape (1, C, h, w).
        result: Same shape.

    Returns:
        The divergence of Kullback and Leibler between the rows of the softmaxed
        self-similarities of content and result, in nats, mean over the rows; 0 where alike.
    """
    import torch

    logs = [torch.log_softmax(_self_similarity(x), dim=1) for x in (content, result)]
    return max(0.0, float((logs[0].exp() * (logs[0] - logs[1])).sum(1).mean()))


def _self_similarity(features: Tensor) -> Tensor:
    from torch.nn import functional as F

    cells = F.adaptive_avg_pool2d(
        features, (min(_CELLS, features.shape[2]), min(_CELLS, features.shape[3]))
    )
    rows = F.normalize(cells[0].flatten(1).T.double(), dim=1)
    # Times the root of the width, as attention is scaled: cosines alone give flat softmaxes.
    similar: Tensor = rows @ rows.T * features.shape[1] ** 0.5
    return similar


def gram_distance(result: Tensor, style: Tensor) -> float:
    """Return ||G - G_s||^2 / ||G_s||^2, where G = F F^T / (h w).

    Args:
        result: Shape (1, C, h, w).
        style: Shape (1, C, h', w').
    """
    grams = [x[0].flatten(1).double() for x in (result, style)]
    found, wanted = (f @ f.T / f.shape[1] for f in grams)
    return float((found - wanted).square().sum() / (wanted.square().sum() + _TINY))


def sliced_wasserstein(result: Tensor, style: Tensor) -> float:
    """Return the sliced Wasserstein-2 distance between two distributions of feature vectors.

    Args:
        result: Shape (1, C, h, w).
        style: Shape (1, C, h', w').

    Returns:
        Root mean square over 32 fixed directions, in units of the root mean variance of the
        style's features.
    """
    import torch

    flat = [x[0].flatten(1) for x in (result, style)]
    random = torch.Generator().manual_seed(_SEED)
    ways = torch.randn(_DIRECTIONS, flat[0].shape[0], generator=random).to(flat[0].dtype)
    ways /= ways.norm(dim=1, keepdim=True)
    gaps = _quantiles(ways @ flat[0]) - _quantiles(ways @ flat[1])
    spread = (ways @ flat[1]).var(dim=1, correction=0).mean()
    return float((gaps.square().mean() / (spread + _TINY)).sqrt())


def _quantiles(values: Tensor) -> Tensor:
    """Return the middles of `_QUANTILES` equal shares of each row, interpolated."""
    import torch

    ordered = values.sort(dim=1).values
    count = ordered.shape[1]
    at = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES * count - 0.5
    at = at.clamp(0, count - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=count - 1)
    return torch.lerp(
        ordered[:, low], ordered[:, high], (at - low).to(values.dtype).expand(len(values), -1)
    )


def colour_distance(result: FloatArray, style: FloatArray) -> float:
    """Return how far the colours of two pictures are apart, wherever they are.

    Args:
        result: Shape (H, W, 3), RGB in [0, 1].
        style: Shape (h, w, 3), RGB in [0, 1].

    Returns:
        Sliced Wasserstein-1 distance in CIELAB, mean over 32 fixed directions and scaled so
        that a shift of every colour by d units gives about d.
    """
    import cv2
    import torch

    labs = [
        torch.from_numpy(cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2Lab))
        for p in (result, style)
    ]
    flat = [x.reshape(-1, 3).T for x in labs]
    # Directions spread evenly over the sphere (a Fibonacci lattice).
    i = torch.arange(_DIRECTIONS, dtype=torch.float64) + 0.5
    height, turn = 1 - 2 * i / _DIRECTIONS, torch.pi * (1 + 5**0.5) * i
    flatness = (1 - height.square()).sqrt()
    ways = torch.stack([flatness * turn.cos(), flatness * turn.sin(), height], dim=1).float()
    gaps = _quantiles(ways @ flat[0]) - _quantiles(ways @ flat[1])
    return float(2 * gaps.abs().mean())  # the mean of |cos| over the sphere is 1/2
