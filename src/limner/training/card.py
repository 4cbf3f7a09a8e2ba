"""The model card: what a trained model is, what it was trained on, and how well it does."""

from __future__ import annotations

from typing import Any

from limner.training.loop import FitReport
from limner.training.model_folder import TrainedModel
from limner.training.prepare import Prepared

_WORDS = {
    "val_accuracy": "accuracy, validation",
    "test_accuracy": "accuracy, test",
    "val_top5": "right one among the first five, validation",
    "test_top5": "right one among the first five, test",
    "val_eer": "equal error rate, all pairs of the validation",
    "test_eer": "equal error rate, all pairs of the test",
}
_BEFORE = {
    "val_accuracy_gallery": "before training: nearest photo in a gallery, validation",
    "test_accuracy_gallery": "before training: nearest photo in a gallery, test",
    "val_eer_before": "before training: equal error rate of the trunk's features, validation",
    "test_eer_before": "before training: equal error rate of the trunk's features, test",
}
_UNSAID = "not said; the trunk's own licence and that of the photos apply"


def model_card(model: TrainedModel, ready: Prepared, report: FitReport) -> str:
    """Return the card as Markdown, with the header that the Hugging Face hub reads."""
    recipe, people = ready.recipe, ready.people
    sides = {name: getattr(ready.split, name) for name in ("train", "val", "test")}
    counts = ", ".join(
        f"{name} {rows.size:,} photos of {len(set(people.labels[rows].tolist())):,} people"
        for name, rows in sides.items()
        if rows.size
    )
    way = "by photo (closed set)" if ready.split.by == "photo" else "by identity (open set)"
    use = " ".join(_uses(model))
    lines = [
        "---",
        "library_name: limner",
        f"license: {_licence_tag(model.licence)}",
        f"tags: [face-recognition, {model.kind}]",
        "---",
        "",
        f"# {model.folder.name}: a {model.kind} of faces",
        "",
        use,
        "",
        "| | |",
        "|---|---|",
        f"| network | {model.net}, {model.width} features, chips of {model.size_px} px, "
        f"cut as `{model.crop}` |",
        f"| trunk's weights | {_trunk(model.provenance)} |",
        f"| data | `{people.root.name}`: {len(people.photos):,} photos of "
        f"{len(people.names):,} people |",
        f"| split | {way}: {counts} |",
        f"| recipe | {recipe.loss} loss, {recipe.optimizer} {recipe.lr:g}, what trains: "
        f"{recipe.free}; all of it in `recipe.yaml` |",
        f"| training | {report.epochs} epochs, best at {report.best_epoch + 1} "
        f"({report.monitor} {_figure(report.best_value)}), {report.steps:,} steps |",
        f"| licence | {model.licence or _UNSAID} |",
        "",
        "## Figures",
        "",
        "| figure | value |",
        "|---|---|",
        *figure_rows(model),
        "",
        "Measured on photos that did not train, of the folder above; other photos will do "
        "differently. Faces of people are personal data: ask them.",
        "",
    ]
    left_out = [*ready.notes, *report.notes]
    if left_out:
        lines += ["## Said while training", "", *(f"- {note}" for note in left_out), ""]
    return "\n".join(lines)


def plain_card(model: TrainedModel, measured_on: str) -> str:
    """Return the card of a frozen trunk with a matrix of people."""
    lines = [
        f"# {model.folder.name}: a {model.kind} of faces",
        "",
        " ".join(_uses(model)),
        "",
        f"Network: {model.net}, {model.width} features, chips of {model.size_px} px, cut as "
        f"`{model.crop}`; the trunk's weights: {_trunk(model.provenance)}.",
        "",
        "| figure | value |",
        "|---|---|",
        *figure_rows(model),
        "",
        f"Measured on {measured_on}. Faces of people are personal data: ask them.",
        "",
    ]
    return "\n".join(lines)


def _uses(model: TrainedModel) -> list[str]:
    """Return what the model answers, the task that it was trained for first."""
    naming = (
        f"`limner classify face PHOTO --model {model.folder.name}` names the likeliest of its "
        f"{len(model.people):,} people. It always names one of them: a stranger too. For photos "
        "that may show strangers use an embedder and a gallery."
    )
    alike = (
        f"`--embedder {model.folder.name}` in every face command compares its {model.width} "
        "features. Thresholds and probabilities are in `pair_heads.json`."
    )
    found = [naming] if model.people else []
    if model.crop != "whole":
        found.append(alike)
    return found if model.kind == "classifier" else found[::-1]


def _licence_tag(licence: str) -> str:
    return licence.lower() if licence and " " not in licence else "other"


def _trunk(provenance: Any) -> str:
    if provenance.get("source") == "random":
        return "random: trained from scratch"
    words = f"{provenance['used']} from {provenance['source']}"
    if provenance.get("asked") != provenance.get("used"):
        words += f" (asked for: {provenance['asked']})"
    return words


def _name(key: str) -> str:
    return {**_WORDS, **_BEFORE}.get(key, key.replace("_", " "))


def figure_rows(model: TrainedModel) -> list[str]:
    """Return a table's rows: each figure in words, and its 95 % interval where it has one."""
    bounds = model.figures.get("intervals", {})
    rows = []
    for key, value in model.figures.items():
        if key == "intervals":
            continue
        shown = _figure(value)
        if key in bounds:
            shown += f" (95 %: {bounds[key][0]:.4g} to {bounds[key][1]:.4g})"
        rows.append(f"| {_name(key)} | {shown} |")
    return rows


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
