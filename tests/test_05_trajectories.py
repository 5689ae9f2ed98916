"""Chapter 5: the same episodes whatever the reset, exact motion, estimates with known error."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pgcourse.environments import GAMES, make_vector, random_mdp, two_state
from pgcourse.mdp import MDP, enumerate_trajectories, trajectory_prob
from pgcourse.policies import objective, sample_action, slope, softmax
from pgcourse.score_function import exact_gradient, exact_variance
from pgcourse.trajectories import (
    Lanes,
    Policy,
    Trajectories,
    coverage,
    from_paths,
    mc_gradient,
    one_a_lane,
    rollout,
    rollout_episodes,
    rollout_mdp,
    sample_actions,
    split_episodes,
    standard_error,
    trajectory_gradients,
)

PARTS = [field.name for field in fields(Trajectories)]
POLICIES: dict[str, Policy] = {
    "CartPole-v1": lambda states, u: (u < 0.5).astype(np.int64),
    "Acrobot-v1": lambda states, u: (3 * u).astype(np.int64),
    "Pendulum-v1": lambda states, u: (4 * u - 2).astype(np.float32)[:, None],
}
COLLECT = [rollout, rollout_episodes]


def largest_gap(x: Trajectories, y: Trajectories) -> float:
    """Largest difference of two sets of trajectories in any part; infinite if shapes differ."""
    if x.rewards.shape != y.rewards.shape:
        return np.inf
    pairs = [(getattr(x, part), getattr(y, part)) for part in PARTS]
    return max(float(np.abs(a.astype(float) - b.astype(float)).max()) for a, b in pairs)


def gymnasium_lanes(name: str, N: int, mode: AutoresetMode, seed: int = 7) -> Lanes:
    makers = [lambda: gymnasium.make(name)] * N
    return Lanes(SyncVectorEnv(makers, autoreset_mode=mode), seed)


# --- the motion --------------------------------------------------------------------------------

RANGES = {
    "CartPole-v1": [2.4, 3.0, 0.25, 3.0],
    "Acrobot-v1": [np.pi, np.pi, 4 * np.pi, 9 * np.pi],
    "Pendulum-v1": [10.0, 8.0],
}


@pytest.mark.parametrize("name", GAMES)
def test_one_step_equals_gymnasiums_over_random_states_and_actions(name: str) -> None:
    """Equal to 1e-12, for a vector operation may round otherwise than one on a number.

    Gymnasium squares Pendulum's torque in float32, so its rewards are exact to 1e-9 only.
    """
    rng, game, M = np.random.default_rng(1), GAMES[name], 500
    ranges = np.array(RANGES[name])[:, None]
    states = rng.uniform(-ranges, ranges, (len(ranges), M))
    single: Any = gymnasium.make(name).unwrapped
    single.reset(seed=0)
    if name == "Pendulum-v1":
        actions = rng.uniform(-3, 3, (M, 1)).astype(np.float32)
    else:
        actions = rng.integers(single.action_space.n, size=M)
    moved, rewards, terminated = game.step(states, actions)
    seen = game.see(moved)
    for i in range(M):
        single.state, single.steps_beyond_terminated = states[:, i].copy(), None
        what, reward, over, _, _ = single.step(actions[i])
        np.testing.assert_allclose(moved[:, i], single.state, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(seen[i], what, rtol=1e-6, atol=1e-7)
        assert abs(rewards[i] - reward) < 1e-9
        assert bool(terminated[i]) == over
    assert terminated.any() == (name != "Pendulum-v1")


def test_cart_pole_moves_as_gymnasiums_bit_for_bit() -> None:
    ours = rollout(Lanes(make_vector("CartPole-v1", 3), 0), POLICIES["CartPole-v1"], NOISE[:, :3])
    theirs = gymnasium_lanes("CartPole-v1", 3, AutoresetMode.SAME_STEP, 0)
    assert largest_gap(ours, rollout(theirs, POLICIES["CartPole-v1"], NOISE[:, :3])) == 0


def test_a_wrong_constant_is_seen_by_the_comparison_of_steps() -> None:
    states = np.random.default_rng(0).uniform(-0.2, 0.2, (4, 50))
    actions = np.zeros(50, dtype=np.int64)
    moved, _, _ = GAMES["CartPole-v1"].step(states, actions)
    other, _, _ = GAMES["CartPole-v1"].step(states * (1 + 1e-9), actions)
    assert np.abs(moved - other).max() > 1e-12


# --- lanes -------------------------------------------------------------------------------------

NOISE = np.random.default_rng(5).random((260, 4))


@pytest.mark.parametrize("collect", COLLECT)
@pytest.mark.parametrize("name", GAMES)
def test_three_ways_to_reset_and_ours_give_the_same_trajectories(
    name: str, collect: Callable[..., Trajectories]
) -> None:
    """Ours differs from Gymnasium's only in the rounding of Acrobot's first look and of a cost."""
    policy = POLICIES[name]
    first, *others = [
        collect(gymnasium_lanes(name, 4, mode), policy, NOISE) for mode in AutoresetMode
    ]
    assert len(others) == 2
    assert [largest_gap(first, other) for other in others] == [0, 0]
    ours = collect(Lanes(make_vector(name, 4), 7), policy, NOISE)
    assert largest_gap(first, ours) < 1e-6
    assert first.ends.sum() >= 4


def test_the_comparison_of_trajectories_sees_another_stream() -> None:
    lanes = [Lanes(make_vector("CartPole-v1", 4), seed) for seed in (7, 8)]
    x, y = (rollout(lane, POLICIES["CartPole-v1"], NOISE) for lane in lanes)
    assert largest_gap(x, y) > 0.01


def raw_rows(environment: Any, policy: Policy, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and ends of a vector environment, row by row, phantom rows included."""
    states, _ = environment.reset(seed=7)
    rewards, over = [], []
    for u in noise:
        states, r, terminated, truncated, _ = environment.step(policy(states, u))
        rewards.append(r)
        over.append(terminated | truncated)
    return np.array(rewards), np.array(over)


