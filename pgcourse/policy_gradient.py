"""Chapter 4 — policy_gradient: the gradient of J, exactly, by four roads.

Data flow: trajectory -> log p(tau) -> its gradient; (MDP, logits theta) -> gradient of J.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pgcourse.arguments import Floats, Ints, as_numbers
from pgcourse.mdp import (
    MDP,
    Evaluation,
    discounted_return,
    enumerate_trajectories,
    evaluate,
    evaluate_by_solve,
    trajectory_prob,
)
from pgcourse.policies import objective, slope, softmax


def trajectory_log_prob(mdp: MDP, pi: ArrayLike, states: Ints, actions: Ints) -> Floats:
    """Logarithm of the probability of each trajectory, {eq}`log-path-law`.

    Args:
        mdp: the world.
        pi: `[S, A]` policy.
        states: `[..., T+1]`, the last state included.
        actions: `[..., T]`.

    Returns:
        `[...]` in nats, minus infinity where impossible; a sum does not underflow.

    Raises:
        ValueError: pi is no policy, or states and actions are no trajectories of this world.
    """
    pi = mdp.policy(pi)
    states, actions = _as_path(states, actions, mdp.S, mdp.A)
    here, there = states[..., :-1], states[..., 1:]
    first, moves = mdp.d0[states[..., :1]], mdp.P[here, actions, there]
    factors = np.concatenate([first, pi[here, actions], moves], axis=-1)
    with np.errstate(divide="ignore"):  # log 0 is meant
        return np.asarray(np.log(factors).sum(axis=-1))


def grad_log_prob_trajectory(states: Ints, actions: Ints, theta: ArrayLike) -> Floats:
    """Gradient of log p(tau) by the logits, {eq}`grad-log-prob`: no dynamics in it.

    All steps together: how often (s, a) was chosen, minus how often the policy would have chosen
    it, {eq}`counts-minus-expected`.

    Args:
        states: `[..., T+1]`; the last state has no action and adds nothing.
        actions: `[..., T]`.
        theta: `[S, A]` logits.

    Returns:
        `[..., S, A]`; each row adds up to 0.

    Raises:
        ValueError: theta is no finite table, or an entry of states or actions is outside it.
    """
    theta = as_numbers("theta", theta, (None, None), "[S, A]")
    states, actions = _as_path(states, actions, *theta.shape)
    at, chosen = np.eye(theta.shape[0])[states[..., :-1]], np.eye(theta.shape[1])[actions]
    n = np.einsum("...ts,...ta->...sa", at, chosen)
    score: Floats = n - n.sum(axis=-1, keepdims=True) * softmax(theta)
    return score


def policy_gradient(mdp: MDP, theta: ArrayLike) -> Floats:
    """Exact gradient of J `[S, A]` by the cheapest road, {eq}`adjoint`; arguments as below."""
    pi = softmax(_as_theta(mdp, theta))
    return _adjoint_times_slopes(mdp, pi, evaluate(mdp, pi))


def gradient_by_enumeration(mdp: MDP, theta: ArrayLike) -> Floats:
    """Gradient of J from the definition: the sum over all trajectories, {eq}`reinforce`.

    Args:
        mdp: an episodic world.
        theta: `[S, A]` logits; the result has their shape, in reward.

    Raises:
        ValueError: theta does not fit the world, no finite horizon, or too many trajectories.

    Source: Williams 1992.
    """
    theta = _as_theta(mdp, theta)
    states, actions = enumerate_trajectories(mdp)
    p = trajectory_prob(mdp, softmax(theta), states, actions)  # [K]
    R = discounted_return(mdp.R[states[:, :-1], actions], mdp.gamma)  # [K]
    scores = grad_log_prob_trajectory(states, actions, theta)  # [K, S, A]
    return np.tensordot(p * R, scores, axes=1)


def gradient_by_solve(mdp: MDP, theta: ArrayLike) -> Floats:
    """Gradient of J by differentiating the linear system of chapter 1, {eq}`adjoint`."""
    pi = softmax(_as_theta(mdp, theta))
    return _adjoint_times_slopes(mdp, pi, evaluate_by_solve(mdp, pi))


def _adjoint_times_slopes(mdp: MDP, pi: Floats, exact: Evaluation) -> Floats:
    """Weigh each state's slopes pi A, {eq}`softmax-gradient`, with the adjoint."""
    if mdp.horizon is None:
        return exact.d[:, None] / (1 - mdp.gamma) * pi * exact.A
    adjoint = mdp.gamma ** np.arange(mdp.T)[:, None] * exact.d[:-1]  # [T, S]
    return np.asarray((adjoint[..., None] * pi * exact.A).sum(axis=0))


def gradient_by_autograd(mdp: MDP, theta: ArrayLike) -> Floats:
    """Gradient of J by torch, backward through the recursion {eq}`bellman` or the solve."""
    import torch  # here, because the other roads do without

    leaf = torch.tensor(_as_theta(mdp, theta), requires_grad=True)
    P, R, d0 = (torch.tensor(x) for x in (mdp.P, mdp.R, mdp.d0))
    pi = torch.softmax(leaf, dim=1)
    P_pi, r_pi = torch.einsum("sa,saz->sz", pi, P), (pi * R).sum(dim=1)
    V = torch.zeros_like(d0)
    for _ in range(mdp.horizon or 0):
        V = r_pi + mdp.gamma * P_pi @ V
    if mdp.horizon is None:
        V = torch.linalg.solve(torch.eye(mdp.S, dtype=d0.dtype) - mdp.gamma * P_pi, r_pi)
    (gradient,) = torch.autograd.grad(d0 @ V, leaf)
    return np.asarray(gradient.numpy(), dtype=np.float64)


def gradient_by_differences(mdp: MDP, theta: ArrayLike) -> Floats:
    """Gradient of J by central differences, {eq}`central-difference`; right to about 1e-9."""
    return slope(lambda moved: objective(mdp, moved), _as_theta(mdp, theta))


def _as_theta(mdp: MDP, theta: ArrayLike) -> Floats:
    return as_numbers("theta", theta, (mdp.S, mdp.A), "[S, A]")


def _as_path(states: ArrayLike, actions: ArrayLike, S: int, A: int) -> tuple[Ints, Ints]:
    arrays = np.asarray(states), np.asarray(actions)
    for name, array, size in zip(("states", "actions"), arrays, (S, A), strict=True):
        if array.dtype.kind not in "iu" or not array.ndim:
            raise ValueError(f"{name} must be whole numbers in a row, got {array!r:.60}")
        if (outside := array[(array < 0) | (array >= size)]).size:
            raise ValueError(f"{name} must lie in 0..{size - 1}, got {outside[0]}")
    (*rows, T), got = arrays[1].shape, arrays[0].shape
    if got != (*rows, T + 1) or not T:
        raise ValueError(f"states must have shape [..., T+1] = {(*rows, T + 1)}, got {got}")
    return arrays[0], arrays[1]
