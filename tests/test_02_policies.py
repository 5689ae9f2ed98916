"""Chapter 2: softmax and sampling are right and stable, and optimality is lost for two reasons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from pgcourse import policies
from pgcourse.checks import core
from pgcourse.checks.holder import Holder
from pgcourse.environments import aliased_corridor, random_mdp
from pgcourse.mdp import evaluate, expected_return
from pgcourse.policies import (
    aliased_return,
    gradient_ascent_step,
    log_softmax,
    objective,
    sample_action,
    slope,
    softmax,
)
from tests.equations.eq_02_policies import door, gradient

SHAPES = [(3,), (1,), (2, 3), (3, 2), (3, 3), (1, 4), (4, 1), (2, 3, 4), (2, 1, 5, 3)]


# --- softmax -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_agrees_with_scipy_and_torch(shape: tuple[int, ...]) -> None:
    logits = np.random.default_rng(0).normal(0, 3, size=shape)
    for ours, theirs in (
        (softmax, scipy.special.softmax),
        (log_softmax, scipy.special.log_softmax),
    ):
        np.testing.assert_allclose(ours(logits), theirs(logits, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(softmax(logits), torch.softmax(torch.tensor(logits), -1), rtol=1e-12)


def test_softmax_of_two_logits_is_the_logistic_function() -> None:
    x = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(
        softmax(np.stack([0 * x, x], axis=-1))[:, 1], scipy.special.expit(x), rtol=1e-14
    )


def test_softmax_of_logarithms_gives_the_numbers_back() -> None:
    probs = np.random.default_rng(1).dirichlet(np.ones(5), size=4)
    np.testing.assert_allclose(softmax(np.log(probs)), probs, rtol=1e-13)


@pytest.mark.parametrize("size", [0.0, 1.0, 800.0, 1e5])
def test_rows_sum_to_one_and_nothing_overflows_at_any_size(size: float) -> None:
    logits = size * np.random.default_rng(2).uniform(-1, 1, size=(50, 4))
    assert np.isfinite(log_softmax(logits)).all()
    np.testing.assert_allclose(softmax(logits).sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(scipy.special.logsumexp(log_softmax(logits), axis=-1), 0, atol=1e-14)


def test_the_plain_formula_overflows_where_ours_does_not() -> None:
    logits = np.array([1000.0, 1001.0])
    with np.errstate(all="ignore"):
        assert np.isnan(np.exp(logits) / np.exp(logits).sum()).all()
        assert np.isneginf(np.log(softmax([0.0, -1000.0]))[1])
    np.testing.assert_allclose(softmax(logits), softmax([0.0, 1.0]), rtol=1e-14)
    assert log_softmax([0.0, -1000.0])[1] == -1000


def test_a_whole_multiple_of_an_eighth_added_to_a_row_changes_no_bit() -> None:
    logits = np.random.default_rng(3).integers(-40, 40, size=(6, 4)) / 8
    moved = logits + np.array([[-99_999.125], [0.5], [0.0], [77.75], [99_000.0], [-8.0]])
    np.testing.assert_array_equal(softmax(moved), softmax(logits))
    np.testing.assert_array_equal(log_softmax(moved), log_softmax(logits))


def test_worked_numbers_of_the_page() -> None:
    np.testing.assert_allclose(softmax([0.0, 1.0, 2.0]), [0.090, 0.245, 0.665], atol=5e-4)
    assert softmax([0.0, 1.0])[1] == pytest.approx(0.731, abs=5e-4)
    assert softmax([0.0, -1.0])[1] == pytest.approx(0.269, abs=5e-4)
    assert sample_action([0.2, 0.5, 0.3], 0.6) == 1


# --- sampling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probs", "u", "action"),
    [
        ([0.25, 0.25, 0.5], 0.25, 1),
        ([0.25, 0.25, 0.5], np.nextafter(0.25, 0), 0),
        ([0.0, 0.5, 0.5], 0.0, 1),
        ([0.5, 0.0, 0.5], 0.5, 2),
        ([1.0], np.nextafter(1, 0), 0),
        ([0.7, 0.1, 0.1, 0.1, 0.0], np.nextafter(1, 0), 3),
        ([0.1] * 10 + [0.0], np.nextafter(1, 0), 9),
        ([1.0, 1e-300, 0.0], np.nextafter(1, 0), 0),
    ],
)
def test_boundaries_and_rounding(probs: list[float], u: float, action: int) -> None:
    assert sample_action(probs, u) == action


def test_an_action_of_probability_zero_is_never_drawn() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        probs = rng.dirichlet(np.ones(6)) * (rng.random(6) < 0.5)
        probs[rng.integers(6)] += 1e-3
        probs /= probs.sum()
        for u in (0.0, rng.random(), *np.cumsum(probs)[:-1], np.nextafter(1, 0)):
            if u < 1:
                assert probs[sample_action(probs, u)] > 0


def test_samples_have_the_right_frequencies_and_a_wrong_rule_has_not() -> None:
    """Chi-squared with 3 degrees of freedom: false-alarm rate 1e-4."""
    rng = np.random.default_rng(5)
    probs = np.array([0.1, 0.2, 0.3, 0.4])
    us = rng.random(4000)

    def p_value(rule: Callable[[Any, float], int]) -> float:
        counts = np.bincount([rule(probs, u) for u in us], minlength=4)
        return float(scipy.stats.chisquare(counts, 4000 * probs).pvalue)

    assert p_value(sample_action) > 1e-4
    assert p_value(lambda p, u: int(4 * u)) < 1e-4


# --- objective and classes ---------------------------------------------------------------------


def test_objective_is_the_return_of_the_softmax_policy_in_both_settings() -> None:
    rng = np.random.default_rng(6)
    for horizon in (3, None):
        world, theta = random_mdp(3, 2, 0.9, horizon, rng), rng.normal(size=(3, 2))
        pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        assert objective(world, theta) == pytest.approx(expected_return(world, pi), rel=1e-13)


@pytest.mark.parametrize(
    ("p", "published"),
    [(2 - math.sqrt(2), -11.6), (0.95, -44), (0.05, -82)],
)
def test_published_values_of_the_aliased_corridor(p: float, published: float) -> None:
    """Sutton & Barto 2018, Example 13.1: about -11.6 (cut off), less than -44 and -82."""
    world = aliased_corridor(horizon=5000)
    computed = evaluate(world, np.tile([1 - p, p], (4, 1))).J
    assert computed == pytest.approx(float(aliased_return(p)), rel=1e-9)
    assert 0 < published - computed < 0.25


def test_best_policy_of_the_aliased_corridor_is_stochastic() -> None:
    p = np.linspace(0, 1, 10_001)
    J = aliased_return(p)
    assert np.isneginf(J[[0, -1]]).all()
    assert p[J.argmax()] == pytest.approx(2 - math.sqrt(2), abs=1e-4)
    assert J.max() <= -(6 + 4 * math.sqrt(2))
    assert J.max() == pytest.approx(-(6 + 4 * math.sqrt(2)), abs=1e-6)


def test_an_agent_that_sees_the_cells_needs_three_steps() -> None:
    assert evaluate(aliased_corridor(), np.eye(2)[[1, 0, 1, 0]]).J == -3


def test_ascent_finds_the_best_policy_of_the_corridor_from_both_sides() -> None:
    def J(theta: Any) -> float:
        return float(aliased_return(softmax([0.0, theta])[1]))

    for start in (-2.0, 0.0, 2.0):
        theta: Any = np.array(start)
        for _ in range(300):
            theta = gradient_ascent_step(theta, slope(J, theta), 0.02)
        assert theta == pytest.approx(math.log(2) / 2, abs=1e-6)


def climb_door(y: float) -> float:
    def J(theta: Any) -> float:
        return objective(door(), np.array([[0, theta[0]], [0, theta[1]], [0, 0]]))

    theta = np.array([0.0, y])
    for _ in range(1000):
        theta = gradient_ascent_step(theta, slope(J, theta), 0.5)
    return J(theta)


def test_a_thousand_steps_reach_the_summit_or_a_plateau_depending_on_the_start() -> None:
    assert climb_door(-2.0) > 3.9
    assert climb_door(-4.0) < 1.0


def door_slopes(a: float, b: float) -> tuple[float, float, float]:
    """J of hall and room and its two slopes, in closed form."""
    p, q = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
    return 1 - p + 4 * p * q, p * (1 - p) * (4 * q - 1), 4 * p * q * (1 - q)


def test_slopes_of_the_door_agree_with_complex_steps() -> None:
    for a, b in [(0.0, -4.0), (-3.0, -1.0), (2.0, 1.5)]:
        exact = gradient(door(), np.array([[0, a], [0, b], [0, 0]]))[:2, 1]
        np.testing.assert_allclose(door_slopes(a, b)[1:], exact, rtol=1e-12)


@pytest.mark.parametrize(("b", "steps"), [(-2.0, 61), (-3.0, 138), (-4.0, 196_482)])
def test_the_plateau_of_the_door_delays_an_ascent_and_does_not_stop_it(
    b: float, steps: int
) -> None:
    a, taken, J = 0.0, 0, 0.0
    while taken <= 2 * steps:
        J, by_door, by_room = door_slopes(a, b)
        if J > 3.9:
            break
        a, b, taken = a + 0.5 * by_door, b + 0.5 * by_room, taken + 1
    assert taken == pytest.approx(steps, abs=1)


def test_a_closed_door_is_best_by_probabilities_while_the_room_looks_bad() -> None:
    """In p and q a local maximum; in theta, where p > 0 and q grows, it is none."""
    rng = np.random.default_rng(7)

    def J(p: float, q: float) -> float:
        return expected_return(door(), [[1 - p, p], [1 - q, q], [1, 0]])

    for q in (0.0, 0.1, 0.2):
        nearby = [J(p, q + d) for p, d in rng.uniform(0, 0.04, size=(50, 2))]
        assert max(nearby) <= J(0, q) == 1
    assert J(0.04, 0.3) > 1  # the room looks good enough: no maximum any more


# --- slope and step ----------------------------------------------------------------------------


def test_measured_slopes_agree_with_complex_steps() -> None:
    rng = np.random.default_rng(8)
    for S, A, T in [(2, 2, 3), (3, 2, 2), (1, 3, 1)]:
        world, theta = random_mdp(S, A, 0.9, T, rng), rng.normal(size=(S, A))
        measured = slope(lambda x, world=world: objective(world, x), theta)  # type: ignore[misc]
        np.testing.assert_allclose(measured, gradient(world, theta), atol=1e-9)  # h squared


def test_slope_of_a_square_is_exact_and_keeps_the_shape() -> None:
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(slope(lambda v: float((v**2).sum()), x), 2 * x, atol=1e-8)
    assert slope(lambda v: float(v), np.array(2.0)).shape == ()


def test_a_step_is_exact_and_leaves_its_arguments_alone() -> None:
    theta, grad = np.array([[1.0, 2.0]]), np.array([[0.5, -1.0]])
    new = gradient_ascent_step(theta, grad, 0.5)
    np.testing.assert_array_equal(new, [[1.25, 1.5]])
    np.testing.assert_array_equal(theta, [[1.0, 2.0]])
    for alpha in (0.0, 0.5):
        assert not np.shares_memory(gradient_ascent_step(theta, grad, alpha), theta)


def test_a_small_step_climbs_and_a_large_one_may_fall() -> None:
    def J(theta: Any) -> float:
        return float(aliased_return(softmax([0.0, theta])[1]))

    for alpha, climbs in ((0.1, True), (0.5, False)):
        new = gradient_ascent_step(0.0, slope(J, np.array(0.0)), alpha)
        assert (J(new) > J(0.0)) is climbs


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softmax(3.0), r"logits must have shape \[..., A\], got \(\)"),
        (lambda: softmax([]), r"logits must have shape \[..., A\], got \(0,\)"),
        (lambda: softmax([[1.0, 2.0], [3.0]]), r"logits must be numbers of shape \[..., A\], got"),
        (lambda: softmax([1.0, np.inf]), r"logits must be finite, got inf at \[1\]"),
        (lambda: log_softmax(["a", "b"]), "logits must be numbers"),
        (lambda: sample_action([0.5, 0.4], 0.1), "probs must sum to 1 over its last axis, got 0.9"),
        (lambda: sample_action([[1.0]], 0.1), r"probs must have shape \[A\], got \(1, 1\)"),
        (lambda: sample_action([1.5, -0.5], 0.1), r"probs must be at least 0, got -0.5 at \[1\]"),
        (lambda: sample_action([1.0], 1.0), r"u must lie in \[0, 1\), got 1.0"),
        (lambda: sample_action([1.0], -1e-9), r"u must lie in \[0, 1\), got -1e-09"),
        (
            lambda: sample_action([1.0], [0.1]),
            r"u must have shape \[\], got \(1,\)|u must have shape",
        ),
        (lambda: objective(door(), np.zeros((2, 2))), r"theta must have shape \[S, A\] = \(3, 2\)"),
        (lambda: aliased_return([0.5, 1.5]), r"p must lie in \[0, 1\], got 1.5"),
        (
            lambda: gradient_ascent_step([1.0, 2.0], [1.0], 0.1),
            r"grad must have shape .* \(2,\), got",
        ),
        (lambda: gradient_ascent_step([1.0], [1.0], -0.1), "alpha must be at least 0, got -0.1"),
        (lambda: gradient_ascent_step([1.0], [np.nan], 0.1), "grad must be finite, got nan"),
    ],
)
def test_bad_input_is_named_with_its_condition_and_value(
    call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- the checks, tried by students who err in ways of their own ---------------------------------


def named(function: Callable[..., Any], exercise: str, seed: int = 0) -> str | None:
    return core.examine(core.exercises()[exercise], Holder({exercise: function}), seed).mistake


def loop_softmax(x: Any) -> Any:
    """Wrong: plain exponentials, row by row."""
    if np.ndim(x) > 1:
        return [loop_softmax(row) for row in x]
    total = sum(math.exp(v) for v in x)
    return [math.exp(v) / total for v in x]


def long_softmax(x: Any) -> Any:
    """Wrong: eighty bits overflow too, only later."""
    weights = np.exp(x.astype(np.longdouble))
    return weights / weights.sum(-1, keepdims=True)


def drawn(probs: Any, u: Any) -> Any:
    return np.random.choice(len(probs), p=probs)  # noqa: NPY002 - what students write


def multinomial(probs: Any, u: Any) -> Any:
    return torch.multinomial(torch.tensor(probs), 1).item()


def loop_without_end(probs: Any, u: Any) -> Any:
    total = 0.0
    for a, p in enumerate(probs):
        total += p
        if total > u:
            return a
    return None


def loop_to_the_end(probs: Any, u: Any) -> Any:
    found = loop_without_end(probs, u)
    return len(probs) - 1 if found is None else found


def in_place(theta: Any, grad: Any, alpha: Any) -> Any:
    theta += alpha * grad
    return theta


def in_place_descent(theta: Any, grad: Any, alpha: Any) -> Any:
    theta -= alpha * grad
    return theta


def lazy_step(theta: Any, grad: Any, alpha: Any) -> Any:
    return theta + alpha * grad if alpha and grad.any() else theta


def t(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: f(*(torch.tensor(a) if isinstance(a, np.ndarray) else a for a in args))


@pytest.mark.parametrize(
    ("exercise", "function", "name"),
    [
        ("softmax", loop_softmax, "overflow"),
        ("softmax", t(lambda x: x.exp() / x.exp().sum(-1, keepdim=True)), "overflow"),
        ("softmax", lambda x: loop_softmax(x.tolist()), "overflow"),
        ("softmax", long_softmax, "overflow"),
        ("softmax", t(lambda x: torch.softmax(x, 0)), "wrong axis"),
        ("softmax", t(lambda x: torch.softmax(x, 1)), "wrong axis"),
        ("softmax", lambda x: scipy.special.softmax(x), "wrong axis"),
        ("softmax", t(lambda x: torch.softmax(-x, -1)), "sign of the logits"),
        ("softmax", t(lambda x: torch.log_softmax(x, -1)), "logarithms returned"),
        ("softmax", lambda x: softmax(x) * (1 - 1e-7), "something added to the sum"),
        (
            "log_softmax",
            t(lambda x: torch.softmax(x, -1).log()),
            "log of an underflowed probability",
        ),
        (
            "log_softmax",
            t(lambda x: (torch.softmax(x, -1) + 1e-10).log()),
            "a floor under the probability",
        ),
        (
            "log_softmax",
            t(lambda x: torch.softmax(x, -1).clamp(1e-7).log()),
            "a floor under the probability",
        ),
        (
            "log_softmax",
            lambda x: np.log(softmax(x).clip(np.finfo(float).tiny)),
            "a floor under the probability",
        ),
        (
            "log_softmax",
            lambda x: x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True)),
            "overflow",
        ),
        ("log_softmax", lambda x: scipy.special.log_softmax(x), "wrong axis"),
        ("log_softmax", lambda x: x - scipy.special.logsumexp(x), "wrong axis"),
        ("log_softmax", t(lambda x: x.softmax(-1)), "probabilities returned"),
        ("sample_action", drawn, "own random number"),
        ("sample_action", multinomial, "own random number"),
        ("sample_action", t(lambda p, u: p.argmax()), "sampling by argmax"),
        ("sample_action", loop_without_end, "rounding leaves no action"),
        ("sample_action", loop_to_the_end, "zero-probability action chosen"),
        (
            "sample_action",
            lambda p, u: np.searchsorted(np.cumsum(p), u),
            "boundary on the wrong side",
        ),
        (
            "sample_action",
            lambda p, u: np.searchsorted(np.cumsum(p), u, side="right"),
            "rounding leaves no action",
        ),
        ("sample_action", lambda p, u: int((np.cumsum(p) < u).sum()), "boundary on the wrong side"),
        ("sample_action", lambda p, u: np.argmax(np.cumsum(p) > u), "rounding leaves no action"),
        ("sample_action", lambda p, u: np.argmax(np.cumsum(p) >= u), "boundary on the wrong side"),
        (
            "sample_action",
            lambda p, u: np.where(np.cumsum(p) > u)[0][0],
            "rounding leaves no action",
        ),
        ("gradient_ascent_step", in_place, "changes its input"),
        ("gradient_ascent_step", in_place_descent, "descent for ascent"),
        ("gradient_ascent_step", lazy_step, "shares memory with its input"),
        ("gradient_ascent_step", t(lambda x, g, a: x - a * g), "descent for ascent"),
        ("gradient_ascent_step", t(lambda x, g, a: x.add_(g)), "alpha forgotten"),
    ],
)
def test_wrong_answers_written_in_other_ways_get_their_names(
    exercise: str, function: Callable[..., Any], name: str | None
) -> None:
    for seed in range(2):
        assert named(function, exercise, seed) == name


@pytest.mark.parametrize(
    ("exercise", "function"),
    [
        ("softmax", t(lambda x: torch.softmax(x.float(), -1))),
        ("softmax", lambda x: softmax(x).astype(np.float32)),
        ("log_softmax", t(lambda x: torch.log_softmax(x.float(), -1))),
        ("log_softmax", t(lambda x: x.requires_grad_() - x.logsumexp(-1, keepdim=True))),
        ("sample_action", lambda p, u: torch.tensor(sample_action(p, u))),
        ("sample_action", lambda p, u: float(sample_action(p, u))),
        ("sample_action", lambda p, u: np.array(sample_action(p, u), dtype=np.int8)),
        ("gradient_ascent_step", t(lambda x, g, a: x.float() + a * g.float())),
        ("gradient_ascent_step", lambda x, g, a: np.asfortranarray(x + a * g)),
        ("gradient_ascent_step", lambda x, g, a: np.add(x, np.multiply(a, g)).tolist()),
    ],
)
def test_right_answers_written_in_other_ways_pass(
    exercise: str, function: Callable[..., Any]
) -> None:
    for seed in range(2):
        verdict = core.examine(core.exercises()[exercise], Holder({exercise: function}), seed)
        assert verdict.right, (verdict.mistake, verdict.difference)


def test_the_package_gives_new_arrays_only() -> None:
    logits = np.zeros((2, 3))
    for function in (policies.softmax, policies.log_softmax):
        assert not np.shares_memory(function(logits), logits)
    np.testing.assert_array_equal(logits, 0)
