"""Chapter 4: four roads to one gradient, the score of a trajectory, and errors that say why."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pgcourse.environments import aliased_corridor, corridor, random_mdp, two_state
from pgcourse.mdp import MDP, enumerate_trajectories, expected_return, trajectory_prob
from pgcourse.policies import objective, softmax
from pgcourse.policy_gradient import (
    grad_log_prob_trajectory,
    gradient_by_autograd,
    gradient_by_differences,
    gradient_by_enumeration,
    gradient_by_solve,
    policy_gradient,
    trajectory_log_prob,
)

EXACT_ROADS = (gradient_by_solve, gradient_by_autograd, policy_gradient)
THETA = np.log([[0.5, 0.5], [0.9, 0.1]])
PATH = np.array([0, 1, 1]), np.array([1, 0])


def distance(x: Any, y: Any) -> float:
    """Largest difference, relative to the largest entry where that is above 1."""
    return float(np.abs(x - y).max() / max(1.0, np.abs(y).max()))


# --- the four roads ----------------------------------------------------------------------------


@pytest.mark.parametrize(("S", "A", "T"), list(itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 4))))
def test_four_roads_agree_in_episodic_worlds(S: int, A: int, T: int) -> None:
    rng = np.random.default_rng([S, A, T])
    for gamma in (0.0, 0.9, 1.0):
        world, theta = random_mdp(S, A, gamma, T, rng), rng.normal(0, 1.5, size=(S, A))
        exact = gradient_by_enumeration(world, theta)
        for road in EXACT_ROADS:
            assert distance(road(world, theta), exact) < 1e-10, road.__name__
        assert distance(gradient_by_differences(world, theta), exact) < 1e-6


@pytest.mark.parametrize("S", [1, 2, 5, 20])
def test_three_roads_agree_in_discounted_worlds(S: int) -> None:
    rng = np.random.default_rng(S)
    for gamma in (0.0, 0.5, 0.95):
        world, theta = random_mdp(S, 3, gamma, None, rng), rng.normal(size=(S, 3))
        exact = gradient_by_solve(world, theta)
        for road in EXACT_ROADS:
            assert distance(road(world, theta), exact) < 1e-10, road.__name__
        assert distance(gradient_by_differences(world, theta), exact) < 1e-6


def test_the_comparison_of_roads_sees_a_wrong_discount() -> None:
    world = two_state(gamma=0.9)
    off = gradient_by_solve(replace(world, gamma=0.9 + 1e-8), THETA)
    assert distance(off, gradient_by_enumeration(world, THETA)) > 1e-10


def test_the_discounted_gradient_is_the_limit_of_the_episodic_ones() -> None:
    rng = np.random.default_rng(1)
    world, theta = random_mdp(4, 2, 0.8, None, rng), rng.normal(size=(4, 2))
    limit = policy_gradient(world, theta)
    gaps = [distance(policy_gradient(replace(world, horizon=T), theta), limit) for T in (5, 20, 80)]
    assert gaps[0] > gaps[1] > 1e-4
    assert gaps[2] < 1e-5


def test_the_gradient_of_one_step_has_the_closed_form_of_a_bandit() -> None:
    """With one state and one step, ∇J = pi (R - J) (chapter 3)."""
    R = np.array([[1.0, 2.0, 4.0]])
    world = MDP(np.ones((1, 3, 1)), R, np.ones(1), 0.5, 1)
    theta = np.log([[1.0, 2.0, 3.0]])
    pi = np.array([1.0, 2.0, 3.0]) / 6
    expected = [pi * (R[0] - 17 / 6)]
    for road in (gradient_by_enumeration, *EXACT_ROADS):
        np.testing.assert_allclose(road(world, theta), expected, rtol=1e-12)


def test_the_gradient_in_a_corridor_is_the_derivative_of_its_closed_form() -> None:
    """One cell and a goal: J = -1 / (1 - gamma (1 - p)), with dp/dlogit = p (1 - p)."""
    p, gamma = 0.3, 0.9
    theta = np.log([[1 - p, p], [0.5, 0.5]])
    slope = gamma / (1 - gamma * (1 - p)) ** 2 * p * (1 - p)
    expected = [[-slope, slope], [0.0, 0.0]]
    for road in EXACT_ROADS:
        np.testing.assert_allclose(road(corridor(1, gamma), theta), expected, atol=1e-12)


def test_the_aliased_corridor_is_flat_where_its_best_policy_stands() -> None:
    """The shared logit of Sutton & Barto 2018, Example 13.1, has its optimum at p = 2 - √2."""
    world, best = aliased_corridor(horizon=2000), 2 - np.sqrt(2)

    def shared(p: float) -> float:
        theta = np.tile(np.log([1 - p, p]), (4, 1))
        return float(policy_gradient(world, theta)[:3, 1].sum())

    assert abs(shared(best)) < 1e-10
    assert shared(best - 0.1) > 0.1
    assert shared(best + 0.1) < -0.1


def test_rows_of_the_gradient_add_up_to_zero() -> None:
    rng = np.random.default_rng(2)
    world, theta = random_mdp(4, 3, 0.9, 5, rng), rng.normal(size=(4, 3))
    assert np.abs(policy_gradient(world, theta).sum(axis=1)).max() < 1e-14


def test_a_small_step_along_the_gradient_earns_its_squared_length() -> None:
    world, g = two_state(), policy_gradient(two_state(), THETA)
    alpha = 1e-6
    gain = objective(world, THETA + alpha * g) - objective(world, THETA)
    assert gain / alpha == pytest.approx((g**2).sum(), rel=1e-4)


def test_the_gradient_is_finite_and_right_where_a_naive_softmax_overflows() -> None:
    theta = np.array([[800.0, 799.5], [-1e5, 0.0]])
    exact = gradient_by_enumeration(two_state(), theta)
    assert np.abs(exact[0]).min() > 0.01
    for road in EXACT_ROADS:
        assert distance(road(two_state(), theta), exact) < 1e-12


def test_numbers_of_the_page() -> None:
    np.testing.assert_allclose(
        gradient_by_enumeration(two_state(horizon=1), THETA)[0], [0.09375, -0.09375], rtol=1e-12
    )
    world = two_state()
    states, actions = enumerate_trajectories(world)
    R = world.R[states[:, :-1], actions].sum(axis=1)
    scores = grad_log_prob_trajectory(states, actions, THETA)
    wrong = np.tensordot(R, scores, axes=1)
    np.testing.assert_allclose(wrong, [[24, -24], [-72, 72]], atol=1e-10)
    assert (np.sign(wrong) == -np.sign(policy_gradient(world, THETA))).all()


def test_torch_is_loaded_by_its_own_road_only() -> None:
    source = (
        "import sys; from pgcourse import policy_gradient as g, environments as e; "
        "import numpy as np; g.policy_gradient(e.two_state(), np.zeros((2, 2))); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", source], check=True)


# --- the score of a trajectory -----------------------------------------------------------------


def test_score_of_the_worked_trajectory() -> None:
    np.testing.assert_allclose(
        grad_log_prob_trajectory(*PATH, THETA), [[-0.5, 0.5], [0.1, -0.1]], atol=1e-15
    )


def test_score_is_the_autograd_gradient_of_the_whole_log_probability() -> None:
    rng = np.random.default_rng(4)
    world, theta = random_mdp(3, 2, 1.0, 4, rng), rng.normal(size=(3, 2))
    states, actions = enumerate_trajectories(world)
    for k in range(0, len(states), 97):
        leaf = torch.tensor(theta, requires_grad=True)
        s, a = torch.tensor(states[k]), torch.tensor(actions[k])
        moves = torch.tensor(world.P)[s[:-1], a, s[1:]]
        whole = torch.log_softmax(leaf, 1)[s[:-1], a].sum() + moves.log().sum()
        (expected,) = torch.autograd.grad(whole, leaf)
        got = grad_log_prob_trajectory(states[k], actions[k], theta)
        np.testing.assert_allclose(got, expected, atol=1e-13)


def test_scores_have_mean_zero_under_the_path_law_and_not_under_another() -> None:
    rng = np.random.default_rng(5)
    world, theta = random_mdp(2, 3, 1.0, 3, rng), rng.normal(size=(2, 3))
    states, actions = enumerate_trajectories(world)
    scores = grad_log_prob_trajectory(states, actions, theta)
    for logits, zero in ((theta, True), (theta + rng.normal(size=(2, 3)), False)):
        p = trajectory_prob(world, softmax(logits), states, actions)
        mean = np.abs(np.tensordot(p, scores, axes=1)).max()
        assert (mean < 1e-14) == zero


def test_scores_of_many_trajectories_are_those_of_each() -> None:
    states, actions = enumerate_trajectories(two_state())
    together = grad_log_prob_trajectory(states, actions, THETA)
    assert together.shape == (128, 2, 2)
    for k in (0, 17, 127):
        alone = grad_log_prob_trajectory(states[k], actions[k], THETA)
        np.testing.assert_array_equal(together[k], alone)


def test_reinforce_holds_in_a_world_that_remembers() -> None:
    """The chain rule alone: next states depend on the whole history, the policy on s_t only."""
    rng = np.random.default_rng(6)
    first, moves = rng.dirichlet(np.ones(2)), rng.dirichlet(np.ones(2), size=(2,) * 4)
    second = rng.dirichlet(np.ones(2), size=(2, 2))
    payment = rng.normal(size=(2,) * 5)  # of the whole trajectory, even
    theta = rng.normal(size=(2, 2))
    paths = list(itertools.product(range(2), repeat=5))  # s_0, a_0, s_1, a_1, s_2

    def J(theta: Any) -> Any:
        pi, total = torch.softmax(theta, 1), 0
        for s, a, z, b, y in paths:
            world = first[s] * second[s, a, z] * moves[s, a, z, b, y]
            total += float(world * payment[s, a, z, b, y]) * pi[s, a] * pi[z, b]
        return total

    leaf = torch.tensor(theta, requires_grad=True)
    (expected,) = torch.autograd.grad(J(leaf), leaf)
    pi, total = softmax(theta), np.zeros((2, 2))
    for s, a, z, b, y in paths:
        p = first[s] * pi[s, a] * second[s, a, z] * pi[z, b] * moves[s, a, z, b, y]
        score = grad_log_prob_trajectory(np.array([s, z, y]), np.array([a, b]), theta)
        total += p * payment[s, a, z, b, y] * score
    np.testing.assert_allclose(total, expected, atol=1e-14)


def test_sampled_trajectories_agree_and_another_policy_does_not() -> None:
    """False-alarm rate of |z| < 4: 6e-5 for each of two entries."""
    rng = np.random.default_rng(7)
    world = corridor(2, 1.0, horizon=8)
    theta = np.log([[0.4, 0.6], [0.7, 0.3], [0.5, 0.5]])
    states, actions = enumerate_trajectories(world)
    p = trajectory_prob(world, softmax(theta), states, actions)
    drawn = rng.choice(len(p), size=40_000, p=p / p.sum())
    R = world.R[states[:, :-1], actions].sum(axis=1)
    scores = grad_log_prob_trajectory(states, actions, theta)
    samples = (R[:, None, None] * scores)[drawn, :2, 1]

    def z(exact: Any) -> float:
        return float(
            np.abs((samples.mean(axis=0) - exact[:2, 1]) / samples.std(axis=0)).max() * 200
        )

    assert z(policy_gradient(world, theta)) < 4
    assert z(policy_gradient(world, theta + np.array([0.0, 0.5]))) > 4


def test_a_mean_over_time_loses_the_gradient_where_every_step_costs_the_same() -> None:
    world = corridor(2, 1.0, horizon=8)
    theta = np.log([[0.4, 0.6], [0.7, 0.3], [0.5, 0.5]])
    states, actions = enumerate_trajectories(world)
    p = trajectory_prob(world, softmax(theta), states, actions)
    R = world.R[states[:, :-1], actions].sum(axis=1)
    lengths = (states[:, :-1] != 2).sum(axis=1)
    scores = grad_log_prob_trajectory(states, actions, theta)[:, :2]
    assert np.abs(np.tensordot(p * R / lengths, scores, axes=1)).max() < 1e-14
    assert np.abs(np.tensordot(p * R, scores, axes=1)).min() > 0.5


# --- log-probabilities -------------------------------------------------------------------------


def test_log_probabilities_are_logarithms_of_the_probabilities() -> None:
    rng = np.random.default_rng(8)
    world, pi = random_mdp(3, 2, 1.0, 3, rng), rng.dirichlet(np.ones(2), size=3)
    states, actions = enumerate_trajectories(world)
    p = trajectory_prob(world, pi, states, actions)
    log_p = trajectory_log_prob(world, pi, states, actions)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-12)


def test_long_trajectories_do_not_underflow() -> None:
    path = np.zeros((1, 2001), dtype=int), np.zeros((1, 2000), dtype=int)
    world = two_state(horizon=2000)
    assert trajectory_prob(world, softmax(THETA), *path)[0] == 0
    expected = np.log(0.75) + 2000 * np.log(0.5 * 0.9)
    assert trajectory_log_prob(world, softmax(THETA), *path)[0] == pytest.approx(expected)


def test_impossible_trajectories_have_minus_infinity() -> None:
    world = corridor(1, 1.0, horizon=2)
    pi = np.full((2, 2), 0.5)
    states = np.array([[0, 0, 1], [1, 1, 1], [0, 1, 0]])
    actions = np.array([[0, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(
        trajectory_log_prob(world, pi, states, actions), [np.log(0.25), -np.inf, -np.inf]
    )


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "actions", "message"),
    [
        ([0, 1, 2], [1, 0], r"states must lie in 0..1, got 2"),
        ([0, 1, -1], [1, 0], r"states must lie in 0..1, got -1"),
        ([0, 1, 1], [1, 2], r"actions must lie in 0..1, got 2"),
        ([0, 1], [1, 0], r"states must have shape \[..., T\+1\] = \(3,\), got \(2,\)"),
        (
            [0],
            np.array([], dtype=int),
            r"states must have shape \[..., T\+1\] = \(1,\), got \(1,\)",
        ),
        ([0.0, 1.0, 1.0], [1, 0], r"states must be whole numbers in a row, got array"),
        ([0, 1, 1], [True, False], r"actions must be whole numbers in a row, got array"),
        (0, [1, 0], r"states must be whole numbers in a row, got array\(0\)"),
        ([[0, 1, 1]], [1, 0], r"states must have shape \[..., T\+1\] = \(3,\), got \(1, 3\)"),
    ],
)
def test_bad_trajectories_are_refused(states: Any, actions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grad_log_prob_trajectory(states, actions, THETA)
    with pytest.raises(ValueError, match=message):
        trajectory_log_prob(two_state(), softmax(THETA), states, actions)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros((3, 2)), r"theta must have shape \[S, A\] = \(2, 2\), got \(3, 2\)"),
        ([[0.0, np.nan], [0.0, 0.0]], r"theta must be finite, got nan at \[0, 1\]"),
        ("flat", r"theta must be numbers of shape \[S, A\], got 'flat'"),
    ],
)
def test_bad_parameters_are_refused_on_every_road(theta: Any, message: str) -> None:
    for road in (gradient_by_enumeration, gradient_by_differences, *EXACT_ROADS):
        with pytest.raises(ValueError, match=message):
            road(two_state(), theta)


def test_enumeration_needs_a_horizon() -> None:
    with pytest.raises(ValueError, match=r"horizon must be a number to enumerate .* got None"):
        gradient_by_enumeration(two_state(0.9, None), THETA)


def test_arguments_stay_as_they_are() -> None:
    theta, states, actions = THETA.copy(), *(x.copy() for x in PATH)
    grad_log_prob_trajectory(states, actions, theta)
    policy_gradient(two_state(), theta)
    gradient_by_autograd(two_state(), theta)
    np.testing.assert_array_equal(theta, THETA)
    np.testing.assert_array_equal(states, PATH[0])
    assert expected_return(two_state(), softmax(theta)) == objective(two_state(), THETA)
