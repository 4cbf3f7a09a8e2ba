"""The section of docs/benchmarks.md on hard photos."""

from __future__ import annotations

from typing import Any

TITLES = {
    "today": "facenet, commit cd1cf52",
    "default": "default",
    "duo": "duo",
}


def hard(results: dict[str, Any]) -> str:
    """Return the tables of `bench/hard.py`; columns that were not run are left out."""
    parts = []
    if columns := _in_order(results.get("columns", {})):
        parts += [_words(columns), _known(columns), _strangers(columns), _pairs(columns)]
    if columns := _in_order(results.get("calibration", {})):
        parts.append("### How honest quality and probability are\n")
        parts += [_honesty(columns), _discard(columns), _sharp(columns)]
    return "\n".join(parts)


def _in_order(columns: dict[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in TITLES if name in columns}


def _percent(share: float | None, digits: int = 2) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def _heads(columns: dict[str, Any]) -> list[str]:
    return [TITLES[name] for name in columns]


def _words(columns: dict[str, Any]) -> str:
    people = next(iter(columns.values()))["people"]
    known, strangers = people["known"], people["strangers"]
    runs = ". ".join(
        f"{TITLES[name]}: `{column['embedder']}`, run at commit {column['machine']['commit']} on "
        f"{column['machine']['date'][:10]}"
        for name, column in columns.items()
    )
    missing = sum(len(column["not_enrolled"]) for column in columns.values())
    refused = f" Clean photos that could not be enrolled: {missing}." if missing else ""
    return (
        "LFW is sharp, frontal and upright; this is not. People of LFW on whom nothing was fitted "
        "(none of them is in View 1; some are in View 2), chosen once by seed: "
        f"{known} are enrolled from one clean photo each and asked about by another one, which is "
        f"spoiled (`bench/spoil.py`); {strangers} strangers' photos are spoiled alike. Galleries: "
        f"the {known}, and those with {people['others']} others. A face counts as found where the "
        "clean photo's face went to. Thresholds and settings are those that ship. `profile` are "
        "not spoiled: the people whose most turned photo is turned furthest, by the landmarks "
        "(the nose lies 0.29 eye distances or more beside the middle of the eyes; few heads of "
        "LFW are in full profile), enrolled by their straightest photo.\n\n"
        f"{runs}.{refused}\n"
    )


def _each(columns: dict[str, Any], write: Any) -> list[list[str]]:
    rows = list(dict.fromkeys(row for column in columns.values() for row in column["rows"]))
    return [
        [
            row,
            *(
                write(column["rows"][row]) if row in column["rows"] else "-"
                for column in columns.values()
            ),
        ]
        for row in rows
    ]


def _known(columns: dict[str, Any]) -> str:
    people = next(iter(columns.values()))["people"]
    known, large = people["known"], people["known"] + people["others"]

    def cell(figures: dict[str, Any]) -> str:
        own = figures["known"]
        words = f"{own['found']}: **{own['small']['right']}** / {own['large']['right']}"
        if any(own[size]["wrong"] for size in ("small", "large")):
            words += f", wrong {own['small']['wrong']} / {own['large']['wrong']}"
        unclear = own["small"]["unclear"]
        return f"{words}, unclear {unclear}" if unclear else words

    return (
        f"Of {known} people, how many were found, then how many recognised in a gallery of "
        f"{known} / of {large}; `wrong` is the name of somebody else; `unclear` in the small "
        "gallery.\n\n" + _table(["spoiled", *_heads(columns)], _each(columns, cell))
    )


def _strangers(columns: dict[str, Any]) -> str:
    people = next(iter(columns.values()))["people"]

    def cell(figures: dict[str, Any]) -> str:
        own = figures["strangers"]
        words = f"{own['found']}: **{own['small']['wrong']}** / {own['large']['wrong']}"
        poor = own["too_poor"]
        return f"{words}, too poor {poor}" if poor else words

    return (
        f"Of {people['strangers']} strangers, how many were found, then how many were given a "
        "name in the two galleries (about 1 in 100 is promised); `too poor` are those whom "
        "enrolment would refuse.\n\n" + _table(["spoiled", *_heads(columns)], _each(columns, cell))
    )


def _pairs(columns: dict[str, Any]) -> str:
    def cell(figures: dict[str, Any]) -> str:
        own = figures["pairs"]
        if not own["judged"]:
            return "none found"
        words = f"**{_percent(own['same'] / own['judged'])}** of {own['judged']:,}"
        unclear = own["unclear"] / own["judged"]
        return f"{words}, unclear {_percent(unclear, 1)}" if unclear else words

    return (
        "All pairs of those strangers, both spoiled alike: the share that `compare` judges to be "
        "the same person (about 1 % is promised).\n\n"
        + _table(["both spoiled", *_heads(columns)], _each(columns, cell))
    )


def _honesty(columns: dict[str, Any]) -> str:
    some = next(iter(columns.values()))
    rows = []
    for name, column in columns.items():
        parts = [("all", column["all"])]
        labels = ("worst third", "middle third", "best third")
        for label, third in zip(labels, column["terciles"], strict=False):
            low, high = third["quality"]
            parts.append((f"{label}, quality {low:.2f} to {high:.2f}", third))
        rows += [
            [
                TITLES[name],
                label,
                f"{part['pairs']:,}",
                f"**{part['calibration_error']:.4f}**",
                f"{part['brier']:.4f}",
                _percent(part["false_matches"]),
                _percent(part["false_non_matches"]),
                _percent(part["unclear"]),
            ]
            for label, part in parts
        ]
    head = ["", "pairs by their worse face", "pairs", "calibration error", "Brier"]
    head += ["false matches", "false non-matches", "unclear"]
    return (
        f"{some['photos']:,} photos of {some['people']} people of LFW on whom nothing was fitted, "
        "and their spoilings, of a kind and strength drawn by seed. A third of the pairs are of "
        "two sharp photos, a third of a sharp and a spoiled one, a third of two spoiled alike; "
        "half are of one person, half of two people spoiled in the same two ways. Calibration "
        "error: ten bins of equal width. The error rates count the distance against the "
        "threshold, unclear or not.\n\n" + _table(head, rows)
    )


def _discard(columns: dict[str, Any]) -> str:
    columns = {name: column for name, column in columns.items() if column["discard"]}
    if not columns:
        return ""
    shares = [row["discarded"] for row in next(iter(columns.values()))["discard"]]
    rows = [
        [
            TITLES[name],
            *(
                f"{_percent(row['errors'])} ({_percent(row['false_matches'])}, "
                f"{_percent(row['false_non_matches'])})"
                for row in column["discard"]
            ),
        ]
        for name, column in columns.items()
    ]
    aucs = "; ".join(
        f"{TITLES[name]} {_two(column['auc']['all'])} of all pairs, "
        f"{_two(column['auc']['of_one_person'])} of one person's, "
        f"{_two(column['auc']['of_two_people'])} of two people's"
        for name, column in columns.items()
    )
    head = ["pairs of lowest quality left out", *(f"{100 * share:g} %" for share in shares)]
    return (
        "Errors that remain when the pairs of lowest quality are left out (false matches, false "
        "non-matches):\n\n"
        + _table(head, rows)
        + f"\nHow well low quality predicts an error (AUC; 0.5 is not at all): {aucs}.\n"
    )


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _sharp(columns: dict[str, Any]) -> str:
    columns = {name: column for name, column in columns.items() if column["sharp"]}
    if not columns:
        return ""
    rows = []
    for name, column in columns.items():
        sharp = column["sharp"]
        rows.append([TITLES[name]])
        for who in ("all", "not_fitted"):
            part = sharp[who]
            share = part["unclear"] / part["photos"]
            rows[-1].append(f"**{_percent(share)}** ({part['unclear']} of {part['photos']:,})")
        most = sorted(sharp["reasons"].items(), key=lambda item: -item[1])
        rows[-1].append("; ".join(f"{reason}: {count}" for reason, count in most[:4]) or "-")
    head = ["", "all", "people on whom nothing was fitted", "most frequent reasons"]
    return "Photos of LFW View 2 as they are whose face is called too poor to judge:\n\n" + _table(
        head, rows
    )
