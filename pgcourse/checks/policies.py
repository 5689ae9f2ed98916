"""Checks of chapter 2: softmax and its logarithm, sampling an action, a step uphill."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pgcourse.checks.core import Difference, Exercise, Mistake, compare_arrays
from pgcourse.checks.wire import Blank, Value
from pgcourse.policies import gradient_ascent_step, log_softmax, sample_action, softmax

Arrays = tuple[Any, ...]
LARGEST = 700  # beyond, exp overflows in double precision; below minus this, it is nearly nothing

# --- softmax and log_softmax -------------------------------------------------------------------


def _logits(rng: np.random.Generator) -> Iterator[Arrays]:
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


def _over(axis: Any, x: Any, stable: bool = True) -> Any:
    """Softmax over any axis, or over all entries."""
    weights = np.exp(x - x.max(axis=axis, keepdims=True) if stable else x)
    return weights / weights.sum(axis=axis, keepdims=True)


def _second(f: Callable[[Any, Any], Any], x: Any) -> Any:
    """Work over axis 1; where there is none, fail as torch does."""
    if x.ndim < 2:
        raise IndexError
    return f(1, x)


def _naive(x: Any) -> Any:
    return _over(-1, x, stable=False)


def _by_math(x: Any) -> Any:
    weights = np.array([math.exp(v) for v in x.ravel()]).reshape(x.shape)
    return weights / weights.sum(axis=-1, keepdims=True)


def _centred(m: Callable[[Any], Any], x: Any) -> Any:
    """Softmax after taking off something that is not each row's maximum."""
    return _naive(x - m(x))


def _flat_sum(shifted: bool, x: Any) -> Any:
    weights = np.exp(x - x.max(axis=-1) if shifted else x - x.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1)


def _clipped(bound: float, x: Any) -> Any:
    return _naive(np.clip(x, -bound, bound))


BOUNDS = (10.0, 20.0, 30.0, 50.0, 80.0, 88.0, 100.0, 200.0, 500.0, 600.0, 700.0, 709.0)
OFF_CENTRE: tuple[Callable[[Any], Any], ...] = (
    lambda x: x.max(),
    lambda x: x.max(axis=0, keepdims=True),
    lambda x: np.abs(x).max(),
)


def _not_finite(args: Arrays, got: Any, expected: Any) -> bool:
    return bool(np.abs(args[0]).max() > LARGEST and not np.isfinite(got).all())


def _short_of_one(args: Arrays, got: Any, expected: Any) -> bool:
    """Tell whether each row is a little too small by one factor: ε was added to the sum."""
    sums = got.sum(axis=-1, keepdims=True)
    small = ((sums <= 1) & (sums > 0)).all() and sums.min() > 0.9
    return bool(small and np.allclose(got / sums, expected, rtol=1e-9, atol=1e-12))


