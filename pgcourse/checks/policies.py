"""Checks of chapter 2: softmax and its logarithm, sampling an action, a step uphill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from pgcourse.checks.core import Exercise
from pgcourse.policies import gradient_ascent_step, log_softmax, sample_action, softmax

Args = tuple[Any, ...]
Function = Callable[..., Any]

# --- softmax and log_softmax -------------------------------------------------------------------

LARGEST = 700  # beyond, exp overflows in double precision; below minus this, it is nearly nothing


def _logits(rng: np.random.Generator) -> Iterator[Args]:
    """Draw plain logits first, then sizes and shapes that break what is not careful."""
    yield (np.array([0.0, 1.0, -0.5]),)
    for shape in [(2, 3), (3, 3), (3, 2), (4,), (2, 3, 4), (2, 2, 2), (1, 4), (4, 1), (1,), (1, 1)]:
        yield (rng.normal(0, 1.5, size=shape),)
    yield (np.array([1e5, 99_999.5, -1e5]),)
    yield (np.array([-1e5, -99_999.0]),)
    yield (np.array([[1e5, 99_999.5], [-99_999.875, -1e5], [0.0, 1.0]]),)  # rows far apart
    yield (np.array([[800.0, 0.5, -800.0], [0.0, -1000.0, -2000.5]]),)
    yield (np.array([0.0, -750.0, 3.0, -40.0]),)
    yield (rng.integers(-800_000, 800_001, size=(2, 3, 2)) / 8,)
    yield (rng.integers(-4, 5, size=(3, 4)) / 8 + rng.integers(-90_000, 90_001, size=(3, 1)),)


def _rows(x: Any) -> Any:
    return x.sum(axis=-1, keepdims=True)


def _top(x: Any) -> Any:
    return x.max(axis=-1, keepdims=True)


def _probs(x: Any, offset: Any, total: Function = _rows) -> Any:
    return np.exp(x - offset) / total(np.exp(x - offset))


def _logs(x: Any, offset: Any, total: Function = _rows) -> Any:
    return x - offset - np.log(total(np.exp(x - offset)))


def _underflowed(args: Args, got: Any, expected: Any) -> bool:
    """Tell whether `got` is minus infinity, and only where a probability underflows."""
    lost = np.isneginf(got)
    return bool(lost.any() and (expected[lost] < -LARGEST).all() and np.isfinite(got[~lost]).all())


def _overflowed(args: Args, got: Any, expected: Any) -> bool:
    large = np.abs(args[0]).max() > LARGEST and not np.isfinite(got).all()
    return bool(large and not _underflowed(args, got, expected))


SOFTMAX = Exercise("softmax", softmax, _logits)
LOG_SOFTMAX = Exercise("log_softmax", log_softmax, _logits)


def _in_both(
    name: str, see: str, also: Sequence[Function] = (), signs: Function | None = None
) -> Callable[[Function], Function]:
    """Register a mistake of both exercises; its functions take `_probs` or `_logs` first."""

    def add(wrong: Function) -> Function:
        for exercise, form in ((SOFTMAX, _probs), (LOG_SOFTMAX, _logs)):
            first, *others = (partial(f, form) for f in (wrong, *also))
            first.__doc__ = wrong.__doc__
            exercise.mistake(name, see, others, signs)(first)
        return wrong

    return add


@_in_both("one maximum for all rows", "sec-overflow", [lambda form, x: form(x, x.max(axis=0))])
def _one_maximum(form: Function, x: Any) -> Any:
    """You subtract one number from all rows, not from each its own maximum. In a row far below it
    all exponentials underflow to 0. Use `max(axis=-1, keepdims=True)`."""
    return form(x, x.max())


@_in_both(
    "overflow",
    "sec-overflow",
    [
        lambda form, x: [math.exp(v) for v in x.ravel()] and form(x, 0),
        lambda form, x: [1 / sum(map(math.exp, r)) for r in np.atleast_2d(x)] and form(x, 0),
        lambda form, x: np.nan_to_num(form(x, 0)),
        lambda form, x: form(x, x.mean(axis=-1, keepdims=True)),
    ],
    _overflowed,
)
def _unshifted(form: Function, x: Any) -> Any:
    """exp(1000) is infinite for a computer, exp(-1000) is 0; neither has a useful quotient or
    logarithm. Take each row's maximum off first: probabilities stay the same, and no exponential
    exceeds 1."""
    return form(x, 0)


def _along(axis: int | None, stable: bool, form: Function, x: Any) -> Any:
    offset = x.max(axis=axis, keepdims=True) if stable else 0
    return form(x, offset, lambda weights: weights.sum(axis=axis, keepdims=True))


@_in_both(
    "wrong axis",
    "sec-axis",
    [
        *(partial(_along, axis, stable) for axis in (None, 0, 1) for stable in (True, False)),
        lambda form, x: x.shape[1] and _along(1, True, form, x),  # an IndexError, as in torch
    ],
)
def _by_columns(form: Function, x: Any) -> Any:
    """The probabilities of one row must sum to 1: normalise over the last axis, whatever the
    number of axes. Yours sum to 1 over another axis, or all together."""
    return _along(0, True, form, x)


@_in_both(
    "keepdims missing",
    "sec-axis",
    [lambda form, x: form(x, x.max(axis=-1), lambda weights: weights.sum(axis=-1))],
)
def _flat_sum(form: Function, x: Any) -> Any:
    """The sum (or maximum) over the last axis has lost that axis, so it is matched with columns
    instead of rows: an error, or silently wrong for a square table. Use `keepdims=True`."""
    return form(x, _top(x), lambda weights: weights.sum(axis=-1))


@_in_both(
    "logits clipped",
    "sec-overflow",
    [
        lambda form, x, bound=bound: form(np.clip(x, -bound, bound), 0)
        for bound in (10, 20, 50, 80, 100, 600, 700)
    ],
)
def _clipped(form: Function, x: Any) -> Any:
    """You clip the logits to keep exp from overflowing, and this makes different logits equal.
    Take each row's maximum off instead: that changes nothing."""
    return form(np.clip(x, -500, 500), 0)


