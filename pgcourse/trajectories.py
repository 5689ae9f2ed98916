"""Chapter 5 — trajectories: episodes sampled many at once, and what their mean can tell.

Data flow: (environment, policy, noise) -> Trajectories -> one gradient a trajectory -> mean, error.

A policy here is a function (states `[N, ...]`, noise `[N, ...]`) -> actions `[N, ...]`: the numbers
that chance needs come in drawn, one column a lane, so that a lane has a random stream of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pgcourse.arguments import Floats, Ints, as_numbers
from pgcourse.mdp import MDP, discounted_return
from pgcourse.policies import softmax

Array = NDArray[Any]
Bools = NDArray[np.bool_]
Policy = Callable[[Array, Array], Array]  # (states, noise) -> actions, a row a lane


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Steps of N lanes, time first; a lane holds one or several episodes.

    Args:
        states: `[T, N, ...]` what the policy saw.
        actions: `[T, N, ...]` what it did.
        rewards: `[T, N]` what that earned.
        next_states: `[T, N, ...]` where it led, before any reset.
        terminated: `[T, N]` the world ended: what would follow is worth 0.
        truncated: `[T, N]` a time limit struck: more would have followed.
        valid: `[T, N]` false on padding and phantom rows, which are no steps.

    Raises:
        ValueError: the arrays do not agree in their first two axes.
    """

    states: Array
    actions: Array
    rewards: Floats
    next_states: Array
    terminated: Bools
    truncated: Bools
    valid: Bools

    def __post_init__(self) -> None:
        want = np.shape(self.rewards)
        for name in (field.name for field in fields(self)):
            got = np.shape(getattr(self, name))
            if got[:2] != want or len(want) != 2:
                text = f"must have shape [T, N, ...] = {want}, got {got}"
                raise ValueError(f"{name} {text}")

    @property
    def ends(self) -> Bools:
        """Last step of each episode `[T, N]`, be it one of three ways."""
        followed = np.zeros_like(self.valid)
        followed[:-1] = self.valid[1:]
        return self.valid & (self.terminated | self.truncated | ~followed)


def split_episodes(terminated: ArrayLike, truncated: ArrayLike) -> list[tuple[int, int]]:
    """Cut one lane into episodes (start, stop), half-open; an unfinished tail counts too.

    Args:
        terminated: `[T]` flags.
        truncated: `[T]` flags; a step may be both, and ends one episode.
    """
    ends = np.asarray(terminated) | np.asarray(truncated)
    return list(pairwise(sorted({0, *(np.flatnonzero(ends) + 1).tolist(), len(ends)})))


def one_a_lane(trajectories: Trajectories) -> Trajectories:
    """Give every episode a lane of its own, padded with invalid rows; unfinished ones too."""
    lanes, rows = np.nonzero(trajectories.valid.T)  # lane by lane, each in the order of time
    last = trajectories.ends[rows, lanes]
    episode: Ints = np.cumsum(last) - last  # [M] how many episodes ended before
    first = np.flatnonzero(np.append(True, last[:-1]))  # [K] where each episode begins
    time = np.arange(len(rows)) - first[episode]

    def spread(values: Array) -> Array:
        out = np.zeros((time.max() + 1, len(first), *values.shape[2:]), values.dtype)
        out[time, episode] = values[rows, lanes]
        return out

    return Trajectories(*(spread(getattr(trajectories, f.name)) for f in fields(trajectories)))


# --- many lanes at once ------------------------------------------------------------------------


Row = tuple[Array, ...]  # one row of each part of `Trajectories`, in their order