SOFTMAX = Exercise(
    "softmax",
    softmax,
    _logits,
    [
        Mistake(
            "one maximum for all rows",
            "You subtract one number from all rows, not from each its own maximum. A row far below "
            "it underflows to 0 / 0. Use `max(axis=-1, keepdims=True)`.",
            "sec-overflow",
            tuple(partial(_centred, m) for m in OFF_CENTRE),
        ),
        Mistake(
            "overflow",
            "exp(1000) is infinite for a computer, exp(-1000) is 0, and infinity / infinity or "
            "0 / 0 is no number. Take each row's maximum off first: probabilities stay the same, "
            "and no exponential exceeds 1.",
            "sec-overflow",
            (
                _naive,
                _by_math,
                lambda x: np.nan_to_num(_naive(x)),
                lambda x: _centred(lambda y: y.mean(axis=-1, keepdims=True), x),
                lambda x: _centred(lambda y: y.min(axis=-1, keepdims=True), x),
            ),
            _not_finite,
        ),
        Mistake(
            "wrong axis",
            "The probabilities of one row must sum to 1: normalise over the last axis, whatever "
            "the number of axes. Yours sum to 1 over another axis, or all together.",
            "sec-axis",
            (
                *(partial(_over, axis) for axis in (0, 1, None)),
                *(partial(_over, axis, stable=False) for axis in (0, 1, None)),
                partial(_second, _over),
            ),
        ),
        Mistake(
            "keepdims missing",
            "The sum (or maximum) over the last axis has lost that axis, so it is matched with "
            "columns instead of rows: an error, or silently wrong for a square table. Use "
            "`keepdims=True`.",
            "sec-axis",
            (partial(_flat_sum, False), partial(_flat_sum, True)),
        ),
        Mistake(
            "logits clipped",
            "You clip the logits to keep exp from overflowing, and this makes different logits "
            "equal. Take each row's maximum off instead: that changes nothing.",
            "sec-overflow",
            tuple(partial(_clipped, bound) for bound in BOUNDS),
        ),
        Mistake(
            "something added to the sum",
            "Your rows sum to a little less than 1: a small number was added to the denominator. "
            "It is not needed: once the maximum is taken off, the sum is at least 1.",
            "sec-overflow",
            tuple(partial(lambda e, x: np.exp(log_softmax(x)) / (1 + e), e) for e in (1e-8, 1e-6)),
            _short_of_one,
        ),
        Mistake(
            "not normalised",
            "You return exponentials; divide each row by its sum.",
            "equation-softmax",
            (np.exp, lambda x: np.exp(x - x.max(axis=-1, keepdims=True))),
        ),
        Mistake(
            "exponential missing",
            "You divide the logits by their sum. Logits may be negative or sum to 0: exponentials "
            "first.",
            "equation-softmax",
            (lambda x: x / x.sum(axis=-1, keepdims=True),),
        ),
        Mistake(
            "sign of the logits",
            "The largest logit must get the largest probability; yours gets the smallest. There is "
            "no minus in the exponent.",
            "equation-softmax",
            (lambda x: softmax(-x),),
        ),
        Mistake(
            "powers of two",
            "You use 2 to the power of the logits; it must be e.",
            "equation-softmax",
            (lambda x: softmax(x * math.log(2)),),
        ),
        Mistake(
            "logarithms returned",
            "These are log-probabilities, the answer of the next exercise.",
            "equation-softmax",
            (log_softmax,),
        ),
        Mistake(
            "the hard maximum",
            "You give probability 1 to the largest logit. A softmax keeps every action possible.",
            "equation-softmax",
            (lambda x: np.eye(x.shape[-1])[x.argmax(axis=-1)],),
        ),
        Mistake(
            "each logit on its own",
            "You apply the logistic function to each logit. The probabilities of a row depend on "
            "one another: they sum to 1.",
            "equation-softmax",
            (lambda x: 1 / (1 + np.exp(-x)),),
        ),
    ],
)


def _log_over(axis: Any, x: Any) -> Any:
    m = x.max(axis=axis, keepdims=True)
    return x - m - np.log(np.exp(x - m).sum(axis=axis, keepdims=True))


def _log_off_centre(m: Callable[[Any], Any], x: Any) -> Any:
    y = x - m(x)
    return y - np.log(np.exp(y).sum(axis=-1, keepdims=True))


def _log_flat(x: Any) -> Any:
    m = x.max(axis=-1, keepdims=True)
    return x - m - np.log(np.exp(x - m).sum(axis=-1))


def _log_by_math(x: Any) -> Any:
    total = np.array([math.exp(v) for v in x.ravel()]).reshape(x.shape).sum(axis=-1, keepdims=True)
    return x - np.log(total)


def _maximum(x: Any) -> Any:
    return x.max(axis=-1, keepdims=True)


def _log_sum(x: Any) -> Any:
    return _maximum(x - log_softmax(x))


def _underflowed(args: Arrays, got: Any, expected: Any) -> bool:
    """Tell whether `got` is minus infinity, and only where a probability underflows."""
    lost = np.isneginf(got)
    return bool(lost.any() and (expected[lost] < -LARGEST).all() and np.isfinite(got[~lost]).all())


def _floored(args: Arrays, got: Any, expected: Any) -> bool:
    """Tell whether the probabilities are right but for small ones, which are too large."""
    with np.errstate(over="ignore"):
        close = np.abs(np.exp(got) - np.exp(expected)).max() < 2e-3
    above = (got >= expected - 1e-9 * np.abs(expected)).all() and (got > expected).any()
    return bool(np.isfinite(got).all() and above and close)


