"""After the last epoch: figures on held-out photos, ONNX, pair heads, pictures, model card."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from limner import images, weights
from limner.errors import InputError, LimnerError
from limner.nets.backbone import Backbone
from limner.similarity import (
    KINDS,
    Calibration,
    HeadKind,
    LabelledPairs,
    PairHead,
    error_curve,
    fit_calibration,
    recalibrate,
)
from limner.training import card, plots
from limner.training.answer import tile_faces
from limner.training.checkpoints import save_weights
from limner.training.class_matrix import ClassMatrix, matrix_of_loss
from limner.training.export import Deployed, deployed, export_onnx
from limner.training.loop import FitReport
from limner.training.model_folder import (
    CARD,
    FACES,
    HEADS,
    ONNX,
    TOML,
    WEIGHTS,
    TrainedModel,
    write_text,
)
from limner.training.module import FaceModule, equal_error_rate
from limner.training.onnx_run import EMBEDDINGS, PROBABILITIES
from limner.training.pairs import SiameseLoss
from limner.training.prepare import Prepared
from limner.training.untrained import eer_with_interval, share_interval
from limner.types import ImageArray

SIDES = ("val", "test")
_PAIRS = 20_000
_WEIGHED_WIDTH = 512
"""Wider embeddings, such as a classifier's 1,280 features, get no weight for each number: the pairs
of a few people do not tell so many, and fitting them takes minutes."""
_IMPOSTORS = 1_000_000
_FARS = (1e-2, 1e-3)


def finish(
    ready: Prepared,
    module: FaceModule,
    outputs: dict[str, Tensor],
    report: FitReport,
    *,
    before: dict[str, Any],
    out: Path,
    licence: str,
) -> tuple[TrainedModel, dict[str, Any]]:
    """Measure a trained network, and write its folder.

    Args:
        ready: What it was trained on.
        module: The trained module.
        outputs: Its outputs on `val` and `test`, (M, D) each.
        report: What the loop did.
        before: What the trunk's features did before the training (`untrained_figures`).
        out: The folder.
        licence: For the card; empty where nobody said.

    Returns:
        The model and its figures.

    Raises:
        InputError: If a file cannot be written.
    """
    classifier = module.classifies
    save_weights(out / WEIGHTS, module.net.state_dict())
    chips = ready.pixels[ready.split.val[:8]]
    if len(chips) < 2:
        chips = ready.pixels[:2]
    whole = deployed(module.net, module.loss, classifier=classifier)
    difference = export_onnx(whole, out / ONNX, chips=chips, name=module.net.name)
    people = _known_people(ready, whole)
    figures = classifier_figures(ready, outputs) if classifier else embedder_figures(ready, outputs)
    embeddings = {side: outputs.get(f"{side}_embeddings", outputs[side]) for side in SIDES}
    if classifier:
        both = embedder_figures(ready, embeddings)
        figures |= {key: value for key, value in both.items() if key not in figures}
    elif ready.split.by == "photo" and (matrix := matrix_of_loss(module.loss)) is not None:
        figures |= classifier_figures(ready, {s: matrix.logits(outputs[s]) for s in SIDES})
    figures |= before | {"intervals": before["intervals"] | _intervals(ready, outputs, figures)}
    figures["onnx_difference"] = difference
    figures["epochs"], figures["best_epoch"] = report.epochs, report.best_epoch + 1
    model = TrainedModel(
        folder=out,
        kind="classifier" if classifier else "embedder",
        net=module.net.name,
        crop=ready.crop,
        size_px=module.net.input.size_px,
        people=people,
        width=int(embeddings["val"].shape[1]),
        licence=licence,
        provenance=module.net.provenance,
        figures=figures,
    )
    model.save()  # what follows reads the folder as a model's
    if people:
        _write_faces(out / FACES, ready)
    if ready.crop != "whole":
        figures |= _write_heads(ready, embeddings, model)
    model = dataclasses.replace(model, figures=figures)
    model.save()
    write_text(out / CARD, card.model_card(model, ready, report))
    plots.plot_curves(out / "curves.png", report.history, title=_title(model, ready))
    return model, figures


def _intervals(
    ready: Prepared, outputs: dict[str, Tensor], figures: dict[str, Any]
) -> dict[str, tuple[float, float]]:
    """Return the 95 % intervals of the figures that have one before the training, too."""
    found = {}
    for side, rows in (("val", ready.split.val), ("test", ready.split.test)):
        labels = ready.people.labels[rows]
        if f"{side}_accuracy" in figures and ready.recipe.task == "classify":
            right = outputs[side].argmax(1).numpy() == labels
            found[f"{side}_accuracy"] = share_interval(right)
        if f"{side}_eer" in figures and ready.recipe.task == "embed":
            pairs = eer_with_interval(outputs[side], labels)
            if pairs is not None:
                found[f"{side}_eer"] = pairs[1]
    return found


def _known_people(ready: Prepared, whole: Deployed) -> tuple[str, ...]:
    """Return the people of the network's probabilities, in their order."""
    if PROBABILITIES not in whole.outputs:
        return ()
    return tuple(ready.people.names[i] for i in np.unique(ready.people.labels[ready.split.train]))