@_in_both(
    "divided by the maximum",
    "sec-overflow",
    [
        lambda form, x: form(x / np.abs(x).max(axis=-1, keepdims=True), 0),
        lambda form, x: form(x / x.max(), 0),
        lambda form, x: form(x / np.abs(x).max(), 0),
    ],
)
def _quotient(form: Function, x: Any) -> Any:
    """You divide the logits by their maximum, and this changes the probabilities. *Subtract* the
    maximum: a number taken off all logits of a row cancels in the quotient."""
    return form(x / _top(x), 0)


def _one_row(x: Any) -> Any:
    largest = max(x)
    weights = [math.exp(v - largest) for v in x]
    return [w / sum(weights) for w in weights]


def _one_row_by_method(x: Any) -> Any:
    weights = [math.exp(v - x.max()) for v in x]
    return [w / sum(weights) for w in weights]


@SOFTMAX.mistake(
    "works for a single row",
    "sec-axis",
    [
        _one_row_by_method,
        lambda x: np.array(_one_row(x)),
        lambda x: np.exp(x - max(x)) / sum(np.exp(x - max(x))),
    ],
)
def _single_row(x: Any) -> Any:
    """Logits of one row work, tables do not: `max`, `math.exp` or a loop over the entries knows no
    axis. Use NumPy's functions with `axis=-1`, which serve any number of axes."""
    return _one_row(x)


@LOG_SOFTMAX.mistake(
    "works for a single row",
    "sec-axis",
    [
        lambda x: [v - x.max() - math.log(sum(math.exp(w - x.max()) for w in x)) for v in x],
        lambda x: x - max(x) - np.log(sum(np.exp(x - max(x)))),
    ],
)
def _log_single_row(x: Any) -> Any:
    """Logits of one row work, tables do not: `max`, `math.exp` or a loop over the entries knows no
    axis. Use NumPy's functions with `axis=-1`, which serve any number of axes."""
    total = math.log(sum(math.exp(v - max(x)) for v in x))
    return [v - max(x) - total for v in x]


