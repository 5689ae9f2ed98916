"""Chapter 3: scores, the score-function estimator, its exact variance."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from pgcourse.policies import log_softmax, softmax
from pgcourse.score_function import (
    bandit_gradient,
    bandit_pathwise_variance,
    bandit_score_variance,
    exact_gradient,
    exact_variance,
    gaussian_score,
    score_function_gradient,
    softmax_gradient,
    softmax_score,
)

rng = np.random.default_rng(3)
LOGITS = [rng.normal(0, 2, size=A) for A in (1, 2, 3, 7)]
BELLS = [(0.0, 1.0, 1.0), (1.0, 0.5, 0.0), (-2.0, 0.3, 0.7), (3.0, 2.0, 3.0)]  # mean, std, target


def slope(f: Callable[[Any], Any], x: float, h: float = 1e-5) -> float:
    return float(f(x + h) - f(x - h)) / (2 * h)


# --- the score of a softmax --------------------------------------------------------------------


@pytest.mark.parametrize("logits", LOGITS)
def test_softmax_score_is_the_autograd_gradient_of_the_log_probability(logits: Any) -> None:
    for action in range(len(logits)):
        leaf = torch.tensor(logits, requires_grad=True)
        torch.log_softmax(leaf, dim=0)[action].backward()
        np.testing.assert_allclose(softmax_score(logits, action), leaf.grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("logits", LOGITS)
def test_softmax_score_adds_up_to_zero_and_has_mean_zero(logits: Any) -> None:
    scores = np.array([softmax_score(logits, a) for a in range(len(logits))])
    assert np.abs(scores.sum(axis=1)).max() < 1e-15
    assert np.abs(softmax(logits) @ scores).max() < 1e-15


def test_softmax_score_of_two_equal_logits_is_a_half_each_way() -> None:
    np.testing.assert_array_equal(softmax_score([0.0, 0.0], 1), [-0.5, 0.5])


def test_softmax_score_does_not_change_when_all_logits_move_together() -> None:
    moved = softmax_score(LOGITS[3] + 1e5, 2)
    np.testing.assert_allclose(moved, softmax_score(LOGITS[3], 2), rtol=0, atol=1e-10)


def test_softmax_score_is_finite_where_the_probability_underflows() -> None:
    np.testing.assert_array_equal(softmax_score([0.0, -1e5], 1), [-1.0, 1.0])
    np.testing.assert_array_equal(softmax_score([1e5, -1e5], 0), [0.0, 0.0])


def test_softmax_score_leaves_its_argument_alone() -> None:
    logits = np.array([1.0, 2.0])
    softmax_score(logits, 0)
    np.testing.assert_array_equal(logits, [1.0, 2.0])


# --- the score of a Gaussian -------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "std", "x"), BELLS)
def test_gaussian_score_is_the_slope_of_the_log_density(mean: float, std: float, x: float) -> None:
    by_mean = slope(lambda m: stats.norm.logpdf(x, m, std), mean)
    by_std = slope(lambda s: stats.norm.logpdf(x, mean, s), std)
    np.testing.assert_allclose(gaussian_score(x, mean, std), [by_mean, by_std], atol=1e-6)


def test_gaussian_score_keeps_the_shape_of_its_samples() -> None:
    x = np.arange(6.0).reshape(2, 3)
    scores = gaussian_score(x, 1.0, 2.0)
    assert scores.shape == (2, 3, 2)
    np.testing.assert_array_equal(scores[1, 2], gaussian_score(5.0, 1.0, 2.0))


def test_gaussian_score_by_std_is_zero_one_standard_deviation_away() -> None:
    np.testing.assert_allclose(gaussian_score([0.5, 2.5], 1.5, 1.0)[:, 1], 0.0, atol=1e-15)


@pytest.mark.parametrize(("mean", "std", "target"), BELLS)
def test_gaussian_scores_have_mean_zero_and_the_known_fisher_information(
    mean: float, std: float, target: float
) -> None:
    """Fisher information of a Gaussian in (mean, std): diag(1, 2) / std² (Lehmann & Casella)."""
    x = mean + std * np.linspace(-12, 12, 4001)
    p = stats.norm.pdf(x, mean, std)
    scores = gaussian_score(x, mean, std)
    first = integrate.simpson(p[:, None] * scores, x=x, axis=0)
    second = integrate.simpson(p[:, None] * scores**2, x=x, axis=0)
    np.testing.assert_allclose(first, 0, atol=1e-9)
    np.testing.assert_allclose(second, np.array([1, 2]) / std**2, rtol=1e-9)


# --- the estimator -----------------------------------------------------------------------------


def test_the_estimate_of_one_sample_is_f_times_its_score() -> None:
    np.testing.assert_array_equal(score_function_gradient([3.0], [[1.0, -2.0]]), [3.0, -6.0])


def test_the_estimate_is_linear_in_f() -> None:
    S, f, h = rng.normal(size=(5, 2)), rng.normal(size=5), rng.normal(size=5)
    both = score_function_gradient(2 * f - h, S)
    apart = 2 * score_function_gradient(f, S) - score_function_gradient(h, S)
    np.testing.assert_allclose(both, apart, rtol=0, atol=1e-14)


@pytest.mark.parametrize("logits", LOGITS)
def test_exact_gradient_is_the_autograd_gradient_of_the_expectation(logits: Any) -> None:
    f = rng.normal(size=len(logits))
    leaf = torch.tensor(logits, requires_grad=True)
    (torch.softmax(leaf, 0) @ torch.tensor(f)).backward()
    scores = [softmax_score(logits, a) for a in range(len(logits))]
    np.testing.assert_allclose(exact_gradient(softmax(logits), f, scores), leaf.grad, atol=1e-14)
    np.testing.assert_allclose(softmax_gradient(logits, f), leaf.grad, atol=1e-14)


def z_scores(estimates: Any, exact: Any) -> Any:
    error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    return np.abs((estimates.mean(axis=0) - exact) / error)


def sampled_estimates(mean: float, std: float, target: float, M: int, name: str) -> Any:
    """20,000 estimates from M samples each, by the mean and by the std."""
    draw = np.random.default_rng(5)
    x = draw.normal(mean, std, size=(20_000, M))
    f, S = -((x - target) ** 2), gaussian_score(x, mean, std)
    if name == "averaging before multiplying":
        return f.mean(axis=1)[:, None] * S.mean(axis=1)
    return np.array([score_function_gradient(f[i], S[i]) for i in range(len(f))])


def test_the_estimator_is_unbiased_for_a_gaussian() -> None:
    """Two z values below 4 at a fixed seed; a fresh seed would fail once in 8,000."""
    estimates = sampled_estimates(1.0, 0.5, 0.0, 3, "right")
    assert z_scores(estimates, bandit_gradient(1.0, 0.5, 0.0)).max() < 4


def test_averaging_before_multiplying_is_seen_to_be_biased() -> None:
    """Negative control: its expectation is 1 / M of the gradient."""
    estimates = sampled_estimates(1.0, 0.5, 0.0, 3, "averaging before multiplying")
    exact = bandit_gradient(1.0, 0.5, 0.0)
    assert z_scores(estimates, exact).min() > 20
    assert z_scores(estimates, exact / 3).max() < 4


# --- variance ----------------------------------------------------------------------------------


def test_exact_variance_of_a_coin_is_known() -> None:
    """Two equal logits, f = (0, 1): f·score is 0 or (-1/2, 1/2) with equal chance; trace 1/8."""
    scores = [softmax_score([0.0, 0.0], a) for a in (0, 1)]
    assert exact_variance([0.5, 0.5], [0.0, 1.0], scores) == pytest.approx(1 / 8, rel=1e-15)


def test_exact_variance_is_numpys_covariance_of_repeated_outcomes() -> None:
    counts = np.array([1, 4, 2, 3])
    f, S = rng.normal(size=4), rng.normal(size=(4, 3))
    rows = np.repeat(f[:, None] * S, counts, axis=0)
    expected = rows.var(axis=0).sum()
    assert exact_variance(counts / 10, f, S) == pytest.approx(expected, rel=1e-12)


def test_exact_variance_keeps_its_digits_when_f_has_a_large_offset() -> None:
    """Scores of one direction only: f·score is constant, whatever its size."""
    assert exact_variance([0.25, 0.75], [1e8, 1e8], [[1.0], [1.0]]) == 0.0


def test_exact_variance_grows_with_the_square_of_f() -> None:
    p, f, S = softmax(LOGITS[3]), rng.normal(size=7), rng.normal(size=(7, 2))
    assert exact_variance(p, -3 * f, S) == pytest.approx(9 * exact_variance(p, f, S), rel=1e-12)


def moments(mean: float, std: float, g: Callable[[Any], Any]) -> tuple[float, float]:
    x = mean + std * np.linspace(-14, 14, 20_001)
    p = stats.norm.pdf(x, mean, std)
    first = integrate.simpson(p * g(x), x=x)
    return float(first), float(integrate.simpson(p * (g(x) - first) ** 2, x=x))


@pytest.mark.parametrize(("mean", "std", "target"), BELLS)
def test_bandit_closed_forms_agree_with_quadrature(mean: float, std: float, target: float) -> None:
    def f(x: Any) -> Any:
        return -((x - target) ** 2)

    by_mean = moments(mean, std, lambda x: f(x) * (x - mean))
    g, variance = by_mean[0] / std**2, by_mean[1] / std**4
    pathwise = moments(mean, std, lambda x: -2 * (x - target))
    value = moments(mean, std, f)[0]
    wider = slope(lambda s: moments(mean, s, f)[0], std)
    assert value == pytest.approx(-((mean - target) ** 2) - std**2, rel=1e-10)
    np.testing.assert_allclose(bandit_gradient(mean, std, target), [g, wider], atol=1e-7)
    assert bandit_score_variance(mean, std, target) == pytest.approx(variance, rel=1e-9)
    assert bandit_pathwise_variance(std) == pytest.approx(pathwise[1], rel=1e-9)
    assert pathwise[0] == pytest.approx(g, abs=1e-9)


def test_the_variances_that_the_course_quotes() -> None:
    assert bandit_score_variance(1.0, 0.5, 0.0) == 21.75
    assert bandit_pathwise_variance(0.5) == 1.0


def variance_ratio(claimed: float, D: int) -> float:
    """z value of a sampled trace against a claimed one, from 100,000 samples."""
    draw = np.random.default_rng(11)
    x = draw.normal(1.0, 0.5, size=(100_000, D))
    estimates = -(x**2).sum(axis=1)[:, None] * gaussian_score(x, 1.0, 0.5)[..., 0]
    squares = ((estimates + 2) ** 2).sum(axis=1)  # the exact mean is -2 in every coordinate
    return float(abs(squares.mean() - claimed) / (squares.std() / np.sqrt(len(squares))))


@pytest.mark.parametrize("D", [1, 2, 5, 10])
def test_variance_in_dimension_agrees_with_sampling(D: int) -> None:
    """|z| < 4 at a fixed seed; a fresh seed would fail four times in 16,000 runs."""
    assert variance_ratio(bandit_score_variance(1.0, 0.5, 0.0, D), D) < 4


def test_variance_as_if_coordinates_did_not_disturb_each_other_is_seen_to_be_wrong() -> None:
    """Negative control: D times the variance of one coordinate."""
    assert variance_ratio(5 * bandit_score_variance(1.0, 0.5, 0.0), 5) > 20


def test_score_variance_grows_like_the_cube_of_the_dimension_and_pathwise_like_itself() -> None:
    ratio = bandit_score_variance(1.0, 0.5, 0.0, 2000) / bandit_score_variance(1.0, 0.5, 0.0, 1000)
    assert ratio == pytest.approx(8, rel=0.01)
    assert bandit_pathwise_variance(0.5, 10) == 10 * bandit_pathwise_variance(0.5)


# --- what the chapter says about its own numbers -------------------------------------------------


def test_log_derivative_matches_the_chapters_worked_number() -> None:
    """p = (1/6, 1/3, 1/2), f = (1, 2, 4): gradient p (f - 17/6)."""
    logits, f = np.log([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0])
    expected = np.array([1, 2, 3]) / 6 * (f - 17 / 6)
    np.testing.assert_allclose(softmax_gradient(logits, f), expected, rtol=1e-14)
    assert slope(lambda h: softmax(logits + h * np.eye(3)[0]) @ f, 0.0) == pytest.approx(
        expected[0], abs=1e-9
    )
    assert slope(lambda h: log_softmax(logits + h * np.eye(3)[0])[1], 0.0) == pytest.approx(
        softmax_score(logits, 1)[0], abs=1e-9
    )


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (softmax_score, ([[0.0, 1.0]], 0), "logits must have shape [A], got (1, 2)"),
        (softmax_score, ([0.0, np.inf], 0), "logits must be finite, got inf at [1]"),
        (softmax_score, ([0.0, 1.0], 2), "action must be a whole number in 0..1, got 2"),
        (softmax_score, ([0.0, 1.0], -1), "action must be a whole number in 0..1, got -1"),
        (softmax_score, ([0.0, 1.0], 0.5), "action must be a whole number in 0..1, got 0.5"),
        (softmax_score, ([0.0, 1.0], True), "action must be a whole number in 0..1, got True"),
        (softmax_score, ([0.0, 1.0], [0]), "action must be a whole number in 0..1, got [0]"),
        (gaussian_score, (0.0, 0.0, 0.0), "std must be positive, got 0.0"),
        (gaussian_score, (0.0, 0.0, -1.0), "std must be positive, got -1.0"),
        (gaussian_score, (np.nan, 0.0, 1.0), "x must be finite, got nan at []"),
        (gaussian_score, (0.0, [0.0], 1.0), "mean must have shape [] = (), got (1,)"),
        (score_function_gradient, ([], np.zeros((0, 2))), "f_values must have shape [M], got (0,)"),
        (score_function_gradient, ([1.0], [1.0]), "scores must have shape [M, D], got (1,)"),
        (
            score_function_gradient,
            ([1.0, 2.0], [[1.0]]),
            "scores must have 2 rows, one for each f value, got 1",
        ),
        (
            exact_variance,
            ([0.5, 0.4], [1.0, 2.0], [[1.0], [2.0]]),
            "probs must sum to 1 over its last axis, got 0.9",
        ),
        (
            exact_gradient,
            ([1.0], [1.0, 2.0], [[1.0], [2.0]]),
            "probs must have shape [K] = (2,), got (1,)",
        ),
        (softmax_gradient, ([0.0], [1.0, 2.0]), "logits must have shape [A] = (2,), got (1,)"),
        (bandit_score_variance, (0.0, 0.0, 1.0), "std must be positive, got 0.0"),
        (bandit_pathwise_variance, (0.0,), "std must be positive, got 0.0"),
    ],
)
def test_bad_input_is_named_with_its_condition_and_value(
    function: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        function(*arguments)