def _title(model: TrainedModel, ready: Prepared) -> str:
    return f"{model.net}, {ready.recipe.loss} loss, {len(ready.people.names):,} people"


def classifier_figures(ready: Prepared, outputs: dict[str, Tensor]) -> dict[str, Any]:
    """Return loss and accuracy, on validation and test."""
    found: dict[str, Any] = {}
    for side, rows in (("val", ready.split.val), ("test", ready.split.test)):
        logits, labels = outputs[side], torch.from_numpy(ready.people.labels[rows])
        if not len(labels):
            continue
        top = logits.topk(min(5, logits.shape[1]), dim=1).indices
        found[f"{side}_accuracy"] = float((top[:, 0] == labels).float().mean())
        found[f"{side}_top5"] = float((top == labels[:, None]).any(1).float().mean())
        found[f"{side}_nll"] = float(functional.cross_entropy(logits, labels))
        found[f"{side}_photos"] = len(labels)
    return found


def embedder_figures(ready: Prepared, outputs: dict[str, Tensor]) -> dict[str, Any]:
    """Return equal error rate and true accept rates over all pairs of validation and test."""
    found: dict[str, Any] = {}
    for side, rows in (("val", ready.split.val), ("test", ready.split.test)):
        labels = torch.from_numpy(ready.people.labels[rows])
        if not len(labels):
            continue
        try:
            found[f"{side}_eer"] = equal_error_rate(outputs[side], labels)
        except InputError:
            continue
        found[f"{side}_photos"] = len(labels)
        found[f"{side}_people"] = len(set(labels.tolist()))
        for far, tar in _true_accepts(outputs[side], labels).items():
            found[f"{side}_tar_at_far_{far}"] = tar
    return found


def all_pairs(rows: Tensor, labels: Tensor) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return squared distances and sameness of all pairs of unit rows."""
    unit = functional.normalize(rows.float(), dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), offset=1)
    squared = (2 - 2 * (unit @ unit.T)[first, second]).clamp_min(0).double().numpy()
    return squared, (labels[first] == labels[second]).numpy()


def _true_accepts(rows: Tensor, labels: Tensor) -> dict[str, float]:
    squared, same = all_pairs(rows, labels)
    impostors = np.sort(squared[~same])
    found = {}
    for far in _FARS:
        allowed = int(far * impostors.size)
        if allowed >= 10:  # fewer would not carry the figure
            found[f"{far:g}"] = float((squared[same] < impostors[allowed]).mean())
    return found


def _write_heads(
    ready: Prepared, outputs: dict[str, Tensor], model: TrainedModel
) -> dict[str, Any]:
    """Write `model.toml` and `pair_heads.json`; return what is worth knowing of them."""
    out = model.folder
    write_toml(model)
    embedder_id = weights.inspect_onnx(out / ONNX).embedder_id
    side = "test" if len(ready.split.test) else "val"
    rows = ready.split.test if side == "test" else ready.split.val
    try:
        calibration = calibrate(
            outputs[side].numpy(),
            ready.people.labels[rows],
            embedder_id=embedder_id,
            fitted_on=_fitted_on(ready, side),
            seed=ready.recipe.seed,
            trained=ready.loss.head.to_pair_head() if isinstance(ready.loss, SiameseLoss) else None,
        )
    except LimnerError as error:
        warnings.warn(f"no pair heads: {error}", RuntimeWarning, stacklevel=1)
        return {"embedder_id": embedder_id}
    calibration.save(out / HEADS)
    return {"embedder_id": embedder_id, "threshold": calibration.threshold}


def leave_model(
    out: Path,
    net: Backbone,
    classes: ClassMatrix,
    *,
    crop: str,
    people: tuple[str, ...],
    faces: ImageArray,
    held_out: tuple[Tensor, Tensor],
    fitted_on: str,
    figures: dict[str, Any],
) -> TrainedModel:
    """Write a trunk and a matrix of people as a model that names people and compares photos.

    Args:
        out: The folder.
        net: Its trunk's features are the embedding.
        classes: From features to people.
        crop: How chips are cut.
        people: In the order of the matrix's rows.
        faces: Shape (K, S, S, 3), uint8 RGB: a chip of each of them.
        held_out: Features (M, F) and people (M,) to fit thresholds on.
        fitted_on: What these are, in words.
        figures: What was measured.

    Raises:
        InputError: If a file cannot be written.
        TooFewPairsError: If the held-out photos make too few pairs.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be used: {error.strerror or error}.") from error
    state = {f"trunk.{name}": value for name, value in net.trunk.state_dict().items()}
    save_weights(out / WEIGHTS, {**state, "classes.weight": classes.weight})
    whole = Deployed(net.input.normalisation(), net.trunk, classes)
    difference = export_onnx(whole, out / ONNX, chips=faces, name=net.name)
    model = TrainedModel(
        folder=out,
        kind="classifier",
        net=net.name,
        crop=crop,
        size_px=net.input.size_px,
        people=people,
        width=net.width,
        provenance=net.provenance,
        figures={**figures, "onnx_difference": difference},
    )
    model.save()
    images.write(out / FACES, tile_faces(faces), quality=90)
    write_toml(model)
    embedder_id = weights.inspect_onnx(out / ONNX).embedder_id
    rows, labels = held_out
    calibrate(
        rows.numpy(), labels.numpy(), embedder_id=embedder_id, fitted_on=fitted_on, seed=0
    ).save(out / HEADS)
    write_text(out / CARD, card.plain_card(model, fitted_on))
    return model