def test_gymnasiums_native_lanes_lose_their_phantom_rows() -> None:
    def native() -> Any:
        return gymnasium.make_vec("CartPole-v1", 4, vectorization_mode="vector_entry_point")

    policy = POLICIES["CartPole-v1"]
    rewards, over = raw_rows(native(), policy, NOISE)
    assert (rewards[1:][over[:-1]] == 0).all()  # the control: a row of reward 0 after each end
    assert over[:-1].sum() > 20
    clean = rollout(Lanes(native(), 7), policy, NOISE)
    assert clean.valid.all()
    assert (clean.rewards == 1).all()
    moved, _, _ = GAMES["CartPole-v1"].step(clean.states.reshape(-1, 4).T, clean.actions.ravel())
    np.testing.assert_allclose(clean.next_states.reshape(-1, 4), moved.T, atol=1e-6)
    begins = clean.states[1:][clean.ends[:-1]]
    assert np.abs(begins).max() <= 0.05


def test_a_rollout_goes_on_where_the_last_one_stopped() -> None:
    policy = POLICIES["CartPole-v1"]
    whole = rollout(Lanes(make_vector("CartPole-v1", 4), 7), policy, NOISE)
    lanes = Lanes(make_vector("CartPole-v1", 4), 7)
    halves = [rollout(lanes, policy, part) for part in (NOISE[:100], NOISE[100:])]
    for part in PARTS:
        joined = np.concatenate([getattr(half, part) for half in halves])
        np.testing.assert_array_equal(joined, getattr(whole, part))


