"""Chapter 7: one recursion, three weights, exact moments, and the update without gamma^t."""

from __future__ import annotations

import runpy
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgcourse.checks import core
from pgcourse.checks import returns as checks
from pgcourse.checks.holder import Holder
from pgcourse.environments import (
    investment,
    make_vector,
    random_mdp,
    refund,
    two_doors,
    two_state,
    world,
)
from pgcourse.mdp import MDP
from pgcourse.policies import softmax
from pgcourse.policy_gradient import policy_gradient
from pgcourse.pseudo_loss import Descent, SoftmaxPolicy, network, runner, train
from pgcourse.returns import (
    MAX_BATCHES,
    Weigh,
    backward_sums,
    by_exact_reward_to_go,
    by_return,
    by_reward_to_go,
    dropped_update,
    elapsed,
    moments,
    reward_to_go,
    step_scores,
)
from pgcourse.trajectories import (
    Lanes,
    Trajectories,
    one_a_lane,
    returns,
    rollout,
    rollout_episodes,
    rollout_mdp,
    standard_error,
    trajectory_gradients,
)

ROOT = Path(__file__).parents[1]
THETA = np.array([[0.3, -0.2], [0.5, 0.1]])
WEIGHS = {"return": by_return, "to go": by_reward_to_go, "exact": by_exact_reward_to_go}


# --- the recursion -----------------------------------------------------------------------------


def test_the_worked_number_of_the_page() -> None:
    np.testing.assert_array_equal(reward_to_go([1.0, 0.0, 4.0], 0.5), [2, 2, 4])


def test_constant_rewards_give_a_geometric_sum() -> None:
    left = np.arange(50, 0, -1)
    np.testing.assert_allclose(reward_to_go(np.ones(50), 0.9), (1 - 0.9**left) / 0.1, rtol=1e-12)


def test_gamma_zero_is_the_reward_and_gamma_one_the_sum_of_the_rest() -> None:
    r = np.random.default_rng(0).normal(size=(7, 3))
    np.testing.assert_array_equal(reward_to_go(r, 0.0), r)
    rest = r.sum(axis=0) - np.vstack([np.zeros(3), np.cumsum(r, axis=0)[:-1]])
    np.testing.assert_allclose(reward_to_go(r, 1.0), rest, rtol=0, atol=1e-12)


def test_one_lane_is_a_column_of_many_and_the_sum_is_linear() -> None:
    rng = np.random.default_rng(1)
    r, x = rng.normal(size=(2, 9, 4))
    for i in range(4):
        np.testing.assert_array_equal(reward_to_go(r, 0.8)[:, i], reward_to_go(r[:, i], 0.8))
    both = reward_to_go(2 * r + x, 0.8)
    np.testing.assert_allclose(both, 2 * reward_to_go(r, 0.8) + reward_to_go(x, 0.8), atol=1e-12)


def test_lanes_with_ends_are_their_episodes_one_by_one() -> None:
    rng = np.random.default_rng(2)
    r, ends = rng.normal(size=(30, 5)), rng.random((30, 5)) < 0.2
    got = reward_to_go(r, 0.9, ends)
    for i in range(5):
        cuts = [0, *(np.flatnonzero(ends[:-1, i]) + 1), 30]
        parts = [reward_to_go(r[a:b, i], 0.9) for a, b in pairwise(cuts)]
        np.testing.assert_allclose(got[:, i], np.concatenate(parts), rtol=1e-12)
    assert np.abs(got - reward_to_go(r, 0.9)).max() > 0.1  # ends matter


def test_a_long_episode_neither_overflows_nor_divides_by_zero() -> None:
    r = np.ones(100_000)
    np.testing.assert_allclose(reward_to_go(r, 0.5)[:99_000], 2.0, rtol=1e-12)


