"""The notes' five trainings one after the other, and what their comparison says.

The last two differ in one thing: SamplePairing. Whether it helps is the question that they were
made for; `PairingGain` answers it on the same held-out photos, with an interval.

Source: the notes, "Training process" 1 to 5, and "Model accuracy test".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limner.errors import InputError
from limner.evaluation.bootstrap import RESAMPLES, counts, interval
from limner.training.fit import RUN, Run, Trained, train_people
from limner.training.recipe import Recipe, read_recipe, recipe_names

PLAIN, PAIRED = "notes-4", "notes-5"
"""The same training without and with SamplePairing."""


@dataclass(frozen=True)
class FiveRow:
    """One recipe, trained with one seed or with several.

    Attributes:
        recipe: What it is.
        name: Its name.
        net: The network that was used.
        best_epochs: The best epoch of each seed, 1-based.
        figures: Of each seed.
        seconds: Of all seeds.
    """

    recipe: Recipe
    name: str
    net: str
    best_epochs: tuple[int, ...]
    figures: tuple[Mapping[str, Any], ...]
    seconds: float

    def accuracy(self, side: str) -> float | None:
        """Return the mean accuracy on `val` or `test`; None where that side has no photo."""
        values = [f[f"{side}_accuracy"] for f in self.figures if f"{side}_accuracy" in f]
        return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class PairingGain:
    """What SamplePairing adds to the accuracy: notes-5 minus notes-4.

    Attributes:
        difference: A share: 0.01 is one percentage point.
        low: Lower end of the 95 % interval.
        high: Upper end.
        side: Where it was measured: `test`, or `val` where there is no test.
        photos: Held-out photos.
        seeds: Trainings of each kind.
    """

    difference: float
    low: float
    high: float
    side: str
    photos: int
    seeds: int

    def words(self) -> str:
        """Return the answer as a sentence."""
        verdict = "helps" if self.low > 0 else "harms" if self.high < 0 else "makes no difference"
        shown = "" if self.low > 0 or self.high < 0 else " that can be told from chance"
        times = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return (
            f"SamplePairing {verdict}{shown} here: {100 * self.difference:+.2f} percentage points "
            f"({PAIRED} minus {PLAIN}), 95 % interval {100 * self.low:+.2f} to "
            f"{100 * self.high:+.2f}, on {self.photos:,} {self.side} photos, {times}."
        )


def train_five(
    folder: Path,
    out: Path,
    *,
    seeds: int = 1,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> tuple[list[FiveRow], PairingGain]:
    """Train the notes' five recipes with one cache.

    Args:
        folder: The people.
        out: A folder for each training goes here.
        seeds: Each recipe is trained so often: seeds 0, 1, ..., each with a split of its own
            where the folder gives none.
        changes: Keys of `Recipe` that replace those of all five.
        device: As `limner.device.resolve` takes it.
        tell: Called with a sentence now and then.

    Raises:
        InputError: If `seeds` is below 1, or `out` holds one of the trainings already.
        LimnerError: Whatever a training raises.
    """
    if seeds < 1:
        raise InputError(f"seeds must be 1 or larger, got {seeds}.")
    say = tell or (lambda words: None)
    names = [n for n in recipe_names() if n.startswith("notes-")]
    targets = {
        (n, s): out / (n if s == 0 else f"{n}-seed-{s}") for n in names for s in range(seeds)
    }
    for target in targets.values():
        if (target / RUN).exists():
            raise InputError(f"{target} holds a training already; choose another -o.")
    rows, right, said = [], {}, False
    for name in names:
        done: list[Trained] = []
        for seed in range(seeds):
            say(f"{name} ..." if seeds == 1 else f"{name}, seed {seed} ...")
            recipe = read_recipe(name, **{"seed": seed, **(changes or {})})
            run = Run(folder, targets[name, seed], cache=out / "cache", device=device)
            trained = train_people(recipe, run)
            for note in () if said else trained.notes:
                say(note)
            said = True
            done.append(trained)
        rows.append(
            FiveRow(
                recipe,
                name,
                done[0].model.net,
                tuple(t.report.best_epoch + 1 for t in done),
                tuple(t.figures for t in done),
                sum(sum(t.seconds.values()) for t in done),
            )
        )
        right[name] = [t.right for t in done]
    side = "test" if right[PLAIN][0]["test"] else "val"
    gain = paired_gain([r[side] for r in right[PAIRED]], [r[side] for r in right[PLAIN]], side=side)
    return rows, gain


def paired_gain(
    with_pairing: Sequence[Mapping[str, bool]],
    without: Sequence[Mapping[str, bool]],
    *,
    side: str,
    resamples: int = 10 * RESAMPLES,
    seed: int = 0,
) -> PairingGain:
    """Compare two kinds of training on the same photos.

    Args:
        with_pairing: For each seed, whether each photo was answered right.
        without: Likewise, of the same photos.
        side: Where they were held out.
        resamples: Of the interval.
        seed: Of the resamples.

    Returns:
        The difference, with a percentile interval over photos: a photo that several seeds hold
        out is drawn with all of its answers.

    Raises:
        InputError: If the two hold different photos, or none.

    Source: Efron and Tibshirani (1993), percentile intervals; paired, because both kinds answer
    for the same photos.
    """
    sums: dict[str, int] = {}
    times: dict[str, int] = {}
    for ours, theirs in zip(with_pairing, without, strict=True):
        if ours.keys() != theirs.keys() or not ours:
            raise InputError("the two trainings must answer for the same held-out photos.")
        for photo, hit in ours.items():
            sums[photo] = sums.get(photo, 0) + int(hit) - int(theirs[photo])
            times[photo] = times.get(photo, 0) + 1
    gains, weights = np.array(list(sums.values())), np.array(list(times.values()))
    drawn = counts(np.random.default_rng(seed), gains.size, resamples)
    low, high = interval((drawn @ gains) / (drawn @ weights))
    difference = float(gains.sum() / weights.sum())
    return PairingGain(difference, low, high, side, gains.size, len(with_pairing))
