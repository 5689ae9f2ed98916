"""Checks of chapter 1: trajectories, their probability, the expected return, the occupancy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from pgcourse import mdp
from pgcourse.checks.core import Difference, Exercise, Mistake, NotNumbersError, to_array
from pgcourse.checks.wire import Items, Value, encode
from pgcourse.environments import random_mdp, random_policy, two_state
from pgcourse.mdp import MDP

Arrays = tuple[Any, ...]


def _worlds(rng: np.random.Generator, sizes: list[tuple[int, int, int]]) -> Iterator[MDP]:
    """Draw a world for each (S, A, T), some with certain or impossible first states."""
    for i, (S, A, T) in enumerate(sizes):
        world = random_mdp(S, A, round(rng.uniform(0.5, 0.95), 2), T, rng)
        d0 = np.eye(S)[-1] if i % 3 == 2 else world.d0
        yield MDP(world.P, world.R, d0, world.gamma, T)


# --- enumerate_trajectories --------------------------------------------------------------------


def enumerate_trajectories(P: Any, d0: Any, horizon: int) -> list[tuple[Any, Any]]:
    """List (states, actions) of every possible trajectory."""
    world = MDP(P, np.zeros(np.shape(P)[:2]), d0, 1.0, horizon)
    return list(zip(*mdp.enumerate_trajectories(world), strict=True))


def _enumerate_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    yield two_state().P, two_state().d0, 2
    for world in _worlds(rng, [(2, 3, 1), (3, 2, 2), (3, 2, 3), (1, 2, 3), (4, 1, 3), (1, 1, 1)]):
        yield world.P, world.d0, world.T
    rare = np.array([[[1.0, 1e-300], [0.5, 0.5]], [[0.0, 1.0], [1e-14, 1 - 1e-14]]])
    yield rare, np.array([0.0, 1.0]), 2


def _dense(P: Any, d0: Any, horizon: int) -> list[tuple[Any, Any]]:
    return enumerate_trajectories(np.full(P.shape, 1 / len(P)), d0, horizon)


def _likely(P: Any, d0: Any, horizon: int) -> list[tuple[Any, Any]]:
    likely = np.where(P > 1e-8, P, 0)
    return enumerate_trajectories(likely / likely.sum(axis=2, keepdims=True), d0, horizon)


def _anywhere(P: Any, d0: Any, horizon: int) -> list[tuple[Any, Any]]:
    return enumerate_trajectories(P, np.full(len(d0), 1 / len(d0)), horizon)


def _whole(value: Value) -> tuple[int, ...]:
    array, _ = to_array(value)
    if array.ndim != 1 or (array != np.round(array)).any():
        raise NotNumbersError("entries that are not whole numbers in a row")
    return tuple(int(x) for x in array)


def _paths(value: Value) -> Counter[Any]:
    if not isinstance(value, Items):
        raise NotNumbersError("something that is not a list")
    pairs = [v.items if isinstance(v, Items) else [] for v in value.items]
    if any(len(pair) != 2 for pair in pairs):
        raise NotNumbersError("entries that are not pairs (states, actions)")
    return Counter((_whole(s), _whole(a)) for s, a in pairs)


def compare_trajectories(expected: Any, got: Value) -> Difference | None:
    """Compare two lists of (states, actions), whatever their order."""
    want = _paths(encode(expected))
    try:
        found = _paths(got)
    except NotNumbersError as error:
        return Difference("type", f"got {error}, expected a list of (states, actions)")
    sizes = {(len(s), len(a)) for s, a in found}
    (right,) = {(len(s), len(a)) for s, a in want}
    if sizes - {right}:
        wrong = min(sizes - {right})
        text = "got a trajectory with {} states and {} actions, expected {} and {}"
        return Difference("shape", text.format(*wrong, *right))
    for text, surplus in (("too often or impossible", found - want), ("missing", want - found)):
        if surplus:
            s, a = min(surplus)
            counts = f"got {sum(found.values())} trajectories, expected {sum(want.values())}"
            return Difference("value", f"{counts}; {text}: states {s}, actions {a}")
    return None


ENUMERATE = Exercise(
    "enumerate_trajectories",
    enumerate_trajectories,
    _enumerate_inputs,
    (
        Mistake(
            "T off by one",
            "A horizon of T means T actions and T + 1 states: s_0, ..., s_T. Your trajectories "
            "have one step too many or too few.",
            "sec-trajectory",
            (
                lambda P, d0, T: enumerate_trajectories(P, d0, T + 1),
                lambda P, d0, T: (
                    enumerate_trajectories(P, d0, T - 1)
                    if T > 1
                    else [((s,), ()) for s in np.flatnonzero(d0)]
                ),
            ),
        ),
        Mistake(
            "last state missing",
            "Your states stop at s_{T-1}. The last action leads somewhere too: s_T belongs to "
            "the trajectory, and so does the factor P(s_T | s_{T-1}, a_{T-1}).",
            "sec-trajectory",
            (
                lambda P, d0, T: list(
                    {(tuple(s[:-1]), tuple(a)) for s, a in enumerate_trajectories(P, d0, T)}
                ),
                lambda P, d0, T: [(s[:-1], a) for s, a in enumerate_trajectories(P, d0, T)],
            ),
        ),
        Mistake(
            "impossible trajectories",
            "You list every combination of states and actions. A trajectory through a transition "
            "with P(s' | s, a) = 0, or from a state with d_0(s) = 0, cannot happen.",
            "sec-enumeration",
            (
                _dense,
                lambda P, d0, T: _dense(P, np.full(len(d0), 1 / len(d0)), T),
            ),
        ),
        Mistake(
            "first state ignored",
            "Trajectories start only where d_0(s) > 0, and in every such state.",
            "sec-enumeration",
            (
                _anywhere,
                lambda P, d0, T: enumerate_trajectories(P, np.eye(len(d0))[0], T),
                lambda P, d0, T: enumerate_trajectories(P, np.eye(len(d0))[np.argmax(d0)], T),
            ),
        ),
        Mistake(
            "rare transitions dropped",
            "A small probability is not zero: compare with 0, not with a tolerance.",
            "sec-enumeration",
            (_likely,),
        ),
    ),
    compare_trajectories,
)


# --- trajectory_prob ---------------------------------------------------------------------------


def trajectory_prob(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> float:
    """Probability of one trajectory."""
    world = MDP(P, np.zeros(np.shape(pi)), d0, 1.0, len(actions))
    return float(mdp.trajectory_prob(world, pi, states[None], actions[None])[0])


def _prob_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    for world in _worlds(rng, [(2, 2, 2), (3, 2, 4), (2, 3, 3), (4, 2, 1), (1, 3, 2), (3, 1, 5)]):
        all_states, all_actions = mdp.enumerate_trajectories(world)
        path = rng.integers(len(all_states))
        pi = random_policy(world.S, world.A, rng)
        yield all_states[path], all_actions[path], world.P, world.d0, pi
    certain = np.eye(2)[[[0, 1], [1, 0]]]  # a transition that cannot happen has probability 0
    yield np.array([0, 0, 0]), np.array([0, 1]), certain, np.ones(2) / 2, np.full((2, 2), 0.5)


def _factors(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    here, there = states[:-1], states[1:]
    return d0[states[0]], pi[here, actions], P[here, actions, there]


def _without(part: int) -> Any:
    return lambda *args: np.prod(
        [np.prod(f) for i, f in enumerate(_factors(*args)) if i != part]
    )


def _one_more(s: Any, a: Any, P: Any, d0: Any, pi: Any, last: int) -> Any:
    return trajectory_prob(s, a, P, d0, pi) * P[s[-1], a[-1], last]


def _past_the_end(states: Any, actions: Any, P: Any, d0: Any, pi: Any) -> Any:
    return np.prod([P[states[t], actions[t], states[t + 1]] for t in range(len(states))])


TRAJECTORY_PROB = Exercise(
    "trajectory_prob",
    trajectory_prob,
    _prob_inputs,
    (
        Mistake(
            "s_{T+1} out of range",
            "Your loop asks for a state or an action after the end. The product has the factors "
            "t = 0, ..., T - 1; the last transition is the one that leads to s_T.",
            "equation-path-law",
            (_past_the_end,),
        ),
        Mistake(
            "extra last transition",
            "There is one transition factor too many: T actions make T transitions, the last of "
            "them P(s_T | s_{T-1}, a_{T-1}).",
            "equation-path-law",
            (
                lambda s, a, P, d0, pi: _one_more(s, a, P, d0, pi, s[0]),
                lambda s, a, P, d0, pi: _one_more(s, a, P, d0, pi, s[-1]),
                lambda s, a, P, d0, pi: (
                    trajectory_prob(s, a, P, d0, pi) * P[s[-2], a[-1], s[-1]]
                ),
            ),
        ),
        Mistake(
            "last transition missing",
            "The factor P(s_T | s_{T-1}, a_{T-1}) is missing: s_T belongs to the trajectory.",
            "equation-path-law",
            (
                lambda s, a, P, d0, pi: np.prod(
                    [d0[s[0]], *pi[s[:-1], a], *P[s[:-2], a[:-1], s[1:-1]]]
                ),
            ),
        ),
        Mistake(
            "T off by one",
            "The last step is missing, its action and its transition: T actions give T factors "
            "of each kind.",
            "equation-path-law",
            (lambda s, a, P, d0, pi: (
                trajectory_prob(s[:-1], a[:-1], P, d0, pi) if len(a) > 1 else d0[s[0]]
            ),),
        ),
        Mistake(
            "first state forgotten",
            "The factor d_0(s_0) is missing: the world chooses where a trajectory starts.",
            "equation-path-law",
            (_without(0),),
        ),
        Mistake(
            "policy forgotten",
            "The factors pi(a_t | s_t) are missing: the policy chooses the actions.",
            "equation-path-law",
            (_without(1),),
        ),
        Mistake(
            "transitions forgotten",
            "The factors P(s_{t+1} | s_t, a_t) are missing: the world chooses the next state.",
            "equation-path-law",
            (_without(2),),
        ),
        Mistake(
            "sum instead of product",
            "You add the factors. Events that happen one after another multiply.",
            "equation-path-law",
            (lambda *args: sum(np.sum(f) for f in _factors(*args)),),
        ),
    ),
)


# --- expected_return ---------------------------------------------------------------------------


def expected_return(P: Any, R: Any, d0: Any, pi: Any, gamma: float, horizon: int) -> float:
    """Expected return J of the episodic setting."""
    return mdp.expected_return(MDP(P, R, d0, gamma, horizon), pi)


def _return_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    sizes = [(2, 2, 2), (3, 2, 3), (2, 3, 4), (4, 2, 1), (1, 3, 2), (3, 1, 5), (30, 4, 60)]
    for world in _worlds(rng, sizes):
        pi = random_policy(world.S, world.A, rng)
        yield world.P, world.R, world.d0, pi, world.gamma, world.T
    world = two_state()
    yield world.P, world.R, world.d0, random_policy(2, 2, rng), 1.0, 3
    yield world.P, world.R, world.d0, random_policy(2, 2, rng), 0.0, 3


def _steps(P: Any, R: Any, d0: Any, pi: Any, horizon: int) -> Any:
    """Expected reward of each step `[T]`."""
    d = mdp.evaluate_by_recursion(MDP(P, R, d0, 1.0, max(horizon, 1)), pi).d[:horizon]
    return d @ (pi * R).sum(axis=1)


def _uniform_mean(P: Any, R: Any, d0: Any, pi: Any, gamma: float, horizon: int) -> Any:
    states, actions = mdp.enumerate_trajectories(MDP(P, R, d0, gamma, horizon))
    return mdp.discounted_return(R[states[:, :-1], actions], gamma).mean()


def _shifted(by: int) -> Any:
    return lambda P, R, d0, pi, gamma, T: mdp.discounted_return(
        _steps(P, R, d0, pi, T + by), gamma
    )


EXPECTED_RETURN = Exercise(
    "expected_return",
    expected_return,
    _return_inputs,
    (
        Mistake(
            "not discounted",
            "The reward of step t counts gamma^t; you add all rewards with weight 1.",
            "equation-return",
            (lambda P, R, d0, pi, gamma, T: _steps(P, R, d0, pi, T).sum(),),
        ),
        Mistake(
            "discounted one step too much",
            "The first reward r_0 has weight gamma^0 = 1; yours has weight gamma.",
            "equation-return",
            (lambda P, R, d0, pi, gamma, T: gamma * expected_return(P, R, d0, pi, gamma, T),),
        ),
        Mistake(
            "T off by one",
            "A horizon of T means exactly T rewards, r_0 to r_{T-1}.",
            "equation-return",
            (_shifted(1), _shifted(-1)),
        ),
        Mistake(
            "trajectories weighed equally",
            "You average the returns of all possible trajectories. Each counts with its "
            "probability p(tau): a sum of p(tau) R(tau), not a mean.",
            "equation-expected-return",
            (_uniform_mean,),
        ),
        Mistake(
            "first state not averaged",
            "You return a value for each first state. J is their average under d_0: one number.",
            "equation-expected-return",
            (
                lambda P, R, d0, pi, gamma, T: mdp.evaluate_by_recursion(
                    MDP(P, R, d0, gamma, T), pi
                ).V[0],
                lambda P, R, d0, pi, gamma, T: mdp.evaluate_by_recursion(
                    MDP(P, R, d0, gamma, T), pi
                ).V[0].mean(),
                lambda P, R, d0, pi, gamma, T: mdp.evaluate_by_recursion(
                    MDP(P, R, d0, gamma, T), pi
                ).V[0, 0],
            ),
        ),
        Mistake(
            "horizon ignored",
            "You sum rewards for ever. This setting is episodic: the sum stops after T rewards.",
            "sec-two-settings",
            (
                lambda P, R, d0, pi, gamma, T: mdp.expected_return(
                    MDP(P, R, d0, gamma, None), pi
                ),
            ),
        ),
    ),
)


# --- state_visitation --------------------------------------------------------------------------


def state_visitation(P: Any, d0: Any, pi: Any, gamma: float) -> Any:
    """Discounted occupancy `[S]`."""
    return mdp.state_visitation(MDP(P, np.zeros(np.shape(pi)), d0, gamma, None), pi)


def _visitation_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    for world in _worlds(rng, [(2, 2, 1), (3, 2, 1), (4, 3, 1), (1, 2, 1), (5, 1, 1), (40, 3, 1)]):
        yield world.P, world.d0, random_policy(world.S, world.A, rng), world.gamma
    world = two_state()
    yield world.P, world.d0, random_policy(2, 2, rng), 0.0
    yield world.P, world.d0, random_policy(2, 2, rng), 0.999


def _visits(P: Any, d0: Any, pi: Any, weights: Any) -> Any:
    d = mdp.evaluate_by_recursion(MDP(P, np.zeros(pi.shape), d0, 1.0, len(weights)), pi).d
    return weights @ d[: len(weights)]


def _undiscounted(args: Arrays, got: Any, expected: Any) -> bool:
    """Tell whether `got` is an average of Pr(s_t = s) over the first n steps, for some n."""
    P, d0, pi, _ = args
    d = mdp.evaluate_by_recursion(MDP(P, np.zeros(pi.shape), d0, 1.0, 2000), pi).d
    means = np.cumsum(d, axis=0) / np.arange(1, len(d) + 1)[:, None]
    candidates = np.vstack([means[1:], d[-1:]])
    return bool(np.abs(candidates - got / got.sum()).max(axis=1).min() < 1e-9)


def _cut(args: Arrays, got: Any, expected: Any) -> bool:
    """Tell whether `got` is the series cut after some step: a little less in every state."""
    P, d0, pi, gamma = args
    n = round(np.log1p(-got.sum()) / np.log(gamma)) if 0 < got.sum() < 1 and gamma > 0 else 0
    weights = (1 - gamma) * gamma ** np.arange(min(n, 20_000))
    return n > 0 and np.allclose(_visits(P, d0, pi, weights), got, rtol=1e-6, atol=1e-12)


STATE_VISITATION = Exercise(
    "state_visitation",
    state_visitation,
    _visitation_inputs,
    (
        Mistake(
            "first step skipped",
            "The sum starts at t = 0, where the state is drawn from d_0.",
            "equation-occupancy",
            (lambda P, d0, pi, gamma: state_visitation(P, d0, pi, gamma) - (1 - gamma) * d0,),
        ),
        Mistake(
            "not discounted",
            "A visit at time t counts gamma^t; you count all visits alike.",
            "equation-occupancy",
            (lambda P, d0, pi, gamma: _visits(P, d0, pi, np.full(1000, 1 / 1000)),),
            _undiscounted,
        ),
        Mistake(
            "not normalised",
            "Your entries have the right proportions, but do not sum to 1: the factor "
            "(1 - gamma) makes the occupancy a distribution.",
            "equation-occupancy",
            (lambda P, d0, pi, gamma: state_visitation(P, d0, pi, gamma) / (1 - gamma),),
            lambda args, got, expected: (
                abs(got.sum() - 1) > 1e-6 and np.allclose(got / got.sum(), expected, rtol=1e-9)
            ),
        ),
        Mistake(
            "transition matrix transposed",
            "Probability flows from s to s': d^T P_pi, or P_pi^T d. You multiplied P_pi d, which "
            "moves values, not visits.",
            "equation-occupancy-flow",
            (
                lambda P, d0, pi, gamma: (1 - gamma) * np.linalg.solve(
                    np.eye(len(d0)) - gamma * np.einsum("sa,saz->sz", pi, P), d0
                ),
            ),
        ),
        Mistake(
            "policy ignored",
            "You average the transitions over the actions with equal weights. The policy pi says "
            "how often each action is taken.",
            "equation-occupancy-flow",
            (
                lambda P, d0, pi, gamma: state_visitation(
                    P, d0, np.full(pi.shape, 1 / pi.shape[1]), gamma
                ),
            ),
        ),
        Mistake(
            "series cut too soon",
            "Your sum stops before its tail is negligible: after n terms gamma^n of the mass is "
            "missing. Solve the linear system, or sum until gamma^n is below 1e-12.",
            "equation-occupancy-flow",
            (
                lambda P, d0, pi, gamma: _visits(
                    P, d0, pi, (1 - gamma) * gamma ** np.arange(100)
                ),
            ),
            _cut,
        ),
    ),
)

EXERCISES = (ENUMERATE, TRAJECTORY_PROB, EXPECTED_RETURN, STATE_VISITATION)
