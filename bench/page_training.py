"""The section of docs/benchmarks.md on training."""

from __future__ import annotations

from typing import Any


def training(results: dict[str, Any]) -> str:
    """Return the section: whatever steps have been run."""
    parts = [
        "Everything on Labeled Faces in the Wild (deep-funneled). Frozen trunks compute their "
        "features once. What is not listed here was not measured.\n"
    ]
    for name, write in (
        ("closed", _closed),
        ("recipes", _recipes),
        ("nn4", _nn4),
        ("head", _head),
        ("throughput", _throughput),
        ("sets", _sets),
    ):
        if name in results:
            parts.append(write(results[name], results))
    return "\n".join(parts)


def _percent(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f} %"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def _closed(part: dict[str, Any], _: dict[str, Any]) -> str:
    rows = [
        [
            f"`{trunk}`",
            str(row["draws"]),
            f"{_percent(row['mean'])} ± {100 * row['std']:.2f}",
            ", ".join(f"{100 * a:.2f}" for a in row["accuracies"]),
        ]
        for trunk, row in part.items()
        if isinstance(row, dict)
    ]
    some = next(row for row in part.values() if isinstance(row, dict))
    return (
        f"### Closed set\n\n{some['people']} people with 20 photos or more, {some['photos']:,} "
        "photos, 60/20/20 by photo; one linear layer on a frozen trunk, recipe `notes-2` with the "
        "draws that are stated (1: plain chips; 2: their mirror images too), best epoch by "
        "validation loss, accuracy on the test photos, "
        "seeds 0 to 4.\n\n" + _table(["trunk", "draws", "test accuracy", "each seed, %"], rows)
    )


def _recipes(part: dict[str, Any], _: dict[str, Any]) -> str:
    rows = [
        [
            f"`{row['recipe']}`",
            row["about"].partition(": ")[2],
            f"`{row['net']}`",
            _percent(row["val_accuracy"]),
            _percent(row["test_accuracy"]),
            ", ".join(f"{100 * a:.2f}" for a in row["test_each"]),
            ", ".join(map(str, row["best_epochs"])),
        ]
        for row in part["rows"]
    ]
    columns = ["recipe", "what", "trunk", "validation", "test", "test, each seed, %", "best epoch"]
    return (
        "### The notes' five recipes\n\nThe same people, "
        f"seed {', '.join(map(str, range(part['seeds'])))} (splits, heads, augmentation), "
        f"{part['draws']} draws, the trunk being "
        "`efficientnet_lite0` where ResNet-50's weights cannot be had. The notes report "
        "66.93, 69.80, 69.72, 69.80 and 70.15 % on data of their own.\n\n"
        + _table(columns, rows)
        + f"\n{part['answer']}{_gallery(part['rows'])}"
        + ("" if len(part["rows"]) == 5 else " What is not listed was not measured.")
        + f" Measured on {part['machine']['processor']}.\n"
    )


def _gallery(rows: list[dict[str, Any]]) -> str:
    """Return what a gallery of the training photos answers without training, where measured."""
    if "gallery" not in rows[0]:
        return ""
    return (
        " Before any training, the nearest photo in a gallery of the trunk's features is right for "
        f"{_percent(rows[0]['gallery'])} of the test photos of seed 0."
    )


def _nn4(part: dict[str, Any], results: dict[str, Any]) -> str:
    then = part["then_triplets"]
    rows = [
        [
            "`nn4_small2_half`, from scratch, CosFace",
            _percent(part["accuracy"]),
            _percent(part["accuracy_best_threshold"]),
        ],
        [
            "the same, then semi-hard triplets",
            _percent(then["accuracy"]),
            _percent(then["accuracy_best_threshold"]),
        ],
    ]
    if "pca" in results:
        pca = results["pca"]
        rows.append(
            [
                "eigenfaces, 128 whitened components, cosine",
                _percent(pca["accuracy"]),
                _percent(pca["accuracy_best_threshold"]),
            ]
        )
    return (
        f"### From scratch\n\nTrained on {part['train_photos']:,} photos of "
        f"{part['train_people']} people, none of whom is in View 2's first fold; tested on that "
        f"fold's 600 pairs, aligned chips of 64 pixels, mirrored chips averaged; the threshold "
        f"comes from {part['threshold_from']}. First CosFace, which learns faster in so short a "
        f"time: {part['epochs']} epochs, {part['minutes']:.0f} minutes on one thread of a busy "
        f"machine; then semi-hard triplets, {len(then['val_eer'])} epochs, {then['minutes']:.0f} "
        f"minutes. Spread of the embeddings at the end {then['spread'][-1]:.2f} (0 would be a "
        "collapse). Triplets from the first step on are slower: after two epochs of them the "
        "equal error rate in validation was still 0.45.\n\n"
        + _table(["", "accuracy", "at its own best threshold"], rows)
    )


