"""The tables of the optimiser's painting, for `page.py`."""

from __future__ import annotations

from typing import Any


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _race(part: dict[str, Any]) -> str:
    rows = []
    for pair, row in part.items():
        plain, ours = row["plain"], row["limner"]
        share = row["share_of_the_cpu_time"]
        rows.append(
            [
                pair,
                str(min(row["size_hw"])),
                f"{plain['best']:.2f}",
                f"{plain['seconds']:.0f} ({plain['cpu_seconds']:.0f})",
                f"{ours['seconds']:.0f} ({ours['cpu_seconds']:.0f})",
                str(ours["calls"]),
                "not reached"
                if share is None
                else f"{row['share_of_the_time']:.2f} (**{share:.2f}**)",
            ]
        )
    head = ["pair", "shorter side", "bar", "plain s", "limner s", "limner's calls", "share"]
    return (
        "### To the objective of the notes' plain loop\n\n"
        "Time until the notes' objective is as low as their loop has it after its 180 calls; in "
        "brackets the processor's time of the process, which other work on the machine does not "
        "lengthen. Both minimise the same objective with the same encoder; limner starts from the "
        "content in the style's colours, with its own L-BFGS, and leaves out layers that add less "
        "than a hundredth (`--skim 0.01`) until the notes' own formula, in full, says that it is "
        "there. The aim is a share of 0.20 at 300 px.\n\n" + _table(head, rows)
    )


def _default(part: dict[str, Any]) -> str:
    rows = [
        [
            pair,
            f"{row['size_hw'][1]} x {row['size_hw'][0]}",
            f"{row['preview']['seconds']:.1f} ({row['preview']['cpu_seconds']:.1f})",
            f"{row['seconds']:.0f} ({row['cpu_seconds']:.0f})",
        ]
        for pair, row in part.items()
    ]
    return "### The preset `default`\n\n" + _table(["pair", "px", "preview s", "painting s"], rows)


def _closure(part: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{row['seconds']:.2f}",
            f"{row['matrix_gflop_per_second']:.0f}",
            f"{row['floor_seconds']:.2f}",
            f"{100 * row['share_of_floor']:.0f} %",
        ]
        for name, row in part.items()
        if isinstance(row, dict)
    ]
    words = "" if isinstance(part.get("bf16"), dict) else f"bf16: {part.get('bf16')}. "
    return (
        f"### One closure call\n\nTo relu5_1 at 300 x 400 px, {part['gflop']:.0f} GFLOP; the floor "
        f"is what a large matrix product of this machine would take for them. {words}\n\n"
        + _table(["", "seconds", "GFLOP/s of the machine", "floor s", "share of the floor"], rows)
    )


def style_portrait(results: dict[str, Any]) -> str:
    """Return the table of `bench/style_portrait.py`."""
    rows = [
        [
            row["preset"],
            row["portrait"].replace("_", " "),
            row["style"][3:].removesuffix(".jpg").replace("_", " "),
            row["verdict"],
            "" if row["distance"] is None else f"{row['distance']:.2f}",
        ]
        for row in results["rows"]
    ]
    return (
        f"Painted at {results['size_px']} px, then photo and painting compared by `facenet` at its "
        "shipped threshold.\n\n"
        + _table(["preset", "portrait", "in the manner of", "verdict", "distance"], rows)
    )


def style(results: dict[str, Any]) -> str:
    """Return the tables of `bench/style.py`."""
    out = [f"Encoder {results['encoder']}.\n"]
    for key, write in (("race", _race), ("default", _default), ("closure", _closure)):
        if key in results:
            out.append(write(results[key]))
    if "tiles" in results:
        part = results["tiles"]
        out.append(
            "### Tiles\n\nGradient in tiles of 128 px against the gradient in one piece at 360 x "
            f"480: relative difference {part['gradient_relative_difference']:.1e}; cost "
            f"{part['cost_relative_difference']:.1e}.\n"
        )
    if "large" in results:
        part = results["large"]
        out.append(
            f"4,000 x 3,000 px: peak memory of the process {part['peak_gib']:.2f} GiB over "
            f"{part['calls']} closure calls.\n"
        )
    if "bf16" in results:
        part = results["bf16"]
        out.append(f"Final objective in bf16 over that in fp32: {part['ratio']:.3f}.\n")
    if "strength" in results:
        part = results["strength"]
        rows = [
            [f"{value:g}", f"{a:.3f}", f"{b:.3f}"]
            for value, a, b in zip(
                (0, 0.25, 0.5, 0.75, 1),
                part["from_content"],
                part["from_the_one_before"],
                strict=True,
            )
        ]
        out.append(
            f"### Strength\n\nDistance of unit-length activations, at {part['size']} px. Equal "
            "steps of the slider change the picture about equally (last column); the distance "
            "from the content itself nears that of an unrelated picture.\n\n"
            + _table(["strength", "from the content", "from the one before"], rows)
        )
    return "\n".join(out)
