"""Chapter 1: three roads to one number, and errors that say what is wrong."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pgcourse import environments, mdp
from pgcourse.environments import corridor, random_mdp, random_policy, two_state, world
from pgcourse.mdp import (
    MDP,
    Evaluation,
    count_trajectories,
    discounted_return,
    enumerate_trajectories,
    evaluate_by_enumeration,
    evaluate_by_recursion,
    evaluate_by_solve,
    trajectory_prob,
)

PARTS = ("J", "V", "Q", "A", "d")


def distance(x: Evaluation, y: Evaluation) -> float:
    """Largest difference of two evaluations, relative to the largest entry of each part."""
    pairs = [(np.asarray(getattr(x, part)), np.asarray(getattr(y, part))) for part in PARTS]
    return max(float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in pairs)


@pytest.mark.parametrize(("S", "A", "T"), list(itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 3))))
def test_three_roads_agree_in_small_episodic_worlds(S: int, A: int, T: int) -> None:
    rng = np.random.default_rng([S, A, T])
    for gamma in (0.0, 0.9, 1.0):
        small, pi = random_mdp(S, A, gamma, T, rng), random_policy(S, A, rng)
        exact = evaluate_by_enumeration(small, pi)
        assert distance(evaluate_by_recursion(small, pi), exact) < 1e-12
        assert distance(evaluate_by_solve(small, pi), exact) < 1e-12


@pytest.mark.parametrize("S", [1, 2, 5, 13, 50])
def test_recursion_and_solve_agree_in_both_settings(S: int) -> None:
    rng = np.random.default_rng(S)
    for gamma, horizon in ((0.0, 7), (0.95, 7), (1.0, 20), (0.0, None), (0.5, None), (0.99, None)):
        large, pi = random_mdp(S, 3, gamma, horizon, rng), random_policy(S, 3, rng)
        assert distance(evaluate_by_recursion(large, pi), evaluate_by_solve(large, pi)) < 1e-12


def test_the_comparison_of_roads_sees_a_wrong_discount() -> None:
    small, pi = two_state(gamma=0.9), np.full((2, 2), 0.5)
    off = evaluate_by_recursion(replace(small, gamma=0.9 + 1e-9), pi)
    assert distance(off, evaluate_by_solve(small, pi)) > 1e-12


def test_a_deterministic_policy_has_values_of_actions_it_never_takes() -> None:
    small = two_state(gamma=0.9)
    pi = np.eye(2)[[0, 0]]
    exact = evaluate_by_enumeration(small, pi)
    assert distance(evaluate_by_recursion(small, pi), exact) < 1e-12
    assert (exact.Q[:, :, 1] != 0).all()


def test_worked_number_of_the_page() -> None:
    small = two_state(horizon=2)
    pi = np.array([[0.5, 0.5], [0.9, 0.1]])
    states, actions = np.array([[0, 1, 1]]), np.array([[1, 0]])
    assert trajectory_prob(small, pi, states, actions)[0] == pytest.approx(0.243, rel=1e-12)
    rewards = small.R[states[:, :-1], actions]
    assert discounted_return(rewards, 1.0)[0] == pytest.approx(0.5, rel=1e-12)
    assert discounted_return(rewards, 0.9)[0] == pytest.approx(0.4, rel=1e-12)


def test_enumeration_lists_what_brute_force_finds() -> None:
    rng = np.random.default_rng(3)
    small = random_mdp(3, 2, 1.0, 3, rng)
    states, actions = enumerate_trajectories(small)
    found = {(tuple(s), tuple(a)) for s, a in zip(states.tolist(), actions.tolist(), strict=True)}
    brute = {
        (s, a)
        for s in itertools.product(range(3), repeat=4)
        for a in itertools.product(range(2), repeat=3)
        if all(small.P[x, b, y] > 0 for x, b, y in zip(s, a, s[1:], strict=False))
    }
    assert found == brute
    assert len(states) == len(found) == count_trajectories(small)


def test_too_many_trajectories_are_refused_before_memory_is_spent() -> None:
    with pytest.raises(ValueError, match="horizon must leave at most 2000000 trajectories, got"):
        enumerate_trajectories(two_state(horizon=60))


def test_occupancy_of_a_deterministic_corridor_is_geometric() -> None:
    d = mdp.state_visitation(corridor(3, 0.5), np.tile([0.0, 1.0], (4, 1)))
    np.testing.assert_allclose(d, [0.5, 0.25, 0.125, 0.125], rtol=1e-12)


def test_occupancy_counts_visits_for_ever_whatever_the_horizon() -> None:
    pi = np.full((2, 2), 0.5)
    long, short = two_state(0.9, None), two_state(0.9, 3)
    np.testing.assert_array_equal(mdp.state_visitation(long, pi), mdp.state_visitation(short, pi))


def test_monte_carlo_agrees_and_a_wrong_return_does_not() -> None:
    """False-alarm rate of |z| < 4: 6e-5."""
    rng = np.random.default_rng(0)
    small, pi = two_state(), np.array([[0.5, 0.5], [0.9, 0.1]])
    states, actions = enumerate_trajectories(small)
    p = trajectory_prob(small, pi, states, actions)
    R = discounted_return(small.R[states[:, :-1], actions], 1.0)
    sample = R[rng.choice(len(p), size=20_000, p=p / p.sum())]

    def z(J: float) -> float:
        return abs(sample.mean() - J) / (sample.std(ddof=1) / np.sqrt(len(sample)))

    J = evaluate_by_recursion(small, pi).J
    assert z(J) < 4
    assert z(J + 0.05) > 4


P = np.full((2, 2, 2), 0.5)
R = np.zeros((2, 2))
D0 = np.array([0.5, 0.5])
NAN = np.array([[0.0, np.nan], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P": np.full((2, 2, 3), 1 / 3)}, r"P must have shape \[S, A, S\] = \(2, 2, 2\), got"),
        ({"P": np.full((2, 2), 0.5)}, r"P must have shape \[S, A, S\], got \(2, 2\)"),
        ({"P": np.zeros((0, 2, 0))}, r"P must have shape \[S, A, S\], got \(0, 2, 0\)"),
        ({"P": P * 0.9}, r"P must sum to 1 over its last axis, got 0.9 at \[0, 0\]"),
        (
            {"P": P + np.array([0.6, -0.6])},
            r"P must be at least 0, got -0.09999999999999998 at \[0, 0, 1\]",
        ),
        ({"P": "no numbers"}, r"P must be numbers of shape \[S, A, S\], got 'no numbers'"),
        ({"P": None}, r"P must have shape \[S, A, S\], got \(\)|P must be numbers"),
        ({"R": np.zeros((2, 3))}, r"R must have shape \[S, A\] = \(2, 2\), got \(2, 3\)"),
        ({"R": NAN}, r"R must be finite, got nan at \[0, 1\]"),
        ({"d0": [0.5, 0.6]}, r"d0 must sum to 1 over its last axis, got 1.1"),
        ({"d0": [0.5, 0.25, 0.25]}, r"d0 must have shape \[S\] = \(2,\), got \(3,\)"),
        ({"gamma": 1.5}, r"gamma must lie in \[0, 1\] in the episodic setting, got 1.5"),
        ({"gamma": -0.1}, r"gamma must lie in \[0, 1\] in the episodic setting, got -0.1"),
        ({"gamma": float("nan")}, "gamma must be finite, got nan"),
        ({"gamma": "high"}, r"gamma must be numbers of shape \[\], got 'high'"),
        ({"horizon": None}, r"gamma must lie in \[0, 1\) in the discounted setting, got 1.0"),
        ({"horizon": 0}, r"horizon must be None or a whole number >= 1, got 0"),
        ({"horizon": 2.5}, r"horizon must be None or a whole number >= 1, got 2.5"),
        ({"horizon": True}, r"horizon must be None or a whole number >= 1, got True"),
    ],
)
def test_bad_worlds_are_refused_by_name_condition_and_value(
    change: dict[str, Any], message: str
) -> None:
    good = {"P": P, "R": R, "d0": D0, "gamma": 1.0, "horizon": 3}
    MDP(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        MDP(**(good | change))


@pytest.mark.parametrize(
    ("pi", "message"),
    [
        (np.full((3, 2), 0.5), r"pi must have shape \[S, A\] = \(2, 2\), got \(3, 2\)"),
        ([[0.5, 0.4], [0.5, 0.5]], r"pi must sum to 1 over its last axis, got 0.9 at \[0\]"),
        ([[np.inf, 0.0], [0.5, 0.5]], r"pi must be finite, got inf at \[0, 0\]"),
    ],
)
def test_bad_policies_are_refused(pi: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mdp.evaluate(two_state(), pi)


def test_unknown_worlds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"name must be one of two_state, .*got 'atlantis'"):
        world("atlantis")
    assert all(isinstance(world(name), MDP) for name in environments.WORLDS)


def test_the_discounted_setting_has_no_list_of_trajectories() -> None:
    with pytest.raises(ValueError, match=r"horizon must be a number to enumerate .* got None"):
        enumerate_trajectories(two_state(0.9, None))


def test_worlds_copy_their_arrays_and_cannot_be_changed() -> None:
    mine = P.copy()
    small = MDP(mine, R, D0, 1.0, 3)
    mine[0, 0] = 7
    assert small.P[0, 0, 0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        small.P[0, 0, 0] = 0
    with pytest.raises(AttributeError):
        small.gamma = 0.5  # type: ignore[misc]
