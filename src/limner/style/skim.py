"""J without the deep layers that hardly count in it, most of the time.

In the notes' normalisation the style cost of a layer falls with the fourth power of its
activations: under `notes` the two deepest layers are less than a ten-thousandth of J, and
two thirds of the work. So J is evaluated in full at every sixteenth call; between those, the
deepest style layers are left out as long as what they add stays below a share of J, and their
last known cost stands for them in the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from limner.style.objective import Goal, Terms
from limner.style.octaves import Costing

EVERY = 16
"""Calls from one full evaluation to the next."""


class SkimmedObjective:
    """An objective that leaves deep style layers out while they are a small part of it.

    Args:
        goal: All layers and weights.
        build: Makes the objective of a goal.
        names: The encoder's layers in order.
        share: Of J; what is left out stays below it in a full evaluation.
    """

    def __init__(
        self, goal: Goal, build: Callable[[Goal], Costing], names: list[str], share: float
    ) -> None:
        self.goal, self._build, self._share = goal, build, share
        self._depth = {name: place for place, name in enumerate(names)}
        self._deepest_first = sorted(
            goal.style_layers, key=lambda layer: self._depth[layer[0]], reverse=True
        )
        self._made: dict[int, Costing] = {0: build(goal)}
        self._calls = 0
        self._left_out = 0
        self._costs: dict[str, float] = {}

    def evaluate(self, image: Tensor) -> tuple[Terms, Tensor]:
        """Return J with its parts, and the slope of the parts that were evaluated."""
        full = self._calls % EVERY == 0
        self._calls += 1
        if full or not self._left_out:
            terms, slope = self._made[0].evaluate(image)
            if full:
                self._choose(terms)
            return terms, slope
        terms, slope = self._short().evaluate(image)
        missing = self._deepest_first[: self._left_out]
        added = sum(weight * self._costs[tap] for tap, weight in missing)
        return replace(
            terms,
            total=terms.total + self.goal.beta * added,
            style=terms.style + added,
            layers=terms.layers | {f"style {tap}": self._costs[tap] for tap, _ in missing},
        ), slope

    def state(self) -> dict[str, Any]:
        """Return what the next evaluations depend on, as plain JSON values."""
        return {"calls": self._calls, "left_out": self._left_out, "costs": self._costs}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._calls, self._left_out = int(state["calls"]), int(state["left_out"])
        self._costs = {str(tap): float(cost) for tap, cost in state["costs"].items()}

    def _choose(self, terms: Terms) -> None:
        """Leave out as many of the deepest style layers as stay below the share together."""
        self._costs = {tap: terms.layers[f"style {tap}"] for tap, _ in self._deepest_first}
        floor = max(self._depth[tap] for tap, _ in self.goal.content_layers)
        self._left_out, added = 0, 0.0
        for tap, weight in self._deepest_first[:-1]:
            added += self.goal.beta * weight * self._costs[tap]
            if self._depth[tap] <= floor or added > self._share * terms.total:
                return
            self._left_out += 1

    def _short(self) -> Costing:
        if self._left_out not in self._made:
            out = {tap for tap, _ in self._deepest_first[: self._left_out]}
            kept = tuple(layer for layer in self.goal.style_layers if layer[0] not in out)
            self._made[self._left_out] = self._build(replace(self.goal, style_layers=kept))
        return self._made[self._left_out]