def write_toml(model: TrainedModel) -> None:
    """Write how chips are cut for a model's embeddings."""
    lines = (
        f"size_px = {model.size_px}",
        'layout = "nhwc"',
        f'crop = "{model.crop}"',
        f'output = "{EMBEDDINGS}"',
    )
    write_text(model.folder / TOML, "\n".join(lines) + "\n")


def _fitted_on(ready: Prepared, side: str) -> str:
    word = "test" if side == "test" else "validation"
    if ready.split.by == "photo":
        return (
            f"{ready.people.root.name}: {word} photos of the people of the training; strangers "
            "may differ"
        )
    return f"{ready.people.root.name}: {word} people of the training"


def calibrate(
    rows: NDArray[Any],
    labels: NDArray[np.int64],
    *,
    embedder_id: str,
    fitted_on: str,
    seed: int,
    trained: PairHead | None = None,
) -> Calibration:
    """Fit pair heads on embeddings of people that the training has not seen.

    Args:
        rows: Shape (N, D).
        labels: Shape (N,).
        embedder_id: Whose embeddings they are.
        fitted_on: In words.
        seed: Of the choice of pairs.
        trained: A head that was trained with the embedder: it takes the place of the fitted one
            of its kind, with a threshold and a slope of these people.

    Raises:
        TooFewPairsError: If there are too few pairs.
    """
    unit = functional.normalize(torch.from_numpy(np.asarray(rows, np.float32)), dim=1)
    first, second = torch.triu_indices(len(unit), len(unit), offset=1).numpy()
    same = labels[first] == labels[second]
    generator = np.random.default_rng(seed)
    kinds = []
    for value in (True, False):
        members = np.flatnonzero(same == value)
        kinds.append(generator.permutation(members)[: _PAIRS // 2])
    chosen = np.concatenate(kinds)
    values = unit.numpy()
    pairs = LabelledPairs(values[first[chosen]], values[second[chosen]], same[chosen])
    impostors = np.flatnonzero(~same)
    impostors = generator.permutation(impostors)[:_IMPOSTORS]
    gap = values[first[impostors]] - values[second[impostors]]
    calibration = fit_calibration(
        pairs,
        None,
        np.einsum("nd,nd->n", gap, gap),
        embedder_id=embedder_id,
        fitted_on=fitted_on,
        kinds=_kinds(values.shape[1]),
    )[0]
    if trained is None:
        return calibration
    own = recalibrate(trained, pairs.a, pairs.b, pairs.same)
    figures = {**calibration.figures, "trained_head": own.kind}
    heads = {**calibration.heads, own.kind: own}
    return dataclasses.replace(calibration, heads=heads, figures=figures)


def _kinds(width: int) -> tuple[HeadKind, ...]:
    """Return which pair heads are fitted: those with a weight for each number, if these are few."""
    return KINDS if width <= _WEIGHED_WIDTH else ("squared_l2", "cosine")


def verification(rows: Tensor, labels: Tensor) -> dict[str, float]:
    """Return EER and true accept rates over all pairs, as plain values."""
    squared, same = all_pairs(rows, labels)
    found = {"eer": float(error_curve(squared, same).equal_error_rate())}
    return found | {f"tar_at_far_{k}": v for k, v in _true_accepts(rows, labels).items()}


def _write_faces(path: Path, ready: Prepared) -> None:
    """Write one chip of each person, as `limner.training.answer.thumbnails` reads them."""
    labels = ready.people.labels[ready.split.train]
    everybody = np.unique(labels)
    first = [int(ready.split.train[np.flatnonzero(labels == k)[0]]) for k in everybody]
    images.write(path, tile_faces(ready.pixels[first]), quality=90)
