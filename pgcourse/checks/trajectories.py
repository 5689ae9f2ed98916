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
    yield small.P, small.R, small.d0, np.full((2, 2), 0.5), 4, rng.random(9)
    for S, A, T in [(3, 2, 8), (2, 3, 12), (5, 4, 30), (1, 3, 6), (4, 1, 9), (3, 3, 1)]:
        w = random_mdp(S, A, 1.0, T, rng)
        yield w.P, w.R, w.d0, random_policy(S, A, rng), T, rng.random(1 + 2 * T)
    late = corridor(2, 1.0, 12)  # absorbing after a few steps, yet 12 steps are asked
    yield late.P, late.R, late.d0, np.full((3, 2), 0.5), 12, rng.random(25)
    short = np.append(np.full(10, 0.1), 0.0)  # its sum, and that of the policy, ends below 1
    law, pi = np.tile(short, (11, 5, 1)), np.tile([0.7, 0.1, 0.1, 0.1, 0.0], (11, 1))
    largest = float(np.nextafter(1, 0))
    for numbers in ([largest, 0.25, 0.55, 0.25, 0.55], [0.55, largest, 0.55, 0.25, largest]):
        yield law, rng.normal(size=(11, 5)), short, pi, 2, np.array(numbers)
    half = np.full((2, 2, 2), 0.5)  # every number lies exactly on a border
    ties = np.append([0.5, 0.75, 0.5], rng.integers(0, 4, size=14) / 4)
    yield half, np.array([[1.0, 2.0], [3.0, 4.0]]), half[0, 0], half[0], 8, ties


def compare_rollouts(expected: Any, got: Value) -> Difference | None:
    """Compare (states, actions, rewards), part by part."""
    if not isinstance(got, Items) or len(got.items) != 3:
        return Difference("type", f"got {_parts(got)}, expected (states, actions, rewards)")
    for name, want, part in zip(("states", "actions", "rewards"), expected, got.items, strict=True):
        if difference := compare_arrays(want, part):
            return Difference(difference.stage, f"{name}: {difference.text}")
    return None


def _parts(got: Value) -> str:
    if not isinstance(got, Items):
        return "one array" if isinstance(got, Array) else describe(got)
    sizes = {len(part.items) if isinstance(part, Items) else 0 for part in got.items}
    kind = "steps (s, a, r), one after another" if sizes == {3} else "parts"
    return f"{len(got.items)} {kind}"


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
        _reordered(lambda T: np.array([0, *np.arange(2 * T)])),
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


def _own_numbers(rng: Any) -> Callable[..., Any]:
    return lambda P, R, d0, pi, T, u: _play(
        P, R, d0, pi, T, u, lambda p, _: int(rng(0).choice(len(p), p=p))
    )


