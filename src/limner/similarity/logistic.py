"""Logistic regression by Newton's method: small, exact, and with soft targets and weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_MAX_STEPS = 100
_TOLERANCE = 1e-10


def sigmoid(x: Float64) -> Float64:
    """Return 1 / (1 + exp(-x)) without overflow. Any shape; range [0, 1]."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def loss_and_gradient(
    parameters: Float64, x: Float64, target: Float64, weight: Float64, ridge: Float64
) -> tuple[float, Float64]:
    """Return the penalised negative log likelihood and its gradient.

    Args:
        parameters: Shape (P,), the coefficients.
        x: Shape (N, P), the design matrix (a column of ones if a bias is wanted).
        target: Shape (N,), probabilities in [0, 1].
        weight: Shape (N,), >= 0.
        ridge: Shape (P,), the L2 strength of each coefficient.

    Returns:
        sum_i w_i CE(t_i, sigma(x_i p)) + 1/2 sum_k ridge_k p_k^2, and its gradient (P,).
    """
    logit = x @ parameters
    # log(1 + exp(z)) - t z, stable for large |z|
    loss = np.logaddexp(0.0, logit) - target * logit
    value = float(weight @ loss + 0.5 * ridge @ (parameters * parameters))
    gradient = x.T @ (weight * (sigmoid(logit) - target)) + ridge * parameters
    return value, gradient


def minimise(x: Float64, target: Float64, weight: Float64, ridge: Float64) -> Float64:
    """Return the coefficients that minimise `loss_and_gradient`; Newton with halved steps.

    Args:
        x: Shape (N, P).
        target: Shape (N,), probabilities in [0, 1].
        weight: Shape (N,), >= 0.
        ridge: Shape (P,), >= 0.

    Returns:
        Shape (P,).
    """
    parameters = np.zeros(x.shape[1])
    value, gradient = loss_and_gradient(parameters, x, target, weight, ridge)
    scale = max(float(weight.sum()), 1.0)
    jitter = 1e-12 * scale * np.eye(x.shape[1])
    for _ in range(_MAX_STEPS):
        probability = sigmoid(x @ parameters)
        curvature = weight * probability * (1.0 - probability)
        hessian = (x * curvature[:, None]).T @ x + np.diag(ridge) + jitter
        step = np.linalg.solve(hessian, gradient)
        if float(gradient @ step) < _TOLERANCE * 1e-6 * scale:
            break
        length = 1.0
        while length > 1e-10:
            trial = parameters - length * step
            trial_value, trial_gradient = loss_and_gradient(trial, x, target, weight, ridge)
            if trial_value <= value:
                break
            length *= 0.5
        else:
            break
        converged = value - trial_value <= 1e-15 * abs(value)
        parameters, value, gradient = trial, trial_value, trial_gradient
        if converged:
            break
    return parameters
