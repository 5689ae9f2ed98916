"""Correct answers to chapter 3 that look nothing like the reference; none may be rejected."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch

# --- softmax_score -----------------------------------------------------------------------------


def softmax_score_by_autograd(logits: Any, action: Any) -> Any:
    leaf = torch.tensor(np.asarray(logits, dtype=float), requires_grad=True)
    torch.log_softmax(leaf, dim=-1)[action].backward()
    return leaf.grad


def softmax_score_with_a_live_graph(logits: Any, action: Any) -> Any:
    leaf = torch.tensor(np.asarray(logits, dtype=float), requires_grad=True)
    return torch.nn.functional.one_hot(torch.tensor(action), len(leaf)) - torch.softmax(leaf, 0)


def softmax_score_by_sigmoids(logits: Any, action: Any) -> list[float]:
    """p_k = 1 / Σ_j exp(l_j - l_k): no shift by the maximum, nothing overflows."""

    def probability(k: int) -> float:
        gaps = [float(x) - float(logits[k]) for x in logits]
        return 0.0 if max(gaps) > 700 else 1 / sum(math.exp(g) for g in gaps)

    return [float(k == action) - probability(k) for k in range(len(logits))]


def softmax_score_from_ratios(logits: Any, action: Any) -> Any:
    """The entry of the action as a sum of the others, so that it loses no digits."""
    logits = np.array(logits, dtype=float)
    score = -np.exp(logits - np.logaddexp.reduce(logits))
    score[action] = 0.0
    score[action] = -score.sum()
    return score


def softmax_score_in_place(logits: Any, action: Any) -> Any:
    p = np.array(logits, dtype=float)
    p -= p.max()
    np.exp(p, out=p)
    p /= -p.sum()
    p[action] += 1
    return p


def softmax_score_by_differences(logits: Any, action: Any) -> Any:
    """Complex steps through the logarithm, at a step so small that it does not show."""
    logits = np.asarray(logits, dtype=complex)
    shifted = logits - logits.real.max()
    steps = 1j * 1e-30 * np.eye(len(logits))
    return [((shifted + h)[action] - np.log(np.exp(shifted + h).sum())).imag / 1e-30 for h in steps]


# --- gaussian_score ----------------------------------------------------------------------------


def gaussian_score_by_autograd(x: Any, mean: Any, std: Any) -> Any:
    theta = torch.tensor([mean, std], dtype=torch.float64, requires_grad=True)
    log_p = torch.distributions.Normal(theta[0], theta[1]).log_prob(
        torch.as_tensor(x, dtype=torch.float64)
    )
    return torch.autograd.grad(log_p, theta)[0]


def gaussian_score_tuple(x: Any, mean: Any, std: Any) -> tuple[float, float]:
    return (x - mean) / std**2, (x - mean) ** 2 / std**3 - 1 / std


def gaussian_score_factored(x: Any, mean: Any, std: Any) -> list[float]:
    return [(x - mean) / std**2, (x - mean - std) * (x - mean + std) / std**3]


def gaussian_score_in_fractions(x: Any, mean: Any, std: Any) -> list[float]:
    u, s = Fraction(float(x)) - Fraction(float(mean)), Fraction(float(std))
    return [float(u / s**2), float((u**2 - s**2) / s**3)]


def gaussian_score_by_complex_steps(x: Any, mean: Any, std: Any) -> Any:
    def log_p(m: complex, s: complex) -> Any:
        return -((x - m) ** 2) / (2 * s**2) - np.log(s)

    h = 1e-30
    return np.array([log_p(mean + 1j * h, std).imag, log_p(mean, std + 1j * h).imag]) / h


def gaussian_score_by_zero_dimensional_tensors(x: Any, mean: Any, std: Any) -> list[Any]:
    z = torch.tensor((x - mean) / std, dtype=torch.float64)
    return [z / std, (z * z - 1) / std]


# --- score_function_gradient -------------------------------------------------------------------


def score_function_gradient_loop(f_values: Any, scores: Any) -> list[float]:
    M, D = len(f_values), len(scores[0])
    return [sum(f_values[i] * scores[i][j] for i in range(M)) / M for j in range(D)]


def score_function_gradient_running(f_values: Any, scores: Any) -> Any:
    """A running mean, one sample at a time."""
    mean = np.zeros(len(scores[0]))
    for i, (f, score) in enumerate(zip(f_values, scores, strict=True)):
        mean = mean + (f * np.asarray(score) - mean) / (i + 1)
    return mean


def score_function_gradient_broadcast(f_values: Any, scores: Any) -> Any:
    return np.mean(np.asarray(f_values)[:, None] * np.asarray(scores), axis=0)


def score_function_gradient_by_pseudo_loss(f_values: Any, scores: Any) -> Any:
    """The gradient of a loss that is linear in the parameters: chapter 6 in one line."""
    theta = torch.zeros(np.shape(scores)[1], dtype=torch.float64, requires_grad=True)
    log_p = torch.tensor(np.asarray(scores, dtype=float)) @ theta
    (log_p * torch.tensor(np.asarray(f_values, dtype=float))).mean().backward()
    return theta.grad


def score_function_gradient_backwards(f_values: Any, scores: Any) -> Any:
    rows = [f * np.asarray(s, dtype=float) for f, s in zip(f_values, scores, strict=True)]
    return np.add.reduce(rows[::-1]) / len(rows)


def score_function_gradient_average(f_values: Any, scores: Any) -> Any:
    return np.einsum("m,md->d", f_values, scores) * (1 / len(f_values))


# --- exact_variance ----------------------------------------------------------------------------


def exact_variance_by_moments(probs: Any, f_values: Any, scores: Any) -> float:
    p, f, S = (np.asarray(v, dtype=float) for v in (probs, f_values, scores))
    mean = (p * f) @ S
    return float(p @ (f**2 * (S**2).sum(axis=1)) - mean @ mean)


def exact_variance_by_pairs(probs: Any, f_values: Any, scores: Any) -> float:
    """Half the mean squared distance of two independent outcomes: no mean is computed."""
    total, K = 0.0, len(probs)
    for i in range(K):
        for j in range(K):
            gap = f_values[i] * np.asarray(scores[i]) - f_values[j] * np.asarray(scores[j])
            total += probs[i] * probs[j] * float(gap @ gap) / 2
    return total


def exact_variance_by_cov(probs: Any, f_values: Any, scores: Any) -> Any:
    rows = np.asarray(f_values)[:, None] * np.asarray(scores)
    return np.trace(np.atleast_2d(np.cov(rows.T, aweights=probs, ddof=0)))


def exact_variance_by_eigenvalues(probs: Any, f_values: Any, scores: Any) -> Any:
    rows = np.asarray(f_values)[:, None] * np.asarray(scores)
    centred = rows - np.average(rows, axis=0, weights=probs)
    return np.linalg.eigvalsh((centred.T * np.asarray(probs)) @ centred).sum()


def exact_variance_by_components(probs: Any, f_values: Any, scores: Any) -> Any:
    total = torch.zeros((), dtype=torch.float64)
    p = torch.tensor(np.asarray(probs, dtype=float))
    for column in np.asarray(scores, dtype=float).T:
        value = torch.tensor(np.asarray(f_values, dtype=float) * column)
        total = total + (p * (value - (p * value).sum()) ** 2).sum()
    return total


def exact_variance_in_fractions(probs: Any, f_values: Any, scores: Any) -> float:
    p = [Fraction(float(x)) for x in probs]
    p = [x / sum(p) for x in p]
    rows = [
        [Fraction(float(f)) * Fraction(float(s)) for s in row]
        for f, row in zip(f_values, scores, strict=True)
    ]
    columns = list(zip(*rows, strict=True))
    means = [sum(q * x for q, x in zip(p, column, strict=True)) for column in columns]
    squares = [
        q * (x - m) ** 2
        for column, m in zip(columns, means, strict=True)
        for q, x in zip(p, column, strict=True)
    ]
    return float(sum(squares))


VARIANTS: dict[str, list[Callable[..., Any]]] = {
    "softmax_score": [
        softmax_score_by_autograd,
        softmax_score_with_a_live_graph,
        softmax_score_by_sigmoids,
        softmax_score_from_ratios,
        softmax_score_in_place,
        softmax_score_by_differences,
    ],
    "gaussian_score": [
        gaussian_score_by_autograd,
        gaussian_score_tuple,
        gaussian_score_factored,
        gaussian_score_in_fractions,
        gaussian_score_by_complex_steps,
        gaussian_score_by_zero_dimensional_tensors,
    ],
    "score_function_gradient": [
        score_function_gradient_loop,
        score_function_gradient_running,
        score_function_gradient_broadcast,
        score_function_gradient_by_pseudo_loss,
        score_function_gradient_backwards,
        score_function_gradient_average,
    ],
    "exact_variance": [
        exact_variance_by_moments,
        exact_variance_by_pairs,
        exact_variance_by_cov,
        exact_variance_by_eigenvalues,
        exact_variance_by_components,
        exact_variance_in_fractions,
    ],
}
