"""Optimisers against torch's, SciPy's, and against themselves resumed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from scipy.ndimage import gaussian_filter

from limner.style.brush import COLOUR_WIDTH, Brush
from limner.style.encoder import random_encoder
from limner.style.objective import Goal, Objective, style_targets
from limner.style.optimise import Adam, Lbfgs, NotesLbfgs


def small_objective() -> Objective:
    encoder = random_encoder("vgg16").cut("relu2_1")
    goal = Goal(
        content_layers=(("relu1_2", 1.0),),
        style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0)),
        alpha=1.0,
        beta=1e3,
        smoothness=0.0,
        content_kind="mean",
        style_kind="chw",
    )
    generator = torch.Generator().manual_seed(3)
    content, style = (torch.rand(1, 3, 12, 16, generator=generator) for _ in range(2))
    return Objective(encoder, content, style_targets(encoder, [style], [1], goal), goal)


def start() -> torch.Tensor:
    return torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(4))


def test_the_notes_lbfgs_is_torchs_bit_for_bit():
    objective, image = small_objective(), start().clone().requires_grad_(True)
    reference = torch.optim.LBFGS([image])
    theirs: list[torch.Tensor] = []

    def closure() -> float:
        with torch.no_grad():
            image.clamp_(0, 1)
        terms, gradient = objective.evaluate(image)
        image.grad = gradient
        theirs.append(image.detach().clone())
        return terms.total

    while len(theirs) < 50:
        reference.step(closure)
    ours = NotesLbfgs(start())
    for i in range(50):
        assert torch.equal(ours.point, theirs[i]), f"closure call {i}"
        terms, gradient = objective.evaluate(ours.point)
        ours.tell(terms.total, gradient)


def test_adam_is_torchs():
    objective, image = small_objective(), (start() * 0.2 + 0.4).requires_grad_(True)
    reference = torch.optim.Adam([image], lr=0.004, betas=(0.9, 0.99))
    ours = Adam(start() * 0.2 + 0.4, rate=0.004, average=0.5)
    points = []
    for _ in range(10):
        torch.testing.assert_close(ours.point, image.detach(), rtol=1e-5, atol=1e-6)
        terms, gradient = objective.evaluate(ours.point)
        ours.tell(terms.total, gradient)
        image.grad = objective.evaluate(image)[1]
        reference.step()
        points.append(ours.point)
    weights = [0.5 ** (9 - i) for i in range(10)]
    wanted = sum(w * p for w, p in zip(weights, points, strict=True)) / sum(weights)
    torch.testing.assert_close(ours.picture(), wanted)


def bounded_quadratic(seed: int):
    """A strictly convex quadratic whose minimum in [0, 1] has many values on the bounds."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(48, 48))
    matrix, centre = root @ root.T / 48 + 0.05 * np.eye(48), random.normal(0.5, 1.0, 48)

    def value(x):
        d = x - centre
        return d @ matrix @ d / 2, matrix @ d

    return value


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("line_search", ["backtracking", "none"])
def test_lbfgs_reaches_scipys_minimum_inside_the_bounds(seed, line_search):
    function = bounded_quadratic(seed)
    best = scipy.optimize.minimize(
        function, np.full(48, 0.5), jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 48
    )
    ours = Lbfgs(torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64), line_search=line_search)
    lowest = np.inf
    for _ in range(300):
        value, gradient = function(ours.point.numpy().ravel())
        lowest = min(lowest, value)
        assert ours.point.min() >= 0
        assert ours.point.max() <= 1
        ours.tell(float(value), torch.from_numpy(gradient).view(1, 3, 4, 4))
    assert lowest <= best.fun + 1e-3 * abs(best.fun)


def test_backtracking_never_accepts_a_worse_picture():
    objective = small_objective()
    ours, accepted = Lbfgs(start()), []
    for _ in range(40):
        terms, gradient = objective.evaluate(ours.point)
        ours.tell(terms.total, gradient)
        accepted.append(ours._value)
    assert accepted == sorted(accepted, reverse=True)
    assert accepted[-1] < 0.2 * accepted[0]


