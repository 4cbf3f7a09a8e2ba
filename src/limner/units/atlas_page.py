"""The atlas's pages: their HTML, style and script. No server, no other file from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any


def page(title: str, body: str) -> str:
    """Return a whole HTML document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        '<link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="atlas.css"></head><body>{body}'
        '<script src="atlas.js"></script></body></html>\n'
    )


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Return figures with what they are, as a description list."""
    cells = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in rows
    )
    return f'<dl class="facts">{cells}</dl>'


def field_drawing(side: int, size: Sequence[int]) -> str:
    """Return a square with what a unit sees in it, to scale."""
    height, width = (min(v, side) for v in (size[0], size[-1]))
    scale = 84 / side
    h, w = max(1.5, height * scale), max(1.5, width * scale)
    return (
        '<svg width="86" height="86" viewBox="-1 -1 86 86" role="img" '
        f'aria-label="A unit sees {width} of {side} pixels">'
        '<rect width="84" height="84" rx="4" fill="none" stroke="var(--line)" stroke-width="2"/>'
        f'<rect x="{42 - w / 2:.2f}" y="{42 - h / 2:.2f}" width="{w:.2f}" height="{h:.2f}" '
        'fill="var(--accent)" fill-opacity=".85" rx="1"/></svg>'
    )


def navigation(current: str, pages: Sequence[tuple[str, str]]) -> str:
    """Return links to the layers' pages."""
    links = "".join(
        f'<a href="{html.escape(target)}"{" aria-current=page" if name == current else ""}>'
        f"{html.escape(name)}</a>"
        for name, target in pages
    )
    return f'<nav aria-label="Layers">{links}</nav>'


THEME_BUTTON = '<button class="tool" id="theme" aria-label="Light or dark">◐</button>'


def index_page(title: str, lead: str, figures: str, cards: Sequence[dict[str, str]]) -> str:
    """Return the atlas's first page: one card a layer."""
    boxes = "".join(
        f'<a class="layer" href="{html.escape(c["href"])}">'
        f'<img loading="lazy" alt="" src="{html.escape(c["image"])}">'
        f"<div><b>{html.escape(c['name'])}</b><p>{html.escape(c['line'])}</p>"
        f"<p>{html.escape(c['more'])}</p></div></a>"
        for c in cards
    )
    body = (
        f'<div class="wrap"><div class="top"><div><p class="crumb">Atlas of units</p>'
        f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p></div>{figures}'
        f'{THEME_BUTTON}</div><div class="layers">{boxes}</div></div>'
    )
    return page(f"{title}: atlas of units", body)


def layer_page(
    *,
    network: str,
    layer: str,
    directory: str,
    figures: str,
    pages: Sequence[tuple[str, str]],
    units: Sequence[dict[str, Any]],
    data: dict[str, Any],
    sheet: str,
    sorts: Sequence[tuple[str, str]],
) -> str:
    """Return one layer's page: a card a unit, and a dialog that shows one at length."""
    cards = "".join(
        f'<button class="unit{" dead" if u["dead"] else ""}" data-n="{u["n"]}" '
        f'data-strength="{u["strength"]}" data-select="{u["select"]}" data-active="{u["active"]}">'
        f'<img loading="lazy" decoding="async" width="176" height="176" '
        f'alt="Patches of unit {u["n"]}" src="{html.escape(directory)}/{u["n"]}.webp">'
        f"<span><b>{u['n']}</b><em>{html.escape(u['label'])}</em></span></button>"
        for u in units
    )
    choices = "".join(f'<option value="{k}">{html.escape(words)}</option>' for k, words in sorts)
    packed = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
    body = (
        f'<div class="wrap"><div class="top"><div><p class="crumb"><a href="index.html">'
        f"{html.escape(network)}</a></p><h1>{html.escape(layer)}</h1></div>{figures}</div>"
        f'<div class="bar">{navigation(layer, pages)}'
        f'<label>Order <select id="sort">{choices}</select></label>'
        f'<label>Unit <input id="find" type="number" min="0" max="{len(units) - 1}"></label>'
        f'<a href="{html.escape(sheet)}">Sheet as PNG</a>{THEME_BUTTON}</div>'
        f'<div class="grid">{cards}</div>'
        "<footer>Each square holds the patches of nine photos that excite one unit most. "
        "Striped: beyond the picture.</footer></div>"
        '<dialog aria-label="A unit"><div class="sheet" id="unit"></div></dialog>'
        f'<script type="application/json" id="data">{packed}</script>'
    )
    return page(f"{layer}: {network}", body)
