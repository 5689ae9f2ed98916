"""Checks of chapter 3: two scores, the score-function estimator, its exact variance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import exp, pi, sqrt
from typing import Any

import numpy as np

from pgcourse import score_function as chapter
from pgcourse.checks.core import CLOSE, Exercise, is_close
from pgcourse.policies import log_softmax, softmax
from pgcourse.score_function import exact_variance, gaussian_score, softmax_score

Args = tuple[Any, ...]


# --- softmax_score -----------------------------------------------------------------------------


def _softmax_inputs(rng: np.random.Generator) -> Iterator[Args]:
    yield np.array([0.0, 1.0, -1.0]), 1
    for A in (2, 3, 5, 4):
        yield rng.normal(0, 1.5, size=A), int(rng.integers(A))
    yield rng.normal(0, 1.5, size=3), 0
    yield rng.normal(0, 1.5, size=3), 2
    yield np.zeros(4), 3
    yield np.array([rng.normal()]), 0  # one action: nothing to learn
    yield np.array([1e5, 99_999.5, -1e5]), 1
    yield np.array([-1e5, -99_998.875]), 0
    yield np.array([0.0, -1000.0, 2.0]), 1  # an action whose probability underflows
    yield np.array([-800.0, 0.5, -800.0, 0.25]), 2


def _unit(x: Any, a: int) -> Any:
    return np.eye(len(x))[a]


SOFTMAX = Exercise("softmax_score", softmax_score, _softmax_inputs)


@SOFTMAX.mistake("missing -p", "sec-softmax-score", [lambda x, a: _unit(x, a) * (1 - softmax(x))])
def _unit_only(x: Any, a: int) -> Any:
    """Your entries for the other actions are 0. The logarithm of a softmax is logit minus
    log-sum-exp, and the second part depends on every logit: it gives the -p in e_a - p."""
    return _unit(x, a)


@SOFTMAX.mistake("e_a forgotten", "sec-softmax-score", [lambda x, a: softmax(x)])
def _no_unit(x: Any, a: int) -> Any:
    """You return the probabilities, or their negative. The action taken gets 1 more: e_a - p."""
    return -softmax(x)


@SOFTMAX.mistake(
    "the 1 at another action",
    "sec-softmax-score",
    [
        lambda x, a: _unit(x, int(np.argmin(x))) - softmax(x),
        lambda x, a: _unit(x, 0) - softmax(x),
        lambda x, a: _unit(x, -1) - softmax(x),
        lambda x, a: _unit(x, a - 1) - softmax(x),
        lambda x, a: _unit(x, (a + 1) % len(x)) - softmax(x),
    ],
)
def _of_the_likeliest(x: Any, a: int) -> Any:
    """You add the 1 at another action. It belongs to the action taken, the second argument, be it
    likely or not; actions are counted from 0."""
    return _unit(x, int(np.argmax(x))) - softmax(x)


@SOFTMAX.mistake("set, not added", "sec-softmax-score")
def _replaced(x: Any, a: int) -> Any:
    """The entry of the action taken is 1 in your answer. The 1 is *added* to the -p that stands
    there: `v[action] += 1`, not `=`."""
    return np.where(_unit(x, a) == 1, 1, -softmax(x))


@SOFTMAX.mistake("a 1 in every entry", "sec-softmax-score")
def _all_ones(x: Any, a: int) -> Any:
    """You return 1 - p for all actions. Only the action taken has the 1; the other entries are
    -p."""
    return 1 - softmax(x)


@SOFTMAX.mistake(
    "value instead of gradient",
    "equation-softmax-score",
    [lambda x, a: log_softmax(x)[a], lambda x, a: softmax(x)[a], lambda x, a: 1 - softmax(x)[a]],
)
def _log_probs(x: Any, a: int) -> Any:
    """You return log p, or a single number. Asked is the gradient of log p[action], one entry for
    each logit."""
    return log_softmax(x)


@SOFTMAX.mistake("sign", "sec-softmax-score", [lambda x, a: _unit(x, a) + softmax(x)])
def _downhill(x: Any, a: int) -> Any:
    """A sign is turned. The score e_a - p points to where the action taken becomes more likely:
    its own entry is positive, the others are negative."""
    return -softmax_score(x, a)


@SOFTMAX.mistake(
    "epsilon in the logarithm",
    "sec-stable",
    [lambda x, a: softmax_score(x, a) * (softmax(x)[a] > 1e-12)],
)
def _with_epsilon(x: Any, a: int) -> Any:
    """A small number was added to the probability before its logarithm. It shrinks the score of
    rare actions, down to 0. Subtract the largest logit instead: nothing underflows that matters."""
    return softmax(x)[a] / (softmax(x)[a] + 1e-8) * softmax_score(x, a)


@SOFTMAX.mistake(
    "chain rule incomplete", "equation-log-derivative", [lambda x, a: _unit(x, a) / softmax(x)[a]]
)
def _of_the_probability(x: Any, a: int) -> Any:
    """The gradient of log p_a is 1/p_a times the gradient of p_a, which is p_a (e_a - p). One of
    the two factors is missing in your answer."""
    return softmax(x)[a] * softmax_score(x, a)


@SOFTMAX.mistake(
    "unstable softmax",
    "sec-stable",
    [lambda x, a: _unit(x, a) - [exp(v) / sum(map(exp, x)) for v in x]],
    signs=lambda args, got, expected: not np.isfinite(got).all(),
)
def _overflow(x: Any, a: int) -> Any:
    """The exponential of a large logit overflows (or all of them underflow), and the quotient is
    not a number. Subtract the largest logit first; the probabilities do not change."""
    return _unit(x, a) - np.exp(x) / np.exp(x).sum()


@SOFTMAX.mistake(
    "logits used as probabilities",
    "sec-softmax-score",
    [lambda x, a: _unit(x, a) - np.exp(x - x.max())],
)
def _raw_logits(x: Any, a: int) -> Any:
    """You subtract the logits, or their exponentials. The derivative of log-sum-exp is the
    probability itself: p = softmax(logits)."""
    return _unit(x, a) - x


# --- gaussian_score ----------------------------------------------------------------------------


def _gaussian_inputs(rng: np.random.Generator) -> Iterator[Args]:
    yield 3.0, 1.0, 2.0
    for _ in range(5):
        yield tuple(float(v) for v in (*rng.normal(0, 2, size=2), rng.uniform(0.3, 3)))
    yield 0.0, 0.0, 0.5  # at the mean
    yield 1.5, 1.0, 0.5  # one standard deviation away: the second entry is 0
    yield -2.0, 1.0, 1.0
    yield float(rng.normal()), 0.0, 0.125
    yield 20.0, -10.0, 0.75
    yield float(rng.normal()), 0.0, 40.0


def _terms(factors: Args = (1, 1, 1), powers: Args = (2, 3, 1)) -> Callable[..., Any]:
    """Change factors or powers in the score [u / s², u² / s³ - 1 / s], where u = x - mean."""
    (a, b, c), (i, j, k) = factors, powers
    return lambda x, mean, s: [a * (x - mean) / s**i, b * (x - mean) ** 2 / s**j - c / s**k]


_POWERS = [(1, 1.5, 0.5), (1, 2, 1), (1, 2, 0), (2, 3, 0), (2, 3, 2)]
_POWERS += [(2, 2, 1), (2, 1, 1), (2, 4, 1), (2, 4, 2), (0, 3, 1), (3, 3, 1)]
GAUSSIAN = Exercise("gaussian_score", gaussian_score, _gaussian_inputs)


@GAUSSIAN.mistake("derivative by log std", "equation-gaussian-score-log-std")
def _by_log_std(x: float, mean: float, std: float) -> Any:
    """Your second entry is the derivative by log std: std times the one asked for. Both are used
    in practice; here the parameter is std itself."""
    return gaussian_score(x, mean, std) * [1, std]


@GAUSSIAN.mistake("derivative by the variance", "sec-gaussian-score")
def _by_variance(x: float, mean: float, std: float) -> Any:
    """Your second entry is the derivative by std². By the chain rule, the one by std is 2 std
    times that."""
    return gaussian_score(x, mean, std) / [1, 2 * std]


@GAUSSIAN.mistake(
    "std for std²",
    "sec-gaussian-score",
    [
        _terms((1, 0.5, 0.5), (1, 2, 1)),  # std taken for the variance
        *(_terms(powers=k) for k in _POWERS),
    ],
)
def _by_std(x: float, mean: float, std: float) -> Any:
    """The power of std is wrong. std is a standard deviation, the density has its square: the
    derivative by the mean is (x - mean)/std², the one by std has std³ below."""
    return gaussian_score(x, mean, std) * [std, 1]


@GAUSSIAN.mistake("half kept", "sec-gaussian-score", [_terms((0.5, 0.5, 1)), _terms((0.5, 1, 1))])
def _half(*args: float) -> Any:
    """You keep the half of the exponent. The derivative of std^-2 is -2 std^-3, and its 2 cancels
    the half; by the mean, the 2 of the square does."""
    return _terms((1, 0.5, 1))(*args)


@GAUSSIAN.mistake(
    "a term forgotten",
    "sec-gaussian-score",
    [_terms(k) for k in [(1, 0, 1), (1, 2, 1), (2, 2, 1), (1, 1, 0.5), (1, 1, 2)]],
)
def _exponent_only(*args: float) -> Any:
    """A term is missing, or counted wrongly. The logarithm of the density is
    -(x - mean)²/(2 std²) - log std and a constant. The first part gives (x - mean)/std² by the
    mean and (x - mean)²/std³ by std, the second gives -1/std."""
    return _terms((1, 1, 0))(*args)


@GAUSSIAN.mistake(
    "sign",
    "sec-gaussian-score",
    [
        _terms((-1, 1, 1)),
        _terms((1, -1, -1)),
        _terms((1, -1, 1)),
        _terms((-1, -1, 1)),
        _terms((1, 1, -1)),
        _terms((-1, 1, 1), (2, 2, 0)),
    ],
)
def _turned(*args: float) -> Any:
    """A sign is turned. Moving the mean towards x makes x more likely: the first entry has the
    sign of x - mean. A wider bell makes far points more likely: the second is positive where
    |x - mean| > std."""
    return -gaussian_score(*args)


@GAUSSIAN.mistake("entries swapped", "sec-gaussian-score")
def _std_first(*args: float) -> Any:
    """Your entries stand in the other order: first the derivative by the mean, then the one by
    std."""
    return gaussian_score(*args)[::-1]


@GAUSSIAN.mistake("derivative of the density", "equation-log-derivative")
def _of_the_density(x: float, mean: float, std: float) -> Any:
    """You differentiate the density itself. The score is the gradient of its logarithm: the
    density that stands before your terms goes."""
    density = exp(-(((x - mean) / std) ** 2) / 2) / (std * sqrt(2 * pi))
    return density * gaussian_score(x, mean, std)


@SOFTMAX.mistake("close, but not exact", "sec-names", signs=is_close)
@GAUSSIAN.mistake("close, but not exact", "sec-names", signs=is_close)
def _rounded(*args: Any) -> Any:
    """Your numbers agree in the first digits only: finite differences, perhaps, or single
    precision on the way. The derivatives have formulas; use them in double precision."""
    score = softmax_score(*args) if len(args) == 2 else gaussian_score(*args)
    return score.astype(np.float32).astype(np.float64)


# --- score_function_gradient -------------------------------------------------------------------


def _gradient_inputs(rng: np.random.Generator) -> Iterator[Args]:
    yield np.array([1.0, 2.0, 4.0]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    for M, D in [(5, 2), (2, 5), (4, 4), (7, 1), (1, 3), (1, 1), (50, 3)]:
        yield rng.normal(0.5, 1.0, size=M), rng.normal(0.3, 1.0, size=(M, D))
    yield np.zeros(3), rng.normal(size=(3, 2))


def _is_multiple(args: Args, got: Any, expected: Any) -> bool:
    factor = (got @ expected) / (expected @ expected)
    return len(got) > 1 and abs(factor - 1) > CLOSE and np.allclose(got, factor * expected)


GRADIENT = Exercise("score_function_gradient", chapter.score_function_gradient, _gradient_inputs)


@GRADIENT.mistake(
    "averaging before multiplying", "sec-order", [lambda f, S: f.sum() * S.sum(axis=0)]
)
def _means_multiplied(f: Any, S: Any) -> Any:
    """You multiply the mean of f by the mean of the scores. Each score is multiplied by the f of
    its own sample; the average comes last. The mean score tends to 0, and your answer with it."""
    return f.mean() * S.mean(axis=0)


@GRADIENT.mistake("f missing", "equation-score-mean-zero", [lambda f, S: S.sum(axis=0)])
def _scores_alone(f: Any, S: Any) -> Any:
    """You average the scores alone. They average to 0 whatever f is; f says which samples were
    good."""
    return S.mean(axis=0)


@GRADIENT.mistake(
    "f called the score",
    "sec-names",
    [lambda f, S: np.full(S.shape[1], f.mean()), lambda f, S: (f**2).mean(), lambda f, S: f],
)
def _mean_of_f(f: Any, S: Any) -> Any:
    """The score is the gradient of log p, one row of `scores` for each sample; f is not the
    score. You use f alone: its mean estimates the expectation, not its gradient."""
    return f.mean()


@GRADIENT.mistake("wrong axis", "sec-order", [lambda f, S: (f[:, None] * S).mean(axis=1)])
def _along_columns(f: Any, S: Any) -> Any:
    """The samples are the rows. Make f a column, `f_values[:, None] * scores`, and average over
    axis 0; or write `f_values @ scores`, and divide by M."""
    return (f * S).mean(axis=0)


@GRADIENT.mistake(
    "not averaged", "equation-score-estimator", [lambda f, S: f[:, None] * S / len(f)]
)
def _rows(f: Any, S: Any) -> Any:
    """You return one row for each sample, f times score. The estimate is their mean, over
    axis 0: one number for each parameter."""
    return f[:, None] * S


@GRADIENT.mistake(
    "averaged over everything",
    "sec-order",
    [lambda f, S: (f[:, None] * S).sum() / len(f), lambda f, S: (f[:, None] * S).sum()],
)
def _one_number(f: Any, S: Any) -> Any:
    """You return one number. `mean()` without an axis averages over the parameters too; each of
    them has a derivative of its own: `mean(axis=0)`."""
    return (f[:, None] * S).mean()


@GRADIENT.mistake(
    "one sample only",
    "equation-score-estimator",
    [
        lambda f, S: f[0] * S[0] / len(f),
        lambda f, S: f[-1] * S[-1],
        lambda f, S: f[-1] * S[-1] / len(f),
    ],
)
def _first_sample(f: Any, S: Any) -> Any:
    """Only one sample counts: does the loop return in its first round, or overwrite the sum
    instead of adding to it? All M samples are averaged."""
    return f[0] * S[0]


@GRADIENT.mistake("sign", "equation-score-estimator", [lambda f, S: -f @ S])
def _negative(f: Any, S: Any) -> Any:
    """Your answer is the negative. The estimate points uphill; a minus sign belongs only where an
    optimiser minimises."""
    return -f @ S / len(f)


@GRADIENT.mistake("divided by D, not M", "equation-score-estimator")
def _by_parameters(f: Any, S: Any) -> Any:
    """You divide by the number of parameters, the columns. An average over samples divides by
    their number M, the rows."""
    return f @ S / S.shape[1]


def _is_centred(args: Args, got: Any, expected: Any) -> bool:
    f, S = args
    return _is_multiple(args, got, (f - f.mean()) @ S)


@GRADIENT.mistake(
    "f standardised",
    "equation-score-estimator",
    [
        lambda f, S: (f - f.mean()) / f.std() @ S / len(f),
        lambda f, S: (f - f.mean()) / f.std() @ S,
        lambda f, S: (f - f.mean()) / f.std(ddof=1) @ S / len(f),
        lambda f, S: (f - f.mean()) / (f.std() + 1e-8) @ S / len(f),
        lambda f, S: (f - f.mean()) / (f.std(ddof=1) + 1e-8) @ S / len(f),
        lambda f, S: f / f.std() @ S / len(f),
    ],
    _is_centred,
)
def _centred(f: Any, S: Any) -> Any:
    """You subtract the mean of f, or divide by its standard deviation, or both. Programs do that
    to lessen noise, but it is another estimate, no longer unbiased. Use f as it is."""
    return (f - f.mean()) @ S / len(f)


@GRADIENT.mistake("sum instead of mean", "equation-score-estimator")
def _sum(f: Any, S: Any) -> Any:
    """You add the terms up. The estimate is their mean: divide by the number of samples M."""
    return f @ S


@GRADIENT.mistake(
    "wrong divisor",
    "equation-score-estimator",
    [lambda f, S: f @ S / S.size, lambda f, S: f @ S / f.sum()],
    signs=_is_multiple,
)
def _by_one_less(f: Any, S: Any) -> Any:
    """Your answer is a multiple of the right one. Divide the sum over the samples by their number
    M: not by M - 1, not by the number of parameters, not by the sum of f."""
    return f @ S / (len(f) - 1)


# --- exact_variance ----------------------------------------------------------------------------


def _variance_inputs(rng: np.random.Generator) -> Iterator[Args]:
    p = np.array([0.2, 0.3, 0.5])
    yield p, np.array([1.0, 2.0, 4.0]), np.eye(3) - p
    for K, D in [(4, 2), (2, 3), (3, 3), (5, 1), (12, 4)]:
        yield rng.dirichlet(np.ones(K)), rng.normal(1.0, 1.5, size=K), rng.normal(size=(K, D))
    p = softmax(rng.normal(size=4))
    yield p, rng.normal(size=4), np.eye(4) - p
    yield np.array([0.0, 0.25, 0.75]), rng.normal(size=3), rng.normal(size=(3, 2))
    yield np.array([1.0]), np.array([2.0]), np.array([[1.0, -3.0]])  # certain: no variance


def _around(centre: Any, p: Any, f: Any, S: Any) -> Any:
    """Mean squared distance of f score from a centre."""
    return p @ ((f[:, None] * S - centre) ** 2).sum(axis=1)


def _square(p: Any, f: Any, S: Any) -> Any:
    """Squared norm of the mean."""
    return (p * f @ S) @ (p * f @ S)


VARIANCE = Exercise("exact_variance", exact_variance, _variance_inputs)


@VARIANCE.mistake(
    "squared mean not subtracted",
    "equation-score-variance",
    [lambda *args: -exact_variance(*args)],
)
def _second_moment(*args: Any) -> Any:
    """A variance is the second moment E[f² ‖score‖²] minus the squared norm of the mean,
    E[f score]: subtract that, and in this order."""
    return _around(0, *args)


@VARIANCE.mistake("squared mean added", "equation-score-variance")
def _sum_of_squares(*args: Any) -> Any:
    """You add the squared mean; it is subtracted."""
    return _around(0, *args) + _square(*args)


@VARIANCE.mistake(
    "the mean's norm is not squared",
    "equation-score-variance",
    [lambda *args: _around(0, *args) + np.sqrt(_square(*args))],
)
def _norm_of_mean(*args: Any) -> Any:
    """You subtract the norm of the mean E[f score]; the square of that norm is subtracted."""
    return _around(0, *args) - np.sqrt(_square(*args))


@VARIANCE.mistake(
    "square of a sum",
    "equation-score-variance",
    [
        lambda p, f, S: p @ (f * S.sum(axis=1)) ** 2 - _square(p, f, S),
        lambda p, f, S: p @ ((f[:, None] * S - p * f @ S).sum(axis=1)) ** 2,
    ],
)
def _summed_first(p: Any, f: Any, S: Any) -> Any:
    """You add the components and square their sum. A squared norm is the sum of the squares: square
    each component first."""
    return _around(0, p, f, S) - (p * f @ S).sum() ** 2


def _covariance(p: Any, f: Any, S: Any) -> Any:
    rows = f[:, None] * S - p * f @ S
    return (p * rows.T) @ rows


@VARIANCE.mistake("trace missing", "sec-variance")
def _matrix(*args: Any) -> Any:
    """You return the covariance matrix. Asked is its trace, the sum of the diagonal: one number."""
    return _covariance(*args)


@VARIANCE.mistake("components not added", "sec-variance")
def _diagonal(*args: Any) -> Any:
    """You return one variance for each component. The trace of the covariance is their sum."""
    return _covariance(*args).diagonal().copy()


@VARIANCE.mistake("the score's norm is not squared", "equation-score-variance")
def _norm_of_score(p: Any, f: Any, S: Any) -> Any:
    """The second moment has the squared norm of the score, the sum of the squares of its entries;
    you took the root of that sum."""
    return p @ (f**2 * np.linalg.norm(S, axis=1)) - _square(p, f, S)


@VARIANCE.mistake(
    "not weighted by probs",
    "sec-variance",
    [
        lambda p, f, S: _around(p * f @ S, 1 / len(p) + 0 * p, f, S),
        lambda p, f, S: _around(f @ S / len(p), p, f, S),
        lambda p, f, S: _around(p * f @ S, np.ones(len(p)), f, S),
        lambda p, f, S: _around(0, np.ones(len(p)), f, S) - _square(p, f, S),
        lambda p, f, S: _around(0, 1 / len(p) + 0 * p, f, S) - _square(p, f, S),
    ],
)
def _equal_weights(p: Any, f: Any, S: Any) -> Any:
    """Outcomes count alike in your answer. An expectation weighs each with its probability."""
    return (f[:, None] * S).var(axis=0).sum()


@VARIANCE.mistake(
    "divided by a count",
    "sec-variance",
    [
        lambda p, f, S: exact_variance(p, f, S) / (1 - p @ p),  # what np.cov does unasked
        lambda p, f, S: exact_variance(p, f, S) / len(p),
        lambda p, f, S: exact_variance(p, f, S) / S.size,
        lambda p, f, S: exact_variance(p, f, S) / (len(p) - 1),
        lambda p, f, S: exact_variance(p, f, S) * len(p) / (len(p) - 1),
        lambda p, f, S: _around(0, p, f, S) / len(p) - _square(p, f, S) / len(p) ** 2,
        lambda p, f, S: _around(0, p, f, S) / len(p) - _square(p, f, S),
    ],
)
def _per_component(p: Any, f: Any, S: Any) -> Any:
    """Nothing is divided here: the probabilities sum to 1 already, there are no samples to correct
    for, and the trace adds the variances of the components."""
    return exact_variance(p, f, S) / S.shape[1]


@VARIANCE.mistake("standard deviation", "equation-score-variance")
def _root(*args: Any) -> Any:
    """You return a root. Asked is the variance, the mean of the squares."""
    return np.sqrt(exact_variance(*args))


@VARIANCE.mistake(
    "averaging before multiplying",
    "equation-score-variance",
    [
        lambda p, f, S: (p @ f**2) * (p @ (S**2).sum(axis=1)),
        lambda p, f, S: _around((p @ f) * (p @ S), p, f, S),
    ],
)
def _moments_multiplied(p: Any, f: Any, S: Any) -> Any:
    """E[f² ‖score‖²] is not E[f²] E[‖score‖²], and E[f score] is not E[f] E[score]: f and the
    score belong to the same outcome."""
    return (p @ f**2) * (p @ (S**2).sum(axis=1)) - _square(p, f, S)


@VARIANCE.mistake(
    "f called the score",
    "sec-names",
    [lambda p, f, S: exact_variance(p, np.ones(len(f)), S), lambda p, f, S: p @ (S**2).sum(axis=1)],
)
def _variance_of_f(p: Any, f: Any, S: Any) -> Any:
    """You return the variance of f alone, which is not the score, or of the score alone. What
    varies is f times the score, a vector for each outcome."""
    return p @ f**2 - (p @ f) ** 2


EXERCISES = (SOFTMAX, GAUSSIAN, GRADIENT, VARIANCE)
