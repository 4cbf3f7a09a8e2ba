"""Fit what tells a face that can be judged from one that cannot, on View 1's spoiled photos.

For every shipped embedder: a small network from signals to quality, the floor below which a face
is too poor to judge, the limits that a reason is read from, and what quality does to the pair head
(`limner.similarity.QualityRule`). Fitted on half of the people; every figure is of the other half.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from common import REPOSITORY
from fit_probability import fit_drops
from limner.faces import FusedEmbedder, NetworkEmbedder, Reading, load_embedder
from limner.faces.quality import GENERAL, SIGNALS
from limner.similarity import Calibration, QualityRule
from spoiled import Spoiled, spoiled_faces

SHIPPED = REPOSITORY / "src" / "limner" / "similarity" / "shipped"
TARGET = REPOSITORY / "src" / "limner" / "faces" / "data" / "quality.json"
HIDDEN = 12
GOODS = (0.98, 0.99, 0.995, 1.0)
"""From which quality on a face counts as good; sharp ones have about 0.98 to 0.99. The lowest is
taken that keeps strangers apart on the people it was not fitted on, whatever was done to them."""
FLOOR = 0.4
"""A face of lower quality is too poor to judge: it is missed more often than recognised."""
STRANGERS, APART = 0.01, 0.015
"""At most this share of strangers spoiled alike may be called the same, whatever was done: the aim
on the people that are fitted on, and what has to hold on the others."""
OUTER = 0.002
"""A limit is where this share of the sharp faces lies beyond."""


@dataclass(frozen=True, eq=False)
class Faces:
    """The spoiled faces as one embedder sees them.

    Attributes:
        rows: Shape (N, D), unit embeddings.
        signals: Shape (N, K).
        tau: The threshold of verification.
        slope: Of the pair head.
    """

    rows: np.ndarray
    signals: np.ndarray
    tau: float
    slope: float


def read(embedder: NetworkEmbedder | FusedEmbedder, spoiled: Spoiled) -> Reading:
    """Return what an embedder makes of the stored outputs of its networks."""
    if isinstance(embedder, FusedEmbedder):
        return embedder.join([read(part, spoiled) for part, _ in embedder.parts])
    straight, mirrored = spoiled.raw[embedder.name]
    return embedder.finish(straight, mirrored if embedder.mirror else None)


def pairs_of_one(spoiled: Spoiled, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (face, clean face of another photo of the same person), over the people of `own`."""
    clean = np.flatnonzero((spoiled.row == "clean") & own)
    left, right = [], []
    for face in np.flatnonzero(own):
        others = clean[
            (spoiled.person[clean] == spoiled.person[face])
            & (spoiled.photo[clean] != spoiled.photo[face])
        ]
        left += [face] * len(others)
        right += others.tolist()
    return np.array(left), np.array(right)