def _own_stream(make: Any, draw: str) -> Callable[..., Any]:
    def wrong(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
        rng = make(0)

        def pick(p: Any, _: float) -> int:
            return _first_above(p, rng.random()) if draw == "u" else int(rng.choice(len(p), p=p))

        return _play(P, R, d0, pi, T, u, pick)

    return wrong


_RNG, _OLD = np.random.default_rng, np.random.RandomState
_OWN = [_own_stream(_RNG, "u"), _own_stream(_OLD, "a"), _own_numbers(_RNG), _own_numbers(_OLD)]


@ROLLOUT.mistake("own random numbers", "sec-lanes", _OWN)
def _drawn(*args: Any) -> Any:
    """You draw random numbers of your own. All randomness comes in with `uniforms`, so that the
    same numbers always give the same trajectory."""
    return _own_stream(_RNG, "a")(*args)


def _moved(track: bool) -> Callable[..., Any]:
    """Never move on; the list of states follows the draws, or does not."""

    def wrong(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
        s = _first_above(d0, u[0])
        actions = [_first_above(pi[s], x) for x in u[1::2]]
        nexts = [_first_above(P[s, a], x) for a, x in zip(actions, u[2::2], strict=True)]
        return [s, *(nexts if track else [s] * T)], actions, R[s, actions]

    return wrong


@ROLLOUT.mistake("the state is never updated", "sec-type", [_moved(False)])
def _stuck(*args: Any) -> Any:
    """Every step is played from the first state. After each draw of the world, the next state
    becomes the present one: `s = ...` inside the loop."""
    return _moved(True)(*args)


@ROLLOUT.mistake("returns inside the loop", "sec-type")
def _first_step_only(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    """Your trajectory has one step. A `return` indented as far as the loop's body ends the function
    in the first round: it belongs after the loop."""
    return _play(P, R, d0, pi, 1, u)


def _rewarded(change: Callable[[Any], Any]) -> Callable[..., Any]:
    def wrong(*args: Any) -> Any:
        states, actions, rewards = _play(*args)
        return states, actions, change(rewards)

    return wrong


@ROLLOUT.mistake(
    "rewards added up",
    "sec-type",
    [_rewarded(np.cumsum), _rewarded(lambda r: r.sum(keepdims=True))],
)
def _total(*args: Any) -> Any:
    """The rewards are added up. Asked is the reward of each step, an array of T numbers."""
    return _rewarded(np.sum)(*args)


def _discounted_by(gamma: float) -> Callable[..., Any]:
    return _rewarded(lambda r: r * gamma ** np.arange(len(r)))


@ROLLOUT.mistake(
    "rewards discounted",
    "sec-type",
    [_discounted_by(gamma) for gamma in (0.5, 0.8, 0.95, 0.99, 0.999)],
)
def _discounted(*args: Any) -> Any:
    """Your rewards shrink with time. A trajectory holds them as they are paid, R[s_t, a_t]; gamma
    enters later, in the return."""
    return _discounted_by(0.9)(*args)


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


def _picked(probs: Any, u: float, otherwise: Callable[[Any], Any]) -> Any:
    above = np.flatnonzero(np.cumsum(probs) > u)
    return int(above[0]) if above.size else otherwise(probs)


def _added_up(probs: Any, u: float) -> Any:
    """Go through the probabilities; nothing comes back where no sum is greater."""
    total = 0.0
    for outcome, p in enumerate(probs):
        total += p
        if total > u:
            return outcome
    return None


def _ending(otherwise: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda P, R, d0, pi, T, u: _play(
        P, R, d0, pi, T, u, lambda probs, x: _picked(probs, x, otherwise)
    )


def _falling_through(P: Any, R: Any, d0: Any, pi: Any, T: int, u: Any) -> Any:
    return _play(P, R, d0, pi, T, u, _added_up)


_ENDS: list[Callable[[Any], Any]] = [len, np.argmax, lambda p: len(p) - 1]
_ENDS += [lambda p: next(iter(p[:0])), lambda p: p[len(p)], lambda p: p[:0][0]]


@ROLLOUT.mistake(
    "rounding leaves no outcome", "sec-lanes", [*map(_ending, _ENDS), _falling_through]
)
def _none_above(*args: Any) -> Any:
    """The sum of ten times 0.1 is 0.9999999999999999 for a computer, and the number may not be
    below it. Where no cumulative probability is greater, take the last outcome with *positive*
    probability: not outcome 0, not an impossible one, not an index beyond the end."""
    return _ending(lambda p: 0)(*args)


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
    [
        lambda *args, order=order: tuple(_play(*args)[i] for i in order)
        for order in [(2, 0, 1), (1, 0, 2), (1, 2, 0), (2, 1, 0)]
    ],
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
    first, second, third = _sampled(3, 4, (2, 5, 2), rng)
    yield [first, second, first, third, first], rng.normal(size=(3, 4)), 0.9  # one came up thrice


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


def _different(trajectories: Any) -> list[Any]:
    return list({tuple(np.concatenate(x)): x for x in trajectories}.values())


def _listed_once(trajectories: Any, theta: Any, gamma: float) -> Any:
    few = _different(trajectories)
    return mc_gradient(few, theta, gamma) * len(few) / len(trajectories)


@GRADIENT.mistake("repeated trajectories removed", "sec-estimator", [_listed_once])
def _as_a_set(trajectories: Any, theta: Any, gamma: float) -> Any:
    """A trajectory that is listed twice counts once in your answer. The N trajectories are draws,
    and a likely one comes up often: each entry of the list counts."""
    return mc_gradient(_different(trajectories), theta, gamma)


def _arrays_first(trajectories: Any, theta: Any, gamma: float) -> Any:
    np.array([a for _, a, _ in trajectories])
    return mc_gradient(trajectories, theta, gamma)


def _stacked_first(trajectories: Any, theta: Any, gamma: float) -> Any:
    np.stack([a for _, a, _ in trajectories])
    return mc_gradient(trajectories, theta, gamma)


@GRADIENT.mistake("one array for unequal lengths", "sec-any-ends", [_stacked_first])
def _ragged(*args: Any) -> Any:
    """You put all trajectories into one array, which fails where their lengths differ. Go through
    the list: each trajectory has its own length."""
    return _arrays_first(*args)


def _estimate(scores: Callable[..., Any], returns: Callable[[Any], Any] = list) -> Any:
    """Build a mean of return times score from other scores `[S, A]`, or other returns."""

    def wrong(trajectories: Any, theta: Any, gamma: float) -> Any:
        R = returns([discounted_return(r, gamma) for _, _, r in trajectories])
        terms = [G * scores(s, a, theta) for G, (s, a, _) in zip(R, trajectories, strict=True)]
        return np.sum(terms, axis=0) / len(terms)

    return wrong


def _score(s: Any, a: Any, theta: Any, pi: Any = None) -> Any:
    taken = _taken(s, a, theta)
    return taken - taken.sum(axis=1, keepdims=True) * (softmax(theta) if pi is None else pi)


def _taken(s: Any, a: Any, theta: Any) -> Any:
    counts = np.zeros(theta.shape)
    np.add.at(counts, (s[: len(a)], a), 1.0)
    return counts


def _unrepeated(choices: bool, visits: bool) -> Any:
    def scores(s: Any, a: Any, theta: Any) -> Any:
        n = _taken(s, a, theta)
        at = n.sum(axis=1, keepdims=True)
        n, at = (np.minimum(x, 1) if cut else x for x, cut in ((n, choices), (at, visits)))
        return n - at * softmax(theta)

    return _estimate(scores)


@GRADIENT.mistake(
    "repeated visits counted once",
    "equation-mc-estimator",
    [_unrepeated(True, False), _unrepeated(False, True)],
)
def _fancy(*args: Any) -> Any:
    """A step that occurs twice in a trajectory counts twice. `grad[states, actions] += 1` adds once
    for each *different* index: loop over the steps, or use np.add.at."""
    return _unrepeated(True, True)(*args)


def _with_last(s: Any, a: Any, theta: Any) -> Any:
    last = np.eye(len(theta))[s[-1]][:, None] * softmax(theta)
    return _score(s, a, theta) - last


def _past_the_actions(trajectories: Any, theta: Any, gamma: float) -> Any:
    return [a[t] for s, a, _ in trajectories for t in range(len(s))]


@GRADIENT.mistake("last state counted", "sec-type", [_past_the_actions])
def _one_state_more(*args: Any) -> Any:
    """The last state s_T has no action, and takes no part in the score: a trajectory has
    len(actions) steps, one fewer than states."""
    return _estimate(_with_last)(*args)


_FLAT = _estimate(
    lambda s, a, theta: _score(s, a, theta, softmax(theta.ravel()).reshape(theta.shape))
)


@GRADIENT.mistake("softmax over the wrong axis", "equation-mc-estimator", [_FLAT])
def _columns(*args: Any) -> Any:
    """The policy of a state is the softmax of its own row of theta; yours runs over another
    axis."""
    return _estimate(lambda s, a, theta: _score(s, a, theta, softmax(theta.T).T))(*args)


@GRADIENT.mistake("return forgotten", "equation-mc-estimator")
def _no_return(*args: Any) -> Any:
    """You average the scores alone. Each is multiplied by the return of its trajectory; without it
    the mean tends to zero."""
    return _estimate(_score, lambda R: np.ones(len(R)))(*args)


def _standardised(R: Any) -> Any:
    return (R - np.mean(R)) / np.std(R)


_CENTRED = [
    _estimate(_score, _standardised),
    _estimate(_score, lambda R: (R - np.mean(R)) / (np.std(R) + 1e-8)),
    _estimate(_score, lambda R: (R - np.mean(R)) / np.std(R, ddof=1)),
]


@GRADIENT.mistake("mean return subtracted", "equation-mc-estimator", _CENTRED)
def _centred(*args: Any) -> Any:
    """You subtract the mean return from each return. That lessens noise, and a later chapter says
    at what price; here the return multiplies the score as it is."""
    return _estimate(_score, lambda R: R - np.mean(R))(*args)


def _running(scores: bool, returns: bool) -> Any:
    def wrong(trajectories: Any, theta: Any, gamma: float) -> Any:
        S = np.array([_score(s, a, theta) for s, a, _ in trajectories])
        R = np.array([discounted_return(r, gamma) for _, _, r in trajectories])
        S, R = (np.cumsum(x, axis=0) if kept else x for x, kept in ((S, scores), (R, returns)))
        return np.tensordot(R, S, axes=1) / len(R)

    return wrong


@GRADIENT.mistake(
    "not reset between trajectories",
    "equation-mc-estimator",
    [_running(False, True), _running(True, True)],
)
def _carried_over(*args: Any) -> Any:
    """The score or the return of a trajectory goes on from the one before. Both begin at zero for
    each trajectory: set them inside the outer loop."""
    return _running(True, False)(*args)


@GRADIENT.mistake("discounted twice", "equation-mc-estimator")
def _discounted_return(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You multiply the whole return by gamma^t. The rewards in it are discounted already; every
    step of a trajectory bears the same R(tau)."""
    return _weighted(lambda r, g: _discounts(r, g) * _full(r, g))(trajectories, theta, gamma)


def _is_nan(args: tuple[Any, ...], got: Any, expected: Any) -> bool:
    return bool(np.abs(args[1]).max() > 700 and np.isnan(got).any())


@GRADIENT.mistake("unstable softmax", "equation-mc-estimator", signs=_is_nan)
def _overflow(trajectories: Any, theta: Any, gamma: float) -> Any:
    """The exponential of a large logit overflows, and the quotient is not a number. Subtract the
    largest logit of the row first, or use the softmax of chapter 2."""
    pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
    return _estimate(lambda s, a, theta: _score(s, a, theta, pi))(trajectories, theta, gamma)


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


@GRADIENT.mistake("N - 1 for N", "equation-mc-estimator")
def _one_less(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You divide by N - 1. That is for a variance; a mean over N trajectories divides by N."""
    total = mc_gradient(trajectories, theta, gamma) * len(trajectories)
    return total / np.float64(len(trajectories) - 1)


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


def _cut_to(length: Callable[[list[int]], int], trajectories: Any, theta: Any, gamma: Any) -> Any:
    n = length([len(a) for _, a, _ in trajectories])
    return mc_gradient([(s[: n + 1], a[:n], r[:n]) for s, a, r in trajectories], theta, gamma)


@GRADIENT.mistake(
    "stops when any episode ends", "sec-any-ends", [lambda *args: _cut_to(lambda n: n[0], *args)]
)
def _shortest(*args: Any) -> Any:
    """You cut the trajectories to one common length, that of the shortest or of the first. Each
    counts to its own end."""
    return _cut_to(min, *args)


_ONE_ENTRY = [
    _estimate(lambda s, a, theta: _taken(s, a, theta) * (1 - softmax(theta))),
    _estimate(lambda s, a, theta: np.minimum(_taken(s, a, theta), 1) * (1 - softmax(theta))),
    _estimate(lambda s, a, theta: np.minimum(_taken(s, a, theta), 1)),
]


@GRADIENT.mistake("minus p missing", "equation-mc-estimator", _ONE_ENTRY)
def _no_mean(trajectories: Any, theta: Any, gamma: float) -> Any:
    """You fill the entries of the actions taken and no others. The score of an action is e_a minus
    the probabilities of its state: the whole row changes."""
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
        lambda x: _scatter(x) ** 2 / np.sqrt(len(x)),
        lambda x: _scatter(x, ddof=0) ** 2 / np.sqrt(len(x)),
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


@ERROR.mistake(
    "one mean for all columns",
    "equation-standard-error",
    [lambda x: np.sqrt(((x - x.mean()) ** 2).mean(axis=0) / len(x))],
)
def _common_mean(samples: Any) -> Any:
    """You subtract the mean of all numbers. Each column has a mean of its own: `mean(axis=0)`."""
    N = len(samples)
    return np.sqrt(((samples - samples.mean()) ** 2).sum(axis=0) / (N * (N - 1)))


@ERROR.mistake("N - 1 under both roots", "equation-standard-error")
def _twice_less(samples: Any) -> Any:
    """You divide by N - 1 twice. It belongs in the deviation alone; the mean of N samples scatters
    less by the root of N."""
    return _scatter(samples) / np.sqrt(len(samples) - 1)


@ERROR.mistake(
    "divided by the root of D",
    "equation-standard-error",
    [lambda x: _scatter(x) / np.sqrt(x.size), lambda x: _scatter(x, ddof=0) / np.sqrt(x.shape[1])],
)
def _root_of_columns(samples: Any) -> Any:
    """You divide by the root of the number of columns, or of all numbers. The mean of a column is
    taken over its N rows."""
    return _scatter(samples) / np.sqrt(samples.shape[1])


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


def _word_between(terminated: Any, truncated: Any) -> Any:
    return _cut_at(terminated or truncated, len(terminated))


def _if_any(terminated: Any, truncated: Any) -> Any:
    return split_episodes(terminated, truncated) if terminated | truncated else []


@EPISODES.mistake("`or` between arrays", "sec-ends", [_if_any])
def _in_words(*flags: Any) -> Any:
    """`or`, `and`, `not` and `if` ask for one truth value, and an array has many. Entry by entry,
    either flag is `terminated | truncated`; or ask step by step, `terminated[t]`."""
    return _word_between(*flags)


@EPISODES.mistake("both flags cancel", "sec-ends")
def _xor(terminated: Any, truncated: Any) -> Any:
    """You end an episode where the flags differ. A step that is both ends one too: `|`, not `!=`
    or `^`."""
    return _cut_at(terminated != truncated, len(terminated))


@EPISODES.mistake("start is not moved", "sec-ends")
def _same_start(*flags: Any) -> Any:
    """All your episodes begin at 0. After each end the next one begins where the last one stopped:
    `start = t + 1`."""
    return [(0, stop) for _, stop in split_episodes(*flags)]


@EPISODES.mistake("length instead of stop", "sec-type")
def _start_and_length(*flags: Any) -> Any:
    """Your pairs are (start, length). Asked is (start, stop), as in `rewards[start:stop]`."""
    return [(start, stop - start) for start, stop in split_episodes(*flags)]


@EPISODES.mistake("an episode listed twice", "sec-ends")
def _repeated(terminated: Any, truncated: Any) -> Any:
    """An episode whose last step is both terminated and truncated is listed twice. It is one
    episode: ask for either flag, not for one after the other."""
    both, found = terminated & truncated, split_episodes(terminated, truncated)
    return [e for e in found for _ in range(1 + both[e[1] - 1])]


@EPISODES.mistake("drops the unfinished tail", "sec-unfinished")
def _finished(terminated: Any, truncated: Any) -> Any:
    """The steps after the last end are missing. They belong to an episode too, which was cut by
    the end of the array: it is the last pair, with stop = T."""
    ends = terminated | truncated
    return [e for e in split_episodes(terminated, truncated) if ends[e[1] - 1]]


@EPISODES.mistake("last episode missing", "sec-unfinished")
def _but_the_last(*flags: Any) -> Any:
    """The last pair is missing, whether its last step is flagged or not."""
    return split_episodes(*flags)[:-1]


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


def _all_early_stops(terminated: Any, truncated: Any) -> Any:
    stops = [*np.flatnonzero(terminated | truncated).tolist(), len(terminated)]
    return list(zip([0, *stops[:-1]], stops, strict=True))


@EPISODES.mistake("end given to the next episode", "sec-ends", [_early_stops, _all_early_stops])
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