def test_a_lane_does_not_know_its_neighbours() -> None:
    policy = POLICIES["CartPole-v1"]
    many = rollout(Lanes(make_vector("CartPole-v1", 4), 7), policy, NOISE)
    alone = rollout(Lanes(make_vector("CartPole-v1", 1), 9), policy, NOISE[:, 2:3])
    np.testing.assert_array_equal(many.states[:, 2:3], alone.states)


def test_whole_episodes_are_padded_and_end_once() -> None:
    lanes = Lanes(make_vector("CartPole-v1", 4), 7)
    played = rollout_episodes(lanes, POLICIES["CartPole-v1"], NOISE)
    lengths = played.valid.sum(axis=0)
    assert (played.ends.sum(axis=0) == 1).all()
    assert played.ends[lengths - 1, np.arange(4)].all()
    assert len(played.rewards) == lengths.max()
    for part in PARTS:
        assert not getattr(played, part)[~played.valid].any()
    again = Lanes(make_vector("CartPole-v1", 4), 7)
    again.reset()  # whole episodes begin anew
    first = rollout(again, POLICIES["CartPole-v1"], NOISE)
    for i, n in enumerate(lengths):
        np.testing.assert_array_equal(played.states[:n, i], first.states[:n, i])


def test_a_time_limit_truncates_and_does_not_terminate() -> None:
    noise = np.random.default_rng(0).random((450, 2))
    swung = rollout(Lanes(make_vector("Pendulum-v1", 2), 0), POLICIES["Pendulum-v1"], noise)
    assert np.flatnonzero(swung.truncated[:, 0]).tolist() == [199, 399]
    assert not swung.terminated.any()
    assert swung.ends[-1].all()  # the cut is an end as well


def test_other_environments_come_from_gymnasium() -> None:
    lanes = Lanes(make_vector("MountainCar-v0", 2), 0)
    driven = rollout(lanes, lambda states, u: (3 * u).astype(np.int64), NOISE[:, :2])
    assert driven.truncated.sum() == 2
    assert driven.states.shape == (260, 2, 2)


# --- episodes ----------------------------------------------------------------------------------


def flags(*rows: str) -> np.ndarray:
    return np.array([[c == "x" for c in row] for row in rows]).T


def test_ends_are_flags_cuts_and_the_last_step_before_padding() -> None:
    numbers = np.zeros((4, 3))
    trajectories = Trajectories(
        numbers,
        numbers,
        numbers,
        numbers,
        terminated=flags("x...", "....", "...."),
        truncated=flags(".x..", "....", "...x"),
        valid=flags("xxxx", "xx..", "x.xx"),
    )
    np.testing.assert_array_equal(trajectories.ends, flags("xx.x", ".x..", "x..x"))


def test_each_episode_gets_a_lane_and_nothing_is_lost() -> None:
    lanes = Lanes(make_vector("CartPole-v1", 4), 7)
    mixed = rollout(lanes, POLICIES["CartPole-v1"], NOISE)
    single = one_a_lane(mixed)
    assert (single.ends.sum(axis=0) == 1).all()
    assert single.valid.sum() == mixed.valid.sum()
    k = 0
    for i in range(4):
        for start, stop in split_episodes(mixed.terminated[:, i], mixed.truncated[:, i]):
            np.testing.assert_array_equal(
                single.states[: stop - start, k], mixed.states[start:stop, i]
            )
            assert single.valid[:, k].sum() == stop - start
            k += 1
    assert k == single.rewards.shape[1]


def test_episodes_of_one_lane() -> None:
    no, yes = False, True
    assert split_episodes([no, yes, no], [no, no, no]) == [(0, 2), (2, 3)]
    assert split_episodes([yes], [yes]) == [(0, 1)]
    assert split_episodes([no, no], [no, no]) == [(0, 2)]


# --- tabular worlds ----------------------------------------------------------------------------


