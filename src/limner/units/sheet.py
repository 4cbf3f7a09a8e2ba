"""Sheets: pictures of nine units by nine patches, as the notes show a layer."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limner.errors import InputError
from limner.types import ImageArray
from limner.units.patches import cut_patches, mosaic
from limner.units.search import Excited, GramPair, check_same, similarities
from limner.units.tally import TopPatches

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    from limner.units.network import Network

PAPER, INK, FAINT = (250, 249, 246), (28, 27, 25), (122, 118, 110)
_MARGIN, _GAP, _SEAM = 40, 28, 2
TIMES = "\N{MULTIPLICATION SIGN}"
_SIDES = ((12, 60), (48, 78), (10**9, 96))  # patches of up to so many pixels are shown so large


def patch_side(top: TopPatches, layer: str) -> int:
    """Return the side at which a layer's patches are shown: small fields need few pixels."""
    size = max(top.facts[layer]["size"], default=1)
    return next(side for most, side in _SIDES if size <= most)


def choose_units(top: TopPatches, layer: str, count: int = 9) -> list[int]:
    """Return units that are strong and unlike each other.

    The first is the unit whose patches stand out most from its usual activations; each
    further one stands out and answers the photos in another way than those before it.
    """
    tally = top.layer(layer)
    kept = np.where(tally.photo >= 0, tally.value, np.nan)
    with np.errstate(all="ignore"):
        typical = np.nanmean(kept, axis=1)
    strength = (typical - tally.mean) / np.maximum(tally.deviation, 1e-6)
    strength = np.where(tally.dead | ~np.isfinite(strength), -np.inf, strength)
    order = [int(u) for u in np.argsort(-strength, kind="stable") if np.isfinite(strength[u])]
    if len(top.responders) < 5:
        return sorted(order[:count])
    alike = similarities(top, layer)
    chosen: list[int] = []
    for limit in (0.4, 0.6, 0.8, 1.1):
        for unit in order:
            if (
                len(chosen) < count
                and unit not in chosen
                and (not chosen or alike[unit, chosen].max() < limit)
            ):
                chosen.append(unit)
    return sorted(chosen)