@SOFTMAX.mistake(
    "maximum taken off in one place only",
    "sec-overflow",
    [lambda x: np.exp(x) / _rows(np.exp(x - _top(x)))],
)
def _shifted_above(x: Any) -> Any:
    """The maximum is taken off above the line or below it, not in both places, so it does not
    cancel. Compute the weights exp(x - m) once, then divide them by their own sum."""
    return np.exp(x - _top(x)) / _rows(np.exp(x))


@_in_both("sign of the logits", "equation-softmax")
def _negated(form: Function, x: Any) -> Any:
    """The largest logit must get the largest probability; yours gets the smallest. There is no
    minus in the exponent."""
    return form(-x, _top(-x))


def _is_short(args: Args, got: Any, expected: Any) -> bool:
    """Tell whether each row is a little too small by one factor: ε was added to the sum."""
    sums = _rows(got)
    small = (sums <= 1).all() and sums.min() > 0.9
    return bool(small and np.allclose(got / sums, expected, rtol=1e-9, atol=1e-12))


@SOFTMAX.mistake("something added to the sum", "sec-overflow", signs=_is_short)
def _with_epsilon(x: Any) -> Any:
    """Your rows sum to a little less than 1: a small number was added to the denominator. It is
    not needed: once the maximum is taken off, the sum is at least 1."""
    return _probs(x, _top(x), lambda weights: _rows(weights) + 1e-8)


@SOFTMAX.mistake(
    "exponential or sum missing",
    "equation-softmax",
    [np.exp, lambda x: 1 / (1 + np.exp(-x)), lambda x: x / _rows(x)],
)
def _weights(x: Any) -> Any:
    """A softmax divides exponentials by the sum of their row. You leave out one of these two steps,
    or work on each logit alone."""
    return np.exp(x - _top(x))


@SOFTMAX.mistake("logarithms returned", "equation-softmax")
def _logarithms(x: Any) -> Any:
    """These are log-probabilities, the answer of the next exercise."""
    return log_softmax(x)


def _is_floored(args: Args, got: Any, expected: Any) -> bool:
    """Tell whether the probabilities are right but for small ones, which are too large."""
    close = np.abs(np.exp(got) - np.exp(expected)).max() < 2e-3
    above = (got >= expected - 1e-9 * np.abs(expected)).all() and (got > expected).any()
    return bool(np.isfinite(got).all() and above and close)


@LOG_SOFTMAX.mistake("log of an underflowed probability", "sec-overflow", signs=_underflowed)
def _log_of_softmax(x: Any) -> Any:
    """You take the logarithm of a probability that is too small for a computer: it has become 0,
    and log 0 is minus infinity. Subtract logarithms, do not divide first."""
    return np.log(softmax(x))


@LOG_SOFTMAX.mistake("a floor under the probability", "sec-overflow", signs=_is_floored)
def _log_of_more(x: Any) -> Any:
    """Small probabilities come out too large: a constant was added inside the logarithm, or the
    probability was clipped. The error is largest where log-probabilities matter most. Subtract
    the logarithm of the sum; then no floor is needed."""
    return np.log(softmax(x) + 1e-8)


@LOG_SOFTMAX.mistake(
    "a term missing or turned",
    "equation-log-softmax",
    [
        lambda x: x,
        lambda x: log_softmax(x) - _top(x),
        lambda x: log_softmax(x) + _top(x),
        lambda x: -log_softmax(x),
        lambda x: 2 * x - log_softmax(x),
        lambda x: x - _top(x) + _log_sum(x, _top(x)),
    ],
)
def _only_shifted(x: Any) -> Any:
    """With m the largest logit of the row, log p is x - m - log Σ exp(x - m): the maximum goes from
    both places, and the logarithm of the sum is subtracted."""
    return x - _top(x)


def _log_sum(x: Any, offset: Any = 0) -> Any:
    return np.log(_rows(np.exp(x - offset)))