def test_a_cost_that_is_not_finite_is_survived():
    objective, ours = small_objective(), Lbfgs(start())
    values = []
    for i in range(30):
        terms, gradient = objective.evaluate(ours.point)
        spoilt = i in (7, 8, 15)
        values.append(terms.total)
        ours.tell(float("nan") if spoilt else terms.total, gradient)
    assert min(values) < 0.5 * values[0]
    with pytest.raises(ValueError, match="starting picture is not a finite number"):
        Lbfgs(start()).tell(float("inf"), torch.zeros(1, 3, 12, 16))


@pytest.mark.parametrize("kind", [Lbfgs, NotesLbfgs, Adam])
def test_a_restored_optimiser_goes_on_bit_for_bit(kind):
    objective = small_objective()

    def go(optimiser, calls):
        for _ in range(calls):
            terms, gradient = objective.evaluate(optimiser.point)
            optimiser.tell(terms.total, gradient)
        return optimiser

    for first in (0, 1, 7):
        whole = go(kind(start()), first + 9)
        tensors, numbers = go(kind(start()), first).save()
        tensors = {name: value.clone() for name, value in tensors.items()}
        other = kind(torch.zeros(1, 3, 12, 16))
        other.restore((tensors, dict(numbers)))
        assert torch.equal(go(other, 9).point, whole.point)


@pytest.mark.parametrize("kind", [Lbfgs, NotesLbfgs, Adam])
def test_a_vanished_gradient_is_said_and_not_fatal(kind):
    optimiser = kind(torch.full((1, 3, 4, 4), 0.5))
    for _ in range(5):
        optimiser.tell(1.0, torch.zeros(1, 3, 4, 4))
        assert torch.isfinite(optimiser.point).all()
    if kind is not Adam:
        assert "gradient vanished" in optimiser.remark


def test_a_brush_leaves_less_grain_after_a_few_steps():
    """From a flat grey towards noise: what is fine comes late."""
    generator = torch.Generator().manual_seed(5)
    goal = torch.rand((1, 3, 24, 30), generator=generator) * 0.4 + 0.3

    def painted(brush: float) -> torch.Tensor:
        optimiser = Lbfgs(torch.full_like(goal, 0.5), brush=brush)
        for _ in range(3):
            shown = optimiser.point
            optimiser.tell(float((shown - goal).square().sum()), 2 * (shown - goal))
        return shown

    def grain(picture: torch.Tensor) -> float:
        across = picture[..., 1:] - picture[..., :-1]
        return float(across.square().mean() / (picture - picture.mean()).square().mean())

    assert grain(painted(1.0)) < 0.7 * grain(painted(0.0))
    soft = (painted(1.0) - goal).square().sum()
    assert soft < (0.5 - goal).square().sum()


def test_the_brush_is_symmetric_and_positive():
    brush = Brush(0.8, torch.zeros((1, 3, 5, 6), dtype=torch.float64))
    eye = torch.eye(90, dtype=torch.float64)
    matrix = torch.stack([brush(row) for row in eye])
    torch.testing.assert_close(matrix, matrix.T)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0


def test_the_brush_blurs_light_less_than_colour():
    """Against SciPy's Gaussian, plane by plane: light alone, and one difference of colour alone."""
    random = np.random.default_rng(2)
    plane = random.standard_normal((40, 48))
    brush = Brush(0.8, torch.zeros((1, 3, 40, 48), dtype=torch.float64))
    for colour, width in (((1.0, 1.0, 1.0), 0.8), ((1.0, -1.0, 0.0), 0.8 * COLOUR_WIDTH)):
        picture = np.stack([plane * c for c in colour])
        found = brush(torch.from_numpy(picture).reshape(-1)).view(3, 40, 48).numpy()
        reach = max(1, int(np.ceil(3 * width)))
        wanted = gaussian_filter(plane, width, mode="constant", radius=reach)
        np.testing.assert_allclose(found, np.stack([wanted * c for c in colour]), atol=1e-12)