def test_many_actions_at_once_follow_the_rule_for_one() -> None:
    rng = np.random.default_rng(0)
    probs = rng.integers(0, 3, size=(200, 4)) / 8
    probs[:, 1] = 1 - probs[:, [0, 2, 3]].sum(axis=1)
    u = rng.integers(0, 8, size=200) / 8
    expected = [sample_action(row, x) for row, x in zip(probs, u, strict=True)]
    np.testing.assert_array_equal(sample_actions(probs, u), expected)
    tenths = np.array([[0.1] * 10 + [0.0]])  # adds up to just below 1
    last = np.array([np.nextafter(1.0, 0)])
    assert sample_actions(tenths, last)[0] == sample_action(tenths[0], last[0]) == 9


def chi_square(world: MDP, pi: np.ndarray, claimed: np.ndarray, N: int) -> float:
    """Deviation of the counts of all trajectories from the claimed law, in standard deviations."""
    drawn = rollout_mdp(world, pi, np.random.default_rng(3).random((N, 1 + 2 * world.T)))
    states, actions = enumerate_trajectories(world)
    p = trajectory_prob(world, claimed, states, actions)
    found = np.vstack([drawn.states, drawn.next_states[-1:], drawn.actions]).T
    order = {tuple(row): k for k, row in enumerate(np.hstack([states, actions]).tolist())}
    counts = np.bincount([order[tuple(row)] for row in found.tolist()], minlength=len(p))
    statistic = ((counts - N * p) ** 2 / (N * p))[p > 0].sum()
    degrees = (p > 0).sum() - 1
    return float((statistic - degrees) / np.sqrt(2 * degrees))


def test_rollouts_follow_the_path_law_and_no_other() -> None:
    """False-alarm rate below 1e-3 at 4 standard deviations (chi-square, 127 degrees)."""
    world, pi = two_state(), np.array([[0.5, 0.5], [0.9, 0.1]])
    assert abs(chi_square(world, pi, pi, 20_000)) < 4
    assert chi_square(world, pi, np.array([[0.45, 0.55], [0.9, 0.1]]), 20_000) > 4


THETA = np.array([[0.3, -0.2], [0.5, 0.1]])


