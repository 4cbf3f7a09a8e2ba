"""Write docs/benchmarks.md and the model cards' figures from bench/results, defeats included."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from common import REPOSITORY, RESULTS
from limner.similarity import shipped
from page_hard import hard
from page_losses import losses
from page_nd import nd
from page_service import service
from page_style import style, style_portrait
from page_style_fast import style_fast, style_trained
from page_training import training
from page_units import units

HEAD = """# Benchmarks

Every table on this page is written by `python bench/page.py` from the JSON in
`bench/results/`. Speeds are ratios of things that ran in turn, in the same minutes, on the
same files; the spread over the rounds stands beside each. Accuracies name their protocol.
Machines differ and are noisy: trust the ratios more than the seconds.
"""


def percent(value: float, digits: int = 2) -> str:
    """Return a share as per cent."""
    return f"{100 * value:.{digits}f} %"


def _processor(machine: dict[str, Any]) -> str:
    bf16 = "with" if machine["bf16"] else "without"
    return f"{machine['processor']}, {machine['threads']} threads, {bf16} bfloat16"


def machine_line(results: dict[str, Any]) -> str:
    """Say on what a run was made, and which parts are of an earlier one elsewhere."""
    machine = results["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    others: dict[str, list[str]] = {}
    for part, there in results.get("earlier", {}).items():
        if any(there[key] != machine[key] for key in ("processor", "threads", "bf16")):
            words = f"{_processor(there)}, commit {there['commit']}, {there['date'][:10]}"
            others.setdefault(words, []).append(part.replace("_", " "))
    elsewhere = "".join(
        f" Of an earlier run on {words}: {', '.join(parts)}." for words, parts in others.items()
    )
    return (
        f"Measured on {_processor(machine)}, "
        f"Python {machine['python']}, {packages}; commit {machine['commit']}, "
        f"{machine['date'][:10]}.{elsewhere}\n"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def rates(part: dict[str, Any], base: str, unit: str) -> str:
    """Return a table of rates and their ratio to a base."""
    rows = []
    for name, rate in part["rates"].items():
        ratio = part.get("ratios", {}).get(name) or (part.get("ratio") if name != base else None)
        words = (
            "1"
            if name == base or ratio is None
            else f"**{ratio['median']:.1f}** ({ratio['lowest']:.1f} to {ratio['highest']:.1f})"
        )
        spread = f"{rate['lowest']:.1f} to {rate['highest']:.1f}"
        rows.append([name, f"{rate['per_second']:.1f}", spread, words])
    return table(["", unit, "lowest to highest", f"times {base}"], rows)


def accuracy(part: dict[str, Any]) -> str:
    """Return the tables of the pairs protocol and of identification."""
    pair_rows, id_rows = [], []
    for name, entry in part.items():
        pairs = entry["pairs"]
        tar = pairs["tar_at_far"]["0.001"]
        pair_rows.append(
            [
                name,
                f"{percent(pairs['accuracy'])} ± {100 * pairs['accuracy_std']:.2f}",
                percent(pairs["accuracy_at_shipped_threshold"]),
                f"{pairs['auc']:.4f}",
                percent(pairs["eer"]),
                f"{tar['value']:.3f} ({tar['low']:.3f} to {tar['high']:.3f})",
                str(pairs["wrong"]),
            ]
        )
        found = entry.get("identification")
        if found:
            rate = found["tpir_at_fpir"]
            id_rows.append(
                [
                    name,
                    f"{found['rank1']:.4f}",
                    f"{rate['0.1']['value']:.3f}",
                    f"{rate['0.01']['value']:.3f} "
                    f"({rate['0.01']['low']:.3f} to {rate['0.01']['high']:.3f})",
                    f"{rate['0.001']['value']:.3f}",
                ]
            )
    first = table(
        ["embedder", "accuracy", "at the shipped tau", "AUC", "EER", "TAR at FAR 0.1 %", "wrong"],
        pair_rows,
    )
    second = table(
        ["embedder", "rank 1", "TPIR at FPIR 10 %", "at 1 %", "at 0.1 % (few strangers)"], id_rows
    )
    return (
        "LFW View 2, ten folds: the threshold comes from nine, the accuracy from the tenth. Beside "
        "it, the accuracy of the threshold that ships, which was fitted on View 1 and never moved. "
        "Crop, centre, fusion weights and calibration were chosen on View 1. In brackets: 95 % "
        "bootstrap intervals; TAR at 0.1 % rests on three false accepts.\n\n"
        f"{first}\nOpen-set identification on all of LFW: 1,680 people enrolled from one photo "
        "each, 7,484 other photos of them as probes, 4,069 strangers.\n\n"
        f"{second}\n"
        "Run: `limner evaluate pairs --images DIR --pairs pairs.txt -o out/pairs` and "
        "`limner evaluate identification --images DIR`. The first writes `wrong.png`, a sheet of "
        "every pair that was judged wrongly.\n\n"
        "What others publish for LFW (ten folds; not run by us): dlib 99.38 %, SFace 99.40 %, "
        "facenet-pytorch 99.65 % (512-d), InsightFace buffalo_l 99.83 %. The last two are better "
        "than what ships here: bring their ONNX file with `--embedder`.\n"
    )


def recall(part: dict[str, Any]) -> str:
    """Return the table of the detector on group photographs."""
    rows = [
        [
            {"dlib": "dlib's group photographs", "wider": "WIDER FACE, boxes of 20 px or more"}[
                name
            ],
            str(entry["boxes"]),
            f"{entry['recall']:.3f}",
            f"{entry['false_below_iou_0.3']} of {entry['faces']} "
            f"({percent(entry['false_below_iou_0.3'] / entry['faces'], 1)})",
            f"{entry['unmatched_below_iou_0.5']} of {entry['faces']}",
        ]
        for name, entry in part.items()
    ]
    head = ["photographs", "true boxes", "recall at IoU 0.5", "false (IoU < 0.3)", "IoU < 0.5"]
    return table(head, rows) + (
        "\nOn the crowds of WIDER FACE most misses are heads in profile or from behind. A lower "
        "`--min-score` finds more of them, and more that are none.\n"
    )


def gallery(results: dict[str, Any]) -> str:
    """Return the tables of the gallery benchmark."""
    out = [machine_line(results)]
    titles = {
        "faces": "like real faces",
        "hard": "harder than real faces",
        "uniform": "uniformly random",
    }
    for kind, title in titles.items():
        entry = results.get(kind)
        if not entry:
            continue
        search, change = entry["search"], entry["change"]
        rows = [
            [name, f"{row['p50_ms']:.3f}", f"{row['p95_ms']:.3f}", f"{row['recall_at_1']:.4f}"]
            for name, row in [("**limner `Gallery.identify`**", search), *entry["peers"].items()]
        ]
        opened = entry["open"]
        out.append(
            f"**{entry['faces']:,} embeddings of 128 numbers, {title}**\n\n"
            + table(["one search", "p50 ms", "p95 ms", "recall@1"], rows)
            + f"\nEnrolling one face durably: p50 {change['enrol_durable']['p50_ms']:.1f} ms, p95 "
            f"{change['enrol_durable']['p95_ms']:.1f} ms. Opening and answering in a new process: "
            f"{opened['files_not_cached']['total']:.2f} s, "
            f"{opened['files_cached']['total']:.2f} s with the files in memory "
            f"(of which importing {opened['files_cached']['import']:.2f} s).\n"
        )
    crossing = results.get("crossing")
    if crossing:
        rows = [
            [f"{r['faces']:,}", f"{r['exact']['p50_ms']:.3f}", f"{r['ivf']['p50_ms']:.3f}"]
            for r in crossing["table"]
        ]
        out.append(
            "Exact against inverted file, by size; below "
            f"{crossing['exact_below']:,} embeddings the gallery searches exactly.\n\n"
            + table(["embeddings", "exact p50 ms", "inverted file p50 ms"], rows)
        )
    return "\n".join(out)


SECTIONS: list[tuple[str, str, Callable[[Any], str]]] = [
    ("accuracy", "Accuracy on LFW", accuracy),
    (
        "end_to_end",
        "From the jpg to the embedding",
        lambda p: (
            f"{p['photos']} photographs of LFW: read, find the faces, cut, embed. dlib's way is "
            "that of `face_recognition`: HOG detector on the doubled photo, five points, ResNet, "
            "with `dlib-bin`.\n\n" + rates(p, "dlib's way", "photos/s")
        ),
    ),
    (
        "dlib_network",
        "The dlib network",
        lambda p: (
            f"The largest difference from `dlib-bin`'s own vectors on {p['chips']} chips is "
            f"{p['largest_difference']:.1e}.\n\n" + rates(p, "dlib-bin", "chips/s")
        ),
    ),
    (
        "detector",
        "The detector's engine",
        lambda p: "YuNet on photographs of 250 px.\n\n" + rates(p, "OpenCV", "photos/s"),
    ),
    ("recall", "Faces found in groups", recall),
]


def card(name: str, results: dict[str, Any]) -> str:
    """Return the section "Measured by us" of an embedder's model card."""
    calibration = shipped(name)
    if calibration is None:
        raise SystemExit(f"no calibration ships for {name}; run bench/fit_shipped.py first.")
    entry = results["accuracy"][name]
    pairs, found = entry["pairs"], entry["identification"]
    heads = table(
        ["pair head", "accuracy", "log loss", "Brier", "calibration error"],
        [
            [
                f"`{kind}`",
                percent(row["accuracy"], 1),
                f"{row['log_loss']:.4f}",
                f"{row['brier']:.4f}",
                f"{row['ece']:.4f}",
            ]
            for kind, row in calibration.figures["heads"].items()
        ],
    )
    sizes = (1, 10, 100, 1_000, 10_000)
    taus = table(
        ["people in the gallery", *(f"{n:,}" for n in sizes)],
        [["threshold", *(f"{calibration.threshold_for(n):.3f}" for n in sizes)]],
    )
    tpir = found["tpir_at_fpir"]["0.01"]["value"]
    return (
        f"For `{calibration.embedder_id}`; squared L2 of unit vectors throughout.\n\n"
        f"LFW View 2, ten folds: accuracy {percent(pairs['accuracy'])} ± "
        f"{100 * pairs['accuracy_std']:.2f}, EER {percent(pairs['eer'])}. Open-set identification "
        f"among 1,680 people: rank 1 {found['rank1']:.4f}, TPIR {tpir:.3f} at FPIR 1 %. More in "
        "[benchmarks.md](../benchmarks.md).\n\n"
        f"Calibration ({calibration.fitted_on}): tau {calibration.head.threshold:.4f}, slope "
        f"{calibration.head.slope:.3f}; at tau "
        f"{percent(calibration.figures['false_match_rate_at_threshold'])} "
        f"of {calibration.figures['impostor_pairs']:,} pairs of different people match. "
        "On the held-out pairs of pairsDevTest:\n\n"
        f"{heads}\nThresholds of `identify`, for 1 % of strangers:\n\n{taus}\n"
        "Fitted again by `python bench/fit_shipped.py`, or for any embedder by `limner "
        "evaluate fit --images DIR --train pairsDevTrain.txt --test pairsDevTest.txt -o FILE`; "
        "what it means is in [calibration.md](../calibration.md).\n"
    )