def pairs_of_two(spoiled: Spoiled, own: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return all pairs of two people whose photos were spoiled in the same way, by the way."""
    found = {}
    for kind in np.unique(spoiled.kind):
        faces = np.flatnonzero((spoiled.kind == kind) & own)
        first, second = np.triu_indices(len(faces), 1)
        a, b = faces[first], faces[second]
        two = spoiled.person[a] != spoiled.person[b]
        found[str(kind)] = a[two], b[two]
    return found


def distances(rows: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared L2 of paired rows."""
    return ((rows[a] - rows[b]) ** 2).sum(axis=1)


def fit_model(spoiled: Spoiled, faces: Faces) -> tuple[dict, np.ndarray, dict]:
    """Return the model as it is shipped, every face's quality, and figures of the other half."""
    mean = faces.signals[spoiled.fitted].mean(axis=0)
    scale = faces.signals[spoiled.fitted].std(axis=0) + 1e-3
    x = np.clip((faces.signals - mean) / scale, -4, 4)
    left, right = pairs_of_one(spoiled, np.ones(len(x), bool))
    accepted = distances(faces.rows, left, right) <= faces.tau
    own = spoiled.fitted[left]
    network = MLPClassifier(
        (HIDDEN,), activation="tanh", alpha=1e-2, max_iter=300, random_state=0, early_stopping=True
    ).fit(x[left[own]], accepted[own])
    quality = network.predict_proba(x)[:, 1]
    sharp = spoiled.row == "clean"
    other = ~spoiled.fitted[left]
    figures = {
        "auc": float(roc_auc_score(accepted[other], quality[left[other]])),
        "sharp_below_floor": float((quality[sharp & ~spoiled.fitted] < FLOOR).mean()),
        "pairs": int(other.sum()),
    }
    limits = {
        name: np.quantile(faces.signals[sharp, n], (OUTER, 1 - OUTER)).round(4).tolist()
        for n, name in enumerate(SIGNALS)
    }
    hidden = np.vstack([network.coefs_[0], network.intercepts_[0]])
    output = np.append(network.coefs_[1][:, 0], network.intercepts_[1])
    model = {
        "mean": mean.round(5).tolist(),
        "scale": scale.round(5).tolist(),
        "hidden": hidden.round(5).tolist(),
        "output": output.round(5).tolist(),
        "floor": FLOOR,
        "limits": limits,
        "figures": figures,
    }
    return model, quality, figures


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of strangers that can be judged: their distance, and the better quality."""

    d: np.ndarray
    better: np.ndarray

    @staticmethod
    def of(faces: Faces, quality: np.ndarray, a: np.ndarray, b: np.ndarray) -> Pairs:
        """Return the pairs (a, b) that can be judged."""
        judged = np.minimum(quality[a], quality[b]) >= FLOOR
        a, b = a[judged], b[judged]
        return Pairs(distances(faces.rows, a, b), np.maximum(quality[a], quality[b]))


def called_same(
    pairs: dict[str, Pairs], counts: dict[str, int], tau: float, drop: float, good: float
) -> dict[str, float]:
    """Return the share of strangers within the threshold, by what was done to them."""
    return {
        kind: float((p.d <= np.maximum(0.0, tau - drop * np.maximum(0.0, good - p.better))).sum())
        / counts[kind]
        for kind, p in pairs.items()
    }


def tau_drop_for(pairs: dict[str, Pairs], counts: dict[str, int], tau: float, good: float) -> float:
    """Return the smallest drop at which no kind of spoiling has too many strangers alike.

    Where no drop does that, the smallest at which the worst kind has about as few as it can.
    """
    drops = np.linspace(0.0, 2 * tau, 81)
    worst = np.array([max(called_same(pairs, counts, tau, t, good).values()) for t in drops])
    return float(drops[np.argmax(worst <= max(STRANGERS, worst.min() + 0.001))])


def fit_rule(spoiled: Spoiled, faces: Faces, quality: np.ndarray) -> tuple[QualityRule, dict]:
    """Return what quality does to the head, and by kind what it does to strangers.

    The drop of tau is the smallest that keeps strangers apart; those of the probability are the
    likeliest ones.
    """
    halves = {}
    for half, own in (("fitted", spoiled.fitted), ("other", ~spoiled.fitted)):
        two = pairs_of_two(spoiled, own)
        strangers = {k: Pairs.of(faces, quality, a, b) for k, (a, b) in two.items()}
        halves[half] = strangers, {kind: len(a) for kind, (a, _) in two.items()}
    for good in GOODS:
        tau_drop = tau_drop_for(*halves["fitted"], faces.tau, good)
        shares = called_same(*halves["other"], faces.tau, tau_drop, good)
        if max(shares.values()) <= APART:
            break
    else:  # an embedder that no drop mends
        good = GOODS[0]
        tau_drop = tau_drop_for(*halves["fitted"], faces.tau, good)
        shares = called_same(*halves["other"], faces.tau, tau_drop, good)
    short = np.maximum(0.0, good - quality)
    slope, middle, figures = fit_drops(spoiled, faces.rows, short, faces.tau, faces.slope)
    figures["strangers_same_percent"] = {k: round(100 * v, 2) for k, v in shares.items()}
    rule = QualityRule(good, round(tau_drop, 4), slope, middle, figures)
    unclear = {
        str(k): round(float((quality[(spoiled.kind == k) & ~spoiled.fitted] < FLOOR).mean()), 3)
        for k in np.unique(spoiled.kind)
    }
    return rule, unclear


def fit_quality() -> None:
    """Fit and write everything about quality, for every shipped embedder."""
    spoiled = spoiled_faces()
    models: dict[str, dict] = {}
    for path in sorted(SHIPPED.glob("*.json")):
        calibration = Calibration.load(path)
        name = path.stem.removesuffix("-m")
        embedder = load_embedder(name, mirror=path.stem.endswith("-m"), threads=1)
        calibration.require(embedder.embedder_id)
        reading = read(embedder, spoiled)
        signals = np.concatenate([spoiled.signals, reading.signals], axis=1)
        head = calibration.head
        faces = Faces(reading.rows.astype(np.float64), signals, head.threshold, head.slope)
        model, quality, figures = fit_model(spoiled, faces)
        rule, unclear = fit_rule(spoiled, faces, quality)
        replace(calibration, quality=rule).save(path)
        models[embedder.embedder_id] = model
        print(path.stem, figures, rule.to_json(), "too poor", unclear)
        if path.stem == "sface":  # the general model: the same chance, told from the photo alone
            general = replace(faces, signals=spoiled.signals)
            models[GENERAL], _, figures = fit_model(spoiled, general)
            print(GENERAL, figures)
    rows = [f"{json.dumps(name)}: {json.dumps(model)}" for name, model in models.items()]
    TARGET.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


def templates(name: str = "sface") -> None:
    """Print how to make one of several enrolled photos: rank 1 and TPIR at FPIR 1 %, five draws."""
    spoiled = spoiled_faces()
    embedder = load_embedder(name, threads=1)
    reading = read(embedder, spoiled)
    rows = reading.rows.astype(np.float64)
    head = Calibration.load(SHIPPED / f"{name}.json").head
    signals = np.concatenate([spoiled.signals, reading.signals], axis=1)
    _, quality, _ = fit_model(spoiled, Faces(rows, signals, head.threshold, head.slope))
    for poor in (False, True):
        found = [_template_trial(spoiled, rows, quality, poor, seed) for seed in range(5)]
        words = "one of the enrolled photos spoiled" if poor else "all photos sharp"
        for way in found[0]:
            rank, share = np.mean([trial[way] for trial in found], axis=0)
            print(f"{words}, {way}: rank 1 {rank:.4f}, TPIR at 1 % {share:.4f}")


def _template_trial(
    spoiled: Spoiled, rows: np.ndarray, quality: np.ndarray, poor: bool, seed: int
) -> dict[str, tuple[float, float]]:
    chance = np.random.default_rng(seed)
    sharp = spoiled.row == "clean"
    photos = {p: np.flatnonzero(sharp & (spoiled.person == p)) for p in np.unique(spoiled.person)}
    enrolled, probes = [], []
    for own in (own for own in photos.values() if len(own) >= 3):
        first, *others = chance.permutation(own)
        worse = np.flatnonzero((spoiled.photo == spoiled.photo[others[0]]) & ~sharp)
        if poor and len(worse):
            others[0] = chance.choice(worse)
        probes.append(first)
        enrolled.append(others)
    strangers = np.concatenate([own for own in photos.values() if len(own) < 3])
    asked = rows[np.concatenate([probes, strangers])]
    ways = {
        "nearest": np.stack([_squared(asked, rows[g]).min(axis=1) for g in enrolled], axis=1),
        "mean": _squared(asked, np.stack([_unit(rows[g].mean(axis=0)) for g in enrolled])),
        "mean by quality": _squared(
            asked, np.stack([_unit(quality[g] @ rows[g]) for g in enrolled])
        ),
    }
    known = np.arange(len(probes))
    answers = {}
    for way, d in ways.items():
        right = d[known].argmin(axis=1) == known
        tau = np.quantile(d[len(probes) :].min(axis=1), 0.01)
        answers[way] = float(right.mean()), float((right & (d[known, known] <= tau)).mean())
    return answers


def _unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return 2 - 2 * a @ b.T


if __name__ == "__main__":
    templates()