@LOG_SOFTMAX.mistake(
    "log-sum-exp alone",
    "equation-log-softmax",
    [
        lambda x: _log_sum(x, _top(x)),
        _log_sum,
        lambda x: -_log_sum(x, _top(x)) - _top(x),
        lambda x: (_log_sum(x, _top(x)) + _top(x))[..., 0],
        lambda x: _log_sum(x, _top(x))[..., 0],
        lambda x: _log_sum(x)[..., 0],
    ],
)
def _normaliser(x: Any) -> Any:
    """You return log Σ exp alone, one number a row. Subtract it from each logit of the row: that is
    the log-probability of the action."""
    return _log_sum(x, _top(x)) + _top(x)


@LOG_SOFTMAX.mistake(
    "logarithm of the sum forgotten",
    "equation-log-softmax",
    [
        lambda x: x - _rows(np.exp(x - _top(x))),
        lambda x: x - _rows(np.exp(x)),
    ],
)
def _minus_sum(x: Any) -> Any:
    """You subtract the sum of the exponentials, not its logarithm. The logarithm of a quotient is
    a difference of two logarithms; the exponential undoes only the first of them."""
    return x - _top(x) - _rows(np.exp(x - _top(x)))


@LOG_SOFTMAX.mistake("probabilities returned", "equation-log-softmax")
def _probabilities(x: Any) -> Any:
    """These are the probabilities, not their logarithms."""
    return softmax(x)


# --- sample_action -----------------------------------------------------------------------------

BELOW_ONE = float(np.nextafter(1, 0))  # the largest u there is


def _draws(rng: np.random.Generator) -> Iterator[Args]:
    yield np.array([0.2, 0.5, 0.3]), 0.6
    for A in (3, 4, 5, 5, 6, 6, 7, 8, 9, 10, 10, 11, 11, 12, 12, 12):
        probs = rng.dirichlet(np.ones(A))
        probs[rng.integers(A)] = 0
        probs /= probs.sum()
        u = rng.random()
        while np.abs(np.cumsum(probs) - u).min() < 1e-4:
            u = rng.random()
        yield probs, u
    yield np.array([1.0]), 0.5
    for eighths, u in [
        ((2, 2, 4), 0.25), ((2, 2, 4), 0.5), ((4, 4), 0.5), ((2, 1, 3, 2), 0.75), ((0, 4, 4), 0.0),
        ((4, 0, 0, 4), 0.5), ((0, 0, 8, 0), 0.0), ((1, 1, 1, 5), 0.125), ((3, 2, 3), 0.0),
    ]:  # fmt: skip
        yield np.array(eighths) / 8, u
    yield np.array([0.3 + 4e-9, 0.7 - 4e-9]), 0.3 + 2e-9  # near a border, but not too near
    yield np.array([0.7 + 2e-9, 0.3 - 2e-9]), 0.7 + 4e-9
    yield np.array([4e-9, 0.25, 0.75 - 4e-9]), 2e-9
    yield np.array([0.5, 0.5 - 4e-9, 4e-9]), 1 - 2e-9
    yield np.array([0.7, 0.1, 0.1, 0.1, 0.0]), BELOW_ONE  # these sums end just below 1
    yield np.array([0.1] * 10 + [0.0, 0.0]), BELOW_ONE
    yield np.array([0.0] + [0.1] * 10 + [0.0]), BELOW_ONE


ENDS: tuple[Function, ...] = (  # where a search goes that finds no action: 0, beyond, or an error
    lambda p: 0, len, lambda p: -1, lambda p: p[len(p)], lambda p: next(iter(p[:0]))
)  # fmt: skip


def _last_possible(p: Any) -> int:
    return int(np.flatnonzero(p)[-1])


LAST: tuple[Function, ...] = (lambda p: len(p) - 1, _last_possible)


def _first(found: Function, otherwise: Function, p: Any, u: Any) -> Any:
    """Return the first action for which `found` holds, else what `otherwise` says."""
    where = np.flatnonzero(found(p, u))
    return where[0] if len(where) else otherwise(p)


