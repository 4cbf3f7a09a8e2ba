"""What a classifier of signals or volumes is worth: figures on a test set, and its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limner.errors import InputError
from limner.training.array_files import UNKNOWN
from limner.training.array_model import ArrayModel
from limner.training.samples import FloatArray, Samples, same_classes


@dataclass(frozen=True)
class ArrayFigures:
    """Figures on a test set.

    Attributes:
        accuracy: Share of right answers; where an item may be of several classes, of answers
            that are right in all of them.
        macro_f1: Mean over classes of the F1 score; classes that are neither in the test set
            nor in the answers don't count.
        roc_auc: Area under the ROC curve of the second class, for two classes that are both
            in the test set; the mean over classes where an item may be of several; else None.
        recall: Share of right answers class by class; None where the test set has none.
        confusion: Rows are the true classes, columns the answers; empty where an item may be
            of several.
        items: Test items.
        counts: Test items of each class.
    """

    accuracy: float
    macro_f1: float
    roc_auc: float | None
    recall: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    items: int
    counts: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "roc_auc": self.roc_auc,
            "recall": self.recall,
            "confusion": [list(row) for row in self.confusion],
            "test_items": self.items,
        }


@dataclass(frozen=True, eq=False)
class ArrayReport:
    """A finished training.

    Attributes:
        model: The trained model.
        figures: On the test set.
        test: The test set.
        train_counts: Training items of each class.
        tested_on: What the test set was, in words.
        seed: Of everything that was drawn.
        epochs: Of each member.
        loss: Last training loss, averaged over members; None where nothing was left to train.
        seconds: Of the training.
        out: Where the model was written, or None.
        notes: What was done to the data.
    """

    model: ArrayModel
    figures: ArrayFigures
    test: Samples
    train_counts: dict[str, int]
    tested_on: str
    seed: int
    epochs: int
    loss: float | None
    seconds: float
    out: Path | None = None
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return everything but the weights as plain JSON values."""
        return {
            **self.figures.to_json(),
            "tested_on": self.tested_on,
            "classes": list(self.model.net.classes),
            "train_items": self.train_counts,
            "net": self.model.net.net,
            "members": self.model.net.members,
            "seed": self.seed,
            "epochs": self.epochs,
            "train_loss": self.loss,
            "seconds": round(self.seconds, 2),
            "model": None if self.out is None else str(self.out),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says about one item.

    Attributes:
        name: Of the item.
        label: The likeliest class.
        probability: Of it, in [0, 1].
        scores: Of every class; they sum to 1.
        truth: The item's own label, where it has one; several are joined by commas.
        labels: The classes that are more likely than not, where an item may be of several;
            else `label` alone.
        class_map: How much more each place speaks for `label` than for a class on average,
            the sides of the input.
    """

    name: str
    label: str
    probability: float
    scores: dict[str, float]
    truth: str | None
    class_map: FloatArray
    labels: tuple[str, ...] = ()

    @property
    def right(self) -> bool | None:
        """Whether the answer is the item's own label (or all of them); None without one."""
        return None if self.truth is None else ", ".join(self.labels) == self.truth

    def to_json(self) -> dict[str, Any]:
        """Return everything but the map as plain JSON values."""
        return {
            "name": self.name,
            "label": self.label,
            "labels": list(self.labels),
            "probability": self.probability,
            "scores": self.scores,
            "truth": self.truth,
        }


def measure(
    labels: NDArray[np.int64], scores: FloatArray, classes: tuple[str, ...]
) -> ArrayFigures:
    """Return the figures of scores (N, classes) against labels (N,).

    Raises:
        InputError: If there are no items.
    """
    if not len(labels):
        raise InputError("there are no test items to measure on.")
    answers = scores.argmax(axis=1)
    kinds = len(classes)
    confusion = np.zeros((kinds, kinds), dtype=np.int64)
    np.add.at(confusion, (labels, answers), 1)
    right = np.diag(confusion)
    true, said = confusion.sum(axis=1), confusion.sum(axis=0)
    present = (true + said) > 0
    f1 = 2 * right[present] / (true + said)[present]
    auc: float | None = None
    if kinds == 2 and true.all():
        from sklearn.metrics import roc_auc_score

        auc = float(roc_auc_score(labels, scores[:, 1]))
    return ArrayFigures(
        accuracy=float(right.sum() / len(labels)),
        macro_f1=float(f1.mean()),
        roc_auc=auc,
        recall={
            name: float(right[i] / true[i]) if true[i] else None for i, name in enumerate(classes)
        },
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        items=len(labels),
        counts=tuple(int(n) for n in true),
    )


def measure_several(
    truth: NDArray[np.bool_], scores: FloatArray, classes: tuple[str, ...]
) -> ArrayFigures:
    """Return the figures of scores (N, classes) where an item may be of several classes.

    Args:
        truth: Shape (N, classes).
        scores: Probability of each class by itself; from 0.5 on it counts as said.
        classes: Their names.

    Raises:
        InputError: If there are no items.
    """
    if not len(truth):
        raise InputError("there are no test items to measure on.")
    said = scores >= 0.5
    right, true = (said & truth).sum(axis=0), truth.sum(axis=0)
    present = (true + said.sum(axis=0)) > 0
    f1 = 2 * right[present] / (true + said.sum(axis=0))[present]
    both = (true > 0) & (true < len(truth))
    auc: float | None = None
    if both.any():
        from sklearn.metrics import roc_auc_score

        auc = float(roc_auc_score(truth[:, both], scores[:, both], average="macro"))
    return ArrayFigures(
        accuracy=float((said == truth).all(axis=1).mean()),
        macro_f1=float(f1.mean()) if present.any() else 0.0,
        roc_auc=auc,
        recall={n: float(right[i] / true[i]) if true[i] else None for i, n in enumerate(classes)},
        confusion=(),
        items=len(truth),
        counts=tuple(int(n) for n in true),
    )


def figures_of(model: ArrayModel, samples: Samples) -> ArrayFigures:
    """Return a model's figures on labelled items.

    Raises:
        InputError: If the items have a class that the model does not know.
        ShapeError: If they have another shape.
    """
    known = same_classes(samples, model.net.classes)
    if known.several is not None:
        return measure_several(known.several, model.scores(known.values), model.net.classes)
    return measure(known.labels, model.scores(known.values), model.net.classes)


def answer(model: ArrayModel, samples: Samples) -> list[Answer]:
    """Return what a model says about each item.

    Raises:
        ShapeError: If they have another shape than the model reads.
    """
    scores = model.scores(samples.values)
    maps = model.class_maps(samples.values)
    answers = []
    for i, row in enumerate(scores):
        best = int(row.argmax())
        truth = ", ".join(samples.words(i))
        label = model.net.classes[best]
        likely = [n for n, score in zip(model.net.classes, row, strict=True) if score >= 0.5]
        answers.append(
            Answer(
                name=samples.names[i],
                label=label,
                labels=tuple(likely) if model.net.several else (label,),
                probability=float(row[best]),
                scores={n: float(s) for n, s in zip(model.net.classes, row, strict=True)},
                truth=None if truth == UNKNOWN else truth,
                # softmax sees only how much more a class gets than the others
                class_map=maps[i, best] - maps[i].mean(axis=0),
            )
        )
    return answers
