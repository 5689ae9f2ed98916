"""Checks of chapter 5: a rollout, the Monte Carlo gradient, its standard error, episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pgcourse import trajectories as chapter
from pgcourse.checks.core import Difference, Exercise, compare_arrays, describe
from pgcourse.checks.wire import Array, Items, Value
from pgcourse.environments import corridor, random_mdp, random_policy, two_state
from pgcourse.mdp import MDP, discounted_return
from pgcourse.policies import softmax
from pgcourse.trajectories import split_episodes, standard_error

Case = Iterator[tuple[Any, ...]]

# --- rollout -----------------------------------------------------------------------------------


def rollout(P: Any, R: Any, d0: Any, pi: Any, horizon: int, uniforms: Any) -> tuple[Any, Any, Any]:
    """One trajectory: states [T+1], actions [T], rewards [T]."""
    drawn = chapter.rollout_mdp(MDP(P, R, d0, 1.0, horizon), pi, np.asarray(uniforms)[None])
    states = np.append(drawn.states[:, 0], drawn.next_states[-1, 0])
    return states, drawn.actions[:, 0], drawn.rewards[:, 0]


def _rollout_inputs(rng: np.random.Generator) -> Case:
    small = two_state()
    yield small.P, small.R, small.d0, np.full((2, 2), 0.5), 3, rng.random(7)
    for S, A, T in [(3, 2, 8), (2, 3, 12), (5, 4, 30), (1, 3, 6), (4, 1, 9), (3, 3, 1)]:
        w = random_mdp(S, A, 1.0, T, rng)
        yield w.P, w.R, w.d0, random_policy(S, A, rng), T, rng.random(1 + 2 * T)
    late = corridor(2, 1.0, 12)  # absorbing after a few steps, yet 12 steps are asked
    yield late.P, late.R, late.d0, np.full((3, 2), 0.5), 12, rng.random(25)
    half = np.full((2, 2, 2), 0.5)  # every number lies exactly on a border
    ties = np.append([0.5, 0.75, 0.5], rng.integers(0, 4, size=14) / 4)
    yield half, np.array([[1.0, 2.0], [3.0, 4.0]]), half[0, 0], half[0], 8, ties


def compare_rollouts(expected: Any, got: Value) -> Difference | None:
    """Compare (states, actions, rewards), part by part."""
    if not isinstance(got, Items) or len(got.items) != 3:
        kind = f"{len(got.items)} parts" if isinstance(got, Items) else "one array"
        kind = kind if isinstance(got, (Items, Array)) else describe(got)
        return Difference("type", f"got {kind}, expected (states, actions, rewards)")
    for name, want, part in zip(("states", "actions", "rewards"), expected, got.items, strict=True):
        if difference := compare_arrays(want, part):
            return Difference(difference.stage, f"{name}: {difference.text}")
    return None


def _first_above(probs: Any, u: float) -> int:
    return int(chapter.sample_actions(np.asarray(probs)[None], np.array([u]))[0])


def _play(
    P: Any,
    R: Any,
    d0: Any,
    pi: Any,
    T: int,
    u: Any,
    pick: Callable[[Any, float], int] = _first_above,
) -> tuple[Any, Any, Any]:
    states, actions, rewards = [pick(d0, u[0])], [], []
    for t in range(T):
        s, a = states[-1], pick(pi[states[-1]], u[2 * t + 1])
        actions.append(a)
        rewards.append(R[s, a])
        states.append(pick(P[s, a], u[2 * t + 2]))
    return np.array(states), np.array(actions), np.array(rewards)


def _reordered(order: Callable[[int], Any]) -> Callable[..., Any]:
    return lambda P, R, d0, pi, T, u: _play(P, R, d0, pi, T, u[order(T)])


ROLLOUT = Exercise("rollout", rollout, _rollout_inputs, compare=compare_rollouts)


@ROLLOUT.mistake(
    "the same number again",
    "sec-reseed",
    [
        _reordered(lambda T: np.array([0, *[1, 2] * T])),
        _reordered(lambda T: np.array([0, *np.repeat(np.arange(T) + 1, 2)])),
    ],
)
def _one_number(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """You use a number more than once. Each draw needs a fresh one: a number used twice ties two
    draws together, as a generator does that is seeded anew."""
    return _play(P, R, d0, pi, T, np.full(len(u), u[0]))


@ROLLOUT.mistake(
    "numbers in another order",
    "sec-lanes",
    [
        _reordered(lambda T: np.argsort([0, *[2, 1] * T], kind="stable")),
        _reordered(lambda T: np.array([0, *np.arange(2 * T).reshape(T, 2)[:, ::-1].ravel() + 1])),
        _reordered(lambda T: np.array([0, *np.arange(2 * T).reshape(2, T).T.ravel() + 1])),
        _reordered(lambda T: np.arange(2 * T + 1)[::-1]),
    ],
)
def _states_first(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """The numbers stand in the order in which things happen: s_0, a_0, s_1, a_1, ..., s_T. You
    take them in another order."""
    order = np.empty(2 * T + 1, dtype=int)
    order[::2], order[1::2] = np.arange(T + 1), np.arange(T + 1, 2 * T + 1)
    return _play(P, R, d0, pi, T, u[order])


@ROLLOUT.mistake("stops in an absorbing state", "sec-ends")
def _stops(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """You stop where the state cannot change any more. This exercise always makes T steps: in an
    absorbing state too, actions are drawn and rewards are paid."""
    states, actions, rewards = _play(P, R, d0, pi, T, u)
    rest = [t for t in range(T) if np.all(P[states[t], :, states[t]] == 1)]
    T = rest[0] if rest else T
    return states[: T + 1], actions[:T], rewards[:T]


@ROLLOUT.mistake("last state missing", "sec-type")
def _without_last(*args: Any) -> Any:
    """Your states stop at s_{T-1}. The last action leads somewhere too: there are T + 1 states."""
    states, actions, rewards = _play(*args)
    return states[:-1], actions, rewards


@ROLLOUT.mistake("T off by one", "sec-type")
def _one_step_less(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """A horizon of T means T actions and T rewards; the last step is missing."""
    return _play(P, R, d0, pi, T - 1, u)


@ROLLOUT.mistake("reward of the next state", "sec-type")
def _late_reward(P: Any, R: Any, *args: Any) -> Any:
    """The reward of step t is R[s_t, a_t]. You look it up in the state that follows."""
    states, actions, _ = _play(P, R, *args)
    return states, actions, R[states[1:], actions]


@ROLLOUT.mistake("the likeliest instead of a draw", "sec-lanes")
def _greedy(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """You take what is most probable each time. A trajectory is a sample: the number u decides."""
    return _play(P, R, d0, pi, T, u, lambda probs, u: int(np.argmax(probs)))


def _greedy_actions(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    return _play(P, R, d0, np.eye(pi.shape[1])[pi.argmax(axis=1)], T, u)


@ROLLOUT.mistake("actions not drawn", "sec-lanes", [_greedy_actions])
def _policy_ignored(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """Your actions do not follow pi(a | s_t): you take the likeliest, or all alike. Draw each
    action from the row of the state it is taken in."""
    return _play(P, R, d0, np.full(pi.shape, 1 / pi.shape[1]), T, u)


@ROLLOUT.mistake("a border belongs to the next", "sec-lanes")
def _at_least(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """Where u equals a cumulative probability you take the smaller outcome. The rule is: the
    smallest whose cumulative probability is *greater* than u."""

    def pick(probs: Any, u: float) -> int:
        return min(int(np.searchsorted(np.cumsum(probs), u)), len(probs) - 1)

    return _play(P, R, d0, pi, T, u, pick)


@ROLLOUT.mistake(
    "first state not drawn",
    "sec-lanes",
    [lambda P, R, d0, pi, T, u: _play(P, R, np.eye(len(d0))[d0.argmax()], pi, T, u)],
)
def _from_zero(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """The first state is drawn from d_0 with the first number; yours is always the same."""
    return _play(P, R, np.eye(len(d0))[0], pi, T, u)


@ROLLOUT.mistake(
    "parts in another order",
    "sec-type",
    [lambda *args: tuple(_play(*args)[i] for i in (2, 0, 1))],
)
def _swapped(*args: Any) -> Any:
    """The parts are asked for in the order (states, actions, rewards)."""
    states, actions, rewards = _play(*args)
    return states, rewards, actions


# --- mc_gradient -------------------------------------------------------------------------------


def mc_gradient(trajectories: Any, theta: Any, gamma: float) -> Any:
    """Mean over trajectories of return times score, `[S, A]`."""
    T, N = max(len(a) for _, a, _ in trajectories), len(trajectories)
    parts = [np.zeros((T, N), dtype=kind) for kind in (int, int, float, int, bool, bool, bool)]
    for i, (states, actions, rewards) in enumerate(trajectories):
        n = len(actions)
        for part, x in zip(parts, (states[:-1], actions, rewards, states[1:]), strict=False):
            part[:n, i] = x
        parts[-1][:n, i] = True
    return chapter.mc_gradient(chapter.Trajectories(*parts), theta, gamma)


def _gradient_inputs(rng: np.random.Generator) -> Case:
    cases = [
        (2, 2, (3, 3), 0.9),
        (3, 2, (4, 1, 7), 0.8),
        (2, 3, (5,), 1.0),
        (4, 2, (2, 9, 3, 6), 1.0),
    ]
    for S, A, lengths, gamma in [
        *cases,
        (1, 3, (1, 2), 0.5),
        (3, 1, (2, 4), 0.7),
        (2, 2, (1,), 0.0),
    ]:
        yield _sampled(S, A, lengths, rng), rng.normal(size=(S, A)), gamma
    yield _sampled(2, 3, (2, 5, 3), rng), rng.integers(-9, 9, size=(2, 3)) * 1e4, 0.9


def _sampled(S: int, A: int, lengths: tuple[int, ...], rng: np.random.Generator) -> list[Any]:
    return [
        (rng.integers(S, size=n + 1), rng.integers(A, size=n), rng.normal(1.0, 1.0, size=n))
        for n in lengths
    ]


def _terms(trajectories: Any, theta: Any, center: bool = True) -> Any:
    """Score of each step `[T_i, S, A]`, for each trajectory."""
    pi = softmax(theta)
    for states, actions, _ in trajectories:
        steps = np.zeros((len(actions), *pi.shape))
        for t, (s, a) in enumerate(zip(states, actions, strict=False)):
            steps[t, s] = np.eye(len(pi[s]))[a] - center * pi[s]
        yield steps


def _weighted(weights: Callable[[Any, float], Any], center: bool = True) -> Callable[..., Any]:
    """Build an estimate whose weights `[T_i]` come from the rewards and gamma."""

    def estimate(trajectories: Any, theta: Any, gamma: float) -> Any:
        terms = zip(trajectories, _terms(trajectories, theta, center), strict=True)
        sums = [np.tensordot(weights(np.asarray(r), gamma), S, 1) for (_, _, r), S in terms]
        return np.mean(sums, axis=0)

    return estimate


def _full(r: Any, gamma: float) -> Any:
    return np.full(len(r), discounted_return(r, gamma))


def _to_go(r: Any, gamma: float) -> Any:
    return np.array([discounted_return(r[t:], gamma) for t in range(len(r))])


def _discounts(r: Any, gamma: float) -> Any:
    return gamma ** np.arange(len(r))


GRADIENT = Exercise("mc_gradient", mc_gradient, _gradient_inputs)


@GRADIENT.mistake(
    "divides by steps", "sec-divide", [_weighted(lambda r, gamma: _full(r, gamma) / len(r))]
)
def _per_step(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You divide by the number of steps. The estimate is a mean over *trajectories*: the sum over
    the steps of one is not divided by its length."""
    total = mc_gradient(trajectories, theta, gamma) * len(trajectories)
    return total / sum(len(a) for _, a, _ in trajectories)


