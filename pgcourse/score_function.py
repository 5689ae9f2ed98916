"""Chapter 3 — score_function: the gradient of an expectation from samples alone.

Data flow: samples x_i -> f(x_i), scores ∇ log p(x_i) -> estimate of ∇ E[f(x)], exact variance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pgcourse.arguments import Floats, as_distribution, as_numbers
from pgcourse.policies import softmax


def softmax_score(logits: ArrayLike, action: int) -> Floats:
    """Score of an action under a softmax, by the logits: e_action - p, {eq}`softmax-score`.

    Args:
        logits: `[A]`, any real numbers.
        action: which action was taken, 0 to A - 1.

    Returns:
        `[A]`; its entries add up to 0.

    Raises:
        ValueError: logits are no finite row, or there is no such action.

    Source: Williams 1992.
    """
    logits, index = as_numbers("logits", logits, (None,), "[A]"), np.asarray(action)
    if index.shape or index.dtype.kind not in "iu" or not 0 <= index < len(logits):
        raise ValueError(f"action must be a whole number in 0..{len(logits) - 1}, got {action!r}")
    score = -softmax(logits)
    score[index] += 1
    return score


def gaussian_score(x: ArrayLike, mean: float, std: float) -> Floats:
    """Score of x under N(mean, std²), by the mean and by the standard deviation.

    {eq}`gaussian-score-mean` and {eq}`gaussian-score-std`.

    Args:
        x: a number or any array `[...]`.
        mean: of the Gaussian, in the unit of x.
        std: its standard deviation, positive, in the unit of x.

    Returns:
        `[..., 2]`, in 1 / unit of x.

    Raises:
        ValueError: an argument is not finite, or std is not positive.

    Source: Williams 1992.
    """
    x, (mean, std) = as_numbers("x", x, (None,) * np.ndim(x), "[...]"), _gaussian(mean, std)
    z = (x - mean) / std
    return np.stack([z, z**2 - 1], axis=-1) / std


def score_function_gradient(f_values: ArrayLike, scores: ArrayLike) -> Floats:
    """Estimate ∇ E[f(x)] by the mean of f(x_i) ∇ log p(x_i), {eq}`score-estimator`; unbiased.

    Args:
        f_values: `[M]`, f at each sample.
        scores: `[M, D]`, score of each sample.

    Returns:
        `[D]`, in the unit of f for each unit of the parameter.

    Raises:
        ValueError: an entry is not finite, or the numbers of samples differ.

    Source: Williams 1992; Mohamed et al. 2020.
    """
    f, S = _samples(f_values, scores, "M")
    return f @ S / len(f)


def exact_gradient(probs: ArrayLike, f_values: ArrayLike, scores: ArrayLike) -> Floats:
    """Exact ∇ E[f(x)] `[D]` over K outcomes, {eq}`score-function`; arguments as below."""
    f, S = _samples(f_values, scores, "K")
    return as_distribution("probs", probs, f.shape, "[K]") * f @ S


def exact_variance(probs: ArrayLike, f_values: ArrayLike, scores: ArrayLike) -> float:
    """Trace of the covariance of f(x) ∇ log p(x) for one sample, {eq}`score-variance`.

    Args:
        probs: `[K]`, probability of each outcome.
        f_values: `[K]`, f of each outcome.
        scores: `[K, D]`, score of each outcome.

    Returns:
        The sum of the D variances; the mean of M samples has 1/M of it.

    Raises:
        ValueError: probs are no distribution, an entry is not finite, or shapes differ.
    """
    g = exact_gradient(probs, f_values, scores)
    deviations = np.asarray(f_values)[:, None] * np.asarray(scores) - g  # first: less cancels
    return float(np.asarray(probs) @ (deviations**2).sum(axis=1))


def softmax_gradient(logits: ArrayLike, f_values: ArrayLike) -> Floats:
    """Exact ∇ E[f(a)] `[A]` for a ~ softmax(logits), in closed form, {eq}`softmax-gradient`."""
    f = as_numbers("f_values", f_values, (None,), "[A]")
    p = softmax(as_numbers("logits", logits, f.shape, "[A]"))
    return p * (f - p @ f)


# The Gaussian bandit: x ~ N(mean, std²) in each of D coordinates, f(x) = -Σ (x_j - target)².


def bandit_gradient(mean: float, std: float, target: float) -> Floats:
    """Exact gradient of E[-(x - target)²] by mean and std, `[2]`, from {eq}`bandit-value`."""
    mean, std = _gaussian(mean, std)
    return -2 * np.array([mean - target, std])


def bandit_score_variance(mean: float, std: float, target: float, D: int = 1) -> float:
    """Trace of the covariance of f(x) ∇_mean log p(x), one sample, {eq}`variance-in-dimension`."""
    mean, std = _gaussian(mean, std)
    d2, s2 = (mean - target) ** 2, std**2
    own = d2**2 / s2 + 14 * d2 + 15 * s2
    others = 2 * d2**2 + 12 * d2 * s2 + 8 * s2**2 + (D - 1) * (d2 + s2) ** 2
    return D * own + D * (D - 1) * others / s2


def bandit_pathwise_variance(std: float, D: int = 1) -> float:
    """Trace of the covariance of the pathwise estimate, {eq}`bandit-pathwise-variance`."""
    return 4 * D * _gaussian(0.0, std)[1] ** 2


def _gaussian(mean: Any, std: Any) -> tuple[float, float]:
    mean, std = (as_numbers(n, v, (), "[]") for n, v in (("mean", mean), ("std", std)))
    if std <= 0:
        raise ValueError(f"std must be positive, got {std}")
    return float(mean), float(std)


def _samples(f_values: ArrayLike, scores: ArrayLike, letter: str) -> tuple[Floats, Floats]:
    f = as_numbers("f_values", f_values, (None,), f"[{letter}]")
    S = as_numbers("scores", scores, (None, None), f"[{letter}, D]")
    if len(S) != len(f):
        raise ValueError(f"scores must have {len(f)} rows, one for each f value, got {len(S)}")
    return f, S