def test_the_arguments_of_the_recursion_stay_as_they_are() -> None:
    r, ends = np.ones((4, 2)), np.zeros((4, 2), dtype=bool)
    kept = r.copy(), ends.copy()
    backward_sums(r, 0.9, ends)
    reward_to_go(r, 0.9, ends)
    np.testing.assert_array_equal(r, kept[0])
    np.testing.assert_array_equal(ends, kept[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([[[1.0]]], 0.9), "rewards must have shape"),
        (([], 0.9), "rewards must have shape"),
        (([1.0, np.nan], 0.9), "rewards must be finite"),
        (([1.0], 1.1), r"gamma must lie in \[0, 1\], got 1.1"),
        (([1.0], -0.1), r"gamma must lie in \[0, 1\]"),
        (([1.0, 2.0], 0.9, [True]), "ends must be flags of the shape"),
        (([1.0, 2.0], 0.9, [0, 1]), "ends must be flags"),
    ],
)
def test_bad_arguments_of_reward_to_go_are_refused(arguments: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        reward_to_go(*arguments)


@pytest.mark.parametrize("make", WEIGHS.values(), ids=WEIGHS)
def test_a_weigh_refuses_a_discount_above_one(make: Any) -> None:
    with pytest.raises(ValueError, match="gamma must lie in"):
        make(2.0)


# --- weigh -------------------------------------------------------------------------------------


def some_lanes(T: int = 60, N: int = 4) -> Trajectories:
    """CartPole by coin tosses: several episodes a lane, the last one cut."""
    lanes = Lanes(make_vector("CartPole-v1", N), 3)
    u = np.random.default_rng(3).random((T, N))
    played = rollout(lanes, lambda states, u: (u < 0.5).astype(np.int64), u)
    rewards = np.random.default_rng(4).normal(size=(T, N))
    return replace(played, rewards=rewards)


def test_time_begins_anew_with_each_episode() -> None:
    played = some_lanes()
    clock = elapsed(played)
    for i in range(4):
        t = 0
        for row in range(60):
            assert clock[row, i] == t
            t = 0 if played.ends[row, i] else t + 1
    assert played.ends.sum() > 8


@pytest.mark.parametrize("make", [by_reward_to_go, by_exact_reward_to_go])
def test_weights_are_the_same_with_one_episode_a_lane(make: Any) -> None:
    played = some_lanes()
    rows, alone = make(0.9)(played), make(0.9)(one_a_lane(played))
    lanes, steps = np.nonzero(played.valid.T)
    np.testing.assert_allclose(
        rows[steps, lanes], alone.T[one_a_lane(played).valid.T], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("make", WEIGHS.values(), ids=WEIGHS)
def test_weights_are_zero_on_padding(make: Any) -> None:
    played = one_a_lane(some_lanes())
    assert not played.valid.all()
    garbage = replace(played, rewards=np.where(played.valid, played.rewards, 1e6))
    weights = make(0.9)(garbage)
    assert not weights[~played.valid].any()
    np.testing.assert_array_equal(weights, make(0.9)(played))


def test_the_first_weights_are_the_return() -> None:
    played = one_a_lane(some_lanes())
    for make in WEIGHS.values():
        np.testing.assert_allclose(make(0.9)(played)[0], returns(played, 0.9), rtol=1e-12)


def test_full_returns_of_several_episodes_in_a_lane_are_refused() -> None:
    with pytest.raises(ValueError, match="one episode a lane"):
        by_return(0.9)(some_lanes())


# --- exact moments -----------------------------------------------------------------------------


def test_step_scores_add_up_to_the_score_of_the_trajectory() -> None:
    played = rollout_mdp(two_state(), softmax(THETA), np.random.default_rng(0).random((20, 7)))
    g = step_scores(played, THETA).sum(axis=0) * returns(played, 1.0)[:, None, None]
    np.testing.assert_allclose(g, trajectory_gradients(played, THETA, 1.0), rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
def test_return_and_exact_weights_are_unbiased(gamma: float) -> None:
    rng = np.random.default_rng(5)
    for S, A, T in [(2, 2, 3), (3, 2, 2), (1, 3, 4), (2, 3, 1)]:
        mdp, theta = random_mdp(S, A, gamma, T, rng), rng.normal(size=(S, A))
        for make in (by_return, by_exact_reward_to_go):
            np.testing.assert_allclose(moments(mdp, theta, make(gamma)).bias, 0, atol=1e-12)


def test_without_the_factor_the_estimate_is_biased_and_its_mean_is_known() -> None:
    mdp = two_state(0.7, 4)
    found = moments(mdp, THETA, by_reward_to_go(0.7))
    np.testing.assert_allclose(found.mean, dropped_update(mdp, THETA), rtol=1e-10)
    assert np.abs(found.bias).max() > 0.01


def test_the_mean_of_n_trajectories_has_an_nth_of_the_variance() -> None:
    mdp = two_state(0.8, 2)
    for make in WEIGHS.values():
        one, two = (moments(mdp, THETA, make(0.8), N) for N in (1, 2))
        np.testing.assert_allclose(two.mean, one.mean, rtol=1e-10, atol=1e-14)
        assert two.variance == pytest.approx(one.variance / 2, rel=1e-10)


def centred(played: Trajectories) -> Any:
    """Weights that couple the trajectories of a batch: the batch mean subtracted."""
    return returns(played, 1.0) - returns(played, 1.0).mean() + 0 * played.rewards


def test_weights_that_couple_trajectories_are_weighed_batch_by_batch() -> None:
    mdp = MDP(np.ones((1, 2, 1)), [[1.0, 4.0]], [1.0], 1.0, 1)  # type: ignore[arg-type]
    exact = policy_gradient(mdp, np.array([[0.2, -0.1]]))
    for N in (1, 2, 3, 4):
        found = moments(mdp, np.array([[0.2, -0.1]]), centred, N)
        np.testing.assert_allclose(found.mean, (N - 1) / N * exact, rtol=1e-10, atol=1e-14)


def z_scores(weigh: Weigh, about: Weigh, seed: int = 6) -> tuple[float, float]:
    """Largest |z| of the sampled mean, and |z| of the sampled variance, about exact moments."""
    mdp = two_state(0.8, 3)
    exact = moments(mdp, THETA, about)
    played = rollout_mdp(mdp, softmax(THETA), np.random.default_rng(seed).random((20_000, 7)))
    scores = step_scores(played, THETA)
    g = np.einsum("tn,tnsa->nsa", weigh(played), scores).reshape(-1, 4)
    squares = ((g - exact.mean.ravel()) ** 2).sum(axis=1, keepdims=True)
    z = (g.mean(axis=0) - exact.mean.ravel()) / standard_error(g)
    z_variance = (squares.mean() - exact.variance) / standard_error(squares)[0]
    return float(np.abs(z).max()), float(abs(z_variance))


@pytest.mark.parametrize("make", WEIGHS.values(), ids=WEIGHS)
def test_exact_moments_agree_with_sampled_ones(make: Any) -> None:
    assert max(z_scores(make(0.8), make(0.8))) < 4  # false alarms: below 1 in 3000


def test_sampled_moments_of_another_weight_disagree() -> None:
    to_go, exact = by_reward_to_go(0.8), by_exact_reward_to_go(0.8)
    assert min(z_scores(to_go, exact)) > 4


def test_moments_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_BATCHES} batches"):
        moments(two_state(1.0, 5), THETA, by_return(1.0), 2)
    with pytest.raises(ValueError, match="N must be at least 1, got 0"):
        moments(two_state(), THETA, by_return(1.0), 0)
    with pytest.raises(ValueError, match=r"weigh must return \[T, N\] = \(3, 1\)"):
        moments(two_state(), THETA, lambda played: returns(played, 1.0))
    with pytest.raises(ValueError, match="theta must have shape"):
        moments(two_state(), np.zeros((3, 2)), by_return(1.0))
    with pytest.raises(ValueError, match="horizon must be a number"):
        moments(two_state(0.9, None), THETA, by_return(1.0))


# --- counterexamples ---------------------------------------------------------------------------


def test_reward_to_go_can_be_the_noisier_one() -> None:
    coin, theta = refund(), np.zeros((5, 2))
    assert moments(coin, theta, by_return(1.0)).variance == 0
    assert moments(coin, theta, by_reward_to_go(1.0)).variance == pytest.approx(0.5, rel=1e-12)
    usual = [moments(two_state(), THETA, make(1.0)).variance for make in WEIGHS.values()]
    assert usual[0] > usual[1]


def shared(update: Any, theta: float) -> float:
    table = np.zeros((5, 2))
    table[:2, 1] = theta
    return float(update(table)[:2, 1].sum())


UPDATES = {
    "discounted": (partial(policy_gradient, investment(0.1)), 0.83),
    "undiscounted": (partial(policy_gradient, investment(1.0)), 2.0),
    "dropped": (partial(dropped_update, investment(0.1)), -0.7),
}


@pytest.mark.parametrize("name", UPDATES)
def test_slopes_of_the_investment(name: str) -> None:
    update, factor = UPDATES[name]
    for theta in (-2.0, 0.0, 1.0):
        p = 1 / (1 + np.exp(-theta))
        assert shared(update, theta) == pytest.approx(factor * p * (1 - p), rel=1e-12)


@pytest.mark.parametrize(("name", "low", "high"), [("dropped", 0, 0.002), ("discounted", 0.998, 1)])
def test_a_thousand_steps_lead_to_the_best_or_to_the_worst(
    name: str, low: float, high: float
) -> None:
    theta = 0.0
    for _ in range(1000):
        theta += shared(UPDATES[name][0], theta)
    assert low < 1 / (1 + np.exp(-theta)) < high


def test_dropping_the_factor_changes_nothing_without_a_discount() -> None:
    mdp = two_state(1.0, 4)
    np.testing.assert_allclose(
        dropped_update(mdp, THETA), policy_gradient(mdp, THETA), rtol=1e-10, atol=1e-14
    )
    discounted = two_state(0.5, 4)
    apart = dropped_update(discounted, THETA) - policy_gradient(discounted, THETA)
    assert np.abs(apart).max() > 0.01


def test_dropped_update_needs_a_horizon() -> None:
    with pytest.raises(ValueError, match="horizon must be a number"):
        dropped_update(two_state(0.9, None), THETA)


def test_the_worlds_of_the_chapter_are_found_by_name() -> None:
    for name, make in [("refund", refund), ("two_doors", two_doors), ("investment", investment)]:
        np.testing.assert_array_equal(world(name).R, make().R)


def test_the_reproduction_is_what_its_script_computes() -> None:
    folder = ROOT / "book/reproductions"
    found = runpy.run_path(str(folder / "nota_thomas.py"))["table"]()
    stored = np.loadtxt(folder / "nota_thomas.csv", delimiter=",")
    np.testing.assert_allclose(found, stored, rtol=0, atol=1e-7)
    sigma = 1 / (1 + np.exp(-1))
    half = stored[stored[:, 0] == 0.5][0]
    np.testing.assert_allclose(half[1:], [0.5, 0.5 * (sigma - 0.5) ** 2], rtol=0, atol=1e-7)
    assert half[2] == pytest.approx(0.02669403, abs=1e-8)


# --- in the loop -------------------------------------------------------------------------------


def test_the_loop_takes_each_weigh() -> None:
    for weigh in (by_return(0.99), by_reward_to_go(0.99), by_exact_reward_to_go(0.99)):
        rng = np.random.default_rng(0)
        policy = SoftmaxPolicy(network((4, 8, 2), rng))
        run: Any = runner(rollout_episodes, Lanes(make_vector("CartPole-v1", 5), 0), 500, rng)
        steps = list(islice(train(policy, run, weigh, Descent(policy, 0.01)), 3))
        assert len(steps) == 3


# --- a world that comes back -------------------------------------------------------------------


def verdict(answer: Any) -> core.Verdict:
    name = checks.FIND.name
    return core.examine(checks.FIND, Holder({name: answer}), 0)


def test_the_variances_of_the_check_are_those_of_moments() -> None:
    rng = np.random.default_rng(8)
    for gamma, T in product((0.4, 1.0), (2, 3)):
        mdp, theta = random_mdp(3, 2, gamma, T, rng), rng.normal(size=(3, 2))
        for make in WEIGHS.values():
            found = checks.total_variance((mdp.P, mdp.R, mdp.d0, theta), T, gamma, make)
            want = moments(mdp, theta, make(gamma)).variance
            assert found == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize(
    "broken",
    [
        lambda P, R, d0, theta: (P, R * np.nan, d0, theta),
        lambda P, R, d0, theta: (P, R, d0, theta + np.inf),
        lambda P, R, d0, theta: (P, R[:, :1], d0, theta),
        lambda P, R, d0, theta: (P - 1, R, d0, theta),
        lambda P, R, d0, theta: (P, R, np.zeros(5), theta),
        lambda P, R, d0, theta: (P, R, d0, theta, 1.0),
        lambda P, R, d0, theta: (P, R, d0, [["a", "b"]] * 5),
        lambda P, R, d0, theta: ([], [], [], []),
        lambda P, R, d0, theta: np.zeros((4, 5, 2)),
    ],
)
def test_what_is_no_world_is_said_so(broken: Any) -> None:
    def answer(horizon: int, gamma: float) -> Any:
        return broken(*checks.find_mdp_where_reward_to_go_is_worse(horizon, gamma))

    told = verdict(answer)
    assert (told.status, told.mistake) == ("wrong", "not a world")


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_the_size_of_the_rewards_does_not_matter(scale: float) -> None:
    def answer(horizon: int, gamma: float) -> Any:
        P, R, d0, theta = checks.find_mdp_where_reward_to_go_is_worse(horizon, gamma)
        return P, scale * R, d0, theta

    assert verdict(answer).right


def test_rounding_is_not_taken_for_variance() -> None:
    def silent(horizon: int, gamma: float) -> Any:
        P, R, d0, theta = checks.find_mdp_where_reward_to_go_is_worse(horizon, gamma)
        return P, R, d0, theta + np.array([1e5, 0.0])

    assert verdict(silent).mistake == "no difference"