def draw_sheet(
    top: TopPatches, layer: str, units: Sequence[int] | None = None, *, columns: int = 3
) -> ImageArray:
    """Draw the nine patches of some units, block by block.

    Args:
        top: A complete pass.
        layer: Name of a layer.
        units: Which units; None for nine that are strong and unlike each other.
        columns: Blocks a row.

    Returns:
        A picture, uint8 RGB.

    Raises:
        UnknownNameError: If there is no such layer.
        InputError: If there is no such unit, or no unit of the layer was ever active.
    """
    from PIL import Image, ImageDraw

    chosen = choose_units(top, layer) if units is None else list(units)
    for unit in chosen:
        top.check_unit(layer, unit)
    if not chosen:
        raise InputError(f"no unit of {layer} was active in any photo: there is nothing to show.")
    side = patch_side(top, layer)
    across = min(3, top.count)
    cuts = cut_patches(top, layer, chosen, side=side)
    blocks = [mosaic(tiles, across, gap=_SEAM, grey=226) for tiles in cuts]
    height, width = blocks[0].shape[:2]
    columns = min(columns, len(blocks))
    rows = -(-len(blocks) // columns)
    caption = 30
    head = 92
    canvas = Image.new(
        "RGB",
        (
            max(2 * _MARGIN + columns * (width + _GAP) - _GAP, 560),
            _MARGIN + head + rows * (height + caption + _GAP) - _GAP + _MARGIN,
        ),
        PAPER,
    )
    pen = ImageDraw.Draw(canvas)
    _title(pen, layer, _facts(top, layer))
    tally = top.layer(layer)
    for i, (unit, block) in enumerate(zip(chosen, blocks, strict=True)):
        x = _MARGIN + (i % columns) * (width + _GAP)
        y = _MARGIN + head + (i // columns) * (height + caption + _GAP)
        pen.text((x, y), f"unit {unit}", font=font(15, bold=True), fill=INK)
        pen.text(
            (x + width, y + 2),
            f"{tally.value[unit, 0]:.4g}",
            font=font(13),
            fill=FAINT,
            anchor="ra",
        )
        canvas.paste(Image.fromarray(block), (x, y + caption - 6))
    return np.asarray(canvas)


def _title(pen: ImageDraw, title: str, line: str) -> None:
    pen.text((_MARGIN, _MARGIN - 8), title, font=font(30, bold=True), fill=INK)
    pen.text((_MARGIN, _MARGIN + 36), line, font=font(14), fill=FAINT)


def _facts(top: TopPatches, layer: str) -> str:
    size = f" {TIMES} ".join(map(str, dict.fromkeys(top.facts[layer]["size"]))) or "all"
    units = f"{top.layer(layer).units} units see {size} px"
    return f"{top.network}  ·  {units}  ·  {len(top.photos)} photos"


def draw_gram(
    painting: ImageArray, pairs: Sequence[GramPair], top: TopPatches, *, side: int = 72
) -> ImageArray:
    """Draw pairs of channels: where the painting has both, and the patches of each.

    Args:
        painting: Shape (H, W, 3), uint8 RGB.
        pairs: Of one layer.
        top: A complete pass in which the layer took part.
        side: Of a patch, pixels.

    Raises:
        InputError: If there is no pair.
    """
    from PIL import Image, ImageDraw

    from limner.units.photos import cut

    if not pairs:
        raise InputError("no two channels of this layer are active together in the painting.")
    layer = pairs[0].layer
    block = 3 * side + 2 * _SEAM
    wide = 2 * _MARGIN + 3 * block + 2 * 64
    row = block + 46
    canvas = Image.new("RGB", (wide, _MARGIN + 86 + row * len(pairs) + _MARGIN // 2), PAPER)
    pen = ImageDraw.Draw(canvas)
    _title(
        pen, f"{layer}: what goes together", f"In the painting  =  one channel  {TIMES}  another"
    )
    for i, pair in enumerate(pairs):
        y = _MARGIN + 86 + i * row
        x0, y0, x1, y1 = pair.box_xyxy
        grow = (x1 - x0) * 0.5
        box = (x0 - grow, y0 - grow, x1 + grow, y1 + grow)
        spot = cut(painting, box, block, block)
        canvas.paste(Image.fromarray(spot), (_MARGIN, y))
        quarter = block // 4
        frame = (_MARGIN + quarter, y + quarter, _MARGIN + block - quarter, y + block - quarter)
        pen.rectangle(frame, outline=(255, 255, 255), width=2)
        for k, unit in enumerate(pair.units):
            x = _MARGIN + (k + 1) * (block + 64)
            tiles = cut_patches(top, layer, [unit], side=side)[0][:9]
            canvas.paste(Image.fromarray(mosaic(tiles, 3, gap=_SEAM, grey=226)), (x, y))
            sign = "=" if k == 0 else TIMES
            pen.text((x - 32, y + block // 2), sign, font=font(26), fill=FAINT, anchor="mm")
            pen.text((x, y + block + 6), f"unit {unit}", font=font(13, bold=True), fill=INK)
        times = pair.gram / pair.usual if pair.usual > 0 else 0.0
        pen.text(
            (_MARGIN, y + block + 6), f"{times:.2g} of usual energy", font=font(13), fill=FAINT
        )
    return np.asarray(canvas)


def draw_excited(
    picture: ImageArray, found: Sequence[Excited], top: TopPatches, *, side: int = 72
) -> ImageArray:
    """Draw units that a picture excites: where in it, beside the nine patches of each.

    Args:
        picture: Shape (H, W, 3), uint8 RGB.
        found: What `excites` returned.
        top: The pass that it was compared with.
        side: Of a patch, pixels.

    Raises:
        InputError: If no unit is given.
    """
    from PIL import Image, ImageDraw

    from limner.units.photos import cut

    if not found:
        raise InputError("this picture excites no unit: there is nothing to draw.")
    block = 3 * side + 2 * _SEAM
    cell = 2 * block + 12 + 2 * _GAP
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    head, caption = 92, 30
    size = (
        2 * _MARGIN + columns * cell - 2 * _GAP,
        _MARGIN + head + rows * (block + caption + _GAP) - _GAP + _MARGIN,
    )
    canvas = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(canvas)
    _title(pen, "What this picture excites", "Left: where in it. Right: the unit's nine patches.")
    for i, entry in enumerate(found):
        x = _MARGIN + (i % columns) * cell
        y = _MARGIN + head + (i // columns) * (block + caption + _GAP)
        x0, y0, x1, y1 = entry.box_xyxy
        grow = max(x1 - x0, 0.12 * min(picture.shape[:2])) * 0.5
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        half = (x1 - x0) / 2 + grow
        spot = cut(picture, (cx - half, cy - half, cx + half, cy + half), block, block)
        tiles = cut_patches(top, entry.layer, [entry.unit], side=side)[0][:9]
        lower = y + caption - 6
        canvas.paste(Image.fromarray(spot), (x, lower))
        nine = Image.fromarray(mosaic(tiles, 3, gap=_SEAM, grey=226))
        canvas.paste(nine, (x + block + 12, lower))
        inner = (x1 - x0) / (2 * half) * block / 2
        mx, my = x + block / 2, lower + block / 2
        frame = (mx - inner, my - inner, mx + inner, my + inner)
        for wide, colour in ((3, INK), (1, PAPER)):
            pen.rectangle(frame, outline=colour, width=wide)
        pen.text((x, y), f"{entry.layer} unit {entry.unit}", font=font(15, bold=True), fill=INK)
        words = f"stronger than in {100 * entry.above:.0f} % of photos"
        pen.text((x + 2 * block + 12, y + 2), words, font=font(13), fill=FAINT, anchor="ra")
    return np.asarray(canvas)


def draw_why(top: TopPatches, net: Network, layer: str, unit: int, *, side: int = 96) -> ImageArray:
    """Draw a unit's patches with what in them excites it.

    Returns:
        Four rows: the patches, guided backpropagation, the deconvnet, the gradient; methods
        that the network's layers do not allow are left out.

    Raises:
        EmbedderMismatch: If another network made `top`.
        InputError: If there is no such unit.
    """
    from limner.units.explain import draw_signal, explain
    from limner.units.photos import cut

    check_same(net, top)
    tally = top.check_unit(layer, unit)
    kept = top.kept(layer, unit)
    pixels = [top.photo_pixels(int(p)) for p in tally.photo[unit, :kept]]
    places = [tuple(int(v) for v in place) for place in tally.place[unit, :kept]]
    boxes = [tuple(float(v) for v in box) for box in tally.box[unit, :kept]]
    rows = [[cut(p, b, side, side) for p, b in zip(pixels, boxes, strict=True)]]  # type: ignore[arg-type]
    for method in ("guided", "deconvnet", "gradient"):
        try:
            signals, _ = explain(net, pixels, layer, unit, places, method=method)
        except InputError:
            if method == "gradient":
                raise
            continue
        row = []
        for signal, box in zip(signals, boxes, strict=True):
            row.append(cut(draw_signal(signal), box, side, side))  # type: ignore[arg-type]
        rows.append(row)
    return mosaic(np.stack([tile for row in rows for tile in row]), kept)


def font(size: int, *, bold: bool = False) -> Any:
    """Return DejaVu Sans, which matplotlib ships, without importing matplotlib."""
    from PIL import ImageFont

    found = importlib.util.find_spec("matplotlib")
    root = Path(found.origin).parent if found and found.origin else Path()
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(root / "mpl-data" / "fonts" / "ttf" / name), size)
