"""Correct answers of chapter 7, written in other ways than ours."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import torch

# --- reward_to_go ------------------------------------------------------------------------------


def by_double_loop(rewards: Any, gamma: float) -> Any:
    T = len(rewards)
    return [sum(gamma ** (k - t) * rewards[k] for k in range(t, T)) for t in range(T)]


def by_matrix(rewards: Any, gamma: float) -> Any:
    ahead = np.arange(len(rewards)) - np.arange(len(rewards))[:, None]
    return np.where(ahead >= 0, float(gamma) ** np.maximum(ahead, 0), 0) @ rewards


def by_list(rewards: Any, gamma: float) -> Any:
    out: list[Any] = []
    after: Any = 0.0
    for r in reversed(rewards):
        after = r + gamma * after
        out.insert(0, after)
    return out


def by_accumulate(rewards: Any, gamma: float) -> Any:
    backward = accumulate(rewards[::-1], lambda after, r: r + gamma * after)
    return np.array(list(backward))[::-1].copy()


def by_recursion(rewards: Any, gamma: float) -> Any:
    if len(rewards) == 1:
        return np.array(rewards)
    later = by_recursion(rewards[1:], gamma)
    return np.concatenate([rewards[:1] + gamma * later[:1], later])


def by_tensors(rewards: Any, gamma: float) -> Any:
    G = torch.tensor(rewards)
    for t in range(len(G) - 1, 0, -1):
        G[t - 1] += gamma * G[t]
    return G


def by_doubling(rewards: Any, gamma: float) -> Any:
    G, hop = np.array(rewards), 1
    while hop < len(G):
        G[:-hop] += gamma**hop * G[hop:]
        hop *= 2
    return G


def by_dots(rewards: Any, gamma: float) -> Any:
    T = len(rewards)
    return np.stack([gamma ** np.arange(T - t) @ rewards[t:] for t in range(T)])


# --- reward_to_go_batch ------------------------------------------------------------------------


def by_pieces(rewards: Any, gamma: float, ends: Any) -> Any:
    out = np.empty_like(rewards)
    for i in range(rewards.shape[1]):
        start = 0
        for stop in [*(np.flatnonzero(ends[:, i]) + 1), len(rewards)]:
            out[start:stop, i] = by_matrix(rewards[start:stop, i], gamma)
            start = stop
    return out


def by_where(rewards: Any, gamma: float, ends: Any) -> Any:
    out, after = [], np.zeros(rewards.shape[1])
    for r, end in zip(rewards[::-1], ends[::-1], strict=True):
        after = r + gamma * np.where(end, 0.0, after)
        out.append(after)
    return np.array(out[::-1])


def by_scalars(rewards: Any, gamma: float, ends: Any) -> Any:
    T, N = rewards.shape
    G = [[0.0] * N for _ in range(T + 1)]
    for i in range(N):
        for t in range(T - 1, -1, -1):
            G[t][i] = rewards[t, i] + (0.0 if ends[t, i] else gamma * G[t + 1][i])
    return G[:T]


def by_reset(rewards: Any, gamma: float, ends: Any) -> Any:
    G, running = np.zeros(rewards.shape), np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        running[ends[t]] = 0
        running = rewards[t] + gamma * running
        G[t] = running
    return G


def by_forward_sums(rewards: Any, gamma: float, ends: Any) -> Any:
    T, N = rewards.shape
    G = np.zeros((T, N))
    for i in range(N):
        for t in range(T):
            for k in range(t, T):
                G[t, i] += gamma ** (k - t) * rewards[k, i]
                if ends[k, i] or gamma ** (k - t) == 0:
                    break
    return G


def by_mask(rewards: Any, gamma: float, ends: Any) -> Any:
    episode = np.cumsum(ends, axis=0) - ends
    t = np.arange(len(rewards))
    ahead = t - t[:, None]
    powers = np.where(ahead >= 0, float(gamma) ** np.maximum(ahead, 0), 0.0)
    return np.stack(
        [(powers * (e == e[:, None])) @ r for r, e in zip(rewards.T, episode.T, strict=True)],
        axis=1,
    )


# --- policy_gradient_weights -------------------------------------------------------------------


def from_definitions(rewards: Any, gamma: float, mode: str) -> Any:
    T = len(rewards)
    later = [sum(gamma**k * rewards[k] for k in range(t, T)) for t in range(T)]
    if mode == "return":
        return [later[0]] * T
    return later if mode == "exact" else by_double_loop(rewards, gamma)


def from_cumulative_sums(rewards: Any, gamma: float, mode: str) -> Any:
    paid = gamma ** np.arange(len(rewards)) * rewards
    match mode:
        case "return":
            return np.repeat(paid.sum(), len(paid))
        case "exact":
            return np.cumsum(paid[::-1])[::-1].copy()
        case _:
            return by_accumulate(rewards, gamma)


def from_total_and_past(rewards: Any, gamma: float, mode: str) -> Any:
    paid = rewards * gamma ** np.arange(len(rewards))
    total = np.ones(len(paid)) * paid.sum()
    if mode == "exact":
        return total - np.concatenate([[0], np.cumsum(paid)[:-1]])
    return total if mode == "return" else by_list(rewards, gamma)


# --- find_mdp_where_reward_to_go_is_worse ------------------------------------------------------


def fair_game(horizon: int, gamma: float) -> Any:
    """Pay first, by an action nobody minds, and get it back: three states, no coin."""
    P = np.zeros((4, 2, 4))
    P[0, 0, 1] = P[0, 1, 2] = P[1, :, 3] = P[2, :, 3] = P[3, :, 3] = 1
    R = np.array([[1.0, -1.0], [-1 / gamma, -1 / gamma], [1 / gamma, 1 / gamma], [0, 0]])
    return P, R, np.array([1.0, 0, 0, 0]), np.zeros((4, 2))


def many_coins(horizon: int, gamma: float) -> Any:
    """Three amounts, three actions, odds that are not even."""
    S, amounts = 7, np.array([3.0, -1.0, 0.5])
    P = np.zeros((S, 3, S))
    P[np.arange(3), :, np.arange(3) + 3] = 1
    P[3:, :, 6] = 1
    R = np.concatenate([amounts, -amounts / gamma, [0.0]])[:, None].repeat(3, axis=1)
    d0 = np.concatenate([[0.2, 0.3, 0.5], np.zeros(4)])
    return P.tolist(), R.tolist(), d0, np.random.default_rng(0).normal(size=(S, 3))


def by_search(horizon: int, gamma: float) -> Any:
    """Draw rewards until both variances, summed up over all trajectories here, are in order."""
    rng = np.random.default_rng(0)
    P = np.eye(5)[[2, 3, 4, 4, 4]][:, None].repeat(2, axis=1)
    d0, theta = np.array([0.5, 0.5, 0, 0, 0]), np.zeros((5, 2))
    while True:
        paid = np.append(rng.normal(size=4), 0.0)
        # scores of different steps are uncorrelated, and each has squared length 1/2
        first, second = paid[:2], gamma * paid[2:4]
        total = first + second
        full = 0.25 * (total**2).sum() * horizon
        if 0.25 * (total**2 + second**2).sum() > 1.01 * full:
            return P, paid[:, None].repeat(2, axis=1), d0, theta


VARIANTS = {
    "reward_to_go": [
        by_double_loop,
        by_matrix,
        by_list,
        by_accumulate,
        by_recursion,
        by_tensors,
        by_doubling,
        by_dots,
    ],
    "reward_to_go_batch": [
        by_pieces,
        by_where,
        by_scalars,
        by_reset,
        by_forward_sums,
        by_mask,
    ],
    "policy_gradient_weights": [from_definitions, from_cumulative_sums, from_total_and_past],
    "find_mdp_where_reward_to_go_is_worse": [fair_game, many_coins, by_search],
}
