"""Correct answers of chapter 2, written in other ways than ours."""

from __future__ import annotations

import bisect
import itertools
import math
from typing import Any

import numpy as np
import scipy.special


def row_by_row(logits: Any) -> Any:
    """Recursion over the leading axes, plain Python floats in the last one."""
    if np.ndim(logits) > 1:
        return [row_by_row(row) for row in logits]
    largest = max(float(x) for x in logits)
    weights = [math.exp(float(x) - largest) for x in logits]
    return [w / math.fsum(weights) for w in weights]


def from_differences(logits: Any) -> Any:
    """pi_a = 1 / Σ_b exp(θ_b − θ_a): no maximum at all, an infinite sum gives 0."""
    with np.errstate(over="ignore"):
        return 1 / np.exp(logits[..., None, :] - logits[..., :, None]).sum(axis=-1)


def torch_softmax(logits: Any) -> Any:
    import torch

    return torch.softmax(torch.tensor(logits, requires_grad=True), dim=-1)


def through_logs(logits: Any) -> Any:
    return np.exp(scipy.special.log_softmax(logits, axis=-1))


def log_row_by_row(logits: Any) -> Any:
    if np.ndim(logits) > 1:
        return tuple(log_row_by_row(row) for row in logits)
    largest = max(logits)
    total = largest + math.log(sum(math.exp(x - largest) for x in logits))
    return [x - total for x in logits]


def by_logaddexp(logits: Any) -> Any:
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def torch_log_softmax(logits: Any) -> Any:
    import torch

    return torch.distributions.Categorical(logits=torch.tensor(logits)).logits


def log_from_differences(logits: Any) -> Any:
    return -scipy.special.logsumexp(logits[..., None, :] - logits[..., :, None], axis=-1)


def running_sum(probs: Any, u: Any) -> Any:
    total, last = 0.0, None
    for a, p in enumerate(probs):
        total += p
        if p > 0:
            last = a
        if total > u:
            return a
    return last


def spend_u(probs: Any, u: Any) -> Any:
    """Count how many pieces fit below u, with exact sums."""
    sums = [math.fsum(probs[: a + 1]) for a in range(len(probs))]
    a = sum(s <= u for s in sums)
    return a if a < len(probs) else max(i for i, p in enumerate(probs) if p > 0)


def binary_search(probs: Any, u: Any) -> Any:
    sums = list(itertools.accumulate(probs.tolist()))
    return min(bisect.bisect_right(sums, u), int(np.nonzero(probs)[0].max()))


def normalised(probs: Any, u: Any) -> Any:
    sums = np.cumsum(probs)
    return np.array(np.searchsorted(sums / sums[-1], u, side="right"))


def positive_only(probs: Any, u: Any) -> Any:
    actions = np.flatnonzero(probs)
    return float(actions[min(np.sum(np.cumsum(probs[actions]) <= u), len(actions) - 1)])


def torch_search(probs: Any, u: Any) -> Any:
    import torch

    sums = torch.cumsum(torch.tensor(probs), 0)
    a = torch.searchsorted(sums, torch.tensor(u, dtype=torch.float64), right=True)
    return torch.minimum(a, torch.nonzero(torch.tensor(probs)).max())


def entry_by_entry(theta: Any, grad: Any, alpha: Any) -> Any:
    out = np.empty_like(theta)
    for index in np.ndindex(theta.shape):
        out[index] = theta[index] + alpha * grad[index]
    return out


def nested_lists(theta: Any, grad: Any, alpha: Any) -> Any:
    if np.ndim(theta) == 0:
        return theta + alpha * grad
    return [nested_lists(x, g, alpha) for x, g in zip(theta, grad, strict=True)]


def copy_then_add(theta: Any, grad: Any, alpha: Any) -> Any:
    theta = theta.copy()
    theta += alpha * grad
    return theta


def by_optimiser(theta: Any, grad: Any, alpha: Any) -> Any:
    import torch

    x = torch.tensor(theta, requires_grad=True)
    x.grad = torch.tensor(grad)
    torch.optim.SGD([x], lr=alpha, maximize=True).step()
    return x


VARIANTS = {
    "softmax": [row_by_row, from_differences, torch_softmax, through_logs],
    "log_softmax": [
        log_row_by_row,
        by_logaddexp,
        torch_log_softmax,
        log_from_differences,
    ],
    "sample_action": [
        running_sum,
        spend_u,
        binary_search,
        normalised,
        positive_only,
        torch_search,
    ],
    "gradient_ascent_step": [entry_by_entry, nested_lists, copy_then_add, by_optimiser],
}
