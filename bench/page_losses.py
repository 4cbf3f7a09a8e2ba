"""The page's section on losses, miners and pair heads."""

from __future__ import annotations

from typing import Any


def losses(results: dict[str, Any]) -> str:
    """Return the tables of `bench/losses.py`."""
    from page import table

    parts = []
    if "exact" in results:
        worst = max(results["exact"].values())
        rows = [[name, f"{value:.1e}"] for name, value in results["exact"].items()]
        parts.append(
            "### Losses against plain loops\n\nLargest difference over 20 batches of 20 "
            f"embeddings, float64; {worst:.1e} over all of them.\n\n"
            + table(["loss", "difference"], rows)
        )
    if "memory" in results:
        parts.append(_memory(results["memory"], table))
    if "heads" in results:
        rows = [
            [
                name,
                kind,
                f"{100 * row['accuracy']:.2f} %",
                f"{row['log_loss']:.4f}",
                f"**{row['ece']:.4f}**",
            ]
            for name, kinds in results["heads"].items()
            for kind, row in kinds.items()
        ]
        parts.append(
            "### Pair heads on frozen embeddings\n\nThe heads that ship, fitted on LFW View 1's "
            "pairsDevTrain (1,100 + 1,100 pairs) by `bench/fit_shipped.py`, measured on "
            "pairsDevTest (500 + 500 pairs of other people). Calibration error: ten bins of equal "
            "width.\n\n"
            + table(["embedder", "head", "accuracy", "log loss", "calibration error"], rows)
        )
    return "\n".join(parts)


def _memory(part: dict[str, Any], table: Any) -> str:
    rows = []
    for name, row in part["miners"].items():
        small = name.endswith("_360")
        label = name.removesuffix("_360") + (", 360 photos" if small else "")
        label = label.replace("library", "pytorch-metric-learning's semihard")
        count = "all, none listed" if row["triplets"] is None else f"{row['triplets']:,}"
        rows.append(
            [
                label,
                count,
                f"**{row['added'] / 2**20:.0f}**",
                f"{row['peak_rss'] / 2**20:.0f}",
                f"{row['seconds']:.2f}",
            ]
        )
    return (
        f"### Miners: memory\n\nA batch of {part['photos']:,} embeddings of {part['dim']} "
        f"numbers, {part['each']} photos a person, mined in a process of its own with one thread. "
        "`all` is the triplet loss over its 123,552,000 triplets with its gradient. The library's "
        "miner keeps the cube of triplets and grows with N³; it was asked for 360 photos only, and "
        "limner's stands below it. Seconds are those of a busy machine.\n\n"
        + table(["miner", "triplets", "MiB added", "MiB in all, torch included", "s"], rows)
    )
