"""Checks of chapter 1: trajectories, their probability, the expected return, the occupancy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from pgcourse import mdp
from pgcourse.checks.core import Difference, Exercise, NotNumbersError, describe, to_array
from pgcourse.checks.wire import Array, Items, Other, Value, encode
from pgcourse.environments import random_mdp, random_policy, two_state
from pgcourse.mdp import MDP

Case = Iterator[tuple[Any, ...]]


def _worlds(rng: np.random.Generator, *sizes: tuple[int, int, int]) -> Iterator[MDP]:
    """Draw a world for each (S, A, T); every third starts in its last state."""
    for i, (S, A, T) in enumerate(sizes):
        world = random_mdp(S, A, round(rng.uniform(0.5, 0.95), 2), T, rng)
        d0 = np.eye(S)[-1] if i % 3 == 2 else world.d0
        yield MDP(world.P, world.R, d0, world.gamma, T)


# --- enumerate_trajectories --------------------------------------------------------------------


def enumerate_trajectories(P: Any, d0: Any, horizon: int) -> list[tuple[Any, Any]]:
    """List (states, actions) of every possible trajectory."""
    world = MDP(P, np.zeros(np.shape(P)[:2]), d0, 1.0, horizon)
    return list(zip(*mdp.enumerate_trajectories(world), strict=True))


def _enumerate_inputs(rng: np.random.Generator) -> Case:
    yield two_state().P, two_state().d0, 2
    for world in _worlds(rng, (2, 3, 1), (3, 2, 2), (2, 2, 3), (1, 2, 3), (4, 1, 2), (1, 1, 1)):
        yield world.P, world.d0, world.T
    rare = np.array([[[1.0, 1e-300], [0.5, 0.5]], [[0.0, 1.0], [1e-14, 1 - 1e-14]]])
    yield rare, np.array([0.0, 1.0]), 2


def _row(value: Value) -> tuple[int, ...]:
    array, _ = to_array(value)
    if array.ndim != 1 or (array != np.round(array)).any():
        raise NotNumbersError("entries that are not whole numbers in a row")
    return tuple(int(x) for x in array)


def _paths(value: Value) -> Counter[Any]:
    """Count the pairs (states, actions) of a list or set of them, or of two tables of rows."""
    if isinstance(value, Array):
        raise NotNumbersError("one array")
    if not isinstance(value, Items) and not (isinstance(value, Other) and value.items):
        raise NotNumbersError(describe(value))
    if tables := _two_tables(value.items):
        return Counter((_row(encode(s)), _row(encode(a))) for s, a in zip(*tables, strict=True))
    pairs = [v.items if isinstance(v, Items) else [] for v in value.items]
    if any(len(pair) != 2 for pair in pairs):
        raise NotNumbersError("entries that are not pairs (states, actions)")
    return Counter((_row(s), _row(a)) for s, a in pairs)


def _two_tables(items: list[Value]) -> list[np.ndarray]:
    """Return `[K, T+1]` and `[K, T]`, in either order; nothing where `items` may be pairs.

    A pair (states, actions) is ragged, so two pairs never look like two tables.
    """
    try:
        tables = [to_array(item)[0] for item in items] if len(items) == 2 else []
    except NotNumbersError:
        return []
    if [t.ndim for t in tables] != [2, 2] or len(tables[0]) != len(tables[1]):
        return []
    return tables if abs(tables[0].shape[1] - tables[1].shape[1]) == 1 else []


def compare_trajectories(expected: Any, got: Value) -> Difference | None:
    """Compare two lists of (states, actions), whatever their order."""
    want = _paths(encode(expected))
    try:
        found = _paths(got)
    except NotNumbersError as error:
        return Difference("type", f"got {error}, expected a list of (states, actions)")
    (right,) = {(len(s), len(a)) for s, a in want}
    if wrong := {(len(s), len(a)) for s, a in found} - {right}:
        text = "got a trajectory with {} states and {} actions, expected {} and {}"
        return Difference("shape", text.format(*min(wrong), *right))
    counts = f"got {sum(found.values())} trajectories, expected {sum(want.values())}"
    for text, surplus in (("too often or impossible", found - want), ("missing", want - found)):
        if surplus:
            s, a = min(surplus)
            return Difference("value", f"{counts}; {text}: states {s}, actions {a}")
    return None


ENUMERATE = Exercise(
    "enumerate_trajectories",
    enumerate_trajectories,
    _enumerate_inputs,
    compare=compare_trajectories,
)


def _one_step_less(P: Any, d0: Any, T: int) -> Any:
    if T == 1:
        return [((s,), ()) for s in np.flatnonzero(d0)]
    return enumerate_trajectories(P, d0, T - 1)


@ENUMERATE.mistake("T off by one", "sec-trajectory", [_one_step_less])
def _one_step_more(P: Any, d0: Any, T: int) -> Any:
    """A horizon of T means T actions and T + 1 states: s_0, ..., s_T. Your trajectories have one
    step too many or too few."""
    return enumerate_trajectories(P, d0, T + 1)


@ENUMERATE.mistake(
    "last state missing",
    "sec-trajectory",
    [lambda P, d0, T: [(s[:-1], a) for s, a in enumerate_trajectories(P, d0, T)]],
)
def _without_last(P: Any, d0: Any, T: int) -> Any:
    """Your states stop at s_{T-1}. The last action leads somewhere too: s_T belongs to the
    trajectory, and so does the factor P(s_T | s_{T-1}, a_{T-1})."""
    return list({(tuple(s[:-1]), tuple(a)) for s, a in enumerate_trajectories(P, d0, T)})


def _all_starts_too(P: Any, d0: Any, T: int) -> Any:
    return enumerate_trajectories(np.full(P.shape, 1 / len(P)), np.ones(len(P)) / len(P), T)


@ENUMERATE.mistake("impossible trajectories", "sec-enumeration", [_all_starts_too])
def _everything(P: Any, d0: Any, T: int) -> Any:
    """You list every combination of states and actions. A trajectory through a transition with
    P(s' | s, a) = 0, or from a state with d_0(s) = 0, cannot happen."""
    return enumerate_trajectories(np.full(P.shape, 1 / len(P)), d0, T)


@ENUMERATE.mistake(
    "first state ignored",
    "sec-enumeration",
    [
        lambda P, d0, T: enumerate_trajectories(P, np.eye(len(d0))[0], T),
        lambda P, d0, T: enumerate_trajectories(P, np.eye(len(d0))[np.argmax(d0)], T),
    ],
)
def _from_anywhere(P: Any, d0: Any, T: int) -> Any:
    """Trajectories start only where d_0(s) > 0, and in every such state."""
    return enumerate_trajectories(P, np.ones(len(d0)) / len(d0), T)


@ENUMERATE.mistake("rare transitions dropped", "sec-enumeration")
def _likely(P: Any, d0: Any, T: int) -> Any:
    """A small probability is not zero: compare with 0, not with a tolerance."""
    likely = np.where(P > 1e-8, P, 0)
    return enumerate_trajectories(likely / likely.sum(axis=2, keepdims=True), d0, T)


@ENUMERATE.mistake("states and actions swapped", "sec-trajectory")
def _actions_first(P: Any, d0: Any, T: int) -> Any:
    """Your pairs are (actions, states). The states come first: (states, actions)."""
    return [(a, s) for s, a in enumerate_trajectories(P, d0, T)]


def _likeliest_moves(P: Any) -> Any:
    return np.eye(len(P))[P.argmax(axis=2)]


@ENUMERATE.mistake(
    "only the likeliest next state",
    "sec-enumeration",
    [
        lambda P, d0, T: enumerate_trajectories(
            _likeliest_moves(P), np.eye(len(d0))[d0.argmax()], T
        ),
    ],
)
def _likeliest(P: Any, d0: Any, T: int) -> Any:
    """You follow one next state of each action, the likeliest. Every z with P(z | s, a) > 0 makes a
    trajectory of its own."""
    return enumerate_trajectories(_likeliest_moves(P), d0, T)


# --- trajectory_prob ---------------------------------------------------------------------------


def trajectory_prob(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> float:
    """Probability of one trajectory."""
    world = MDP(P, np.zeros(np.shape(pi)), d0, 1.0, len(actions))
    return float(mdp.trajectory_prob(world, pi, states[None], actions[None])[0])


def _prob_inputs(rng: np.random.Generator) -> Case:
    square = (2, 2, 3), (3, 3, 3), (2, 2, 4), (3, 3, 4)  # no index of these is out of range
    for world in _worlds(rng, *square, (3, 2, 4), (2, 3, 3), (4, 2, 1), (1, 3, 2), (3, 1, 5)):
        states, actions = mdp.enumerate_trajectories(world)
        path = rng.integers(len(states))
        yield states[path], actions[path], world.P, world.d0, random_policy(world.S, world.A, rng)
    certain = np.eye(2)[[[0, 1], [1, 0]]]  # the second step is impossible here
    yield np.array([0, 0, 0]), np.array([0, 1]), certain, np.ones(2) / 2, np.full((2, 2), 0.5)


def _factors(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> list[Any]:
    here, there = states[:-1], states[1:]
    return [d0[states[0]], pi[here, actions], P[here, actions, there]]


def _without(part: int, *args: Any) -> Any:
    return np.prod([np.prod(f) for i, f in enumerate(_factors(*args)) if i != part])


def _with_move_to(z: Any, s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    return trajectory_prob(s, a, P, d0, pi) * P[s[-1], a[-1], z]


PROB = Exercise("trajectory_prob", trajectory_prob, _prob_inputs)


@PROB.mistake(
    "state and action swapped",
    "equation-path-law",
    [
        lambda s, a, P, d0, pi: d0[s[0]] * np.prod(pi[a, s[:-1]] * P[s[:-1], a, s[1:]]),
        lambda s, a, P, d0, pi: d0[s[0]] * np.prod(pi[s[:-1], a] * P[a, s[:-1], s[1:]]),
        lambda s, a, P, d0, pi: d0[s[0]] * np.prod(pi[s[:-1], a] * P[s[:-1], s[1:], a]),
        lambda s, a, P, d0, pi: d0[s[0]] * np.prod(pi[a, s[:-1]] * P[s[:-1], s[1:], a]),
    ],
)
def _swapped(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The indices of a table are in another order: the state comes first, then the action, then
    the next state, pi[s, a] and P[s, a, z]."""
    return d0[s[0]] * np.prod(pi[a, s[:-1]] * P[a, s[:-1], s[1:]])


@PROB.mistake("transition backward", "equation-path-law")
def _moved_back(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """Your transitions lead from s_{t+1} to s_t. The state that is left comes first, the state that
    is reached last: P[s_t, a_t, s_{t+1}]."""
    return d0[s[0]] * np.prod(pi[s[:-1], a] * P[s[1:], a, s[:-1]])


def _actions_past_the_end(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    return np.prod([pi[s[t], a[t]] for t in range(len(s))])


@PROB.mistake("s_{T+1} out of range", "equation-path-law", [_actions_past_the_end])
def _past_the_end(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """An index runs past the end. If it is the time t: the product has the factors
    t = 0, ..., T - 1, as many as there are actions; the last transition leads to s_T."""
    return np.prod([P[s[t], a[t], s[t + 1]] for t in range(len(s))])


@PROB.mistake(
    "returns inside the loop",
    "equation-path-law",
    [lambda s, a, P, d0, pi: pi[s[0], a[0]] * P[s[0], a[0], s[1]]],
)
def _first_step_only(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """Only the first step counts. A `return` indented as far as the loop's body ends the function
    in the first round: it belongs after the loop."""
    return trajectory_prob(s[:2], a[:1], P, d0, pi)


@PROB.mistake(
    "only the last factor",
    "equation-path-law",
    [
        lambda s, a, P, d0, pi: d0[s[0]] * pi[s[-2], a[-1]] * P[s[-2], a[-1], s[-1]],
        lambda s, a, P, d0, pi: P[s[-2], a[-1], s[-1]],
        lambda s, a, P, d0, pi: d0[s[0]] * P[s[-2], a[-1], s[-1]],
    ],
)
def _overwritten(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """Each round of your loop overwrites the product, so the last round alone is left: multiply
    it on with `p *= ...`, not `p = ...`."""
    return pi[s[-2], a[-1]] * P[s[-2], a[-1], s[-1]]


@PROB.mistake("logarithm returned", "equation-path-law")
def _log(*args: Any) -> Any:
    """You return log p. Adding logarithms is a good way to multiply, but p itself is asked: take
    np.exp of your sum."""
    return np.log(trajectory_prob(*args))


@PROB.mistake(
    "first state not looked up",
    "equation-path-law",
    [
        lambda s, a, P, d0, pi: d0 * _without(0, s, a, P, d0, pi),
        lambda s, a, P, d0, pi: d0[s[-1]] * _without(0, s, a, P, d0, pi),
    ],
)
def _state_zero(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The first factor is d_0 of the state where this trajectory starts, d0[states[0]]; yours is
    another entry of d0, or all of them."""
    return d0[0] * _without(0, s, a, P, d0, pi)


@PROB.mistake(
    "extra last transition",
    "equation-path-law",
    [
        lambda s, *args: _with_move_to(s[0], s, *args),
        lambda s, *args: _with_move_to(s[-1], s, *args),
    ],
)
def _last_twice(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """There is one transition factor too many: T actions make T transitions, the last of them
    P(s_T | s_{T-1}, a_{T-1})."""
    return trajectory_prob(s, a, P, d0, pi) * P[s[-2], a[-1], s[-1]]


@PROB.mistake("last transition missing", "equation-path-law")
def _last_unmoved(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The factor P(s_T | s_{T-1}, a_{T-1}) is missing: s_T belongs to the trajectory."""
    return d0[s[0]] * np.prod(pi[s[:-1], a]) * np.prod(P[s[:-2], a[:-1], s[1:-1]])


@PROB.mistake("T off by one", "equation-path-law")
def _last_step_missing(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The last step is missing, its action and its transition: T actions give T factors of each
    kind."""
    return trajectory_prob(s[:-1], a[:-1], P, d0, pi) if len(a) > 1 else d0[s[0]]


@PROB.mistake("first step missing", "equation-path-law")
def _late_loop(s: Any, a: Any, P: Any, d0: Any, pi: Any) -> Any:
    """The first step is missing, its action and its transition: the product begins at t = 0."""
    return d0[s[0]] * np.prod(pi[s[1:-1], a[1:]] * P[s[1:-1], a[1:], s[2:]])


@PROB.mistake("first state forgotten", "equation-path-law")
def _no_start(*args: Any) -> Any:
    """The factor d_0(s_0) is missing: the world chooses where a trajectory starts."""
    return _without(0, *args)


@PROB.mistake("policy forgotten", "equation-path-law")
def _no_policy(*args: Any) -> Any:
    """The factors pi(a_t | s_t) are missing: the policy chooses the actions."""
    return _without(1, *args)


@PROB.mistake("transitions forgotten", "equation-path-law")
def _no_moves(*args: Any) -> Any:
    """The factors P(s_{t+1} | s_t, a_t) are missing: the world chooses the next state."""
    return _without(2, *args)


@PROB.mistake("sum instead of product", "equation-path-law")
def _added(*args: Any) -> Any:
    """You add the factors. Events that happen one after another multiply."""
    return sum(np.sum(f) for f in _factors(*args))


# --- expected_return ---------------------------------------------------------------------------


def expected_return(P: Any, R: Any, d0: Any, pi: Any, gamma: float, horizon: int) -> float:
    """Expected return J of the episodic setting."""
    return mdp.expected_return(MDP(P, R, d0, gamma, horizon), pi)


def _return_inputs(rng: np.random.Generator) -> Case:
    sizes = (2, 2, 2), (3, 2, 3), (2, 3, 4), (4, 2, 1), (1, 3, 2), (3, 1, 5), (30, 4, 60)
    for world in _worlds(rng, *sizes):
        pi = random_policy(world.S, world.A, rng)
        yield world.P, world.R, world.d0, pi, world.gamma, world.T
    for gamma in (1.0, 0.0):
        world = two_state()
        yield world.P, world.R, world.d0, random_policy(2, 2, rng), gamma, 3


def _steps(P: Any, R: Any, d0: Any, pi: Any, horizon: int) -> Any:
    """Expected reward of each step `[T]`."""
    d = mdp.evaluate(MDP(P, R, d0, 1.0, max(horizon, 1)), pi).d[:horizon]
    return d @ (pi * R).sum(axis=1)


def _shifted(by: int, P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    return mdp.discounted_return(_steps(P, R, d0, pi, T + by), gamma)


def _first_values(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    return mdp.evaluate(MDP(P, R, d0, gamma, T), pi).V[0]


RETURN = Exercise("expected_return", expected_return, _return_inputs)


@RETURN.mistake("not discounted", "equation-return")
def _undiscounted_sum(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    """The reward of step t counts gamma^t; you add all rewards with weight 1."""
    return _steps(P, R, d0, pi, T).sum()


@RETURN.mistake("discounted one step too much", "equation-return")
def _gamma_first(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    """The first reward r_0 has weight gamma^0 = 1; yours has weight gamma."""
    return gamma * expected_return(P, R, d0, pi, gamma, T)


@RETURN.mistake("T off by one", "equation-return", [lambda *args: _shifted(-1, *args)])
def _one_reward_more(*args: Any) -> Any:
    """A horizon of T means exactly T rewards, r_0 to r_{T-1}."""
    return _shifted(1, *args)


@RETURN.mistake("trajectories weighed equally", "equation-expected-return")
def _plain_mean(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    """You average the returns of all possible trajectories. Each counts with its probability
    p(tau): a sum of p(tau) R(tau), not a mean."""
    states, actions = mdp.enumerate_trajectories(MDP(P, R, d0, gamma, T))
    return mdp.discounted_return(R[states[:, :-1], actions], gamma).mean()


@RETURN.mistake(
    "first state not averaged",
    "equation-expected-return",
    [lambda *args: _first_values(*args).mean(), lambda *args: _first_values(*args)[0]],
)
def _each_first_state(*args: Any) -> Any:
    """You return a value for each first state, or for one of them, or their plain mean. J is
    their average under d_0: one number."""
    return _first_values(*args)


def _with_actions(choose: Any, P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    V = np.zeros(len(d0))
    for _ in range(T):
        V = choose(R + gamma * (P @ V), axis=1)
    return d0 @ V


@RETURN.mistake("best action instead of the policy's", "equation-bellman")
def _optimal(*args: Any) -> Any:
    """You take the best action in each state: the value of the best policy. J is asked of the
    policy pi: average over its actions, (pi * Q).sum(axis=1)."""
    return _with_actions(np.max, *args)


@RETURN.mistake("policy ignored", "equation-bellman", [lambda *args: _with_actions(np.sum, *args)])
def _any_action_alike(*args: Any) -> Any:
    """You average over the actions, or add them up, with equal weights. The policy pi says how
    often each action is taken: (pi * Q).sum(axis=1)."""
    return _with_actions(np.mean, *args)


def _reversed_weights(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    return mdp.discounted_return(_steps(P, R, d0, pi, T)[::-1], gamma)


@RETURN.mistake(
    "gamma in the wrong place",
    "equation-return",
    [
        _reversed_weights,
        lambda *args: args[4] * _reversed_weights(*args),
        lambda *args: args[4] ** args[5] * _undiscounted_sum(*args),
        lambda *args: args[4] ** (args[5] - 1) * _undiscounted_sum(*args),
    ],
)
def _gamma_outside(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    """The reward of step t counts gamma^t: in the recursion gamma multiplies the later values and
    not the reward, R + gamma * (P @ V). Yours multiplies something else."""
    return gamma * _steps(P, R, d0, pi, T).sum()


@RETURN.mistake("horizon ignored", "sec-two-settings")
def _for_ever(P: Any, R: Any, d0: Any, pi: Any, gamma: float, T: int) -> Any:
    """You sum rewards for ever. This setting is episodic: the sum stops after T rewards."""
    return mdp.expected_return(MDP(P, R, d0, gamma, None), pi)


# --- state_visitation --------------------------------------------------------------------------


def state_visitation(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """Discounted occupancy `[S]`."""
    return mdp.state_visitation(MDP(P, np.zeros(np.shape(pi)), d0, gamma, None), pi)


def _visitation_inputs(rng: np.random.Generator) -> Case:
    for world in _worlds(rng, (2, 2, 1), (3, 2, 1), (4, 3, 1), (1, 2, 1), (5, 1, 1), (40, 3, 1)):
        yield world.P, world.d0, random_policy(world.S, world.A, rng), world.gamma
    for gamma in (0.0, 0.999):
        yield two_state().P, two_state().d0, random_policy(2, 2, rng), gamma


def _state_laws(P: Any, d0: Any, pi: Any, steps: int) -> Any:
    return mdp.evaluate(MDP(P, np.zeros(pi.shape), d0, 1.0, steps), pi).d


def _is_plain_average(args: tuple[Any, ...], got: Any, expected: Any) -> bool:
    """Tell whether `got` is an average of Pr(s_t = s) over the first n steps, for some n."""
    P, d0, pi, _ = args
    d = _state_laws(P, d0, pi, 2000)
    means = np.cumsum(d, axis=0) / np.arange(1, len(d) + 1)[:, None]
    candidates = np.vstack([means[1:], d[-1:]])
    return bool(np.abs(candidates - got / got.sum()).max(axis=1).min() < 1e-9)


def _is_proportional(args: tuple[Any, ...], got: Any, expected: Any) -> bool:
    return abs(got.sum() - 1) > 1e-6 and np.allclose(got / got.sum(), expected, rtol=1e-9)


def _cut_after(steps: int, P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    weights = (1 - gamma) * gamma ** np.arange(steps)
    return weights @ _state_laws(P, d0, pi, steps)[:steps]


def _is_cut(args: tuple[Any, ...], got: Any, expected: Any) -> bool:
    """Tell whether `got` is the series cut after some step, also where it is made to sum to 1."""
    gamma, mass = args[3], got.sum()
    if abs(mass - 1) < 1e-9:
        return len(got) > 1 and _is_scaled_cut(args, got)
    steps = round(np.log1p(-mass) / np.log(gamma)) if 0 < mass < 1 and gamma > 0 else 0
    cut = 0 < steps < 20_000
    return cut and np.allclose(_cut_after(steps, *args), got, rtol=1e-6, atol=1e-12)


def _is_scaled_cut(args: tuple[Any, ...], got: Any) -> bool:
    P, d0, pi, gamma = args
    flow, now, total, weight = np.einsum("sa,saz->zs", pi, P), d0, np.zeros(len(d0)), 1.0
    for _ in range(10_000):
        total, weight = total + weight * now, gamma * weight
        if np.abs(total / total.sum() - got).max() < 1e-12:
            return True
        if weight < 1e-9:
            break
        now = flow @ now
    return False


def _cut_and_scaled(steps: int, *args: Any) -> Any:
    cut = _cut_after(steps, *args)
    return cut / cut.sum()


VISITATION = Exercise("state_visitation", state_visitation, _visitation_inputs)


def _one_step_later(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    return state_visitation(P, d0, pi, gamma) @ np.einsum("sa,saz->sz", pi, P)


@VISITATION.mistake("first step skipped", "equation-occupancy", [_one_step_later])
def _late_start(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """The sum starts at t = 0, where the state is drawn from d_0."""
    return state_visitation(P, d0, pi, gamma) - (1 - gamma) * d0


@VISITATION.mistake("not discounted", "equation-occupancy", signs=_is_plain_average)
def _share_of_time(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """A visit at time t counts gamma^t; you count all visits alike."""
    return _state_laws(P, d0, pi, 999).mean(axis=0)


@VISITATION.mistake("not normalised", "equation-occupancy", signs=_is_proportional)
def _unscaled(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """Your entries have the right proportions, but do not sum to 1: the factor (1 - gamma) makes
    the occupancy a distribution."""
    return state_visitation(P, d0, pi, gamma) / (1 - gamma)


@VISITATION.mistake("transition matrix transposed", "equation-occupancy-flow")
def _backward(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """Probability flows from s to s': d^T P_pi, or P_pi^T d. You multiplied P_pi d, which moves
    values, not visits."""
    M = np.eye(len(d0)) - gamma * np.einsum("sa,saz->sz", pi, P)
    return (1 - gamma) * np.linalg.solve(M, d0)


@VISITATION.mistake("policy ignored", "equation-occupancy-flow")
def _any_action(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """You average the transitions over the actions with equal weights. The policy pi says how
    often each action is taken."""
    return state_visitation(P, d0, np.full(pi.shape, 1 / pi.shape[1]), gamma)


@VISITATION.mistake(
    "series cut too soon",
    "equation-occupancy-flow",
    [lambda *args: _cut_and_scaled(100, *args), lambda *args: _cut_and_scaled(1000, *args)],
    signs=_is_cut,
)
def _hundred_terms(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """Your sum stops before its tail is negligible: after n terms gamma^n of the mass is missing,
    and scaling the rest to sum 1 does not put it where it belongs. Solve the linear system, or sum
    until gamma^n is below 1e-12."""
    return _cut_after(100, P, d0, pi, gamma)


EXERCISES = (PROB, ENUMERATE, RETURN, VISITATION)
