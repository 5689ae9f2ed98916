"""Correct answers of chapter 1, written in other ways than ours."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np


def every_product(P: Any, d0: Any, horizon: int) -> Any:
    S, A, _ = P.shape
    return [
        (list(states), np.array(actions, dtype=int))
        for states in itertools.product(range(S), repeat=horizon + 1)
        for actions in itertools.product(range(A), repeat=horizon)
        if d0[states[0]] > 0
        and all(P[s, a, z] > 0 for s, a, z in zip(states, actions, states[1:], strict=False))
    ]


def depth_first(P: Any, d0: Any, horizon: int) -> Any:
    def extend(states: Any, actions: Any) -> Any:
        if len(actions) == horizon:
            yield states, actions
            return
        for a, z in np.argwhere(P[states[-1]] > 0):
            yield from extend([*states, z], [*actions, a])

    return [path for s in np.flatnonzero(d0) for path in extend([s], [])]


def as_rows(P: Any, d0: Any, horizon: int) -> Any:
    """Arrays for states and actions, in a tuple of pairs, backwards."""
    pairs = every_product(P, d0, horizon)
    return tuple((np.array(s, dtype=np.float64), np.array(a)) for s, a in reversed(pairs))


def as_set(P: Any, d0: Any, horizon: int) -> Any:
    return {(tuple(s), tuple(a.tolist())) for s, a in every_product(P, d0, horizon)}


def as_frozenset(P: Any, d0: Any, horizon: int) -> Any:
    return frozenset(as_set(P, d0, horizon))


def as_two_tables(P: Any, d0: Any, horizon: int) -> Any:
    pairs = every_product(P, d0, horizon)
    return np.array([s for s, _ in pairs]), np.array([a for _, a in pairs])


def by_logarithms(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    with np.errstate(divide="ignore"):
        logs = np.log(
            [d0[states[0]], *pi[states[:-1], actions], *P[states[:-1], actions, states[1:]]]
        )
    return np.exp(logs.sum())


def by_recursion(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    if len(actions) == 0:
        return d0[states[0]]
    s, a, z = states[-2], actions[-1], states[-1]
    return by_recursion(states[:-1], actions[:-1], P, d0, pi) * pi[s, a] * P[s, a, z]


def with_lists(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    P, d0, pi = P.tolist(), d0.tolist(), pi.tolist()
    steps = zip(states, actions, states[1:], strict=False)
    return d0[states[0]] * math.prod(pi[s][a] * P[s][a][z] for s, a, z in steps)


def forward(P: Any, R: Any, d0: Any, pi: Any, gamma: Any, horizon: Any) -> Any:
    d, J = d0, 0.0
    for t in range(horizon):
        joint = d[:, None] * pi  # [S, A]
        J += gamma**t * (joint * R).sum()
        d = np.tensordot(joint, P, axes=2)
    return J


def memoised(P: Any, R: Any, d0: Any, pi: Any, gamma: Any, horizon: Any) -> Any:
    known: Any = {}

    def value(s: int, left: int) -> Any:
        if left == 0:
            return 0.0
        if (s, left) not in known:
            known[s, left] = sum(
                pi[s, a]
                * (R[s, a] + gamma * sum(P[s, a, z] * value(z, left - 1) for z in range(len(d0))))
                for a in range(pi.shape[1])
            )
        return known[s, left]

    return sum(d0[s] * value(s, horizon) for s in range(len(d0)))


def with_torch(P: Any, R: Any, d0: Any, pi: Any, gamma: Any, horizon: Any) -> Any:
    import torch

    P, R, d0, pi = (torch.tensor(x, requires_grad=True) for x in (P, R, d0, pi))
    V = torch.zeros(len(d0), dtype=torch.float64)
    for _ in range(horizon):
        V = (pi * (R + gamma * P @ V)).sum(dim=1)
    return d0 @ V


def by_series(P: Any, d0: Any, pi: Any, gamma: Any) -> Any:
    P_pi = (pi[:, :, None] * P).sum(axis=1)
    total, now = np.zeros(len(d0)), (1 - gamma) * d0
    while now.max() > 1e-18:
        total += now
        now = gamma * (now @ P_pi)
    return total


def by_inverse(P: Any, d0: Any, pi: Any, gamma: Any) -> Any:
    P_pi = np.array([pi[s] @ P[s] for s in range(len(d0))])
    return (1 - gamma) * d0 @ np.linalg.inv(np.eye(len(d0)) - gamma * P_pi)


VARIANTS = {
    "enumerate_trajectories": [
        every_product,
        depth_first,
        as_rows,
        as_set,
        as_frozenset,
        as_two_tables,
    ],
    "trajectory_prob": [by_logarithms, by_recursion, with_lists],
    "expected_return": [forward, memoised, with_torch],
    "state_visitation": [by_series, by_inverse],
}
