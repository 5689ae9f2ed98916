"""Correct answers of chapter 6, written in other ways than ours."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from pgcourse.environments import make_vector
from pgcourse.trajectories import Lanes, rollout_episodes

# --- select_log_probs --------------------------------------------------------------------------


def by_distribution(logits: Any, actions: Any) -> Any:
    return torch.distributions.Categorical(logits=logits).log_prob(actions)


def by_cross_entropy(logits: Any, actions: Any) -> Any:
    flat = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), actions.reshape(-1), reduction="none"
    )
    return -flat.reshape(actions.shape)


def by_one_hot(logits: Any, actions: Any) -> Any:
    chosen = functional.one_hot(actions, logits.shape[-1])
    return (functional.log_softmax(logits, dim=-1) * chosen).sum(dim=-1)


def by_hand(logits: Any, actions: Any) -> Any:
    shifted = logits - logits.max(dim=-1, keepdim=True).values
    norm = shifted.exp().sum(dim=-1).log()
    return torch.take_along_dim(shifted, actions.unsqueeze(-1), dim=-1).squeeze(-1) - norm


def by_logsumexp(logits: Any, actions: Any) -> Any:
    picked = torch.gather(logits, -1, actions[..., None])[..., 0]
    return picked - torch.logsumexp(logits, dim=-1)


def by_index(logits: Any, actions: Any) -> Any:
    table = torch.log_softmax(logits.reshape(-1, logits.shape[-1]), dim=1)
    return table[torch.arange(len(table)), actions.flatten()].view(actions.shape)


def by_loop(logits: Any, actions: Any) -> Any:
    rows = logits.reshape(-1, logits.shape[-1])
    picked = [torch.log_softmax(row, 0)[a] for row, a in zip(rows, actions.flatten(), strict=True)]
    return torch.stack(picked).reshape(actions.shape)


def by_nll(logits: Any, actions: Any) -> Any:
    table = torch.log_softmax(logits, -1).reshape(-1, logits.shape[-1])
    return -functional.nll_loss(table, actions.reshape(-1), reduction="none").view_as(actions)


# --- reinforce_loss ----------------------------------------------------------------------------


def detached_sum(log_probs: Any, weights: Any) -> Any:
    N = 1 if log_probs.ndim == 1 else log_probs.shape[1]
    return (-log_probs * weights.detach()).sum() / N


def without_graph(log_probs: Any, weights: Any) -> Any:
    with torch.no_grad():
        w = weights.clone()
    per_trajectory = (log_probs * w).sum(dim=0)
    return -per_trajectory.mean()


def by_einsum(log_probs: Any, weights: Any) -> Any:
    if log_probs.dim() == 1:
        return -log_probs @ weights.data
    return -torch.einsum("tn,tn->", log_probs, weights.data) / log_probs.size(1)


def by_columns(log_probs: Any, weights: Any) -> Any:
    if log_probs.dim() == 1:
        log_probs, weights = log_probs.unsqueeze(1), weights.unsqueeze(1)
    losses = [-(x * w).sum() for x, w in zip(log_probs.T, weights.detach().T, strict=True)]
    return torch.stack(losses).mean()


def by_numpy_weights(log_probs: Any, weights: Any) -> Any:
    data = torch.as_tensor(weights.detach().numpy().copy())
    return torch.sum(-log_probs * data) / (data.shape[1] if data.ndim > 1 else 1)


# --- train_step --------------------------------------------------------------------------------


def by_sgd(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    moved = torch.nn.Parameter(torch.tensor(theta))
    optimizer = torch.optim.SGD([moved], lr=alpha)
    law = torch.distributions.Categorical(logits=torch.tensor(states) @ moved)
    loss = -(law.log_prob(torch.tensor(actions)) * torch.tensor(weights)).sum(0).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return moved


def by_steps(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    T, N = weights.shape
    g = np.zeros_like(theta)
    for i in range(N):
        for t in range(T):
            logits = states[t, i] @ theta
            pi = np.exp(logits - logits.max())
            score = np.eye(theta.shape[1])[actions[t, i]] - pi / pi.sum()
            g += weights[t, i] * np.outer(states[t, i], score) / N
    return theta + alpha * g


def by_functional_grad(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    def loss(x: Any) -> Any:
        table = torch.log_softmax(torch.tensor(states) @ x, dim=-1)
        picked = torch.gather(table, 2, torch.tensor(actions)[..., None])[..., 0]
        return -(picked * torch.tensor(weights)).sum() / weights.shape[1]

    return theta - alpha * torch.func.grad(loss)(torch.tensor(theta)).numpy()


# --- reinforce ---------------------------------------------------------------------------------


def by_hand_tuned(sensors: Any, seed: int) -> Any:
    """Push towards where the pole leans and turns, and a little back to the middle."""
    push = np.array([0.5, 1.0, 12.0, 3.0])
    return 10 * sensors.T @ np.column_stack([-push, push])


def by_training(sensors: Any, seed: int) -> Any:
    """Learn in the bare state, once, and undo the sensors afterwards: they only turn it."""
    return sensors.T @ trained()


@cache
def trained() -> Any:
    """One weight a feature, scores by hand, no torch."""
    rng, theta = np.random.default_rng(0), np.zeros(4)
    lanes = Lanes(make_vector("CartPole-v1", 100), 0)
    while True:

        def act(states: Any, u: Any, w: Any = theta) -> Any:
            return (u < 1 / (1 + np.exp(-(states @ w)))).astype(np.int64)

        played = rollout_episodes(lanes, act, rng.random((500, 100)))
        R, x = played.rewards.sum(axis=0), played.states
        if R.mean() > 492:
            return np.column_stack([-theta / 2, theta / 2])
        scores = played.actions - 1 / (1 + np.exp(-(x @ theta)))
        theta = theta + 0.008 * np.einsum("tn,tnd->d", scores * R * played.valid, x) / 100


VARIANTS = {
    "select_log_probs": [
        by_distribution,
        by_cross_entropy,
        by_one_hot,
        by_hand,
        by_logsumexp,
        by_index,
        by_loop,
        by_nll,
    ],
    "reinforce_loss": [detached_sum, without_graph, by_einsum, by_columns, by_numpy_weights],
    "train_step": [by_sgd, by_steps, by_functional_grad],
    "reinforce": [by_hand_tuned, by_training],
}