LOG_SOFTMAX = Exercise(
    "log_softmax",
    log_softmax,
    _logits,
    [
        Mistake(
            "one maximum for all rows",
            "You subtract one number from all rows, not from each its own maximum. A row far below "
            "it has a sum of exponentials of 0, whose logarithm is infinite.",
            "sec-overflow",
            tuple(partial(_log_off_centre, m) for m in OFF_CENTRE),
        ),
        Mistake(
            "log of an underflowed probability",
            "You take the logarithm of a probability that is too small for a computer: it has "
            "become 0, and log 0 is minus infinity. Subtract logarithms, do not divide first.",
            "sec-overflow",
            (lambda x: np.log(softmax(x)),),
            _underflowed,
        ),
        Mistake(
            "overflow",
            "exp(1000) is infinite for a computer and exp(-1000) is 0; neither has a useful "
            "logarithm. Take each row's maximum off before the exponentials.",
            "sec-overflow",
            (
                lambda x: x - np.log(np.exp(x).sum(axis=-1, keepdims=True)),
                lambda x: np.log(_naive(x)),
                _log_by_math,
                lambda x: np.nan_to_num(np.log(_naive(x))),
                lambda x: _log_off_centre(lambda y: y.mean(axis=-1, keepdims=True), x),
            ),
            lambda args, got, want: (
                _not_finite(args, got, want) and not _underflowed(args, got, want)
            ),
        ),
        Mistake(
            "wrong axis",
            "The probabilities of one row must sum to 1: sum the exponentials over the last axis, "
            "whatever the number of axes.",
            "sec-axis",
            (
                *(partial(_log_over, axis) for axis in (0, 1, None)),
                partial(_second, _log_over),
                *(partial(lambda a, x: np.log(_over(a, x)), axis) for axis in (0, 1, None)),
            ),
        ),
        Mistake(
            "keepdims missing",
            "The sum (or maximum) over the last axis has lost that axis, so it is matched with "
            "columns instead of rows: an error, or silently wrong for a square table. Use "
            "`keepdims=True`.",
            "sec-axis",
            (
                _log_flat,
                lambda x: np.log(_flat_sum(False, x)),
                lambda x: x - x.max(axis=-1) - np.log(np.exp(x - x.max(axis=-1)).sum(axis=-1)),
            ),
        ),
        Mistake(
            "logits clipped",
            "You clip the logits to keep exp from overflowing, and this makes different logits "
            "equal. Take each row's maximum off instead: that changes nothing.",
            "sec-overflow",
            tuple(partial(lambda b, x: log_softmax(np.clip(x, -b, b)), b) for b in BOUNDS),
        ),
        Mistake(
            "a floor under the probability",
            "Small probabilities come out too large: a constant was added inside the logarithm, or "
            "the probability was clipped. The error is largest where log-probabilities matter "
            "most. Subtract the logarithm of the sum; then no floor is needed.",
            "sec-overflow",
            (
                *(partial(lambda e, x: np.log(softmax(x) + e), e) for e in (1e-6, 1e-8, 1e-12)),
                lambda x: np.log(np.maximum(softmax(x), 1e-10)),
            ),
            _floored,
        ),
        Mistake(
            "normaliser missing",
            "You only move the logits. Their exponentials must sum to 1 in each row: subtract the "
            "logarithm of the sum too.",
            "equation-log-softmax",
            (lambda x: x - _maximum(x), lambda x: x),
        ),
        Mistake(
            "maximum counted once",
            "The maximum was taken off inside the sum but not in front of it, or the other way "
            "round. It must go from both.",
            "equation-log-softmax",
            (
                lambda x: x - (_log_sum(x) - _maximum(x)),
                lambda x: x - _maximum(x) - _log_sum(x),
            ),
        ),
        Mistake(
            "plus for minus",
            "The logarithm of a quotient is a difference: logit minus the logarithm of the sum.",
            "equation-log-softmax",
            (
                lambda x: x + _log_sum(x),
                lambda x: x - _maximum(x) + (_log_sum(x) - _maximum(x)),
                lambda x: -log_softmax(x),
            ),
        ),
        Mistake(
            "probabilities returned",
            "These are the probabilities, not their logarithms.",
            "equation-log-softmax",
            (softmax,),
        ),
        Mistake(
            "another base",
            "Your logarithm has base 2 or 10; nats have base e.",
            "equation-log-softmax",
            (lambda x: log_softmax(x) / math.log(2), lambda x: log_softmax(x) / math.log(10)),
        ),
        Mistake(
            "sign of the logits",
            "The largest logit must get the largest log-probability; yours gets the smallest.",
            "equation-log-softmax",
            (lambda x: log_softmax(-x),),
        ),
    ],
)


# --- sample_action -----------------------------------------------------------------------------

BELOW_ONE = float(np.nextafter(1, 0))  # the largest u there is


def _draws(rng: np.random.Generator) -> Iterator[Arrays]:
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
    yield np.array([0.7, 0.1, 0.1, 0.1, 0.0]), BELOW_ONE  # these sums end just below 1
    yield np.array([0.1] * 10 + [0.0, 0.0]), BELOW_ONE
    yield np.array([0.0] + [0.1] * 10 + [0.0]), BELOW_ONE


def _last_possible(probs: Any) -> Any:
    return np.flatnonzero(probs)[-1]


def _nothing(probs: Any) -> Any:
    return None


def _fail(probs: Any) -> Any:
    raise IndexError


