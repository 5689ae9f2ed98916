"""Chapter 2 — policies: numbers become probabilities, probabilities actions, slopes steps.

Data flow: theta -> logits -> pi -> J(theta) -> gradient -> theta; (pi, u) -> action.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from pgcourse.arguments import Floats, as_distribution, as_numbers
from pgcourse.mdp import MDP, expected_return

Objective = Callable[[Floats], float]  # from parameters to a number


def _as_array(name: str, values: ArrayLike, axes: str, least: int = 0) -> Floats:
    """Return finite numbers of any shape with at least `least` axes."""
    ragged = not isinstance(values, np.ndarray)  # a list may be, and passes here
    axis_count = np.asarray(values, dtype=object if ragged else None).ndim
    return as_numbers(name, values, (None,) * max(axis_count, least), axes)


def _shifted(logits: ArrayLike) -> Floats:
    """Move each row's largest logit to 0, so that no exponential overflows."""
    array = _as_array("logits", logits, "[..., A]", least=1)
    shifted: Floats = array - array.max(axis=-1, keepdims=True)
    return shifted


def softmax(logits: ArrayLike) -> Floats:
    """Turn logits into probabilities of the same shape, {eq}`softmax`.

    Args:
        logits: `[..., A]` finite numbers of any size; only differences in a row matter.

    Raises:
        ValueError: logits are not finite numbers, or have no last axis.
    """
    weights = np.exp(_shifted(logits))
    probs: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return probs


def log_softmax(logits: ArrayLike) -> Floats:
    """Logarithm of `softmax`, without computing that first, {eq}`log-softmax`; `[..., A]` nats."""
    shifted = _shifted(logits)
    log_probs: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs


def sample_action(probs: ArrayLike, u: float) -> int:
    """Return the action that the number u picks, {eq}`inverse-cdf`.

    Args:
        probs: `[A]` probabilities.
        u: number in [0, 1), uniform if the action is to be a sample.

    Returns:
        The smallest action whose cumulative probability exceeds u. Rounding may leave none where
        the sum ends just below 1: then the last action with positive probability.

    Raises:
        ValueError: probs are not a distribution, or u lies outside [0, 1).
    """
    probs = as_distribution("probs", probs, (None,), "[A]")
    if not 0 <= (u := float(as_numbers("u", u, (), "[]"))) < 1:
        raise ValueError(f"u must lie in [0, 1), got {u}")
    above = np.flatnonzero(np.cumsum(probs) > u)
    return int(above[0] if len(above) else np.flatnonzero(probs)[-1])


def objective(mdp: MDP, theta: ArrayLike) -> float:
    """Expected return of the softmax of `theta [S, A]`, {eq}`objective`; reward."""
    theta = as_numbers("theta", theta, (mdp.S, mdp.A), "[S, A]")
    return expected_return(mdp, softmax(theta))


def aliased_return(p: ArrayLike) -> Floats:
    """Expected return of Pr(right) = p in the aliased corridor, {eq}`aliased-return` (reward).

    Args:
        p: probabilities, any shape; 0 and 1 never arrive and give minus infinity.

    Source: Sutton & Barto 2018, Example 13.1.
    """
    p = _as_array("p", p, "[...]")
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p must lie in [0, 1], got {p[(p < 0) | (p > 1)][0]}")
    with np.errstate(divide="ignore"):
        J: Floats = -2 * (2 - p) / (p * (1 - p))
    return J


def slope(f: Objective, theta: Floats, h: float = 1e-5) -> Floats:
    """Measure the gradient of f by central differences, to about h squared."""
    steps = h * np.eye(theta.size).reshape(theta.size, *theta.shape)
    rises = [(f(theta + step) - f(theta - step)) / (2 * h) for step in steps]
    return np.array(rises).reshape(theta.shape)


def gradient_ascent_step(theta: ArrayLike, grad: ArrayLike, alpha: float) -> Floats:
    """Move uphill, {eq}`ascent-step`: theta + alpha grad, in a new array.

    Args:
        theta: parameters, any shape.
        grad: gradient of the objective at theta, the same shape.
        alpha: step size, at least 0.

    Raises:
        ValueError: shapes differ, something is not finite, or alpha is negative.
    """
    theta = _as_array("theta", theta, "[...]")
    grad = as_numbers("grad", grad, theta.shape, "[...]")
    if (alpha := float(as_numbers("alpha", alpha, (), "[]"))) < 0:
        raise ValueError(f"alpha must be at least 0, got {alpha}")
    return theta + alpha * grad