def all_terms(world: MDP, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability `[K]` and gradient term `[K, S, A]` of every trajectory."""
    states, actions = enumerate_trajectories(world)
    p = trajectory_prob(world, softmax(theta), states, actions)
    return p, trajectory_gradients(from_paths(world, states, actions), theta, world.gamma)


def test_the_mean_over_all_trajectories_is_the_exact_gradient() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        world, theta = random_mdp(3, 2, 0.9, 3, rng), rng.normal(size=(3, 2))
        p, g = all_terms(world, theta)
        exact = slope(lambda th, w=world: objective(w, th), theta)  # type: ignore[misc]
        np.testing.assert_allclose(np.tensordot(p, g, 1), exact, atol=1e-8)


def test_sampled_gradients_agree_and_a_mean_over_steps_does_not() -> None:
    """False-alarm rate of |z| < 4 in four entries: 3e-4."""
    world, rng = two_state(gamma=0.9), np.random.default_rng(0)
    p, g = all_terms(world, THETA)
    exact = np.tensordot(p, g, 1)
    drawn = rollout_mdp(world, softmax(THETA), rng.random((20_000, 7)))
    terms = trajectory_gradients(drawn, THETA, 0.9).reshape(len(drawn.rewards.T), -1)
    error = standard_error(terms)
    estimate = mc_gradient(drawn, THETA, 0.9).ravel()
    z = np.abs(estimate - exact.ravel()) / error
    assert (z < 4).all()
    assert (np.abs(estimate / world.T - exact.ravel()) / error).max() > 4
    scatter = exact_variance(p, np.ones(len(p)), g.reshape(len(p), -1)) / 20_000
    assert (error**2).sum() == pytest.approx(scatter, rel=0.05)
    assert exact_gradient(p, np.ones(len(p)), g.reshape(len(p), -1)) == pytest.approx(exact.ravel())


def test_padding_counts_for_nothing() -> None:
    world = two_state(gamma=0.9)
    drawn = rollout_mdp(world, softmax(THETA), np.random.default_rng(1).random((5, 7)))
    longer = Trajectories(
        *(
            np.concatenate([getattr(drawn, x), np.ones_like(getattr(drawn, x))[:2]])
            for x in PARTS[:-1]
        ),
        valid=np.concatenate([drawn.valid, np.zeros((2, 5), dtype=bool)]),
    )
    same = mc_gradient(longer, THETA, 0.9)
    np.testing.assert_allclose(same, mc_gradient(drawn, THETA, 0.9), rtol=1e-12)
    never = np.zeros_like(longer.valid)
    wrong = replace(longer, valid=~never, terminated=never, truncated=never)
    assert np.abs(mc_gradient(wrong, THETA, 0.9) - same).max() > 0.01


# --- errors and coverage -----------------------------------------------------------------------


def test_standard_error_of_known_numbers() -> None:
    error = standard_error([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    np.testing.assert_allclose(error, [np.sqrt(14 / 2 / 3), 0], rtol=1e-12, atol=1e-15)


def test_coverage_of_two_and_three_returns_by_hand() -> None:
    """With N = 2 only a mixed pair has an interval: p = 1/2 lies in it, and each pair has 1/4."""
    assert coverage(0.5, 2, 1.96) == pytest.approx(0.5, rel=1e-12)
    assert coverage(0.5, 3, 1.96) == pytest.approx(0.75, rel=1e-12)


def test_coverage_agrees_with_the_binomial_law_of_another_library() -> None:
    from scipy import stats

    for p, N in itertools.product((0.1, 0.5, 0.83), (2, 10, 300)):
        k = np.arange(N + 1)
        half = 1.96 * np.sqrt(k / N * (1 - k / N) / (N - 1))
        law = stats.binom.pmf(k, N, p)
        assert coverage(p, N, 1.96) == pytest.approx(law[np.abs(k / N - p) <= half].sum(), rel=1e-9)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: standard_error([[1.0]]), "samples must have at least 2 rows, got 1"),
        (lambda: coverage([0.5, 1.0], 5, 2.0), r"p must lie between 0 and 1, got 1.0"),
        (lambda: standard_error([1.0, 2.0]), r"samples must have shape \[N, D\], got \(2,\)"),
        (
            lambda: rollout_mdp(two_state(), np.full((2, 2), 0.5), np.ones((4, 7))),
            r"uniforms must lie in \[0, 1\), got 1.0",
        ),
        (
            lambda: rollout(Lanes(make_vector("CartPole-v1", 4)), lambda s, u: u, NOISE[:, :1]),
            r"noise must have shape \[T, N, ...\] with N = 4 lanes, got \(260, 1\)",
        ),
        (
            lambda: rollout_episodes(
                Lanes(make_vector("CartPole-v1", 4)), lambda s, u: u, NOISE[:0]
            ),
            r"noise must have shape .* got \(0, 4\)",
        ),
        (
            lambda: rollout_mdp(two_state(), np.full((2, 2), 0.5), np.zeros((4, 6))),
            r"uniforms must have shape \[N, 1 \+ 2T\], got \(4, 6\)",
        ),
        (
            lambda: Trajectories(*[np.zeros((3, 2))] * 6, valid=np.ones((3, 1), dtype=bool)),
            r"valid must have shape \[T, N, ...\] = \(3, 2\), got \(3, 1\)",
        ),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_two_episodes_in_a_lane_are_no_trajectory() -> None:
    two = Trajectories(
        *[np.zeros((4, 1), dtype=int)] * 4, flags(".x.."), flags("...."), flags("xxxx")
    )
    with pytest.raises(ValueError, match="one episode a lane, got 2; see one_a_lane"):
        mc_gradient(two, np.zeros((1, 1)), 1.0)
    assert mc_gradient(one_a_lane(two), np.zeros((1, 1)), 1.0).shape == (1, 1)