def _stop(probs: Any) -> Any:
    raise StopIteration


BESIDE: tuple[Callable[[Any], Any], ...] = (
    lambda probs: 0, len, lambda probs: -1, _nothing, _fail, _stop,
)  # fmt: skip
ALONE: tuple[Callable[[Any], Any], ...] = (
    _last_possible, lambda probs: len(probs) - 1, lambda probs: 0, lambda probs: -1, _fail, _stop,
)  # fmt: skip
OTHERWISE: tuple[Callable[[Any], Any], ...] = (
    _last_possible, lambda probs: len(probs) - 1, np.argmax, *BESIDE,
)  # fmt: skip


def _pick(found: Callable[[Any, Any], Any], otherwise: Callable[[Any], Any], p: Any, u: Any) -> Any:
    """Return the first action for which `found` holds, else what `otherwise` says."""
    where = np.flatnonzero(found(p, u))
    return where[0] if len(where) else otherwise(p)


def _all_ends(found: Callable[[Any, Any], Any], ends: Any = OTHERWISE) -> Any:
    return tuple(partial(_pick, found, otherwise) for otherwise in ends)


def _above(p: Any, u: Any) -> Any:
    return np.cumsum(p) > u


def _moved(by: int, p: Any, u: Any) -> Any:
    return sample_action(p, u) + by


def _held(by: int, p: Any, u: Any) -> Any:
    return min(max(sample_action(p, u) + by, 0), len(p) - 1)


def _in_order(order: Callable[[Any], Any], named: bool, p: Any, u: Any) -> Any:
    """Sample from rearranged probabilities; return the place there, or the action it stands for."""
    found = sample_action(p[order(p)], u)
    return order(p)[found] if named else found


def _another_possible(args: Arrays, got: Any, expected: Any) -> bool:
    probs, _ = args
    whole = float(got).is_integer() and 0 <= got < len(probs)
    return bool(whole and probs[int(got)] > 0)


def _compare(expected: Any, got: Value) -> Difference | None:
    """Compare numbers; an imitation may also answer None, as a loop does that runs out."""
    if expected is None:
        return None if got == Blank("None") else Difference("value", "got something")
    if got == Blank("None"):
        return Difference("type", f"got None, expected {expected}")
    return compare_arrays(expected, got)


SAMPLE_ACTION = Exercise(
    "sample_action",
    sample_action,
    _draws,
    [
        Mistake(
            "sampling by argmax",
            "You always return the likeliest action. Sampling means that each action comes up as "
            "often as its probability says; here u decides which.",
            "sec-sampling",
            (lambda p, u: np.argmax(p),),
        ),
        Mistake(
            "zero-probability action chosen",
            "Rounding left no cumulative probability above u, and you returned the last action, "
            "which has probability 0. Return the last action with positive probability.",
            "sec-rounding",
            (partial(_pick, _above, lambda p: len(p) - 1),),
        ),
        Mistake(
            "rounding leaves no action",
            "The cumulative probabilities end at 0.9999999999999999 and u is not below it: no "
            "action is found, and what then comes out is action 0, an index beyond the end, None "
            "or an error. Return the last action with positive probability.",
            "sec-rounding",
            tuple(partial(_pick, _above, otherwise) for otherwise in BESIDE),
        ),
        Mistake(
            "boundary on the wrong side",
            "You take the first action whose cumulative probability is at least u (>=); it must "
            "exceed u (>). With u = 0 yours can pick an action of probability 0.",
            "equation-inverse-cdf",
            _all_ends(lambda p, u: np.cumsum(p) >= u),
        ),
        Mistake(
            "probabilities not accumulated",
            "You compare u with single probabilities. Lay them end to end on [0, 1): action a owns "
            "the piece between two cumulative sums.",
            "equation-inverse-cdf",
            (
                *_all_ends(lambda p, u: p > u, ALONE),
                *_all_ends(lambda p, u: p >= u, ALONE),
                lambda p, u: np.argmin(np.abs(p - u)),
            ),
        ),
        Mistake(
            "counted from the other end",
            "You lay out the actions from the last to the first, or use 1 - u. That samples from "
            "the same distribution, but this exercise asks for the action of this very u.",
            "equation-inverse-cdf",
            (
                *_all_ends(lambda p, u: np.cumsum(p) > 1 - u),
                *_all_ends(lambda p, u: np.cumsum(p) >= 1 - u),
                partial(_in_order, lambda p: np.arange(len(p))[::-1], True),
                partial(_in_order, lambda p: np.arange(len(p))[::-1], False),
            ),
        ),
        Mistake(
            "probabilities sorted",
            "You sort the probabilities before adding them up. The order is that of the actions.",
            "equation-inverse-cdf",
            tuple(
                partial(_in_order, order, named)
                for order in (np.argsort, lambda p: np.argsort(p)[::-1], lambda p: np.argsort(-p))
                for named in (True, False)
            ),
        ),
        Mistake(
            "actions equally likely",
            "You divide [0, 1) into equal pieces. Action a owns a piece of length probs[a].",
            "equation-inverse-cdf",
            (lambda p, u: int(u * len(p)), lambda p, u: round(u * (len(p) - 1))),
        ),
        Mistake(
            "off by one",
            "Your action is the neighbour of the right one: the sum up to and including a, not "
            "the one before it, must exceed u.",
            "equation-inverse-cdf",
            (
                *(partial(move, by) for by in (1, -1) for move in (_moved, _held)),
                *_all_ends(lambda p, u: np.cumsum(p) - p > u),
            ),
        ),
        Mistake(
            "probability returned",
            "You return a probability; the number of the action is asked.",
            "equation-inverse-cdf",
            (
                lambda p, u: p[sample_action(p, u)],
                lambda p, u: np.cumsum(p)[sample_action(p, u)],
            ),
        ),
        Mistake(
            "own random number",
            "Your action is possible, but it is not the one that this u picks: a random number of "
            "your own decided, or u entered in another way. Here u is all the randomness there is.",
            "sec-sampling",
            (lambda p, u: np.random.default_rng(0).choice(len(p), p=p),),
            _another_possible,
        ),
    ],
    _compare,
)


