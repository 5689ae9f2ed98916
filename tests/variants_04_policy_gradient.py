"""Correct answers of chapter 4, written in other ways than ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def step_after_step(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    def log(p: float) -> float:
        return math.log(p) if p > 0 else -math.inf

    total = log(d0[states[0]])
    for t, a in enumerate(actions):
        total += log(pi[states[t], a]) + log(P[states[t], a, states[t + 1]])
    return total


def tables_of_logarithms(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    with np.errstate(divide="ignore"):
        log_d0, log_pi, log_P = np.log(d0), np.log(pi), np.log(P)
    steps = log_pi[states[:-1], actions] + log_P[states[:-1], actions, states[1:]]
    return log_d0[states[0]] + steps.sum()


def mantissa_and_exponent(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    """Multiply, and keep the power of two apart, so that nothing underflows."""
    mantissa, exponent = math.frexp(d0[states[0]])
    for s, a, z in zip(states[:-1], actions, states[1:], strict=True):
        mantissa, more = math.frexp(mantissa * pi[s, a] * P[s, a, z])
        exponent += more
    return math.log(mantissa) + exponent * math.log(2) if mantissa else -math.inf


def by_matrix(states: Any, actions: Any, theta: Any) -> Any:
    at, taken = np.eye(theta.shape[0])[states[:-1]], np.eye(theta.shape[1])[actions]
    weights = np.exp(theta - theta.max(axis=1, keepdims=True))
    return at.T @ (taken - (weights / weights.sum(axis=1, keepdims=True))[states[:-1]])


def by_autograd(states: Any, actions: Any, theta: Any) -> Any:
    import torch

    leaf = torch.tensor(theta, requires_grad=True)
    picked = torch.log_softmax(leaf, dim=1)[torch.as_tensor(states[:-1]), torch.as_tensor(actions)]
    return torch.autograd.grad(picked.sum(), leaf)[0]


def backwards_in_time(states: Any, actions: Any, theta: Any) -> Any:
    grad = np.zeros_like(theta)
    for s, a in reversed(list(zip(states, actions, strict=False))):
        for b in range(theta.shape[1]):
            share = 1 / np.exp(np.clip(theta[s] - theta[s, b], -745, 700)).sum()
            grad[s, b] += (a == b) - share
    return grad


def soft(theta: Any) -> Any:
    weights = np.exp(theta - theta.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def by_the_visits(P: Any, R: Any, d0: Any, theta: Any, gamma: Any, horizon: Any) -> Any:
    """Values backward, then laws forward."""
    pi, V, advantages = soft(theta), np.zeros(len(d0)), []
    for _ in range(horizon):
        Q = R + gamma * P @ V
        V = (pi * Q).sum(axis=1)
        advantages.insert(0, Q - V[:, None])
    grad, d = np.zeros(theta.shape), d0
    for A in advantages:
        grad += d[:, None] * pi * A
        d = gamma * np.einsum("s,sa,saz->z", d, pi, P)
    return grad


def through_the_recursion(P: Any, R: Any, d0: Any, theta: Any, gamma: Any, horizon: Any) -> Any:
    import torch

    leaf = torch.tensor(theta, requires_grad=True)
    pi, V = torch.softmax(leaf, dim=1), torch.zeros(len(d0), dtype=torch.float64)
    for _ in range(horizon):
        V = (pi * (torch.tensor(R) + gamma * torch.tensor(P) @ V)).sum(dim=1)
    return torch.autograd.grad(torch.tensor(d0) @ V, leaf)[0]


def by_prefixes(P: Any, R: Any, d0: Any, theta: Any, gamma: Any, horizon: Any) -> Any:
    """Walk the tree of trajectories, carrying probability, return and score."""
    pi, (S, A) = soft(theta), theta.shape

    def walk(s: int, p: float, earned: float, score: Any, t: int) -> Any:
        if t == horizon:
            return p * earned * score
        total = np.zeros((S, A))
        for a in range(A):
            more = score.copy()
            more[s] -= pi[s]
            more[s, a] += 1
            for z in np.flatnonzero(P[s, a]):
                ahead = p * pi[s, a] * P[s, a, z]
                total += walk(z, ahead, earned + gamma**t * R[s, a], more, t + 1)
        return total

    return sum(walk(s, d0[s], 0.0, np.zeros((S, A)), 0) for s in np.flatnonzero(d0))


VARIANTS = {
    "trajectory_log_prob": [step_after_step, tables_of_logarithms, mantissa_and_exponent],
    "grad_log_prob_trajectory": [by_matrix, by_autograd, backwards_in_time],
    "reinforce_exact": [by_the_visits, through_the_recursion, by_prefixes],
}
