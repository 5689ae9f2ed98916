"""Correct answers of chapter 5, written in other ways than ours."""

from __future__ import annotations

import bisect
import itertools
import math
from typing import Any

import numpy as np


def first_above(probs: Any, u: float) -> int:
    cumulative = list(itertools.accumulate(float(p) for p in probs))
    k = bisect.bisect_right(cumulative, u)
    return k if k < len(cumulative) else max(i for i, p in enumerate(probs) if p > 0)


def by_iterator(P: Any, R: Any, d0: Any, pi: Any, horizon: int, uniforms: Any) -> Any:
    numbers = iter(uniforms)
    s = first_above(d0, next(numbers))
    states, actions, rewards = [s], [], []
    for _ in range(horizon):
        a = first_above(pi[s], next(numbers))
        rewards.append(float(R[s, a]))
        s = first_above(P[s, a], next(numbers))
        actions.append(a)
        states.append(s)
    return states, actions, rewards


def into_arrays(P: Any, R: Any, d0: Any, pi: Any, horizon: int, uniforms: Any) -> Any:
    def pick(probs: Any, u: Any) -> Any:
        above = np.flatnonzero(np.cumsum(probs) > u)
        return above[0] if above.size else np.flatnonzero(probs)[-1]

    states, actions = np.zeros(horizon + 1, dtype=int), np.zeros(horizon, dtype=int)
    states[0] = pick(d0, uniforms[0])
    pairs = uniforms[1:].reshape(horizon, 2)
    for t, (u, v) in enumerate(pairs):
        actions[t] = pick(pi[states[t]], u)
        states[t + 1] = pick(P[states[t], actions[t]], v)
    return [states, actions, R[states[:-1], actions]]


def by_loops(trajectories: Any, theta: Any, gamma: float) -> Any:
    S, A = theta.shape
    total = [[0.0] * A for _ in range(S)]
    for states, actions, rewards in trajectories:
        G = 0.0
        for r in reversed(rewards.tolist()):
            G = r + gamma * G
        for s, a in zip(states[:-1], actions, strict=True):
            weights = [math.exp(x - max(theta[s])) for x in theta[s]]
            for b in range(A):
                total[s][b] += G * ((b == a) - weights[b] / sum(weights)) / len(trajectories)
    return total


def by_autograd(trajectories: Any, theta: Any, gamma: float) -> Any:
    import torch

    logits = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    log_pi = torch.log_softmax(logits, dim=1)
    J = 0.0
    for states, actions, rewards in trajectories:
        G = sum(gamma**t * r for t, r in enumerate(rewards))
        J = J + G * log_pi[torch.as_tensor(states[:-1]), torch.as_tensor(actions)].sum()
    (gradient,) = torch.autograd.grad(J / len(trajectories), logits)
    return gradient


def by_visits(trajectories: Any, theta: Any, gamma: float) -> Any:
    """Counts of (s, a) times return, then the probabilities subtracted once."""
    counts = np.zeros(theta.shape)
    for states, actions, rewards in trajectories:
        G = float(np.polynomial.polynomial.polyval(gamma, rewards))
        np.add.at(counts, (states[:-1], actions), G / len(trajectories))
    pi = np.exp(theta - theta.max(axis=1, keepdims=True))
    pi /= pi.sum(axis=1, keepdims=True)
    return counts - counts.sum(axis=1, keepdims=True) * pi


def from_the_definition(samples: Any) -> Any:
    N = len(samples)
    means = [sum(column) / N for column in samples.T]
    squares = [
        sum((x - m) ** 2 for x in column) for column, m in zip(samples.T, means, strict=True)
    ]
    return [math.sqrt(q / (N * (N - 1))) for q in squares]


def from_pairs(samples: Any) -> Any:
    """Half the mean squared difference of two samples is the variance."""
    N = len(samples)
    differences = samples[:, None] - samples[None]
    return np.sqrt((differences**2).sum(axis=(0, 1)) / (2 * N * (N - 1)) / N)


def by_torch(samples: Any) -> Any:
    import torch

    return torch.as_tensor(samples).std(dim=0) / len(samples) ** 0.5


def step_by_step(terminated: Any, truncated: Any) -> Any:
    episodes, start = [], 0
    for t in range(len(terminated)):
        if terminated[t] or truncated[t] or t == len(terminated) - 1:
            episodes.append((start, t + 1))
            start = t + 1
    return episodes


def by_labels(terminated: Any, truncated: Any) -> Any:
    """Each step gets the number of its episode; then the ranges of equal numbers."""
    ends = np.logical_or(terminated, truncated)
    label = np.cumsum(ends) - ends
    return np.array([[np.argmax(label == k), (label <= k).sum()] for k in np.unique(label)])


VARIANTS = {
    "rollout": [by_iterator, into_arrays],
    "mc_gradient": [by_loops, by_autograd, by_visits],
    "standard_error": [from_the_definition, from_pairs, by_torch],
    "split_episodes": [step_by_step, by_labels],
}
