"""Checks of chapter 4: log-probability of a trajectory, its gradient, the exact gradient of J."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pgcourse import mdp, policy_gradient
from pgcourse.checks.core import Exercise, is_close
from pgcourse.environments import random_mdp, random_policy, two_state
from pgcourse.mdp import MDP
from pgcourse.policies import softmax
from pgcourse.policy_gradient import grad_log_prob_trajectory

Arrays = tuple[Any, ...]
Answer = Callable[..., Any]
LONG = 2000  # steps; a product of so many probabilities is below the smallest double


def _walk(world: MDP, pi: Any, T: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Draw one trajectory of T steps."""
    states, actions = [rng.choice(world.S, p=world.d0)], []
    for _ in range(T):
        actions.append(rng.choice(world.A, p=pi[states[-1]]))
        states.append(rng.choice(world.S, p=world.P[states[-1], actions[-1]]))
    return np.array(states), np.array(actions)


# --- trajectory_log_prob -----------------------------------------------------------------------


def trajectory_log_prob(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> float:
    """Logarithm of the probability of one trajectory."""
    world = MDP(P, np.zeros(np.shape(pi)), d0, 1.0, len(actions))
    return float(policy_gradient.trajectory_log_prob(world, pi, states, actions))


def _log_prob_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    small, pi = two_state(), np.array([[0.5, 0.5], [0.9, 0.1]])
    yield np.array([0, 1, 1]), np.array([1, 0]), small.P, small.d0, pi
    sizes = [(2, 2, 2), (3, 2, 4), (2, 3, 3), (4, 2, 1), (1, 3, 2), (3, 1, 5), (3, 2, 9)]
    for S, A, T in [*sizes, (3, 2, LONG), (2, 4, LONG)]:
        world, pi = random_mdp(S, A, 1.0, T, rng), random_policy(S, A, rng)
        yield *_walk(world, pi, T, rng), world.P, world.d0, pi
    P, half = np.eye(2)[[[0, 1], [1, 0]]], np.full((2, 2), 0.5)  # action 1 moves, for sure
    states, actions = np.array([0, 0, 1]), np.array([0, 1])
    yield states, actions[::-1].copy(), P, np.array([0.25, 0.75]), half  # the world forbids it
    yield states, actions, P, np.array([0.0, 1.0]), half  # it never starts there
    yield states, actions, P, np.array([0.25, 0.75]), np.eye(2)  # the policy forbids it


def _logs(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> list[Any]:
    with np.errstate(divide="ignore"):
        return [np.log(x) for x in (d0[s[:1]], pi[s[:-1], a], P[s[:-1], a, s[1:]])]


def _all_but(missing: int) -> Answer:
    return lambda *args: sum(x.sum() for i, x in enumerate(_logs(*args)) if i != missing)


def _floored(smallest: float) -> Answer:
    return lambda *args: sum(np.log(np.exp(x) + smallest).sum() for x in _logs(*args))


def _made_possible(args: Arrays, got: Any, expected: Any) -> bool:
    return bool(np.isneginf(expected) and np.isfinite(got))


LOG_PROB = Exercise("trajectory_log_prob", trajectory_log_prob, _log_prob_inputs)


def _with_math(*args: Any) -> Any:
    return math.log(np.exp(np.concatenate(_logs(*args))).prod())


@LOG_PROB.mistake("logarithm of zero", "sec-underflow")
def _unguarded(*args: Any) -> Any:
    """math.log(0) is an error. The log-probability of an impossible trajectory is minus infinity:
    -np.inf, or np.log(0)."""
    return sum(math.log(x) for x in np.exp(np.concatenate(_logs(*args))))


@LOG_PROB.mistake("product underflows", "sec-underflow", [_with_math])
def _log_of_product(*args: Any) -> Any:
    """You multiply first and take the logarithm then. A product of thousands of probabilities is
    too small for a floating-point number and becomes 0. Add the logarithms instead."""
    return np.log(np.exp(np.concatenate(_logs(*args))).prod())


_FLOORS = [_floored(10.0**-k) for k in (4, 5, 6, 7, 9, 10, 11, 12, 15, 16)]


@LOG_PROB.mistake("impossible made possible", "sec-underflow", _FLOORS, _made_possible)
def _skipped(*args: Any) -> Any:
    """An impossible trajectory has the log-probability minus infinity; yours is finite. A small
    number inside the logarithm, or skipping a factor 0, is not the logarithm."""
    return sum(x[np.isfinite(x)].sum() for x in _logs(*args))


@LOG_PROB.mistake("probability, not its logarithm", "equation-log-path-law")
def _no_log(*args: Any) -> Any:
    """You return p(tau) itself. Asked is its logarithm, a sum."""
    return np.exp(trajectory_log_prob(*args))


def _too_deep(message: str) -> Answer:
    def wrong(s: Any, a: Any, *args: Any) -> Any:
        if len(a) == LONG:
            raise RecursionError(message)
        return trajectory_log_prob(s, a, *args)

    return wrong


_DEPTHS = ["", " in comparison", " while calling a Python object"]
_DEEPER = [_too_deep(f"maximum recursion depth exceeded{where}") for where in _DEPTHS]


@LOG_PROB.mistake("recursion too deep", "sec-underflow", _DEEPER[1:])
def _recursive(*args: Any) -> Any:
    """Your function calls itself once for each step, and Python allows about a thousand calls
    inside each other. Trajectories here have up to 2000 steps: add the terms in a loop."""
    return _DEEPER[0](*args)


def _looked_up(p: Any, q: Any, s: Any, d0: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(d0[s[0]]) + np.log(p).sum() + np.log(q).sum()


@LOG_PROB.mistake(
    "state and action swapped",
    "equation-log-path-law",
    [
        lambda s, a, P, d0, pi: _looked_up(pi[a, s[:-1]], P[s[:-1], a, s[1:]], s, d0),
        lambda s, a, P, d0, pi: _looked_up(pi[s[:-1], a], P[a, s[:-1], s[1:]], s, d0),
        lambda s, a, P, d0, pi: _looked_up(pi[s[:-1], a], P[s[:-1], s[1:], a], s, d0),
        lambda s, a, P, d0, pi: _looked_up(pi[a, s[:-1]], P[s[:-1], s[1:], a], s, d0),
    ],
)
def _swapped(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The indices of a table are in another order: the state comes first, then the action, then
    the next state, pi[s, a] and P[s, a, z]."""
    return _looked_up(pi[a, s[:-1]], P[a, s[:-1], s[1:]], s, d0)


@LOG_PROB.mistake("transition backward", "equation-log-path-law")
def _moved_back(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """Your transitions lead from s_{t+1} to s_t. The state that is left comes first, the state that
    is reached last: P[s_t, a_t, s_{t+1}]."""
    return _looked_up(pi[s[:-1], a], P[s[1:], a, s[:-1]], s, d0)


@LOG_PROB.mistake("last step missing", "equation-log-path-law")
def _last_step_missing(*args: Any) -> Any:
    """The last step is missing, its action and its transition: T actions give T terms of each
    kind."""
    return sum(x.sum() for x in _some_steps(slice(-1), *args))


@LOG_PROB.mistake("first step missing", "equation-log-path-law")
def _first_step_missing(*args: Any) -> Any:
    """The first step is missing, its action and its transition: the sum begins at t = 0."""
    return sum(x.sum() for x in _some_steps(slice(1, None), *args))


def _some_steps(part: slice, *args: Any) -> list[Any]:
    start, choices, moves = _logs(*args)
    return [start, choices[part], moves[part]]


@LOG_PROB.mistake(
    "returns inside the loop",
    "equation-log-path-law",
    [lambda *args: sum(x.sum() for x in _some_steps(slice(1), *args)[1:])],
)
def _first_step_only(*args: Any) -> Any:
    """Only the first step counts. A `return` indented as far as the loop's body ends the function
    in the first round: it belongs after the loop."""
    return sum(x.sum() for x in _some_steps(slice(1), *args))


def _from(start: Callable[..., Any]) -> Answer:
    def wrong(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
        with np.errstate(divide="ignore"):
            return start(s, d0) + _all_but(0)(s, a, P, d0, pi)

    return wrong


_STARTS = [
    _from(lambda s, d0: np.log(d0)),
    _from(lambda s, d0: np.log(d0[s[-1]])),
    _from(lambda s, d0: d0[s[0]]),
    _from(lambda s, d0: d0[0]),
]


@LOG_PROB.mistake("first term wrong", "equation-log-path-law", _STARTS)
def _state_zero(*args: Any) -> Any:
    """The first term is log d_0(s_0), np.log(d0[states[0]]): the entry of the state where this
    trajectory starts, and its logarithm."""
    return _from(lambda s, d0: np.log(d0[0]))(*args)


@LOG_PROB.mistake("first state forgotten", "equation-log-path-law")
def _no_start(*args: Any) -> Any:
    """The term log d_0(s_0) is missing: the world chooses where a trajectory starts."""
    return _all_but(0)(*args)


@LOG_PROB.mistake("policy forgotten", "equation-log-path-law")
def _no_policy(*args: Any) -> Any:
    """The terms log pi(a_t | s_t) are missing: the policy chooses the actions."""
    return _all_but(1)(*args)


@LOG_PROB.mistake("dynamics forgotten", "sec-dynamics", [lambda *args: _logs(*args)[1].sum()])
def _no_moves(*args: Any) -> Any:
    """The terms log P(s_{t+1} | s_t, a_t) are missing. They vanish from the gradient only."""
    return _all_but(2)(*args)


def _past_the_end(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    return sum(np.log(P[s[t], a[t], s[t + 1]]) for t in range(len(s)))


@LOG_PROB.mistake("extra transition", "sec-extra-transition", [_past_the_end])
def _last_twice(*args: Any) -> Any:
    """There is one transition too many: T actions make T moves, the last one to s_T."""
    return trajectory_log_prob(*args) + _logs(*args)[2][-1]


@LOG_PROB.mistake("last transition missing", "sec-extra-transition")
def _last_unmoved(*args: Any) -> Any:
    """The term log P(s_T | s_{T-1}, a_{T-1}) is missing: s_T belongs to the trajectory."""
    return _all_but(2)(*args) + _logs(*args)[2][:-1].sum()


@LOG_PROB.mistake("states off by one", "equation-log-path-law")
def _late_policy(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The action a_t is taken in s_t; you ask the policy in s_{t+1}."""
    return _all_but(1)(s, a, P, d0, pi) + np.log(pi[s[1:], a]).sum()


# --- grad_log_prob_trajectory ------------------------------------------------------------------


def _score_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    yield np.array([0, 1, 1]), np.array([1, 0]), np.log([[1.0, 1.0], [9.0, 1.0]])
    for S, A, T in [(3, 2, 4), (2, 3, 7), (3, 3, 5), (4, 2, 1), (1, 3, 6), (3, 1, 3), (3, 4, 300)]:
        yield rng.integers(S, size=T + 1), rng.integers(A, size=T), rng.normal(0, 1.5, (S, A))
    yield np.array([1, 0, 1, 1, 2]), np.array([0, 1, 0, 0]), rng.normal(0, 1.5, (4, 2))
    for big in ([[1e5, 99_999.5, -1e5], [0.0, -1000.0, 2.0]], [[0.0, 800.0, 799.5], [5e4] * 3]):
        yield np.array([0, 1, 0, 1, 0]), np.array([1, 1, 0, 2]), np.array(big)


def _counts(s: Any, a: Any, theta: Any) -> Any:
    n = np.zeros(theta.shape)
    np.add.at(n, (s[: len(a)], a), 1.0)
    return n


def _summed(s: Any, a: Any, theta: Any, pi: Any = None) -> Any:
    n = _counts(s, a, theta)
    return n - n.sum(axis=1, keepdims=True) * (softmax(theta) if pi is None else pi)


def _once(s: Any, a: Any, theta: Any) -> Any:
    """The policy, in the rows that were visited."""
    return (_counts(s, a, theta).sum(axis=1, keepdims=True) > 0) * softmax(theta)


def _has_nan(args: Arrays, got: Any, expected: Any) -> bool:
    return bool(np.isnan(got).any())


SCORE = Exercise("grad_log_prob_trajectory", grad_log_prob_trajectory, _score_inputs)


_ONE_ENTRY = [
    lambda s, a, theta: _counts(s, a, theta) * (1 - softmax(theta)),
    lambda s, a, theta: np.minimum(_counts(s, a, theta), 1) * (1 - softmax(theta)),
]


@SCORE.mistake("missing -p", "equation-counts-minus-expected", _ONE_ENTRY)
def _only_counts(s: Any, a: Any, theta: Any) -> Any:
    """You fill the entries of the actions chosen and no others. The gradient of log-softmax is
    e_a - pi: each visit takes the policy off the whole row of its state."""
    return _counts(s, a, theta)


def _visits(s: Any, a: Any, theta: Any) -> Any:
    return _counts(s, a, theta).sum(axis=1, keepdims=True)


_EXPECTED = [lambda s, a, theta: _visits(s, a, theta) * softmax(theta)]


@SCORE.mistake("e_a forgotten", "equation-counts-minus-expected", _EXPECTED)
def _no_choices(s: Any, a: Any, theta: Any) -> Any:
    """You add up the policies of the visited states, or their negatives. The action taken gets 1
    more at each step: e_a - pi."""
    return -_visits(s, a, theta) * softmax(theta)


_RAW = [lambda s, a, theta: _summed(s, a, theta, np.exp(theta))]


@SCORE.mistake("logits used as probabilities", "equation-counts-minus-expected", _RAW)
def _logits(s: Any, a: Any, theta: Any) -> Any:
    """You take the logits, or their exponentials, off the row. The policy comes off, and it is the
    softmax of the row."""
    return _summed(s, a, theta, theta)


_MINUS_ONE = [lambda s, a, theta: _counts(s, a, theta) - softmax(theta)]


@SCORE.mistake("-p in the wrong rows", "equation-counts-minus-expected", _MINUS_ONE)
def _from_every_row(s: Any, a: Any, theta: Any) -> Any:
    """You take the policy off every row. A step touches the row of its own state and no other: a
    row that is visited n times loses n times its policy."""
    return _counts(s, a, theta) - len(a) * softmax(theta)


_ONE_EACH = [lambda s, a, theta: np.minimum(_counts(s, a, theta), 1) - _once(s, a, theta)]


@SCORE.mistake("repeated visits counted once", "sec-repeated", _ONE_EACH)
def _fancy(s: Any, a: Any, theta: Any) -> Any:
    """A step that occurs twice counts twice. `grad[states, actions] += 1` adds once for each
    *different* index: loop over the steps, or use np.add.at."""
    return _counts(s, a, theta) - _once(s, a, theta)


@SCORE.mistake("overwritten instead of added", "sec-repeated")
def _assigned(s: Any, a: Any, theta: Any) -> Any:
    """Only the last visit of each state is left: `grad[s] = ...` in a loop forgets the visits
    before. Use +=."""
    grad = np.zeros(theta.shape)
    for here, action in zip(s[:-1], a, strict=True):
        grad[here] = np.eye(len(theta[0]))[action] - softmax(theta[here])
    return grad


def _last_too(s: Any, a: Any, theta: Any) -> Any:
    return _summed(s, a, theta) - np.eye(len(theta))[s[-1]][:, None] * softmax(theta)


def _past_the_actions(s: Any, a: Any, theta: Any) -> Any:
    return [a[t] for t in range(len(s))]


@SCORE.mistake("states off by one", "equation-grad-log-prob", [_last_too, _past_the_actions])
def _late(s: Any, a: Any, theta: Any) -> Any:
    """The action a_t is taken in s_t, not in s_{t+1}. The last state has no action and takes no
    part."""
    return _summed(s[1:], a, theta)


_PARTS = (slice(1, None), slice(0, 1), slice(-1, None))
_SOME_STEPS = [lambda s, a, th, part=part: _summed(s[:-1][part], a[part], th) for part in _PARTS]


@SCORE.mistake("steps missing", "equation-grad-log-prob", _SOME_STEPS)
def _without_last(s: Any, a: Any, theta: Any) -> Any:
    """The sum runs over all steps, t = 0 to T - 1; yours leaves some of them out."""
    return _summed(s, a[:-1], theta)


@SCORE.mistake("value instead of gradient", "sec-value-not-gradient")
def _log_value(s: Any, a: Any, theta: Any) -> Any:
    """You return the sum of log pi(a_t | s_t): one number. Asked is its gradient, one entry for
    each logit."""
    return np.log(softmax(theta)[s[:-1], a]).sum()


_BY_PROBABILITY = [lambda s, a, theta: _counts(s, a, theta) / softmax(theta)]


@SCORE.mistake("derivative of or by pi", "equation-grad-log-prob", _BY_PROBABILITY)
def _of_pi(s: Any, a: Any, theta: Any) -> Any:
    """You differentiate pi instead of log pi, or by the probabilities instead of the logits: a
    factor pi or 1/pi is too much."""
    return sum(softmax(theta)[x, b] * _summed([x], [b], theta) for x, b in zip(s, a, strict=False))


_OVER_ALL = [lambda s, a, th: _summed(s, a, th, softmax(th.ravel()).reshape(th.shape))]


@SCORE.mistake("softmax over the wrong axis", "equation-counts-minus-expected", _OVER_ALL)
def _columns(s: Any, a: Any, theta: Any) -> Any:
    """The policy of a state is the softmax of its own row; yours runs over another axis."""
    return _summed(s, a, theta, softmax(theta.T).T)


# --- reinforce_exact ---------------------------------------------------------------------------


def reinforce_exact(P: Any, R: Any, d0: Any, theta: Any, gamma: float, horizon: int) -> Any:
    """Exact gradient of J `[S, A]`."""
    return policy_gradient.policy_gradient(MDP(P, R, d0, gamma, horizon), theta)


def _gradient_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    small = two_state()
    yield small.P, small.R, small.d0, np.log([[1.0, 1.0], [9.0, 1.0]]), 0.9, 3
    sizes = [(3, 2, 2), (2, 3, 3), (4, 2, 1), (1, 3, 3), (3, 1, 3), (3, 3, 2), (2, 2, 4)]
    for S, A, T in sizes:
        w = random_mdp(S, A, round(rng.uniform(0.5, 0.95), 2), T, rng)
        yield w.P, w.R, w.d0, rng.normal(size=(S, A)), w.gamma, T
    for gamma in (1.0, 0.0):
        yield small.P, small.R, np.array([0.0, 1.0]), rng.normal(size=(2, 2)), gamma, 2
    big = np.array([[800.0, 799.5], [-1000.0, -1e5]])
    yield small.P, small.R, small.d0, big, 0.9, 3


def _scores(s: Any, a: Any, theta: Any, P: Any) -> Any:
    return grad_log_prob_trajectory(s, a, theta)


def _weighed(weigh: Answer, scores: Answer = _scores) -> Answer:
    """Weigh the score of each trajectory otherwise than with p R, or take other scores."""

    def wrong(P: Any, R: Any, d0: Any, theta: Any, gamma: float, T: int) -> Any:
        world, pi = MDP(P, R, d0, gamma, T), softmax(theta)
        s, a = mdp.enumerate_trajectories(world)
        p = mdp.trajectory_prob(world, pi, s, a)
        r = R[s[:, :-1], a] * gamma ** np.arange(T)  # [K, T]
        moves, acts = P[s[:, :-1], a, s[:, 1:]], pi[s[:, :-1], a]
        weights = weigh(p=p, R=r.sum(axis=1), r=r, d0=d0[s[:, 0]], moves=moves, acts=acts)
        if np.ndim(weights) == 0:
            return weights
        return np.tensordot(weights, scores(s, a, theta, P), axes=1)

    return wrong


GRADIENT = Exercise("reinforce_exact", reinforce_exact, _gradient_inputs)
_AVERAGED = [
    _weighed(lambda R, p, **_: R / len(p)),
    _weighed(lambda R, **_: R.sum()),
    _weighed(lambda R, **_: R.mean()),
]


@GRADIENT.mistake("missing density factor", "sec-density", _AVERAGED)
def _no_density(*args: Any) -> Any:
    """Each trajectory must count with its probability p(tau); you add, or average, R times score
    over the list of trajectories. Without p the sum is no expectation."""
    return _weighed(lambda R, **_: R)(*args)


def _log_weights(p: Any, R: Any, **_: Any) -> Any:
    return np.log(np.maximum(p, 1e-300)) * R


@GRADIENT.mistake(
    "log p as the weight", "sec-density", [_weighed(lambda p, R, **_: p * _log_weights(p, R))]
)
def _weighed_with_logs(*args: Any) -> Any:
    """You weigh a trajectory with log p(tau). It counts with its probability p(tau); the logarithm
    is in the score alone."""
    return _weighed(_log_weights)(*args)


@GRADIENT.mistake("divided by a count", "sec-density")
def _mean_of_terms(*args: Any) -> Any:
    """You average over the list of trajectories. The probabilities p(tau) sum to 1 already: add
    the terms, and divide by nothing."""
    return _weighed(lambda p, R, **_: p * R / len(p))(*args)


_OTHER_LAWS = [
    _weighed(lambda R, acts, **_: acts.prod(axis=1) * R),
    _weighed(lambda R, d0, acts, **_: d0 * acts.prod(axis=1) * R),
    _weighed(lambda p, R, d0, **_: p / d0 * R),
    _weighed(lambda p, R, moves, **_: p / moves.prod(axis=1) * R),
    _weighed(lambda p, R, moves, **_: p / moves[:, -1] * R),
]


@GRADIENT.mistake("factors missing from p", "equation-path-law-with-rewards", _OTHER_LAWS)
def _world_alone(*args: Any) -> Any:
    """The probability of a trajectory has a factor for the start, and for each step one of the
    policy and one of the world. Some of yours are missing."""
    return _weighed(lambda R, d0, moves, **_: d0 * moves.prod(axis=1) * R)(*args)


@GRADIENT.mistake("extra transition", "sec-extra-transition")
def _one_more(*args: Any) -> Any:
    """Your probabilities have one transition too many: T actions make T moves."""
    return _weighed(lambda p, R, moves, **_: p * moves[:, -1] * R)(*args)


@GRADIENT.mistake("value instead of gradient", "sec-value-not-gradient")
def _log_times_return(*args: Any) -> Any:
    """You weigh the sum of log pi with the return: one number. The gradient of that sum belongs
    there, one entry for each logit."""
    return _weighed(lambda p, R, acts, **_: p @ (np.log(acts).sum(axis=1) * R))(*args)


_NOT_ANEW = [_weighed(lambda p, r, **_: p * (r * np.arange(1, r.shape[1] + 1)).sum(axis=1))]


@GRADIENT.mistake("all rewards-to-go at every step", "sec-value-not-gradient", _NOT_ANEW)
def _sum_of_sums(P: Any, R: Any, d0: Any, theta: Any, gamma: float, T: int) -> Any:
    """You multiply the summed scores with the sum of the rewards-to-go of all steps. Late rewards
    then count several times; in R(tau) each counts once."""
    repeats = np.cumsum(gamma ** np.arange(T))  # of r_t: gamma^t + ... + gamma + 1
    return _weighed(lambda p, r, **_: p * (r @ repeats))(P, R, d0, theta, 1.0, T)


@GRADIENT.mistake("the mean score is zero", "sec-value-not-gradient", [_weighed(lambda p, **_: p)])
def _apart(*args: Any) -> Any:
    """Your answer is zero, or nearly. The mean score is zero, whether the returns are averaged
    apart from it or forgotten: the return of a trajectory must meet its own score."""
    return _weighed(lambda p, R, **_: p * (p @ R))(*args)


def _step_by_step(rewards: Answer) -> Answer:
    """Weigh each step of a trajectory on its own, with `rewards` of its discounted ones."""

    def wrong(P: Any, R: Any, d0: Any, theta: Any, gamma: float, T: int) -> Any:
        s, a = mdp.enumerate_trajectories(world := MDP(P, R, d0, gamma, T))
        weights = rewards(R[s[:, :-1], a], gamma ** np.arange(T))
        weights = mdp.trajectory_prob(world, softmax(theta), s, a)[:, None] * weights
        grad = np.zeros(theta.shape)
        np.add.at(grad, (s[:, :-1], a), weights)
        np.subtract.at(grad, s[:, :-1], weights[..., None] * softmax(theta)[s[:, :-1]])
        return grad

    return wrong


_SOME_REWARDS = [
    _step_by_step(lambda r, discount: r),
    _weighed(lambda p, r, **_: p * r[:, -1]),
    _weighed(lambda p, r, **_: p * r[:, 0]),
]


@GRADIENT.mistake("one reward instead of the return", "equation-reinforce", _SOME_REWARDS)
def _own(*args: Any) -> Any:
    """A score is multiplied by one reward, that of its own step or of one step of the trajectory.
    The return R(tau), the sum of them all, belongs there."""
    return _step_by_step(lambda r, discount: r * discount)(*args)


def _by_values(discounted: bool) -> Answer:
    def wrong(P: Any, R: Any, d0: Any, theta: Any, gamma: float, T: int) -> Any:
        exact = mdp.evaluate(MDP(P, R, d0, gamma, T), softmax(theta))
        weights = gamma ** np.arange(T) if discounted else np.ones(T)
        return softmax(theta) * np.einsum("t,ts,tsa->sa", weights, exact.d[:-1], exact.Q)

    return wrong


@GRADIENT.mistake("Q instead of the advantage", "equation-reinforce", [_by_values(False)])
def _with_q(*args: Any) -> Any:
    """You add up pi Q. The derivative of pi by its own logits is pi (e_a - pi), and its second part
    takes V off: pi A, where A = Q - V."""
    return _by_values(True)(*args)


def _distinct(choices: bool, visits: bool) -> Answer:
    def scores(s: Any, a: Any, theta: Any, P: Any) -> Any:
        n = np.array([_counts(x, b, theta) for x, b in zip(s, a, strict=True)])
        at = n.sum(axis=2, keepdims=True)
        n, at = (np.minimum(x, 1) if cut else x for x, cut in ((n, choices), (at, visits)))
        return n - at * softmax(theta)

    return _weighed(lambda p, R, **_: p * R, scores)


_FANCY = [_distinct(True, False), _distinct(False, True)]


@GRADIENT.mistake("repeated visits counted once", "sec-repeated", _FANCY)
def _visited_once(*args: Any) -> Any:
    """A step that occurs twice in a trajectory counts twice. `grad[states, actions] += 1` adds once
    for each *different* index: loop over the steps, or use np.add.at."""
    return _distinct(True, True)(*args)


def _anew(P: Any, R: Any, d0: Any, theta: Any, gamma: float, T: int) -> Any:
    exact = mdp.evaluate(MDP(P, R, d0, gamma, T), softmax(theta))
    return softmax(theta) * np.einsum("ts,tsa->sa", exact.d[:-1], exact.A)


_DISCOUNTS = [_anew, lambda *args: args[4] * reinforce_exact(*args)]


@GRADIENT.mistake("wrong discount", "equation-reinforce", _DISCOUNTS)
def _undiscounted(P: Any, R: Any, d0: Any, theta: Any, gamma: float, T: int) -> Any:
    """The reward of step t counts gamma^t, whichever action is pushed by it: you forgot gamma,
    discount one step too much, or begin anew at each step."""
    return reinforce_exact(P, R, d0, theta, 1.0, T)


@GRADIENT.mistake("T off by one", "equation-reinforce", [lambda *a: _horizon(-1, *a)])
def _longer(*args: Any) -> Any:
    """A horizon of T means T actions and T rewards."""
    return _horizon(1, *args)


def _horizon(by: int, *args: Any) -> Any:
    P, R, d0, theta, gamma, T = args
    return reinforce_exact(P, R, d0, theta, gamma, T + by) if T + by else np.zeros(theta.shape)


def _choices(s: Any, a: Any, theta: Any, P: Any) -> Any:
    return np.array([_counts(x, b, theta) for x, b in zip(s, a, strict=True)])


@GRADIENT.mistake("missing -p", "equation-counts-minus-expected")
def _choices_alone(*args: Any) -> Any:
    """Your scores count the actions taken and forget what comes off: e_a - pi, not e_a."""
    return _weighed(lambda p, R, **_: p * R, _choices)(*args)


def _moving(s: Any, a: Any, theta: Any, P: Any) -> Any:
    """Scores, and the gradient of the transitions averaged over the policy."""
    pi = softmax(theta)
    mixed = np.einsum("sa,saz->sz", pi, P)[:, None]
    slopes = np.divide(pi[..., None] * (P - mixed), mixed, where=mixed > 0, out=np.zeros(P.shape))
    at = np.eye(len(P))[s[:, :-1]]  # [K, T, S]
    return _scores(s, a, theta, P) + np.einsum("kts,sakt->ksa", at, slopes[:, :, s[:, 1:]])


@GRADIENT.mistake("dynamics differentiated", "sec-dynamics")
def _with_moves(*args: Any) -> Any:
    """Your scores contain a derivative of the transitions, averaged over the policy. Given s_t
    and a_t the world has no theta in it: its terms in log p have the gradient zero."""
    return _weighed(lambda p, R, **_: p * R, _moving)(*args)


# --- mistakes of several exercises -------------------------------------------------------------


def _steps(args: Arrays) -> int:
    return args[5] if len(args) == 6 else len(args[1])


def _common(exercise: Exercise) -> None:
    right = exercise.reference
    a_step_more = [lambda *args: right(*args) / (_steps(args) + 1)]

    @exercise.mistake("mean over time", "sec-mean-over-time", a_step_more)
    def _(*args: Any) -> Any:
        """You divide by the number of steps. The logarithm of a product is a sum over the steps,
        and so is its gradient; no length divides them."""
        return right(*args) / _steps(args)

    @exercise.mistake("sign", "equation-grad-log-prob")
    def _(*args: Any) -> Any:
        """Your answer is the negative of the right one. No minus sign belongs here: J is climbed,
        and log p is at most 0."""
        return -right(*args)


def _common_of_gradients(exercise: Exercise, theta: int) -> None:
    right = exercise.reference

    @exercise.mistake("unstable softmax", "sec-underflow", signs=_has_nan)
    def _(*args: Any) -> Any:
        """The exponential of a large logit overflows. Subtract the largest logit of the row
        first, or use the softmax of chapter 2."""
        return right(*args) * (1.0 if np.abs(args[theta]).max() < 700 else np.nan)

    @exercise.mistake("close, but not exact", "sec-roads", signs=is_close)
    def _(*args: Any) -> Any:
        """The first digits are right: finite differences, perhaps, or single precision on the
        way. There is a formula."""
        return np.asarray(right(*args), dtype=np.float32).astype(np.float64)


for _exercise in (LOG_PROB, SCORE, GRADIENT):
    _common(_exercise)
_common_of_gradients(SCORE, 2)
_common_of_gradients(GRADIENT, 3)
EXERCISES = (LOG_PROB, SCORE, GRADIENT)