@GRADIENT.mistake("sum instead of mean", "equation-mc-estimator")
def _summed(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You add the trajectories up. Divide by their number N, else the estimate grows with N."""
    return mc_gradient(trajectories, theta, gamma) * len(trajectories)


@GRADIENT.mistake("averaged before multiplying", "equation-mc-estimator")
def _apart(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You multiply the mean return by the mean score. Each trajectory's return belongs to its own
    score: multiply first, average then."""
    returns = [discounted_return(r, gamma) for _, _, r in trajectories]
    return np.mean(returns) * np.mean([S.sum(axis=0) for S in _terms(trajectories, theta)], axis=0)


@GRADIENT.mistake(
    "reward-to-go instead of the return",
    "equation-mc-estimator",
    [_weighted(lambda r, gamma: _discounts(r, gamma) * _to_go(r, gamma))],
)
def _causal(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You weigh each step by the rewards from there on. That is another estimator, of a later
    chapter; here every step of a trajectory bears its full return."""
    return _weighted(_to_go)(trajectories, theta, gamma)


@GRADIENT.mistake(
    "own reward instead of the return",
    "equation-mc-estimator",
    [_weighted(lambda r, gamma: _discounts(r, gamma) * r)],
)
def _own(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You weigh each step by its own reward. An action is answerable for what comes later too:
    every step bears the full return."""
    return _weighted(lambda r, gamma: r)(trajectories, theta, gamma)


@GRADIENT.mistake("not discounted", "equation-mc-estimator")
def _undiscounted(trajectories: Any, theta: Any, gamma: float) -> Any:
    """The reward of step t counts gamma^t in the return; you add all rewards with weight 1."""
    return mc_gradient(trajectories, theta, 1.0)


@GRADIENT.mistake("discounted one step too much", "equation-mc-estimator")
def _late(trajectories: Any, theta: Any, gamma: float) -> Any:
    """The first reward has weight gamma^0 = 1; yours has weight gamma."""
    return gamma * mc_gradient(trajectories, theta, gamma)


@GRADIENT.mistake("stops when any episode ends", "sec-any-ends")
def _shortest(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You cut all trajectories to the length of the shortest. Each counts to its own end."""
    n = min(len(a) for _, a, _ in trajectories)
    return mc_gradient([(s[: n + 1], a[:n], r[:n]) for s, a, r in trajectories], theta, gamma)


@GRADIENT.mistake("minus p missing", "equation-mc-estimator")
def _no_mean(trajectories: Any, theta: Any, gamma: float) -> Any:
    """The score of an action is e_a minus the probabilities of its state; you have e_a alone."""
    return _weighted(_full, center=False)(trajectories, theta, gamma)


@GRADIENT.mistake("score of the next state", "equation-mc-estimator")
def _next_state(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You pair each action with the state it led to. Its score belongs to the row of the state it
    was taken in."""
    return mc_gradient([([*s[1:], s[0]], a, r) for s, a, r in trajectories], theta, gamma)


@GRADIENT.mistake("sign", "equation-mc-estimator")
def _negative(trajectories: Any, theta: Any, gamma: float) -> Any:
    """Every entry has the wrong sign: the estimate points uphill, and no minus belongs here."""
    return -mc_gradient(trajectories, theta, gamma)


@GRADIENT.mistake(
    "one trajectory only",
    "equation-mc-estimator",
    [lambda trajectories, *args: mc_gradient(trajectories[:1], *args)],
)
def _last_one(trajectories: Any, *args: Any) -> Any:
    """You return the term of a single trajectory: is something overwritten in the loop, or does it
    return in its first round? All N terms are averaged."""
    return mc_gradient(trajectories[-1:], *args)


# --- standard_error ----------------------------------------------------------------------------


def _error_inputs(rng: np.random.Generator) -> Case:
    yield (np.array([[1.0, 0.0], [2.0, 4.0], [6.0, 8.0]]),)
    for N, D in [(5, 2), (2, 3), (20, 1), (7, 7), (2, 1)]:
        yield (rng.normal(3.0, 2.0, size=(N, D)),)
    flat = rng.normal(size=(6, 3))
    flat[:, 1] = 2.0
    yield (flat + 100.0,)


def _scatter(samples: Any, axis: int | None = 0, ddof: int = 1) -> Any:
    return np.std(samples, axis=axis, ddof=min(ddof, np.size(samples) - 1))


ERROR = Exercise("standard_error", standard_error, _error_inputs)


@ERROR.mistake("N for N - 1", "equation-standard-error-unbiased")
def _biased(samples: Any) -> Any:
    """The squared deviations are divided by N. They are taken from the sample's own mean, which is
    closer to the samples than the true one: divide by N - 1."""
    return _scatter(samples, ddof=0) / np.sqrt(len(samples))


@ERROR.mistake(
    "deviation of one sample", "equation-standard-error", [lambda x: _scatter(x, ddof=0)]
)
def _of_one(samples: Any) -> Any:
    """That is how far *one* sample scatters. The mean of N scatters less: divide by the square
    root of N."""
    return _scatter(samples)


@ERROR.mistake("divided by N", "equation-standard-error", [lambda x: _scatter(x, ddof=0) / len(x)])
def _over_n(samples: Any) -> Any:
    """You divide the deviation by N. The *variance* of a mean falls like 1 / N, so its deviation
    falls like one over the square root of N."""
    return _scatter(samples) / len(samples)


@ERROR.mistake(
    "variance instead of deviation",
    "equation-standard-error",
    [
        lambda x: _scatter(x) ** 2,
        lambda x: _scatter(x, ddof=0) ** 2,
        lambda x: _scatter(x, ddof=0) ** 2 / len(x),
    ],
)
def _no_root(samples: Any) -> Any:
    """That is a variance, in squared units. The standard error is its square root."""
    return _scatter(samples) ** 2 / len(samples)


@ERROR.mistake(
    "mean not subtracted",
    "equation-standard-error",
    [lambda x: np.sqrt((x**2).sum(axis=0) / (len(x) - 1) / len(x))],
)
def _not_centred(samples: Any) -> Any:
    """You sum the squares of the samples. Subtract their mean first: a large mean is no error."""
    return np.sqrt((samples**2).mean(axis=0) / len(samples))


@ERROR.mistake(
    "over the wrong axis",
    "equation-standard-error",
    [lambda x: _scatter(x, axis=1, ddof=int(x.shape[1] > 1)) / np.sqrt(len(x))],
)
def _sideways(samples: Any) -> Any:
    """You go along the D numbers of a sample. The N samples are the rows: one error a column."""
    return _scatter(samples, axis=1, ddof=int(samples.shape[1] > 1)) / np.sqrt(samples.shape[1])


@ERROR.mistake(
    "all numbers in one heap",
    "equation-standard-error",
    [lambda x: _scatter(x, axis=None) / np.sqrt(len(x)), lambda x: _scatter(x, axis=None)],
)
def _pooled(samples: Any) -> Any:
    """You return one number for all columns. Each of the D numbers has its own error."""
    return _scatter(samples, axis=None) / np.sqrt(samples.size)


@ERROR.mistake("half width instead of the error", "equation-coverage")
def _interval(samples: Any) -> Any:
    """That is the half width of a 95 % interval: 1.96 standard errors. One is asked."""
    return 1.96 * standard_error(samples)


# --- split_episodes ----------------------------------------------------------------------------


def _episode_inputs(rng: np.random.Generator) -> Case:
    no, yes = False, True
    yield np.array([no, no, yes, no, no, no]), np.array([no, no, no, no, yes, no])
    yield np.array([no, yes, yes, no]), np.array([no, no, yes, no])
    for T in (12, 30):
        yield rng.random(T) < 0.3, rng.random(T) < 0.2
    yield np.array([no, no, no]), np.array([no, no, yes])
    yield np.array([no, no, no, yes]), np.array([no, yes, no, yes])
    for flags in ((no, no), (yes, no), (no, yes), (yes, yes)):
        yield np.array(flags[:1]), np.array(flags[1:])
    yield np.array([no] * 5), np.array([no] * 5)


def _cut_at(ends: Any, T: int) -> list[tuple[int, int]]:
    return split_episodes(ends, np.zeros(T, dtype=bool))


EPISODES = Exercise("split_episodes", split_episodes, _episode_inputs)


@EPISODES.mistake("drops the unfinished tail", "sec-unfinished")
def _finished(terminated: Any, truncated: Any) -> Any:
    """The steps after the last end are missing. They belong to an episode too, which was cut by
    the end of the array: it is the last pair, with stop = T."""
    ends = terminated | truncated
    return [e for e in split_episodes(terminated, truncated) if ends[e[1] - 1]]


@EPISODES.mistake("truncated ignored", "sec-ends")
def _terminated_only(terminated: Any, truncated: Any) -> Any:
    """Only `terminated` ends your episodes. After `truncated` the next row is another episode as
    well: the time limit ended this one."""
    return _cut_at(terminated, len(terminated))


@EPISODES.mistake("terminated ignored", "sec-ends")
def _truncated_only(terminated: Any, truncated: Any) -> Any:
    """Only `truncated` ends your episodes. After `terminated` nothing of the episode follows."""
    return _cut_at(truncated, len(truncated))


@EPISODES.mistake("both flags asked for", "sec-ends")
def _both(terminated: Any, truncated: Any) -> Any:
    """You end an episode where both flags are true. One of them is enough."""
    return _cut_at(terminated & truncated, len(terminated))


@EPISODES.mistake("one episode in all", "sec-ends")
def _single(terminated: Any, truncated: Any) -> Any:
    """You return all steps as one episode. Each true flag ends one."""
    return [(0, len(terminated))]


def _stop_and_start(terminated: Any, truncated: Any) -> Any:
    stops = [*np.flatnonzero(terminated | truncated).tolist(), len(terminated) - 1]
    return list(zip([0, *stops[:-1]], stops, strict=True))


@EPISODES.mistake("stop is not behind the end", "sec-type", [_stop_and_start])
def _inclusive(terminated: Any, truncated: Any) -> Any:
    """Your pairs are not half-open: `stop` is one behind the last step, so that
    `rewards[start:stop]` is the episode, and its length is stop - start."""
    return [(start, stop - 1) for start, stop in split_episodes(terminated, truncated)]


def _early_stops(terminated: Any, truncated: Any) -> Any:
    stops = [*np.flatnonzero(terminated | truncated).tolist(), len(terminated)]
    return [p for p in zip([0, *stops[:-1]], stops, strict=True) if p[0] < p[1]]


@EPISODES.mistake("end given to the next episode", "sec-ends", [_early_stops])
def _overlapping(terminated: Any, truncated: Any) -> Any:
    """The flags are set on the *last step* of an episode, so that step belongs to it, and the next
    episode begins one later."""
    pairs = split_episodes(terminated, truncated)
    return [(max(start - 1, 0), stop) for start, stop in pairs]


def _empty_tail(terminated: Any, truncated: Any) -> Any:
    stops = [*(np.flatnonzero(terminated | truncated) + 1).tolist(), len(terminated)]
    return list(zip([0, *stops[:-1]], stops, strict=True))


@EPISODES.mistake("an empty episode", "sec-ends", [_empty_tail])
def _twice(terminated: Any, truncated: Any) -> Any:
    """One of your episodes has no step: where both flags are true only one episode ends, and an
    end on the last step leaves no tail."""
    T = len(terminated)
    stops = [t + 1 for t in range(T) for flag in (terminated[t], truncated[t]) if flag]
    stops += [] if stops and stops[-1] == T else [T]
    return list(zip([0, *stops[:-1]], stops, strict=True))


@EPISODES.mistake("stops at the first end", "sec-any-ends")
def _first(terminated: Any, truncated: Any) -> Any:
    """You return the first episode only. Go on behind its end."""
    return split_episodes(terminated, truncated)[:1]


@EPISODES.mistake(
    "one number an episode",
    "sec-type",
    [
        lambda terminated, truncated: np.flatnonzero(terminated | truncated),
        lambda *flags: [stop for _, stop in split_episodes(*flags)],
    ],
)
def _lengths(terminated: Any, truncated: Any) -> Any:
    """You return one number for each episode, its length or its end. Asked are pairs
    (start, stop)."""
    return [stop - start for start, stop in split_episodes(terminated, truncated)]


EXERCISES = (ROLLOUT, GRADIENT, ERROR, EPISODES)
