"""Optimisers that are asked for a picture and told its cost, one closure call at a time.

`point` is the picture to evaluate next; `tell` takes its cost and gradient and moves `point`.
So a run can be counted, drawn, interrupted and saved between any two closure calls: `save`
and `restore` carry everything that the next calls depend on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from limner.errors import InputError
from limner.style.brush import Brush

OptimiserName = Literal["lbfgs", "notes_lbfgs", "adam"]
LineSearch = Literal["backtracking", "none"]
State = tuple[dict[str, Tensor], dict[str, Any]]

_CURVATURE = 1e-10


class Optimiser(Protocol):
    """What `stylize` needs of an optimiser."""

    point: Tensor
    remark: str

    def tell(self, value: float, gradient: Tensor) -> None:
        """Take cost and gradient of `point`, and move it."""

    def picture(self) -> Tensor | None:
        """Return the picture that the optimiser itself would show; None: the best evaluated."""

    def save(self) -> State:
        """Return tensors and plain numbers that hold all its state."""

    def restore(self, state: State) -> None:
        """Take a state from `save`."""


class _History:
    """Pairs (s, y) of the last steps and the product with the inverse Hessian they imply."""

    def __init__(self, length: int, first: Callable[[Tensor], Tensor] | None = None) -> None:
        self.length = length
        self.first = first  # the inverse Hessian that is supposed before any pair is known
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.rho: list[Tensor] = []
        self.scale: Tensor | float = 1.0

    def clear(self) -> None:
        self.steps, self.changes, self.rho, self.scale = [], [], [], 1.0

    def add(self, step: Tensor, change: Tensor, product: Tensor) -> None:
        if len(self.steps) == self.length:
            del self.steps[0], self.changes[0], self.rho[0]
        self.steps.append(step)
        self.changes.append(change)
        self.rho.append(1.0 / product)
        seen = change if self.first is None else self.first(change)
        self.scale = product / change.dot(seen)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return - H g by the two-loop recursion (Nocedal, 1980)."""
        q = gradient.neg()
        count = len(self.steps)
        along: list[Tensor] = [gradient.new_zeros(())] * count
        for i in range(count - 1, -1, -1):
            along[i] = self.steps[i].dot(q) * self.rho[i]
            q.add_(self.changes[i], alpha=-float(along[i]))
        r = torch.mul(q if self.first is None else self.first(q), self.scale)
        for i in range(count):
            back = self.changes[i].dot(r) * self.rho[i]
            r.add_(self.steps[i], alpha=float(along[i] - back))
        return r

    def save(self) -> dict[str, Tensor]:
        found = {f"step.{i}": t for i, t in enumerate(self.steps)}
        found |= {f"change.{i}": t for i, t in enumerate(self.changes)}
        if self.rho:
            found["rho"] = torch.stack(self.rho)
            found["scale"] = torch.as_tensor(self.scale)
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.clear()
        if "rho" in tensors:
            self.rho = list(tensors["rho"])
            self.scale = tensors["scale"]
            self.steps = [tensors[f"step.{i}"] for i in range(len(self.rho))]
            self.changes = [tensors[f"change.{i}"] for i in range(len(self.rho))]


