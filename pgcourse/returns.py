"""Chapter 7 — returns: which rewards an action answers for, and how much the later ones count.

Data flow: rewards, ends -> backward recursion -> weights [T, N]; (MDP, theta, weigh) -> Moments.

A function `by_...` makes a *weigh* for the loop of chapter 6: trajectories -> weights `[T, N]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from pgcourse.arguments import Floats, Ints, as_numbers
from pgcourse.mdp import MDP, enumerate_trajectories, evaluate_by_recursion, trajectory_prob
from pgcourse.policies import softmax
from pgcourse.policy_gradient import policy_gradient
from pgcourse.trajectories import Bools, Trajectories, from_paths, returns

Weigh = Callable[[Trajectories], Floats]

MAX_BATCHES = 100_000  # beyond, enumeration takes longer than a reader waits

# --- one backward recursion --------------------------------------------------------------------


def backward_sums(terms: Floats, factor: float, ends: Bools) -> Floats:
    """Sum each term and what follows it in its episode, discounted: {eq}`backward-sum`.

    Args:
        terms: `[T, N]`, rewards or anything else that adds up over time.
        factor: what a term is multiplied by for each step that it lies ahead.
        ends: `[T, N]` last step of each episode; nothing crosses it, nor the last row.
    """
    sums, carried = np.array(terms, dtype=np.float64), factor * ~ends
    for t in range(len(sums) - 2, -1, -1):
        sums[t] += carried[t] * sums[t + 1]
    return sums


def reward_to_go(rewards: ArrayLike, gamma: float, ends: ArrayLike | None = None) -> Floats:
    """Discounted rewards from each step on, {eq}`reward-to-go`; the shape of `rewards`.

    Args:
        rewards: `[T]`, or `[T, N]` for N lanes (reward).
        gamma: discount, in [0, 1].
        ends: last step of each episode, of the same shape; only the last row if not given.

    Raises:
        ValueError: other shapes, or gamma outside [0, 1].
    """
    shape, axes = ((None,), "[T]") if np.ndim(rewards) == 1 else ((None, None), "[T, N]")
    rewards, gamma = as_numbers("rewards", rewards, shape, axes), _as_discount(gamma)
    over = np.zeros(rewards.shape, dtype=bool) if ends is None else np.asarray(ends)
    if over.shape != rewards.shape or over.dtype != bool:
        want = f"flags of the shape of rewards = {rewards.shape}"
        raise ValueError(f"ends must be {want}, got {over.dtype} of shape {over.shape}")
    return backward_sums(rewards, gamma, over)


def _as_discount(gamma: float) -> float:
    number = float(as_numbers("gamma", gamma, (), "[]"))
    if not 0 <= number <= 1:
        raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
    return number


def elapsed(trajectories: Trajectories) -> Ints:
    """Count the steps before each step in its episode, `[T, N]`: its time t."""
    rows = np.arange(len(trajectories.rewards))[:, None]
    begins = np.ones_like(trajectories.ends)
    begins[1:] = trajectories.ends[:-1]
    first = np.maximum.accumulate(np.where(begins, rows, 0), axis=0)
    return np.asarray(rows - first)


# --- weigh -------------------------------------------------------------------------------------


def by_return(gamma: float) -> Weigh:
    """Weigh by the return of the whole trajectory, {eq}`reinforce`; one a lane."""
    gamma = _as_discount(gamma)
    return lambda tau: np.asarray(returns(tau, gamma) * tau.valid)


def by_reward_to_go(gamma: float) -> Weigh:
    """Weigh by G_t; unless gamma is 1, no gradient, {eq}`dropped-update`."""
    gamma = _as_discount(gamma)

    def weigh(tau: Trajectories) -> Floats:
        return backward_sums(tau.valid * tau.rewards, gamma, tau.ends)

    return weigh


def by_exact_reward_to_go(gamma: float) -> Weigh:
    """Weigh by gamma^t G_t, {eq}`exact-discount`: the gradient of J_gamma."""
    to_go = by_reward_to_go(gamma)
    return lambda tau: np.asarray(gamma ** elapsed(tau) * to_go(tau))


# --- the exact mean and variance of an estimator -------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """What an estimator of the gradient gives on average, and how far it scatters.

    Args:
        mean: `[S, A]` its expectation.
        bias: `[S, A]` expectation minus exact gradient of the world's own objective.
        variance: trace of its covariance.
    """

    mean: Floats
    bias: Floats
    variance: float


def moments(mdp: MDP, theta: ArrayLike, weigh: Weigh, N: int = 1) -> Moments:
    """Compute mean, bias and variance of an estimate over all batches.

    Args:
        mdp: an episodic world.
        theta: `[S, A]` logits of a tabular softmax.
        weigh: trajectories -> weights `[T, N]`. It is shown one batch at a
            time, so its weights may couple the trajectories of a batch; it
            must not remember earlier ones.
        N: number of trajectories in a batch.

    Raises:
        ValueError: theta does not fit the world, weigh does not return
            `[T, N]`, or there are more than 100,000 batches.
    """
    theta = as_numbers("theta", theta, (mdp.S, mdp.A), "[S, A]")
    states, actions = enumerate_trajectories(mdp)
    p = trajectory_prob(mdp, softmax(theta), states, actions)
    every = from_paths(mdp, states, actions)
    batches = _all_batches(len(p), N)
    weights = np.array([weigh(_lanes(every, batch)) for batch in batches])
    if weights.shape[1:] != (mdp.T, N):
        want = f"weigh must return [T, N] = {(mdp.T, N)}"
        raise ValueError(f"{want}, got {weights.shape[1:]}")
    scores = step_scores(every, theta)[:, batches]  # [T, B, N, S, A]
    g = np.einsum("btn,tbnsa->bsa", weights, scores) / N
    chance = p[batches].prod(axis=1)  # [B]
    mean = np.tensordot(chance, g, 1)
    variance = float(chance @ ((g - mean) ** 2).sum(axis=(1, 2)))
    return Moments(mean, mean - policy_gradient(mdp, theta), variance)


def _all_batches(K: int, N: int) -> Ints:
    if N < 1:
        raise ValueError(f"N must be at least 1, got {N}")
    if K**N > MAX_BATCHES:
        raise ValueError(f"mdp must leave at most {MAX_BATCHES} batches, got {K}^{N} = {K**N}")
    return np.indices((K,) * N).reshape(N, -1).T  # [B, N]


def _lanes(trajectories: Trajectories, lanes: Ints) -> Trajectories:
    return Trajectories(*(getattr(trajectories, f.name)[:, lanes] for f in fields(trajectories)))


def step_scores(trajectories: Trajectories, theta: ArrayLike) -> Floats:
    """Score of each action taken, `[T, N, S, A]`, under tabular logits `[S, A]`; 0 on padding."""
    theta = as_numbers("theta", theta, (None, None), "[S, A]")
    visited = np.eye(len(theta))[trajectories.states] * trajectories.valid[..., None]
    surprise = np.eye(theta.shape[1])[trajectories.actions] - softmax(theta)[trajectories.states]
    return np.asarray(visited[..., None] * surprise[..., None, :])


# --- the factor dropped --------------------------------------------------------------------------


def dropped_update(mdp: MDP, theta: ArrayLike) -> Floats:
    """Mean of the update that leaves gamma^t out, {eq}`dropped-in-states`; exact, `[S, A]`.

    Args:
        mdp: an episodic world.
        theta: `[S, A]` logits.

    Raises:
        ValueError: theta does not fit the world, or no finite horizon.

    Source: Nota & Thomas 2020, who prove that it is the gradient of no function.
    """
    pi = softmax(as_numbers("theta", theta, (mdp.S, mdp.A), "[S, A]"))
    exact = evaluate_by_recursion(mdp, pi)
    return np.asarray((exact.d[: mdp.T, :, None] * pi * exact.A).sum(axis=0))
