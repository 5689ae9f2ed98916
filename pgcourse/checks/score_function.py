"""Checks of chapter 3: two scores, the score-function estimator, its exact variance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pgcourse.checks.core import Exercise, Mistake
from pgcourse.policies import log_softmax, softmax
from pgcourse.score_function import (
    exact_variance,
    gaussian_score,
    score_function_gradient,
    softmax_score,
)

Arrays = tuple[Any, ...]
Answers = Callable[..., Any]


def _close(args: Arrays, got: Any, expected: Any) -> bool:
    return bool(np.abs(got - expected).max() < 1e-4 * np.abs(expected).max())


def _slopes(f: Answers, point: Any, h: float = 1e-6) -> Any:
    steps = h * np.eye(len(point))
    return np.array([(f(point + e) - f(point - e)) / (2 * h) for e in steps])


def _nearly(wrong: Answers) -> Mistake:
    return Mistake(
        "close, but not exact",
        "Your numbers agree in the first digits only: finite differences, perhaps, or single "
        "precision on the way. The derivative has a formula; use it in double precision.",
        "sec-names",
        (wrong,),
        _close,
    )


# --- softmax_score -----------------------------------------------------------------------------


def _softmax_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
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


def _naive_softmax(logits: Any) -> Any:
    return np.exp(logits) / np.exp(logits).sum()


def _with_math_exp(logits: Any, action: int) -> Any:
    exponentials = [math.exp(x) for x in logits]
    return np.eye(len(logits))[action] - [e / sum(exponentials) for e in exponentials]


def _not_finite(args: Arrays, got: Any, expected: Any) -> bool:
    return not np.isfinite(got).all()


def _shrunk(args: Arrays, got: Any, expected: Any) -> bool:
    """Tell whether `got` is p / (p + ε) times the right score, for a small ε."""
    logits, action = args
    p = softmax(logits)[action]
    scale = np.abs(expected).max()
    return any(
        np.abs(got - p / (p + eps) * expected).max() <= 1e-11 * scale
        for eps in 10.0 ** -np.arange(4, 21)
    )


SOFTMAX_SCORE = Exercise(
    "softmax_score",
    softmax_score,
    _softmax_inputs,
    [
        Mistake(
            "missing -p",
            "You return 1 at the action taken and 0 elsewhere. The logarithm of a softmax is "
            "logit minus log-sum-exp, and the second part depends on every logit: it gives the "
            "-p in e_a - p.",
            "sec-softmax-score",
            (lambda logits, a: np.eye(len(logits))[a],),
        ),
        Mistake(
            "only the logit of the action",
            "Your entry for the action taken is right, the others are 0. Raising any other logit "
            "makes this action less likely: its entry is -p of that other action.",
            "sec-softmax-score",
            (lambda logits, a: np.eye(len(logits))[a] * softmax_score(logits, a),),
        ),
        Mistake(
            "sign",
            "Your answer is the negative of the score: p - e_a. The score points to where the "
            "action taken becomes more likely, so its own entry is positive.",
            "sec-softmax-score",
            (lambda logits, a: -softmax_score(logits, a),),
        ),
        Mistake(
            "derivative by the probabilities",
            "You differentiate log p_a by the probabilities: 1/p_a at the action, or the like. "
            "Asked are the derivatives by the logits; the chain rule through the softmax is "
            "missing.",
            "sec-softmax-score",
            (
                lambda logits, a: np.eye(len(logits))[a] / softmax(logits)[a],
                lambda logits, a: softmax_score(logits, a) / softmax(logits)[a],
                lambda logits, a: np.eye(len(logits))[a] / softmax(logits)[a] - 1,
            ),
        ),
        Mistake(
            "epsilon in the logarithm",
            "A small number was added to the probability before its logarithm. It hides the "
            "underflow and shrinks the score of rare actions, down to 0. Subtract the largest "
            "logit instead, and nothing underflows that matters.",
            "sec-stable",
            (
                lambda logits, a: (
                    softmax(logits)[a] / (softmax(logits)[a] + 1e-8) * softmax_score(logits, a)
                ),
                lambda logits, a: softmax_score(logits, a) * (softmax(logits)[a] > 1e-12),
            ),
            _shrunk,
        ),
        Mistake(
            "gradient of the probability",
            "You differentiate p_a itself: p_a (e_a - p). The score is the gradient of log p_a, "
            "which is the same divided by p_a.",
            "equation-log-derivative",
            (lambda logits, a: softmax(logits)[a] * softmax_score(logits, a),),
        ),
        Mistake(
            "unstable softmax",
            "The exponential of a large logit overflows (or all of them underflow), and the "
            "quotient is not a number. Subtract the largest logit first; the probabilities do not "
            "change.",
            "sec-stable",
            (
                lambda logits, a: np.eye(len(logits))[a] - _naive_softmax(logits),
                _with_math_exp,
            ),
            _not_finite,
        ),
        Mistake(
            "logits used as probabilities",
            "You subtract the logits. Turn them into probabilities first: p = softmax(logits).",
            "sec-softmax-score",
            (
                lambda logits, a: np.eye(len(logits))[a] - logits,
                lambda logits, a: np.eye(len(logits))[a] - np.exp(logits - logits.max()),
                lambda logits, a: np.eye(len(logits))[a] - logits / logits.sum(),
            ),
        ),
        Mistake(
            "log-probabilities for probabilities",
            "You subtract log p. The derivative of log-sum-exp is p itself.",
            "sec-softmax-score",
            (lambda logits, a: np.eye(len(logits))[a] - np.log(softmax(logits)),),
        ),
        Mistake(
            "e_a forgotten",
            "You return the probabilities, or their negative. The action taken gets 1 more: "
            "e_a - p.",
            "sec-softmax-score",
            (lambda logits, a: -softmax(logits), lambda logits, a: softmax(logits)),
        ),
        Mistake(
            "all scores at once",
            "You return a matrix, the scores of all actions. Asked is the one of `action`.",
            "sec-softmax-score",
            (lambda logits, a: np.eye(len(logits)) - softmax(logits),),
        ),
        Mistake(
            "plus p",
            "You add p. Normalising takes probability away from the others: e_a - p.",
            "sec-softmax-score",
            (lambda logits, a: np.eye(len(logits))[a] + softmax(logits),),
        ),
        Mistake(
            "action counted from 1",
            "The score belongs to a neighbour of the action taken. Actions count from 0.",
            "sec-softmax-score",
            (
                lambda logits, a: softmax_score(logits, (a - 1) % len(logits)),
                lambda logits, a: softmax_score(logits, (a + 1) % len(logits)),
            ),
        ),
        Mistake(
            "the entry of the action only",
            "You return one number, the entry of the action taken. The score has one entry for "
            "each logit.",
            "sec-softmax-score",
            (lambda logits, a: softmax_score(logits, a)[a],),
        ),
        Mistake(
            "the logarithm itself",
            "You return log p, not its gradient.",
            "sec-softmax-score",
            (
                lambda logits, a: np.log(softmax(logits)[a]),
                lambda logits, a: np.log(softmax(logits)),
            ),
        ),
        _nearly(lambda logits, a: _slopes(lambda th: log_softmax(th)[a], logits)),
    ],
)


# --- gaussian_score ----------------------------------------------------------------------------


def _gaussian_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    yield 3.0, 1.0, 2.0
    for _ in range(5):
        yield tuple(float(v) for v in (*rng.normal(0, 2, size=2), rng.uniform(0.3, 3)))
    yield 0.0, 0.0, 0.5  # at the mean
    yield 1.5, 1.0, 0.5  # one standard deviation away: the second entry is 0
    yield -2.0, 1.0, 1.0
    yield float(rng.normal()), 0.0, 0.125
    yield 20.0, -10.0, 0.75
    yield float(rng.normal()), 0.0, 40.0


def _gaussian(change: Callable[[float, float], Any]) -> Answers:
    """An imitation in terms of u = x - mean and s = std."""
    return lambda x, mean, std: np.array(change(x - mean, std))


def _density(u: float, s: float) -> float:
    return float(np.exp(-0.5 * (u / s) ** 2) / (s * np.sqrt(2 * np.pi)))


GAUSSIAN_SCORE = Exercise(
    "gaussian_score",
    gaussian_score,
    _gaussian_inputs,
    [
        Mistake(
            "derivative by log std",
            "Your second entry is the derivative by log std: std times the one asked for. Both "
            "are used in practice; here the parameter is std itself.",
            "equation-gaussian-score-log-std",
            (_gaussian(lambda u, s: [u / s**2, u**2 / s**2 - 1]),),
        ),
        Mistake(
            "derivative by the variance",
            "Your second entry is the derivative by std². By the chain rule, the one by std is "
            "2 std times that.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [u / s**2, (u**2 - s**2) / (2 * s**4)]),
                _gaussian(lambda u, s: [u / s**2, (u**2 - s**2) / s**4]),
            ),
        ),
        Mistake(
            "std taken for the variance",
            "Your score belongs to N(x; mean, std): the third argument is a standard deviation, "
            "and the density has std² in it.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [u / s, (u**2 - s) / (2 * s**2)]),
                _gaussian(lambda u, s: [u / s, (u**2 - s) / s**2]),
                _gaussian(lambda u, s: [u / s, (u**2 - s) / s**1.5]),
            ),
        ),
        Mistake(
            "std for std²",
            "The power of std is wrong: the derivative by the mean is (x - mean)/std², the one by "
            "std has std³ below.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [u / s, (u**2 - s**2) / s**3]),
                _gaussian(lambda u, s: [u / s, (u**2 - s**2) / s**2]),
                _gaussian(lambda u, s: [u / s**2, u**2 / s**2 - 1 / s]),
                _gaussian(lambda u, s: [u / s**2, u**2 / s**3 - 1]),
                _gaussian(lambda u, s: [u / s**2, u**2 / s**3 - 1 / s**2]),
                _gaussian(lambda u, s: [u / s**2, u**2 / s**4 - 1 / s]),
                _gaussian(lambda u, s: [u / s**2, (u**2 - s) / s**3]),
                _gaussian(lambda u, s: [u / s**2, u - 1 / s]),
            ),
        ),
        Mistake(
            "normalisation forgotten",
            "The density has the factor 1/std in front. Its logarithm, -log std, gives the term "
            "-1/std in the second entry.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [u / s**2, u**2 / s**3]),
                _gaussian(lambda u, s: [u / s**2, u**2 / s**2]),
            ),
        ),
        Mistake(
            "normalisation counted wrongly",
            "The density has std once in front, so its logarithm has -log std once: not a half "
            "of it, not twice.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [u / s**2, u**2 / s**3 - 1 / (2 * s)]),
                _gaussian(lambda u, s: [u / s**2, u**2 / s**3 - 2 / s]),
            ),
        ),
        Mistake(
            "only the normalisation differentiated",
            "Your second entry is -1/std. The exponent depends on std too and adds "
            "(x - mean)²/std³.",
            "sec-gaussian-score",
            (_gaussian(lambda u, s: [u / s**2, -1 / s]),),
        ),
        Mistake(
            "the half forgotten",
            "The exponent of the density is -(x - mean)²/(2 std²); its 2 is missing.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [2 * u / s**2, 2 * u**2 / s**3 - 1 / s]),
                _gaussian(lambda u, s: [2 * u / s**2, (u**2 - s**2) / s**3]),
                _gaussian(lambda u, s: [u / s**2, 2 * u**2 / s**3 - 1 / s]),
                _gaussian(lambda u, s: [u / s**2, u**2 / (2 * s**3) - 1 / s]),
                _gaussian(lambda u, s: [u / (2 * s**2), u**2 / (2 * s**3) - 1 / s]),
            ),
        ),
        Mistake(
            "sign",
            "A sign is turned. Moving the mean towards x makes x more likely, so the first entry "
            "has the sign of x - mean; a wider bell makes far points more likely, so the second "
            "is positive where |x - mean| > std.",
            "sec-gaussian-score",
            (
                _gaussian(lambda u, s: [-u / s**2, (u**2 - s**2) / s**3]),
                _gaussian(lambda u, s: [u / s**2, (s**2 - u**2) / s**3]),
                _gaussian(lambda u, s: [-u / s**2, (s**2 - u**2) / s**3]),
                _gaussian(lambda u, s: [u / s**2, (u**2 + s**2) / s**3]),
                _gaussian(lambda u, s: [-u / s**2, u**2 / s**2 - 1]),
            ),
        ),
        Mistake(
            "gradient of the density",
            "You differentiate the density itself. The score is the gradient of its logarithm: "
            "divide by the density.",
            "equation-log-derivative",
            (_gaussian(lambda u, s: _density(u, s) * np.array([u / s**2, (u**2 - s**2) / s**3])),),
        ),
        Mistake(
            "the two entries swapped",
            "The derivative by the mean comes first, the one by std second.",
            "sec-gaussian-score",
            (_gaussian(lambda u, s: [(u**2 - s**2) / s**3, u / s**2]),),
        ),
        Mistake(
            "derivative by the mean only",
            "The Gaussian has two parameters here: return the derivatives by mean and by std.",
            "sec-gaussian-score",
            (_gaussian(lambda u, s: u / s**2), _gaussian(lambda u, s: [u / s**2])),
        ),
        Mistake(
            "the logarithm itself",
            "You return the log density, not its derivatives.",
            "sec-gaussian-score",
            (_gaussian(lambda u, s: np.log(_density(u, s))),),
        ),
        _nearly(
            lambda x, mean, std: _slopes(
                lambda th: np.log(_density(x - th[0], th[1])), np.array([mean, std])
            )
        ),
    ],
)


# --- score_function_gradient -------------------------------------------------------------------


def _gradient_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    yield np.array([1.0, 2.0, 4.0]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    for M, D in [(5, 2), (2, 5), (4, 4), (7, 1), (1, 3), (1, 1), (50, 3)]:
        yield rng.normal(0.5, 1.0, size=M), rng.normal(0.3, 1.0, size=(M, D))
    yield np.zeros(3), rng.normal(size=(3, 2))


def _centred(ddof: int) -> Answers:
    return lambda f, S: (f - f.mean()) @ S / (len(f) - ddof)


SCORE_FUNCTION_GRADIENT = Exercise(
    "score_function_gradient",
    score_function_gradient,
    _gradient_inputs,
    [
        Mistake(
            "averaging before multiplying",
            "You multiply the mean of f by the mean of the scores. Each score is multiplied by "
            "the f of its own sample; the average comes last. The mean score tends to 0, and "
            "your answer with it.",
            "sec-order",
            (
                lambda f, S: f.mean() * S.mean(axis=0),
                lambda f, S: f.mean() * S.sum(axis=0),
                lambda f, S: f.sum() * S.sum(axis=0),
                lambda f, S: f.sum() * S.mean(axis=0) / len(f) ** 2,
            ),
        ),
        Mistake(
            "sum instead of mean",
            "You add over the samples and do not divide by their number M.",
            "equation-score-estimator",
            (lambda f, S: f @ S,),
        ),
        Mistake(
            "f missing",
            "You average the scores alone. They average to 0 whatever f is; f says which samples "
            "were good.",
            "equation-score-mean-zero",
            (lambda f, S: S.mean(axis=0), lambda f, S: S.sum(axis=0)),
        ),
        Mistake(
            "f called the score",
            "The score is the gradient of log p, one row of `scores` for each sample; f is not "
            "the score. You use f alone: its mean estimates the expectation, not its gradient.",
            "sec-names",
            (
                lambda f, S: f.mean(),
                lambda f, S: np.full(S.shape[1], f.mean()),
                lambda f, S: (f**2).mean(),
                lambda f, S: np.full(S.shape[1], (f**2).mean()),
                lambda f, S: f,
            ),
        ),
        Mistake(
            "sign",
            "Your answer is the negative. The estimate points uphill; a minus sign belongs only "
            "where an optimiser minimises.",
            "equation-score-estimator",
            (lambda f, S: -f @ S / len(f), lambda f, S: -f @ S),
        ),
        Mistake(
            "divided by M - 1",
            "A mean divides by M. The M - 1 belongs to a sample variance.",
            "equation-score-estimator",
            (lambda f, S: f @ S / np.float64(len(f) - 1), lambda f, S: f @ S / (len(f) - 1)),
        ),
        Mistake(
            "divided by M times D",
            "You average over the parameters too. Each parameter keeps its own sum, divided by M.",
            "equation-score-estimator",
            (
                lambda f, S: f @ S / S.size,
                lambda f, S: (f[:, None] * S).mean(),
                lambda f, S: f @ S / S.shape[1],
            ),
        ),
        Mistake(
            "averaged over the wrong axis",
            "You average over the parameters. The samples are the rows: sum over axis 0.",
            "equation-score-estimator",
            (
                lambda f, S: (f[:, None] * S).mean(axis=1),
                lambda f, S: (f[:, None] * S).sum(axis=1),
            ),
        ),
        Mistake(
            "f multiplied along the wrong axis",
            "`f_values * scores` lines f up with the columns (or fails). Make f a column first: "
            "`f_values[:, None] * scores`, or write `f_values @ scores`.",
            "sec-order",
            (lambda f, S: (f * S).mean(axis=0),),
        ),
        Mistake(
            "divided by the sum of f",
            "f is no weight to be normalised: it may be negative, and its size matters. Divide "
            "by the number of samples.",
            "equation-score-estimator",
            (
                lambda f, S: f @ S / f.sum(),
                lambda f, S: f @ S / np.abs(f).sum(),
            ),
        ),
        Mistake(
            "mean of f subtracted",
            "You subtract the mean of f from the same samples first. That is another estimator, "
            "and not an unbiased one; baselines have their own chapter.",
            "equation-score-estimator",
            (_centred(0), _centred(1), lambda f, S: (f - f.mean()) / f.std() @ S / len(f)),
        ),
        Mistake(
            "one sample only",
            "You use one sample. All M of them count, with equal weight.",
            "equation-score-estimator",
            (lambda f, S: f[0] * S[0], lambda f, S: f[-1] * S[-1]),
        ),
        Mistake(
            "not averaged",
            "You return one row for each sample. The estimate is their mean.",
            "equation-score-estimator",
            (lambda f, S: f[:, None] * S,),
        ),
    ],
)


# --- exact_variance ----------------------------------------------------------------------------


def _variance_inputs(rng: np.random.Generator) -> Iterator[Arrays]:
    p = np.array([0.2, 0.3, 0.5])
    yield p, np.array([1.0, 2.0, 4.0]), np.eye(3) - p
    for K, D in [(4, 2), (2, 3), (3, 3), (5, 1), (12, 4)]:
        yield rng.dirichlet(np.ones(K)), rng.normal(1.0, 1.5, size=K), rng.normal(size=(K, D))
    p = softmax(rng.normal(size=4))
    yield p, rng.normal(size=4), np.eye(4) - p
    yield np.array([0.0, 0.25, 0.75]), rng.normal(size=3), rng.normal(size=(3, 2))
    yield np.array([1.0]), np.array([2.0]), np.array([[1.0, -3.0]])  # certain: no variance


def _moment(args: Arrays) -> Any:
    p, f, S = args
    return p @ (f**2 * (S**2).sum(axis=1))


def _mean(args: Arrays) -> Any:
    p, f, S = args
    return (p * f) @ S


def _covariance(p: Any, f: Any, S: Any) -> Any:
    rows = f[:, None] * S - _mean((p, f, S))
    return rows.T * p @ rows


def _less_mean(moment: Answers) -> Answers:
    return lambda *args: moment(*args) - _mean(args) @ _mean(args)


def _norms(S: Any) -> Any:
    return np.sqrt((S**2).sum(axis=1))


EXACT_VARIANCE = Exercise(
    "exact_variance",
    exact_variance,
    _variance_inputs,
    [
        Mistake(
            "squared mean not subtracted",
            "You return the second moment E[f² ‖score‖²]. A variance subtracts the squared norm "
            "of the mean, E[f score].",
            "equation-score-variance",
            (lambda *args: _moment(args),),
        ),
        Mistake(
            "mean over components",
            "The trace of the covariance adds the variances of the D components; you average them.",
            "sec-variance",
            (lambda *args: np.trace(_covariance(*args)) / args[2].shape[1],),
        ),
        Mistake(
            "not weighted by probs",
            "Every outcome counts alike in your answer. An expectation weighs each with its "
            "probability.",
            "sec-variance",
            (
                lambda p, f, S: (f[:, None] * S).var(axis=0).sum(),
                lambda p, f, S: (f**2) @ (S**2).sum(axis=1) - (f @ S) @ (f @ S),
                lambda p, f, S: (f**2) @ (S**2).sum(axis=1) - _mean((p, f, S)) @ _mean((p, f, S)),
                lambda p, f, S: (f[:, None] * S).var(axis=0).mean(),
                lambda p, f, S: (((f[:, None] * S) - _mean((p, f, S))) ** 2).sum(),
                lambda p, f, S: (((f[:, None] * S) - _mean((p, f, S))) ** 2).sum(axis=1).mean(),
                lambda p, f, S: p @ ((f[:, None] * S - (f @ S) / len(p)) ** 2).sum(axis=1),
                lambda p, f, S: p @ ((f[:, None] * S - f @ S) ** 2).sum(axis=1),
            ),
        ),
        Mistake(
            "another mean subtracted",
            "Deviations are taken from something else than E[f score], the mean of what varies.",
            "equation-score-variance",
            (
                lambda p, f, S: p @ ((f[:, None] * S - p @ S) ** 2).sum(axis=1),
                lambda p, f, S: p @ ((f[:, None] * S - p @ f) ** 2).sum(axis=1),
                lambda p, f, S: p @ ((f[:, None] * S - (p @ f) * (p @ S)) ** 2).sum(axis=1),
            ),
        ),
        Mistake(
            "divided by M - 1",
            "A correction for samples (M - 1) is in your answer. Here are no samples: the "
            "probabilities are known, and the expectation is a weighted sum.",
            "sec-variance",
            (
                lambda p, f, S: (
                    (f[:, None] * S).var(axis=0).sum() * len(p) / np.float64(len(p) - 1)
                ),
                lambda p, f, S: np.trace(_covariance(p, f, S)) / (1 - p @ p),
                lambda p, f, S: np.trace(_covariance(p, f, S)) * len(p) / np.float64(len(p) - 1),
                lambda p, f, S: np.trace(_covariance(p, f, S)) / np.float64(len(p) - 1),
            ),
        ),
        Mistake(
            "divided by the number of outcomes",
            "You weigh by the probabilities and divide by K as well. The weights already sum to 1.",
            "sec-variance",
            (
                lambda p, f, S: np.trace(_covariance(p, f, S)) / len(p),
                lambda p, f, S: (p[:, None] * f[:, None] * S).var(axis=0).sum(),
            ),
        ),
        Mistake(
            "f not squared",
            "A variance is quadratic in what varies: the second moment has f², not f.",
            "equation-score-variance",
            (_less_mean(lambda p, f, S: p @ (f * (S**2).sum(axis=1))),),
        ),
        Mistake(
            "norm not squared",
            "The second moment has ‖score‖², the sum of squares, not its root.",
            "equation-score-variance",
            (
                _less_mean(lambda p, f, S: p @ (f**2 * _norms(S))),
                _less_mean(lambda p, f, S: p @ (f**2 * S.sum(axis=1) ** 2)),
                lambda *args: _moment(args) - np.sqrt(_mean(args) @ _mean(args)),
            ),
        ),
        Mistake(
            "averaging before multiplying",
            "E[f² ‖score‖²] is not E[f²] E[‖score‖²]: f and the score belong to the same outcome.",
            "equation-score-variance",
            (
                _less_mean(lambda p, f, S: (p @ f**2) * (p @ (S**2).sum(axis=1))),
                lambda p, f, S: (p @ f**2) * (p @ (S**2).sum(axis=1)),
                lambda p, f, S: _moment((p, f, S)) - (p @ f) ** 2 * (p @ S) @ (p @ S),
            ),
        ),
        Mistake(
            "f missing",
            "You return the variance of the scores alone. What varies is f times the score.",
            "equation-score-variance",
            (
                lambda p, f, S: np.trace(_covariance(p, np.ones(len(f)), S)),
                lambda p, f, S: p @ (S**2).sum(axis=1),
            ),
        ),
        Mistake(
            "f called the score",
            "You return the variance of f. The estimate whose variance is asked for is f times "
            "the score, a vector for each outcome.",
            "sec-names",
            (
                lambda p, f, S: p @ f**2 - (p @ f) ** 2,
                lambda p, f, S: np.trace(_covariance(p, f - p @ f, S)),
            ),
        ),
        Mistake(
            "covariance matrix instead of its trace",
            "You return a matrix, or a number for each component. Asked is the sum of its "
            "diagonal.",
            "sec-variance",
            (
                _covariance,
                lambda *args: np.diag(_covariance(*args)),
            ),
        ),
        Mistake(
            "all entries of the covariance",
            "You add the covariances between components too. The trace has the diagonal only.",
            "sec-variance",
            (
                lambda *args: _covariance(*args).sum(),
                lambda p, f, S: _moment((p, f, S)) - _mean((p, f, S)).sum() ** 2,
            ),
        ),
        Mistake(
            "variance of the norm",
            "You take the norm of f times the score first, and then the variance of that number. "
            "Directions cancel in the mean, lengths do not: subtract ‖E[f score]‖².",
            "equation-score-variance",
            (lambda p, f, S: _moment((p, f, S)) - (p @ (np.abs(f) * _norms(S))) ** 2,),
        ),
        Mistake(
            "standard deviation",
            "You return a root. Asked is the variance.",
            "equation-score-variance",
            (
                lambda *args: np.sqrt(np.trace(_covariance(*args))),
                lambda *args: np.sqrt(np.diag(_covariance(*args))).sum(),
            ),
        ),
        Mistake(
            "sign",
            "Your answer is negative: the squared mean is subtracted from the second moment, not "
            "the other way round.",
            "equation-score-variance",
            (
                lambda *args: -np.trace(_covariance(*args)),
                lambda *args: _moment(args) + _mean(args) @ _mean(args),
            ),
        ),
        Mistake(
            "determinant for trace",
            "You return a determinant. The trace adds the diagonal.",
            "sec-variance",
            (lambda *args: np.linalg.det(_covariance(*args)),),
        ),
    ],
)

EXERCISES = (SOFTMAX_SCORE, GAUSSIAN_SCORE, SCORE_FUNCTION_GRADIENT, EXACT_VARIANCE)
