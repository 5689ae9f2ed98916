"""Chapter 1 — mdp: a world small enough to enumerate.

Data flow: (MDP, pi) -> trajectories, probabilities, returns -> J; (MDP, pi) -> V, Q, A, d -> J.

Two settings. *Episodic*: `horizon` is a number T and gamma lies in [0, 1]; V, Q, A and d carry
the time first. *Discounted*: `horizon` is None, gamma lies in [0, 1), and time is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pgcourse.arguments import Floats, Ints, as_distribution, as_numbers

MAX_TRAJECTORIES = 2_000_000  # beyond, enumeration would exhaust memory before patience


def _as_gamma(gamma: Any, horizon: Any) -> float:
    interval = "[0, 1)" if horizon is None else "[0, 1]"
    setting = "discounted" if horizon is None else "episodic"
    number = float(as_numbers("gamma", gamma, (), "[]"))
    if not (0 <= number < 1 or (number == 1 and horizon is not None)):
        raise ValueError(f"gamma must lie in {interval} in the {setting} setting, got {gamma}")
    return number


def _as_horizon(horizon: Any) -> int | None:
    if horizon is None:
        return None
    whole = isinstance(horizon, (int, np.integer)) and not isinstance(horizon, bool)
    if not whole or horizon < 1:
        raise ValueError(f"horizon must be None or a whole number >= 1, got {horizon!r}")
    return int(horizon)


@dataclass(frozen=True, eq=False)
class MDP:
    """A finite Markov decision process whose every number is known; checked and read-only.

    Args:
        P: `[S, A, S]` transition probabilities P(s' | s, a).
        R: `[S, A]` reward of taking a in s.
        d0: `[S]` distribution of the first state.
        gamma: discount, in [0, 1]; below 1 where `horizon` is None.
        horizon: number of steps T >= 1 (episodic), or None (discounted, T = infinity).

    Raises:
        ValueError: an argument breaks its condition; the message names it and the value.

    Source: Puterman 1994.
    """

    P: Floats
    R: Floats
    d0: Floats
    gamma: float = 1.0
    horizon: int | None = None

    def __post_init__(self) -> None:
        P = as_distribution("P", self.P, (None, None, None), "[S, A, S]")
        S, A, successors = P.shape
        if successors != S:
            raise ValueError(f"P must have shape [S, A, S] = {(S, A, S)}, got {P.shape}")
        R = as_numbers("R", self.R, (S, A), "[S, A]")
        d0 = as_distribution("d0", self.d0, (S,), "[S]")
        horizon = _as_horizon(self.horizon)
        gamma = _as_gamma(self.gamma, horizon)
        for name, value in {"P": P, "R": R, "d0": d0}.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "horizon", horizon)
        object.__setattr__(self, "gamma", gamma)

    @property
    def S(self) -> int:
        """Number of states."""
        return len(self.P)

    @property
    def A(self) -> int:
        """Number of actions."""
        return len(self.P[0])

    @property
    def T(self) -> int:
        """Horizon of the episodic setting.

        Raises:
            ValueError: the world is discounted, its horizon is None.
        """
        if self.horizon is None:
            raise ValueError("horizon must be a number to enumerate trajectories, got None")
        return self.horizon

    def policy(self, pi: ArrayLike) -> Floats:
        """Return `pi [S, A]` as a float64 copy, or say what is wrong with it."""
        return as_distribution("pi", pi, (self.S, self.A), "[S, A]")


def count_trajectories(mdp: MDP) -> int:
    """Count the trajectories that some policy can produce, without listing them."""
    branches = (mdp.P > 0).sum(axis=1).astype(float)  # [S, S] actions that lead from s to s'
    reached = (mdp.d0 > 0).astype(float)
    for _ in range(mdp.T):
        reached = reached @ branches
    return int(reached.sum())


def enumerate_trajectories(mdp: MDP) -> tuple[Ints, Ints]:
    """List every trajectory that some policy can produce, each once.

    Returns:
        `states [K, T+1]` and `actions [K, T]`, in lexicographic order of (s_0, a_0, s_1, ...).

    Raises:
        ValueError: no finite horizon, or more than two million trajectories.

    Source: {eq}`expected-return` sums over this list.
    """
    if (count := count_trajectories(mdp)) > MAX_TRAJECTORIES:
        raise ValueError(f"horizon must leave at most {MAX_TRAJECTORIES} trajectories, got {count}")
    states = np.flatnonzero(mdp.d0 > 0)[:, None]  # [K, 1]
    actions = np.empty((len(states), 0), dtype=np.int64)
    for _ in range(mdp.T):
        path, action, successor = np.nonzero(mdp.P[states[:, -1]] > 0)
        states = np.column_stack([states[path], successor])
        actions = np.column_stack([actions[path], action])
    return states.astype(np.int64), actions.astype(np.int64)


def path_weight(mdp: MDP, pi: Floats, states: Ints, actions: Ints) -> Floats:
    """Multiply pi(a_t | s_t) P(s_{t+1} | s_t, a_t) along each path; `[K]`, 1 for an empty path."""
    here, there = states[:, :-1], states[:, 1:]
    weight: Floats = (pi[here, actions] * mdp.P[here, actions, there]).prod(axis=1)
    return weight


def trajectory_prob(mdp: MDP, pi: ArrayLike, states: Ints, actions: Ints) -> Floats:
    """Probability of each trajectory, {eq}`path-law`.

    Args:
        mdp: the world.
        pi: `[S, A]` policy.
        states: `[K, T+1]`, the last state included.
        actions: `[K, T]`.

    Returns:
        `[K]` probabilities p(tau).
    """
    return mdp.d0[states[:, 0]] * path_weight(mdp, mdp.policy(pi), states, actions)


def discounted_return(rewards: ArrayLike, gamma: float) -> Floats:
    """Sum gamma^t r_t over the last axis, {eq}`return`; `[..., T]` to `[...]`, unit reward."""
    rewards = np.asarray(rewards, dtype=np.float64)
    total: Floats = rewards @ gamma ** np.arange(rewards.shape[-1])
    return total


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a policy is worth, exactly.

    Args:
        J: expected return from the first state on (reward).
        V: state values, `[T+1, S]` with V_T = 0, or `[S]` discounted (reward).
        Q: action values, `[T, S, A]` or `[S, A]` (reward).
        d: episodic `[T+1, S]`, Pr(s_t = s); discounted `[S]`, the occupancy (probability).
    """

    J: float
    V: Floats
    Q: Floats
    d: Floats

    @property
    def A(self) -> Floats:
        """Advantages Q - V, the shape of Q (reward)."""
        return self.Q - self.V[: len(self.Q), ..., None]


def evaluate(mdp: MDP, pi: ArrayLike) -> Evaluation:
    """Evaluate a policy by the cheapest exact method: recursion if episodic, else linear solve."""
    return evaluate_by_solve(mdp, pi) if mdp.horizon is None else evaluate_by_recursion(mdp, pi)


def expected_return(mdp: MDP, pi: ArrayLike) -> float:
    """Expected return J of a policy, {eq}`expected-return`, in units of reward."""
    return evaluate(mdp, pi).J


def evaluate_by_enumeration(mdp: MDP, pi: ArrayLike) -> Evaluation:
    """Evaluate a policy from the definitions: sums over every trajectory (episodic only).

    Raises:
        ValueError: no finite horizon, or too many trajectories.
    """
    pi = mdp.policy(pi)
    states, actions = enumerate_trajectories(mdp)
    p = trajectory_prob(mdp, pi, states, actions)
    J = p @ discounted_return(mdp.R[states[:, :-1], actions], mdp.gamma)
    d = np.stack([np.bincount(s, weights=p, minlength=mdp.S) for s in states.T])
    Q = np.stack([_first_step_values(mdp, pi, mdp.T - t) for t in range(mdp.T)])
    V = np.vstack([(pi * Q).sum(axis=2), np.zeros(mdp.S)])
    return Evaluation(float(J), V, Q, d.astype(np.float64))


def _first_step_values(mdp: MDP, pi: Floats, steps: int) -> Floats:
    """Average the return of all paths of `steps` steps over each first (state, action) `[S, A]`."""
    world = MDP(mdp.P, mdp.R, np.full(mdp.S, 1 / mdp.S), mdp.gamma, steps)
    states, actions = enumerate_trajectories(world)
    s0, a0, s1 = states[:, 0], actions[:, 0], states[:, 1]
    weight = mdp.P[s0, a0, s1] * path_weight(world, pi, states[:, 1:], actions[:, 1:])
    G = discounted_return(mdp.R[states[:, :-1], actions], mdp.gamma)
    Q = np.zeros((mdp.S, mdp.A))
    np.add.at(Q, (s0, a0), weight * G)
    return Q


def evaluate_by_recursion(mdp: MDP, pi: ArrayLike) -> Evaluation:
    """Evaluate a policy step by step: values backward, {eq}`bellman`, states forward.

    In the discounted setting the recursion runs until gamma^n / (1 - gamma) is below rounding.
    """
    pi = mdp.policy(pi)
    P_pi = np.einsum("sa,saz->sz", pi, mdp.P)
    if mdp.horizon is None:
        return _iterate_to_rest(mdp, pi, P_pi)
    V, Q, d = [np.zeros(mdp.S)], [], [mdp.d0]
    for _ in range(mdp.T):
        Q.append(mdp.R + mdp.gamma * mdp.P @ V[-1])
        V.append((pi * Q[-1]).sum(axis=1))
        d.append(d[-1] @ P_pi)
    return Evaluation(float(mdp.d0 @ V[-1]), np.stack(V[::-1]), np.stack(Q[::-1]), np.stack(d))


def _iterate_to_rest(mdp: MDP, pi: Floats, P_pi: Floats) -> Evaluation:
    V, d, now = np.zeros(mdp.S), np.zeros(mdp.S), (1 - mdp.gamma) * mdp.d0
    while now.sum() > 1e-17 * (1 - mdp.gamma):
        V = (pi * mdp.R).sum(axis=1) + mdp.gamma * P_pi @ V
        d, now = d + now, mdp.gamma * now @ P_pi
    return Evaluation(float(mdp.d0 @ V), V, mdp.R + mdp.gamma * mdp.P @ V, d)


def evaluate_by_solve(mdp: MDP, pi: ArrayLike) -> Evaluation:
    """Evaluate a policy by linear algebra, {eq}`linear-solve` and {eq}`occupancy-flow`.

    In the episodic setting the states of the system are the pairs (t, s), {eq}`time-in-state`.
    """
    pi = mdp.policy(pi)
    P_pi = np.einsum("sa,saz->sz", pi, mdp.P)
    r_pi = (pi * mdp.R).sum(axis=1)
    if mdp.horizon is None:
        M = np.eye(mdp.S) - mdp.gamma * P_pi
        V = np.linalg.solve(M, r_pi)
        d = (1 - mdp.gamma) * np.linalg.solve(M.T, mdp.d0)
        return Evaluation(float(mdp.d0 @ V), V, mdp.R + mdp.gamma * mdp.P @ V, d)
    T, S = mdp.T, mdp.S
    clock = np.kron(np.eye(T + 1, k=1), P_pi)  # [(T+1)S, (T+1)S] from (t, s) to (t+1, s')
    start = np.concatenate([mdp.d0, np.zeros(T * S)])
    r = np.concatenate([np.tile(r_pi, T), np.zeros(S)])
    V = np.linalg.solve(np.eye(len(r)) - mdp.gamma * clock, r).reshape(T + 1, S)
    d = np.linalg.solve(np.eye(len(r)) - clock.T, start).reshape(T + 1, S)
    Q = mdp.R + mdp.gamma * np.einsum("saz,tz->tsa", mdp.P, V[1:])
    return Evaluation(float(mdp.d0 @ V[0]), V, Q, d)


def state_visitation(mdp: MDP, pi: ArrayLike) -> Floats:
    """Discounted occupancy d^pi, {eq}`occupancy`; `[S]`, sums to 1; needs gamma < 1.

    The horizon of `mdp` plays no part: visits are counted for ever.
    """
    return evaluate_by_solve(MDP(mdp.P, mdp.R, mdp.d0, mdp.gamma, None), pi).d
