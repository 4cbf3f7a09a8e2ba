"""The section on units, for `page.py`."""

from __future__ import annotations

from typing import Any


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def units(results: dict[str, Any]) -> str:
    """Return the tables of the units benchmark; parts that were not run are left out."""
    out = []
    if part := results.get("top"):
        out.append(
            f"All {part['units']:,} units of VGG-16's convolutions over {part['photos']} "
            f"photographs at 224 px: {part['seconds']:.0f} s by the clock, "
            f"{part['cpu_seconds']:.0f} s of processor, peak "
            f"{part['peak_gib']:.2f} GiB; load of the machine before and after: "
            f"{part['load_before_and_after'][0]} and {part['load_before_and_after'][1]}.\n"
        )
    if part := results.get("brute"):
        out.append(
            f"Against a plain loop that keeps and sorts everything, {part['units']:,} units over "
            f"{part['photos']} photographs: {part['other_values']} units with other values, "
            f"{part['other_places_of_equal_value']} with other places of equal value, largest "
            f"relative difference {part['largest_relative_difference']:.1e}; the two together took "
            f"{part['took_cpu_s']:.0f} s of processor.\n"
        )
    if part := results.get("fields"):
        rows = [
            [name, str(row["layers"]), str(row["size_px"]), str(len(row["wrong"]))]
            for name, row in part["networks"].items()
        ]
        out.append(
            f"Receptive fields against the support of a gradient, {part['layers']} layers, at "
            "both extreme corners and, of the random networks, at another place:\n\n"
            + _table(["network", "layers", "picture, px", "places that differ"], rows)
        )
    if part := results.get("atlas"):
        paints = part["first_paint_ms"]
        out.append(
            f"The atlas of conv5_3, {part['units']} units over {part['photos']} photographs: "
            f"{part['bytes'] / 1e6:.1f} MB. First contentful paint in Chromium: median "
            f"{paints[len(paints) // 2]:.0f} ms ({paints[0]:.0f} to {paints[-1]:.0f}); all "
            "pictures of the first screen: median "
            f"{part['first_screen_images_ms'][2] / 1000:.1f} s, by the browser's own clock.\n"
        )
    return "\n".join(out)