class NotesLbfgs:
    """L-BFGS as the notes run it: ``torch.optim.LBFGS`` with its defaults, clamped in the closure.

    It is the same arithmetic, and gives the same pictures bit for bit; only the loop is turned
    inside out. Where torch's ``step`` would return early the remark says so, and the notes'
    outer loop calls it again, as here.

    Args:
        start: Shape (1, 3, H, W).
        history: Pairs that are kept.
        rate: Length of a step.
    """

    def __init__(self, start: Tensor, *, history: int = 100, rate: float = 1.0) -> None:
        self.point = start.detach().clone().contiguous().clamp_(0, 1)
        self.remark = ""
        self.rate = rate
        self._history = _History(history)
        self._direction: Tensor | None = None
        self._gradient: Tensor | None = None
        self._length: float = 0.0
        self._value = math.inf
        self._in_step = 0  # iterations since torch's step() began; 0 before its first closure
        self._count = 0

    def tell(self, value: float, gradient: Tensor) -> None:
        """Take cost and gradient of `point`, and move it."""
        g = gradient.reshape(-1)
        small = float(g.abs().max()) <= 1e-7
        if self._in_step and self._direction is not None:
            moved = float(self._direction.mul(self._length).abs().max())
            if small or moved <= 1e-9 or abs(value - self._value) < 1e-9:
                self._begin_again("the steps became too small to matter")
                return
        elif small:
            self.remark = "the gradient vanished"
            return
        self._count += 1
        if self._count == 1 or self._direction is None or self._gradient is None:
            direction = g.neg()
            self._length = min(1.0, 1.0 / float(g.abs().sum())) * self.rate
        else:
            change = g.sub(self._gradient)
            step = self._direction.mul(self._length)
            product = change.dot(step)
            if float(product) > _CURVATURE:
                self._history.add(step, change, product)
            direction = self._history.direction(g)
            self._length = self.rate
        self._direction, self._gradient, self._value = direction, g.clone(), value
        if float(g.dot(direction)) > -1e-9:
            self._begin_again("the direction led no further down")
            return
        self.point = self.point.add(direction.view_as(self.point), alpha=self._length).clamp_(0, 1)
        self._in_step = (self._in_step + 1) % 20

    def _begin_again(self, why: str) -> None:
        self.remark = why
        self._in_step = 0

    def picture(self) -> Tensor | None:
        """Return the last picture, which is what the notes show."""
        return self.point

    def save(self) -> State:
        """Return all state."""
        tensors = {"point": self.point, **self._history.save()}
        if self._direction is not None and self._gradient is not None:
            tensors |= {"direction": self._direction, "gradient": self._gradient}
        numbers = {
            "length": self._length,
            "value": self._value,
            "in_step": self._in_step,
            "count": self._count,
            "remark": self.remark,
        }
        return tensors, numbers

    def restore(self, state: State) -> None:
        """Take a state from `save`."""
        tensors, numbers = state
        self.point = tensors["point"]
        self._direction, self._gradient = tensors.get("direction"), tensors.get("gradient")
        self._history.restore(tensors)
        self._length, self._value = float(numbers["length"]), float(numbers["value"])
        self._in_step, self._count = int(numbers["in_step"]), int(numbers["count"])
        self.remark = str(numbers["remark"])


class Lbfgs:
    """L-BFGS inside [0, 1].

    Pixels that lie on a bound and would leave it are held for the step; the pair (s, y) is of
    the step that was really taken. A step that makes things worse is halved (Armijo's rule,
    along the clamped path); when halving does not help, the history is forgotten and the run
    goes on down the gradient, which the remark says. It never stops by itself.

    Args:
        start: Shape (1, 3, H, W).
        history: Pairs that are kept.
        line_search: `backtracking`, or `none`: every step is taken.
        reach: Root mean square of the first step, in the picture's units.
        brush: Width in pixels of the `Brush` that is supposed for the inverse Hessian: what is
            finer comes late, so a few steps leave no grain. 0: the identity.
    """

    _HALVINGS = 5

    def __init__(
        self,
        start: Tensor,
        *,
        history: int = 20,
        line_search: LineSearch = "backtracking",
        reach: float = 0.02,
        brush: float = 0.0,
    ) -> None:
        self.point = start.detach().clone().contiguous().clamp_(0, 1)
        self.remark = ""
        self.line_search = line_search
        self.reach = reach
        self._brush = Brush(brush, self.point) if brush else None
        self._history = _History(history, self._brush)
        self._base: Tensor | None = None  # the picture the current step starts from
        self._gradient: Tensor | None = None  # its gradient
        self._direction: Tensor | None = None
        self._value = math.inf
        self._length = 1.0
        self._halvings = 0

    def tell(self, value: float, gradient: Tensor) -> None:
        """Take cost and gradient of `point`, and move it."""
        g = gradient.reshape(-1).clone()
        x = self.point.reshape(-1)
        if self._base is None or self._gradient is None:
            if not (math.isfinite(value) and bool(torch.isfinite(g).all())):
                raise InputError(
                    "The cost of the starting picture is not a finite number; lower beta or the "
                    "layers' lambdas."
                )
            self._accept(value, x, g)
            return
        step = x - self._base
        enough = value <= self._value + 1e-4 * float(self._gradient.dot(step))
        finite = math.isfinite(value) and bool(torch.isfinite(g).all())
        if finite and (enough or self.line_search == "none"):
            change = g - self._gradient
            product = step.dot(change)
            if float(product) > _CURVATURE * float(step.dot(step)):
                self._history.add(step, change, product)
            self._accept(value, x, g)
        else:
            self._go_back()

    def _accept(self, value: float, x: Tensor, g: Tensor) -> None:
        self._value, self._base, self._gradient = value, x, g
        self._halvings, self._length = 0, 1.0
        held = ((x <= 0) & (g > 0)) | ((x >= 1) & (g < 0))
        free = g.masked_fill(held, 0.0)
        direction = self._history.direction(free).masked_fill_(held, 0.0)
        if not self._history.steps or float(direction.dot(free)) >= 0:
            direction = self._downhill(free)
        self._direction = direction
        self._move()

    def _downhill(self, free: Tensor) -> Tensor:
        free = free if self._brush is None else self._brush(free)
        size = float(free.square().mean().sqrt())
        if size == 0:
            self.remark = "the gradient vanished"
            return free.neg()
        return free * (-self.reach / size)

    def _go_back(self) -> None:
        assert self._gradient is not None
        self._halvings += 1
        if self._halvings < self._HALVINGS:
            self._length /= 2
        elif self._history.steps:
            self._history.clear()
            self.remark = "the history was forgotten once, because steps along it led up"
            self._halvings, self._length = 0, 1.0
            self._direction = self._downhill(self._gradient)
        else:
            self._length /= 4
        self._move()

    def _move(self) -> None:
        assert self._base is not None
        assert self._direction is not None
        moved = torch.add(self._base, self._direction, alpha=self._length).clamp_(0, 1)
        self.point = moved.view_as(self.point)

    def picture(self) -> Tensor | None:
        """Return None: the best picture that was evaluated is the one to show."""
        return None

    def save(self) -> State:
        """Return all state."""
        tensors = {"point": self.point, **self._history.save()}
        held = {"base": self._base, "gradient": self._gradient, "direction": self._direction}
        tensors |= {name: value for name, value in held.items() if value is not None}
        numbers = {
            "value": self._value,
            "length": self._length,
            "halvings": self._halvings,
            "remark": self.remark,
        }
        return tensors, numbers

    def restore(self, state: State) -> None:
        """Take a state from `save`."""
        tensors, numbers = state
        self.point = tensors["point"]
        self._base, self._gradient = tensors.get("base"), tensors.get("gradient")
        self._direction = tensors.get("direction")
        self._history.restore(tensors)
        self._value, self._length = float(numbers["value"]), float(numbers["length"])
        self._halvings, self.remark = int(numbers["halvings"]), str(numbers["remark"])