# --- gradient_ascent_step ----------------------------------------------------------------------


def _steps(rng: np.random.Generator) -> Iterator[Arrays]:
    yield np.array([1.0, 2.0]), np.array([0.5, -1.0]), 0.1
    for shape in [(3,), (2, 3), (3, 2), (2, 2), (1,), (1, 1), (2, 3, 2), (4, 1)]:
        yield rng.normal(size=shape), rng.normal(size=shape), round(rng.uniform(0.05, 3.0), 2)
    yield rng.normal(size=3), rng.normal(size=3), 1.0
    yield (
        rng.normal(size=3),
        rng.normal(size=3),
        0.0,
    )  # nothing moves, the array is new all the same
    yield rng.normal(size=3), np.zeros(3), 0.5


GRADIENT_ASCENT_STEP = Exercise(
    "gradient_ascent_step",
    gradient_ascent_step,
    _steps,
    [
        Mistake(
            "descent for ascent",
            "You step against the gradient, as one does to minimise a loss. J is maximised: plus.",
            "equation-ascent-step",
            (lambda theta, g, a: theta - a * g, lambda theta, g, a: theta - g),
        ),
        Mistake(
            "alpha forgotten",
            "You add the whole gradient. The step size alpha scales it.",
            "equation-ascent-step",
            (lambda theta, g, a: theta + g,),
        ),
        Mistake(
            "only the step",
            "You return how far to move; asked is where one arrives: theta plus that.",
            "equation-ascent-step",
            (lambda theta, g, a: a * g, lambda theta, g, a: -a * g, lambda theta, g, a: g),
        ),
        Mistake(
            "alpha in the wrong place",
            "alpha multiplies the gradient, and nothing else.",
            "equation-ascent-step",
            (
                lambda theta, g, a: a * (theta + g),
                lambda theta, g, a: a * theta + g,
                lambda theta, g, a: (1 - a) * theta + a * g,
                lambda theta, g, a: theta + a + g,
                lambda theta, g, a: theta + g / a,
                lambda theta, g, a: theta + a,
            ),
        ),
        Mistake(
            "gradient normalised",
            "You divide the gradient by its length, or keep only its signs. The step is alpha "
            "times the gradient itself: where the slope is small, so is the step.",
            "equation-ascent-step",
            (
                lambda theta, g, a: theta + a * g / np.linalg.norm(g),
                lambda theta, g, a: theta + a * g / (np.linalg.norm(g) + 1e-8),
                lambda theta, g, a: theta + a * np.sign(g),
                lambda theta, g, a: theta + a * g / np.abs(g).max(),
            ),
        ),
        Mistake(
            "multiplied instead of added",
            "You multiply theta by the gradient. A step is added.",
            "equation-ascent-step",
            (
                lambda theta, g, a: theta * a * g,
                lambda theta, g, a: theta * (1 + a * g),
                lambda theta, g, a: theta * g,
            ),
        ),
    ],
    fresh=True,
)

EXERCISES = (SOFTMAX, LOG_SOFTMAX, SAMPLE_ACTION, GRADIENT_ASCENT_STEP)