def write_cards(results: dict[str, Any]) -> None:
    """Write that section into the model cards; it is each card's last."""
    for name in ("sface", "duo", "facenet", "dlib"):
        path = REPOSITORY / "docs" / "models" / f"{name}.md"
        head, mark, rest = path.read_text("utf-8").partition("## Measured by us\n")
        after = rest.partition("\n## ")[2]
        tail = f"\n## {after}" if after else ""
        path.write_text(f"{head}{mark}\n{card(name, results)}{tail}", "utf-8")


def main() -> None:
    """Write the page and the figures of the model cards."""
    parts = [HEAD]
    faces_file, gallery_file = RESULTS / "faces.json", RESULTS / "gallery.json"
    if faces_file.is_file():
        results = json.loads(faces_file.read_text("utf-8"))
        write_cards(results)
        parts.append("## Faces: `python bench/faces.py`\n\n" + machine_line(results))
        for key, title, write in SECTIONS:
            if key in results:
                parts.append(f"### {title}\n\n{write(results[key])}")
    if gallery_file.is_file():
        results = json.loads(gallery_file.read_text("utf-8"))
        parts.append("## Gallery: `python bench/gallery.py`\n\n" + gallery(results))
    for name, title, write in (
        ("hard", "Hard photos", hard),
        ("style", "Painting by optimisation", style),
        ("style_portrait", "Portraits", style_portrait),
        ("style_fast", "Painting in one pass", style_fast),
        ("style_trained", "A network of one's own", style_trained),
        ("service", "The service", service),
        ("training", "Training", training),
        ("losses", "Losses, miners and pair heads", losses),
        ("nd", "Signals and volumes", nd),
        ("units", "Units", units),
    ):
        if (RESULTS / f"{name}.json").is_file():
            results = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
            head = f"## {title}: `python bench/{name}.py`\n\n" + machine_line(results)
            parts.append(f"{head}\n{write(results)}")
    target = REPOSITORY / "docs" / "benchmarks.md"
    target.write_text("\n".join(part.rstrip() + "\n" for part in parts), "utf-8")
    print(f"written: {target}")


if __name__ == "__main__":
    main()