def _above(p: Any, u: Any) -> Any:
    return np.cumsum(p) > u


def _is_possible(args: Args, got: Any, expected: Any) -> bool:
    whole = float(got).is_integer() and 0 <= got < len(args[0])
    return bool(whole and args[0][int(got)] > 0)


SAMPLE = Exercise("sample_action", sample_action, _draws)


@SAMPLE.mistake("zero-probability action chosen", "sec-rounding")
def _last_of_all(p: Any, u: Any) -> Any:
    """Rounding left no cumulative probability above u, and you returned the last action, which
    has probability 0. Return the last action with positive probability."""
    return _first(_above, lambda p: len(p) - 1, p, u)


@SAMPLE.mistake(
    "rounding leaves no action",
    "sec-rounding",
    [*(partial(_first, _above, end) for end in ENDS), partial(_first, _above, np.argmax)],
)
def _none(p: Any, u: Any) -> Any:
    """The cumulative probabilities end at 0.9999999999999999 and u is not below it: no action is
    found, and what then comes out is action 0, the likeliest, an index beyond the end, None or
    an error. Return the last action with positive probability."""
    return _first(_above, lambda p: None, p, u)


@SAMPLE.mistake("boundary on the wrong side", "equation-inverse-cdf")
def _at_least(p: Any, u: Any) -> Any:
    """You take the first action whose cumulative probability is at least u (>=); it must exceed
    u (>). With u = 0 yours can pick an action of probability 0."""
    return np.searchsorted(np.cumsum(p), u)


def _blurred(sums: Function, number: Function) -> Function:
    """Compare what is left of the cumulative sums with what is left of u."""
    return partial(_first, lambda p, u: sums(np.cumsum(p)) > number(u), _last_possible)


def _same(x: Any) -> Any:
    return x


_DIGITS = [partial(np.round, decimals=k) for k in range(1, 9)]
_SMALL = [10.0**-k for k in range(3, 9)]
_BLURRED = [
    *(_blurred(rounded, _same) for rounded in _DIGITS),
    *(_blurred(_same, rounded) for rounded in _DIGITS),
    *(_blurred(_same, lambda u, h=h: np.clip(u, h, 1 - h)) for h in _SMALL),
    *(_blurred(_same, lambda u, h=h: u + h) for h in (*_SMALL, *(-h for h in _SMALL))),
    _blurred(np.float32, np.float32),
]


@SAMPLE.mistake("rounded on the way", "sec-rounding", _BLURRED)
def _single_precision(p: Any, u: Any) -> Any:
    """Where u is near a border you come out on the wrong side: the sums or u were rounded,
    clipped, compared with a tolerance, or kept in single precision. Compare them as they are."""
    return _first(lambda p, u: np.cumsum(p, dtype=np.float32) > u, _last_possible, p, u)


@SAMPLE.mistake("sampling by argmax", "sec-sampling")
def _likeliest(p: Any, u: Any) -> Any:
    """You always return the likeliest action. Sampling means that each action comes up as often
    as its probability says; here u decides which."""
    return np.argmax(p)


@SAMPLE.mistake(
    "all candidates returned",
    "equation-inverse-cdf",
    [
        lambda p, u: np.flatnonzero(_above(p, u))[:1],
        lambda p, u: np.argwhere(_above(p, u)),
        lambda p, u: np.where(_above(p, u)),
    ],
)
def _candidates(p: Any, u: Any) -> Any:
    """You return an array: every action whose cumulative probability exceeds u, or the first in a
    list of its own. Asked is one number, the first of them."""
    return np.flatnonzero(_above(p, u))


@SAMPLE.mistake(
    "probabilities not accumulated",
    "equation-inverse-cdf",
    [
        *(partial(_first, lambda p, u: p > u, end) for end in (*ENDS, _last_possible)),
        *(partial(_first, lambda p, u: p[:1] > u, end) for end in LAST),
    ],
)
def _single(p: Any, u: Any) -> Any:
    """You compare u with single probabilities. Lay them end to end on [0, 1): action a owns the
    piece between two cumulative sums."""
    return _first(lambda p, u: p > u, lambda p: len(p) - 1, p, u)