class Lanes:
    """A vector environment between two steps, whatever its way to reset lanes that ended.

    Args:
        environment: a vector environment with Gymnasium's `reset`, `step` and `metadata`.
        seed: of the first reset; the lanes go on in their random streams afterwards.
    """

    def __init__(self, environment: Any, seed: int | None = None) -> None:
        mode = environment.metadata["autoreset_mode"]
        self.environment, self.mode = environment, getattr(mode, "name", mode)
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin a new episode in every lane."""
        self.states, _ = self.environment.reset(seed=seed)
        self.playing = np.ones(len(self.states), dtype=bool)  # whose next row is no phantom

    def step(self, policy: Policy, noise: Array) -> Row:
        """Step all lanes; afterwards `states` holds what the policy is to see next."""
        states, actions = self.states, policy(self.states, noise)
        after, rewards, terminated, truncated, infos = self.environment.step(actions)
        self.states, next_states, valid = after, after, self.playing
        over = terminated | truncated
        if self.mode == "NEXT_STEP":
            self.playing = ~over
        elif not np.count_nonzero(over):
            pass
        elif self.mode == "SAME_STEP":
            next_states = _with_rows(after, over, infos["final_obs"])
        else:
            self.states, _ = self.environment.reset(options={"reset_mask": over.copy()})
        return states, actions, rewards, next_states, terminated, truncated, valid


def _with_rows(states: Array, over: Bools, final: Array) -> Array:
    """Put what lanes that are over saw last into a copy of the states; others may be None there."""
    if final.dtype != object:
        return final  # ours: what every lane saw
    states = states.copy()
    states[over] = np.array(list(final[over]))
    return states


class _Rows:
    """Arrays of T rows for all parts, made when the first row shows shapes; row T is waste."""

    def __init__(self, lanes: Lanes, noise: Array) -> None:
        want, got = len(lanes.states), np.shape(noise)
        if len(got) < 2 or got[0] < 1 or got[1] != want:
            raise ValueError(f"noise must have shape [T, N, ...] with N = {want} lanes, got {got}")
        self.T, self.parts = got[0], tuple[Array, ...]()

    def write(self, at: Any, row: Row) -> Row:
        """Store one row, and hand it on."""
        if not self.parts:
            self.parts = tuple(np.zeros((self.T + 1, *x.shape), x.dtype) for x in row)
        for part, x in zip(self.parts, row, strict=True):
            part[at] = x
        return row

    def read(self, rows: int) -> Trajectories:
        """Return the first rows."""
        return Trajectories(*(part[:rows] for part in self.parts))


def rollout(lanes: Lanes, policy: Policy, noise: Array) -> Trajectories:
    """Make T steps in each lane, episode after episode; the last may be cut.

    A phantom row takes no noise, and the step after it is written over it.

    Args:
        lanes: where to go on from.
        policy: (states, noise) -> actions.
        noise: `[T, N, ...]` random numbers, a column a lane.
    """
    rows, (T, N) = _Rows(lanes, noise), noise.shape[:2]
    if lanes.mode != "NEXT_STEP":
        for t in range(T):
            rows.write(t, lanes.step(policy, noise[t]))
        return rows.read(T)
    lane = np.arange(N)
    clock = np.zeros(N, dtype=np.int64)  # [N] steps that each lane has made
    while np.count_nonzero(clock < T):
        own = noise[np.minimum(clock, T - 1), lane]
        *_, valid = rows.write((clock, lane), lanes.step(policy, own))
        clock = np.minimum(clock + valid, T)  # full lanes write into row T
    return rows.read(T)


def rollout_episodes(lanes: Lanes, policy: Policy, noise: Array) -> Trajectories:
    """Play one whole new episode in each lane: N independent trajectories, {eq}`mc-estimator`.

    Arguments as in `rollout`. Rows after the end of a lane are padding; an episode that lasts
    longer than T steps is cut.
    """
    rows, (T, N) = _Rows(lanes, noise), noise.shape[:2]
    playing = np.ones((T + 1, N), dtype=bool)
    lanes.reset()
    for t in range(T):
        *_, terminated, truncated, _ = rows.write(t, lanes.step(policy, noise[t]))
        playing[t + 1] = playing[t] & ~(terminated | truncated)
        if not np.count_nonzero(playing[t + 1]):
            break
    for part in rows.parts:
        part[~playing] = 0
    rows.parts[-1][:] = playing
    return rows.read(t + 1)


def sample_actions(probs: Floats, u: Floats) -> Ints:
    """Pick in each row by the rule of `sample_action`; `[N, A]`, `[N]` to `[N]`."""
    N, A = probs.shape
    cumulative, picked = np.zeros(N), np.zeros(N, dtype=np.int64)
    for prob in probs.T:  # a few long operations, not many short ones
        cumulative = cumulative + prob
        picked += cumulative <= u
    if np.count_nonzero(beyond := picked == A):  # rounding left none: the last
        picked[beyond] = A - 1 - np.argmax(probs[beyond, ::-1] > 0, axis=1)
    return picked


def rollout_mdp(mdp: MDP, pi: ArrayLike, uniforms: ArrayLike) -> Trajectories:
    """Draw N trajectories of a tabular world, T steps each, as `rollout` of the exercises does.

    Args:
        mdp: an episodic world.
        pi: `[S, A]` policy.
        uniforms: `[N, 1 + 2T]` numbers in [0, 1), in the order s_0, a_0, s_1, a_1, ..., s_T.
    """
    pi, u = mdp.policy(pi), as_numbers("uniforms", uniforms, (None, 1 + 2 * mdp.T), "[N, 1 + 2T]")
    if (outside := u[(u < 0) | (u >= 1)]).size:
        raise ValueError(f"uniforms must lie in [0, 1), got {outside[0]}")
    states, actions = np.empty((len(u), mdp.T + 1), np.int64), np.empty((len(u), mdp.T), np.int64)
    states[:, 0] = sample_actions(np.tile(mdp.d0, (len(u), 1)), u[:, 0])
    for t in range(mdp.T):
        s, a = states[:, t], sample_actions(pi[states[:, t]], u[:, 2 * t + 1])
        actions[:, t], states[:, t + 1] = a, sample_actions(mdp.P[s, a], u[:, 2 * t + 2])
    return from_paths(mdp, states, actions)


def from_paths(mdp: MDP, states: Ints, actions: Ints) -> Trajectories:
    """Make lanes of `states [N, T+1]`, `actions [N, T]`, as `enumerate_trajectories` gives them.

    The horizon is part of the world, so its last step terminates: nothing would have followed.
    """
    s, a, never = states.T, actions.T, np.zeros(actions.T.shape, dtype=bool)
    last = never | (np.arange(len(a)) == len(a) - 1)[:, None]
    return Trajectories(s[:-1], a, mdp.R[s[:-1], a], s[1:], last, never, ~never)


# --- estimates ---------------------------------------------------------------------------------


def returns(trajectories: Trajectories, gamma: float) -> Floats:
    """Return of each trajectory `[N]`, {eq}`return` (reward).

    Args:
        trajectories: one episode a lane; `one_a_lane` sees to that.
        gamma: discount.

    Raises:
        ValueError: a lane holds two episodes.
    """
    if (most := int(trajectories.ends.sum(axis=0).max())) > 1:
        raise ValueError(f"trajectories must hold one episode a lane, got {most}; see one_a_lane")
    rewards = np.where(trajectories.valid, trajectories.rewards, 0.0)
    return discounted_return(rewards.T, gamma)


def trajectory_gradients(trajectories: Trajectories, theta: ArrayLike, gamma: float) -> Floats:
    """Return times score of each trajectory, the terms of {eq}`mc-estimator`; `[N, S, A]`.

    Args:
        trajectories: one episode a lane, as `returns` asks.
        theta: `[S, A]` logits of the tabular softmax that acted.
        gamma: discount.
    """
    theta, R = as_numbers("theta", theta, (None, None), "[S, A]"), returns(trajectories, gamma)
    t, i = np.nonzero(trajectories.valid)
    s, a = trajectories.states[t, i], trajectories.actions[t, i]
    scores = np.zeros((len(R), *theta.shape))
    np.add.at(scores, (i, s), -softmax(theta)[s])
    np.add.at(scores, (i, s, a), 1.0)
    terms: Floats = R[:, None, None] * scores
    return terms


def mc_gradient(trajectories: Trajectories, theta: ArrayLike, gamma: float) -> Floats:
    """Estimate ∇J by the mean over trajectories, {eq}`mc-estimator`; `[S, A]`, unbiased."""
    g: Floats = trajectory_gradients(trajectories, theta, gamma).mean(axis=0)
    return g


def standard_error(samples: ArrayLike) -> Floats:
    """Estimate the standard deviation of the mean, {eq}`standard-error`; `[N, D]` to `[D]`.

    Raises:
        ValueError: fewer than two samples.
    """
    samples = as_numbers("samples", samples, (None, None), "[N, D]")
    if len(samples) < 2:
        raise ValueError(f"samples must have at least 2 rows, got {len(samples)}")
    error: Floats = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return error


def coverage(p: ArrayLike, N: int, z: float) -> Floats:
    """Probability that mean ± z standard errors of N returns in {0, 1} holds p, {eq}`coverage`.

    Args:
        p: probability of the return 1, any shape, between 0 and 1.
        N: number of trajectories, at least 2.
        z: half the width of the interval, in standard errors.
    """
    p = as_numbers("p", p, (None,) * np.ndim(p), "[...]")[..., None]
    if (outside := p[(p <= 0) | (p >= 1)]).size:
        raise ValueError(f"p must lie between 0 and 1, got {outside[0]}")
    k = np.arange(N + 1)
    log_choose = np.append(0.0, np.cumsum(np.log((N - k[:-1]) / (k[:-1] + 1))))
    weight = np.exp(log_choose + k * np.log(p) + (N - k) * np.log1p(-p))
    inside = np.abs(k / N - p) <= z * np.sqrt(k / N * (1 - k / N) / (N - 1))
    total: Floats = (inside * weight).sum(axis=-1)
    return total