def _head(part: dict[str, Any], _: dict[str, Any]) -> str:
    plain, head = part["default"], part["head"]
    mean = [sum(x) / len(x) for x in (plain, head)]
    better = part["difference"] > 0 and part["p_value"] < 0.05
    verdict = "It is better." if better else "It is not better, so none is shipped."
    return (
        "### A head on the default embedder\n\nA linear layer of 128 x 128 on `facenet`'s "
        "embeddings, from the identity, semi-hard triplets, trained for each of View 2's ten "
        "folds on people outside that fold; thresholds from pairs of the other folds without "
        "the fold's people.\n\n"
        + _table(
            ["", "mean of ten folds", *(str(i + 1) for i in range(10))],
            [
                ["default", _percent(mean[0]), *(f"{100 * v:.2f}" for v in plain)],
                ["with the head", _percent(mean[1]), *(f"{100 * v:.2f}" for v in head)],
            ],
        )
        + f"\nDifference {100 * part['difference']:+.2f} points, paired t-test p = "
        f"{part['p_value']:.3f}, Wilcoxon p = {part['wilcoxon_p']:.3f}. {verdict}\n"
    )


def _throughput(part: dict[str, Any], _: dict[str, Any]) -> str:
    return (
        "### Against a plain loop\n\nOne layer on the frozen `efficientnet_lite0`, "
        f"{part['photos']} photos, {part['epochs']} epochs, batch 32, one after the other. The "
        "plain loop is the notes': every photo is opened, resized, mirrored and sent through "
        "the trunk in every epoch. limner finds and cuts the faces and computes the features "
        "of two draws once, which is counted.\n\n"
        + _table(
            ["", "images/s"],
            [
                ["plain loop", f"{part['plain_images_per_s']:.1f}"],
                ["limner, everything counted", f"{part['limner_images_per_s']:.1f}"],
                [
                    "limner, after preparing",
                    f"{part['limner_after_preparing_images_per_s']:.0f}",
                ],
            ],
        )
        + f"\nRatio {part['ratio']:.1f}; it grows with the epochs, and in a single epoch there is "
        "nothing to gain. limner trains on two draws, the plain loop on a new one each time.\n"
    )


def _sets(part: dict[str, Any], _: dict[str, Any]) -> str:
    counts, ident = part["counts"], part["identification"]
    verify = part["verification"]
    rows = [["classifier, closed set", "accuracy", _percent(part["closed"]["accuracy"])]]
    for key, value in verify.items():
        rows.append(["verifier", key.replace("_", " "), _percent(value)])
    for key, value in ident.items():
        who = "identifier, softmax" if key.startswith("classifier") else "identifier, similarity"
        rows.append([who, key.removeprefix("classifier_").replace("_", " "), _percent(value)])
    shots = [
        [
            f"{row['photos']:.0f}",
            *(_percent(row[k], 1) for k in ("softmax_known", "similarity_known")),
            _percent(row["softmax_strangers_refused"], 1),
            _percent(row["similarity_strangers_refused"], 1),
            "0 %",
            _percent(row["softmax_newcomers_retrained"], 1),
            _percent(row["similarity_newcomers"], 1),
        ]
        for row in part["one_shot"]
    ]
    head = ["photos a person", "known: softmax N+1", "known: similarity"]
    head += ["strangers refused: softmax", "strangers refused: similarity"]
    head += ["newcomers: softmax", "trained again", "newcomers: similarity"]
    return (
        f"### Open against closed set\n\n`{counts['network']}`, {counts['known']} known people, "
        f"{counts['newcomers']} newcomers, {counts['strangers']} strangers; `limner train "
        "open-closed`. Softmax and similarity read the same features. The softmax is one linear "
        "layer by plain cross entropy, half of the strangers teaching its last output, which so "
        "has many more photos than anybody has; the threshold of the similarity lets 1 % of "
        "the same strangers in; the other half is asked.\n\n"
        + _table(["as", "figure", "value"], rows)
        + "\n"
        + _table(head, shots)
        + "\n![Softmax N+1 and similarity](images/open-closed.png)\n"
    )