@SAMPLE.mistake(
    "counted from the other end",
    "equation-inverse-cdf",
    [lambda p, u: len(p) - 1 - sample_action(p[::-1], u)],
)
def _one_minus_u(p: Any, u: Any) -> Any:
    """You lay out the actions from the last to the first, or use 1 - u. That samples from the
    same distribution, but this exercise asks for the action of this very u."""
    return np.argmax(_above(p, 1 - u))


@SAMPLE.mistake("nearest border", "equation-inverse-cdf")
def _nearest(p: Any, u: Any) -> Any:
    """You take the action whose cumulative probability is nearest to u. The borders do not
    attract: action a owns the whole piece below its cumulative probability."""
    return np.argmin(np.abs(np.cumsum(p) - u))


@SAMPLE.mistake("actions equally likely", "equation-inverse-cdf")
def _equal_pieces(p: Any, u: Any) -> Any:
    """You divide [0, 1) into equal pieces. Action a owns a piece of length probs[a]."""
    return int(u * len(p))


@SAMPLE.mistake("off by one", "equation-inverse-cdf", [lambda p, u: sample_action(p, u) - 1])
def _neighbour(p: Any, u: Any) -> Any:
    """Your action is the neighbour of the right one: the sum up to and including a, not the one
    before it, must exceed u."""
    return sample_action(p, u) + 1


@SAMPLE.mistake("own random number", "sec-sampling", signs=_is_possible)
def _drawn(p: Any, u: Any) -> Any:
    """Your action is possible, but it is not the one that this u picks: a random number of your
    own decided, or u entered in another way. Here u is all the randomness there is."""
    return np.random.default_rng(0).choice(len(p), p=p)


# --- gradient_ascent_step ----------------------------------------------------------------------


def _steps(rng: np.random.Generator) -> Iterator[Args]:
    yield np.array([1.0, 2.0]), np.array([0.5, -1.0]), 0.1
    for shape in [(3,), (2, 3), (3, 2), (2, 2), (1,), (1, 1), (2, 3, 2), (4, 1)]:
        yield rng.normal(size=shape), rng.normal(size=shape), round(rng.uniform(0.05, 3.0), 2)
    yield rng.normal(size=3), rng.normal(size=3), 1.0
    yield (
        rng.normal(size=3),
        rng.normal(size=3),
        0.0,
    )  # nothing moves; the array is new all the same
    yield rng.normal(size=3), np.zeros(3), 0.5


STEP = Exercise("gradient_ascent_step", gradient_ascent_step, _steps, fresh=True)


@STEP.mistake("descent for ascent", "equation-ascent-step", [lambda theta, g, alpha: theta - g])
def _down(theta: Any, g: Any, alpha: float) -> Any:
    """You step against the gradient, as one does to minimise a loss. J is maximised: plus."""
    return theta - alpha * g


@STEP.mistake("alpha forgotten", "equation-ascent-step")
def _whole(theta: Any, g: Any, alpha: float) -> Any:
    """You add the whole gradient. The step size alpha scales it."""
    return theta + g


@STEP.mistake(
    "only the step", "equation-ascent-step", [lambda theta, g, a: -a * g, lambda theta, g, a: g]
)
def _move(theta: Any, g: Any, alpha: float) -> Any:
    """You return how far to move; asked is where one arrives: theta plus that."""
    return alpha * g


@STEP.mistake(
    "alpha in the wrong place",
    "equation-ascent-step",
    [lambda theta, g, a: a * theta + g, lambda theta, g, a: (1 - a) * theta + a * g],
)
def _outside(theta: Any, g: Any, alpha: float) -> Any:
    """The step size alpha multiplies the gradient, and nothing else."""
    return alpha * (theta + g)


EXERCISES = (SOFTMAX, LOG_SOFTMAX, SAMPLE, STEP)