class Adam:
    """Adam inside [0, 1]; the picture to show is a running average of the points.

    Args:
        start: Shape (1, 3, H, W).
        rate: Size of a step, in the picture's units.
        average: How slowly the running average follows, in [0, 1); its bias towards the start
            is corrected.

    Source: Kingma and Ba, ICLR 2015.
    """

    _BETA_1, _BETA_2, _EPS = 0.9, 0.99, 1e-8

    def __init__(self, start: Tensor, *, rate: float = 0.02, average: float = 0.95) -> None:
        self.point = start.detach().clone().contiguous().clamp_(0, 1)
        self.remark = ""
        self.rate = rate
        self.average = average
        self._first = torch.zeros_like(self.point)
        self._second = torch.zeros_like(self.point)
        self._mean = torch.zeros_like(self.point)
        self._count = 0

    def tell(self, value: float, gradient: Tensor) -> None:
        """Take cost and gradient of `point`, and move it."""
        if not (math.isfinite(value) and bool(torch.isfinite(gradient).all())):
            self.remark = "a step with a cost that is not finite was left out"
            gradient = torch.zeros_like(gradient)
        self._count += 1
        self._first.lerp_(gradient, 1 - self._BETA_1)
        self._second.mul_(self._BETA_2).addcmul_(gradient, gradient, value=1 - self._BETA_2)
        first = self._first / (1 - self._BETA_1**self._count)
        second = self._second / (1 - self._BETA_2**self._count)
        moved = self.point - self.rate * first / (second.sqrt() + self._EPS)
        self.point = moved.clamp_(0, 1)
        self._mean = self._mean.lerp(self.point, 1 - self.average)

    def picture(self) -> Tensor | None:
        """Return the bias-corrected average of the points so far."""
        if self._count == 0:
            return self.point
        return (self._mean / (1 - self.average**self._count)).clamp_(0, 1)

    def save(self) -> State:
        """Return all state."""
        tensors = {"point": self.point, "first": self._first, "second": self._second}
        return {**tensors, "mean": self._mean}, {"count": self._count, "remark": self.remark}

    def restore(self, state: State) -> None:
        """Take a state from `save`."""
        tensors, numbers = state
        self.point, self._mean = tensors["point"], tensors["mean"]
        self._first, self._second = tensors["first"], tensors["second"]
        self._count, self.remark = int(numbers["count"]), str(numbers["remark"])
