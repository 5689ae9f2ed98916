"""Checks of chapter 6: the pseudo-loss, chosen log-probabilities, one step, a whole training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from pgcourse.arguments import Floats
from pgcourse.checks.core import Difference, Exercise, NotNumbersError, to_array
from pgcourse.checks.wire import Value
from pgcourse.environments import cart_pole, make_vector
from pgcourse.policies import log_softmax, softmax
from pgcourse.trajectories import Lanes, returns, rollout_episodes

Case = Iterator[tuple[Any, ...]]


def _tensor(x: Any) -> Any:
    import torch

    return torch.as_tensor(x)


# --- select_log_probs --------------------------------------------------------------------------


def select_log_probs(logits: Any, actions: Any) -> Any:
    """Log-probability of each action taken."""
    from pgcourse.pseudo_loss import select_log_probs

    return select_log_probs(_tensor(logits), _tensor(actions))


def _select_inputs(rng: np.random.Generator) -> Case:
    for shape in [
        (4, 3),
        (3, 2, 4),
        (5, 2),
        (1, 3),
        (2, 1, 3),
        (1, 4, 2),
        (3, 3),
        (3, 1),
        (2, 2, 2),
    ]:
        yield rng.normal(size=shape), rng.integers(shape[-1], size=shape[:-1])
    yield np.array([[1e5, 0.0, -1e5], [800.0, 0.0, 1.0], [-9e4, -9e4, -9e4]]), np.array([1, 2, 0])


SELECT = Exercise("select_log_probs", select_log_probs, _select_inputs, gradient_of=(0,))


def _pick(table: Any, actions: Any) -> Any:
    return _tensor(table).gather(-1, _tensor(actions)[..., None])[..., 0]


@SELECT.mistake(
    "log of a softmax that underflowed",
    "sec-select",
    [
        lambda x, a: _pick(_tensor(x).exp() / _tensor(x).exp().sum(-1, keepdim=True), a).log(),
        lambda x, a: _pick(_tensor(x), a) - _tensor(x).exp().sum(-1).log(),
        lambda x, a: (_pick(_tensor(x).softmax(-1), a) + 1e-8).log(),
        lambda x, a: (_pick(_tensor(x).softmax(-1), a) + 1e-10).log(),
    ],
)
def _two_steps(logits: Any, actions: Any) -> Any:
    """You take the probability first and its logarithm afterwards. A small probability has become 0
    by then, and its logarithm minus infinity; or an exponential overflows. Use `log_softmax`."""
    return _pick(_tensor(logits).softmax(-1), actions).log()


@SELECT.mistake("logits for log-probabilities", "sec-select")
def _raw(logits: Any, actions: Any) -> Any:
    """You select from the logits. They are log-probabilities only after the logarithm of the sum of
    all exponentials is subtracted: `log_softmax` first, then select."""
    return _pick(logits, actions)


@SELECT.mistake("probability instead of its logarithm", "sec-exp-for-log")
def _probability(logits: Any, actions: Any) -> Any:
    """You return the probabilities. The gradient estimate needs their logarithms."""
    return _pick(_tensor(logits).softmax(-1), actions)


@SELECT.mistake("softmax over the wrong axis", "sec-select")
def _first_axis(logits: Any, actions: Any) -> Any:
    """You normalise over the rows. The last axis holds the actions of one decision, and their
    probabilities sum to one."""
    return _pick(_tensor(logits).log_softmax(0), actions)


@SELECT.mistake(
    "all entries in one softmax",
    "sec-select",
    [lambda x, a: _pick(_tensor(x) - _tensor(x).logsumexp(tuple(range(np.ndim(x)))), a)],
)
def _pooled(logits: Any, actions: Any) -> Any:
    """You normalise all logits together. Each row of the last axis is a distribution of its own."""
    flat = _tensor(logits).reshape(-1).log_softmax(0)
    return _pick(flat.reshape(_tensor(logits).shape), actions)


@SELECT.mistake("sign", "sec-select")
def _negative(logits: Any, actions: Any) -> Any:
    """You return minus the log-probabilities, as a cross-entropy does. A log-probability is never
    positive."""
    return -select_log_probs(logits, actions)


def _every_row(logits: Any, actions: Any) -> Any:
    return _tensor(logits).log_softmax(-1)[..., _tensor(actions)]


@SELECT.mistake(
    "every row with every action",
    "sec-select",
    [lambda x, a: _tensor(x).log_softmax(-1)[:, _tensor(a)]],
)
def _crossed(logits: Any, actions: Any) -> Any:
    """`table[:, actions]` takes all rows for each action: M times M numbers. Each row needs its own
    action: pair the rows with them, `table[arange(M), actions]`, or use `gather`."""
    return _every_row(logits, actions)


@SELECT.mistake("an axis too many", "sec-broadcast")
def _column(logits: Any, actions: Any) -> Any:
    """Your result has a last axis of length 1. Drop it: a column times a row is a square matrix,
    and no error says so."""
    return select_log_probs(logits, actions)[..., None]


def _one_hot(logits: Any, actions: Any) -> Any:
    import torch

    table = _tensor(logits)
    return table.log_softmax(-1) * torch.nn.functional.one_hot(_tensor(actions), table.shape[-1])


@SELECT.mistake("not selected", "sec-select", [_one_hot])
def _whole(logits: Any, actions: Any) -> Any:
    """You return a number for every action. Asked is that of the action taken, one a row."""
    return _tensor(logits).log_softmax(-1)


@SELECT.mistake("the likeliest action", "sec-select")
def _greedy(logits: Any, actions: Any) -> Any:
    """You take the largest entry of each row. Asked is that of the action that was taken."""
    return _tensor(logits).log_softmax(-1).amax(-1)


@SELECT.mistake("largest logit for the sum of exponentials", "sec-select")
def _shifted(logits: Any, actions: Any) -> Any:
    """You subtract the largest logit and stop there. That keeps exponentials small; the logarithm
    of their sum must still be subtracted."""
    return _pick(_tensor(logits) - _tensor(logits).amax(-1, keepdim=True), actions)


@SELECT.mistake(
    "added up",
    "sec-select",
    [
        lambda *x: select_log_probs(*x).mean(),
        lambda *x: -select_log_probs(*x).mean(),
        lambda *x: -select_log_probs(*x).sum(),
    ],
)
def _total(logits: Any, actions: Any) -> Any:
    """You return one number. Asked is one for each action taken: weights come before the sum."""
    return select_log_probs(logits, actions).sum()


@SELECT.mistake("a sigmoid for each", "sec-select")
def _sigmoid(logits: Any, actions: Any) -> Any:
    """You turn each logit into a probability by itself. Then a row does not sum to 1: a softmax
    divides by the sum over its actions."""
    import torch

    return torch.nn.functional.logsigmoid(_pick(logits, actions))


@SELECT.mistake(
    "the first row for all",
    "sec-select",
    [
        lambda x, a: (
            _tensor(x).log_softmax(-1)[0][_tensor(a)]
            if np.ndim(x) == 2
            else select_log_probs(x, a) * 0
        )
    ],
)
def _first_row(logits: Any, actions: Any) -> Any:
    """You look all actions up in one row. Each has a row of its own."""
    table = _tensor(logits).log_softmax(-1)
    return _pick(table[:1].expand_as(table), actions)


# --- reinforce_loss ----------------------------------------------------------------------------


def reinforce_loss(log_probs: Any, weights: Any) -> Any:
    """Minus the mean over trajectories of the sum of weight times log-probability."""
    from pgcourse.pseudo_loss import reinforce_loss

    data = weights if isinstance(weights, np.ndarray) else weights.detach().numpy()
    return reinforce_loss(_tensor(log_probs), data)


def _loss_inputs(rng: np.random.Generator) -> Case:
    for shape in [(3, 2), (2, 5), (4,), (4, 3), (1, 3), (5, 1), (3, 3), (1,), (6,), (7, 4)]:
        yield -rng.exponential(size=shape), rng.normal(2.0, 3.0, size=shape)
    weights = rng.normal(size=(4, 3))
    weights[2:, 0], weights[:, 2] = 0.0, 0.0  # padding, and a lane whose return is 0
    yield -rng.exponential(size=(4, 3)) * (weights != 0), weights


LOSS = Exercise("reinforce_loss", reinforce_loss, _loss_inputs, gradient_of=(0,), blocked=(1,))


def _columns(x: Any) -> Any:
    """One trajectory a column."""
    x = _tensor(x)
    return x if x.ndim == 2 else x[:, None]


def _loss(change: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Build a loss from a function of log-probabilities and weights, `[T, N]` both."""
    return lambda log_probs, weights: change(_columns(log_probs), _columns(weights))


@LOSS.mistake("no stop-gradient", "sec-leak")
def _leak(log_probs: Any, weights: Any) -> Any:
    """The value is right, but a gradient flows into the weights. They are data: the gradient of the
    return by the policy is what the log-probabilities are for. Take `weights.detach()`."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x * w).sum() / x.shape[1]


@LOSS.mistake(
    "one axis taken for many trajectories",
    "equation-pseudo-loss",
    [lambda x, w: -(_tensor(x) * _tensor(w)).sum(0).mean() / (1 if np.ndim(x) == 2 else len(x))],
)
def _last_axis(log_probs: Any, weights: Any) -> Any:
    """For an array `[T]` you divide by T. Its entries are the steps of one trajectory: N is 1."""
    return -(_tensor(log_probs) * _tensor(weights)).sum() / log_probs.shape[-1]


@LOSS.mistake("sign", "equation-pseudo-loss-gradient")
def _uphill(log_probs: Any, weights: Any) -> Any:
    """The sign is wrong. An optimiser goes *down*, and the return is to go up: the loss is minus
    the weighted sum."""
    return -reinforce_loss(log_probs, weights)


@LOSS.mistake(
    "mean over steps",
    "equation-per-step-loss",
    [
        _loss(lambda x, w: -(x * w).sum() / max(int((w != 0).sum()), 1)),
        _loss(lambda x, w: -((x * w).sum(0) / (w != 0).sum(0).clamp(min=1)).mean()),
        _loss(lambda x, w: (x * w).mean()),
    ],
)
def _per_step(log_probs: Any, weights: Any) -> Any:
    """You divide by the number of steps. The loss is a mean over *trajectories*: add the steps of
    each, and divide by their number N."""
    return -(_tensor(log_probs) * _tensor(weights)).mean()


@LOSS.mistake("sum over trajectories", "equation-pseudo-loss", [_loss(lambda x, w: (x * w).sum())])
def _summed(log_probs: Any, weights: Any) -> Any:
    """You add the trajectories up. Divide by their number N, else the step grows with the batch."""
    return -(_tensor(log_probs) * _tensor(weights)).sum()


@LOSS.mistake("divided by T", "equation-pseudo-loss")
def _wrong_axis(log_probs: Any, weights: Any) -> Any:
    """You divide by the number of rows, which is time. The trajectories are the columns; an array
    of one axis is a single one."""
    return -(_tensor(log_probs) * _tensor(weights)).sum() / len(log_probs)


@LOSS.mistake(
    "a column times a row",
    "sec-broadcast",
    [
        _loss(lambda x, w: -(x.sum(0)[:, None] * w.sum(0)).mean()),
        _loss(lambda x, w: -(x.sum(0)[:, None] * w.sum(0)).sum() / x.shape[1]),
        _loss(lambda x, w: -(x[..., None] * w[:, None]).sum() / x.shape[1]),
        _loss(lambda x, w: -(x[..., None] * w[:, None]).mean()),
        _loss(lambda x, w: -(x.reshape(-1, 1) * w.reshape(-1)).mean()),
        _loss(lambda x, w: -(x.sum(0)[:, None] * w[0]).mean()),
        _loss(lambda x, w: -(x.T @ w).mean()),
        _loss(lambda x, w: -(x.T @ w).sum() / x.shape[1]),
    ],
)
def _outer(log_probs: Any, weights: Any) -> Any:
    """A column times a row gives a square: the log-probabilities of each trajectory meet the
    weights of all others, and what they have to do with each other is averaged away."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x.reshape(-1, 1) * w.reshape(-1)).sum() / x.shape[1]


@LOSS.mistake(
    "sums multiplied",
    "sec-broadcast",
    [_loss(lambda x, w: -x.sum() * w.sum())],
)
def _of_sums(log_probs: Any, weights: Any) -> Any:
    """You add up the weights of a trajectory before multiplying. Each step has its own weight;
    where all are the return R, you have T times R."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x.sum(0) * w.sum(0)).mean()


@LOSS.mistake("averaged before multiplying", "sec-broadcast")
def _of_means(log_probs: Any, weights: Any) -> Any:
    """You multiply the mean log-probability of a trajectory by the mean weight. Each one belongs
    to its own weight: multiply first, average then."""
    x, w = _columns(log_probs), _columns(weights)
    return -x.sum(0).mean() * w.mean()


@LOSS.mistake("exp for log", "sec-exp-for-log", [_loss(lambda x, w: -(x.exp() * w).mean())])
def _likelihood(log_probs: Any, weights: Any) -> Any:
    """You turn the log-probabilities back into probabilities. The score is the gradient of the
    *logarithm*; without it every step is weighed by its probability once more."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x.exp() * w).sum() / x.shape[1]


@LOSS.mistake(
    "weights normalised",
    "sec-constant-factor",
    [
        _loss(lambda x, w: -(x * (w - w.mean())).sum() / x.shape[1]),
        _loss(lambda x, w: -(x * (w - w.mean(1, keepdim=True))).sum() / x.shape[1]),
        _loss(lambda x, w: -(x * w / (w.std(correction=0) + 1e-8)).sum() / x.shape[1]),
        _loss(lambda x, w: -(x * w / w.abs().max()).sum() / x.shape[1]),
        _loss(
            lambda x, w: (
                -(x * (w - w.mean()) / (w.std(correction=int(w.numel() > 1)) + 1e-8)).sum()
                / x.shape[1]
            )
        ),
    ],
)
def _normalised(log_probs: Any, weights: Any) -> Any:
    """You shift or scale the weights. They are to be used as they come: what may be done to them,
    and what it costs, is the question of later chapters."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x * (w - w.mean()) / (w.std(correction=0) + 1e-8)).sum() / x.shape[1]


@LOSS.mistake("weights ignored", "equation-pseudo-loss", [_loss(lambda x, w: -x.mean())])
def _imitation(log_probs: Any, weights: Any) -> Any:
    """The weights do not enter. That is imitation of whatever was done, good or bad."""
    x = _columns(log_probs)
    return -x.sum() / x.shape[1]


@LOSS.mistake("weights taken for rewards", "equation-pseudo-loss")
def _to_go(log_probs: Any, weights: Any) -> Any:
    """You add up the weights from each step on, as if they were rewards. They are the weights:
    whatever had to be added was added before."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x * w.flip(0).cumsum(0).flip(0)).sum() / x.shape[1]


@LOSS.mistake("lanes without weight not counted", "equation-pseudo-loss")
def _dropped(log_probs: Any, weights: Any) -> Any:
    """You leave trajectories out whose weights are 0. A trajectory that earned nothing was played
    all the same: N counts every column."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x * w).sum() / (w != 0).any(0).sum()


@LOSS.mistake(
    "not added up",
    "equation-pseudo-loss",
    [
        lambda x, w: -(_tensor(x) * _tensor(w)),
        lambda x, w: -_columns(_tensor(x) * _tensor(w)).sum(1),
    ],
)
def _each(log_probs: Any, weights: Any) -> Any:
    """You return several numbers. The loss is one: add the steps, and average the trajectories."""
    return -_columns(_tensor(log_probs) * _tensor(weights)).sum(0)


@LOSS.mistake(
    "one step only", "equation-pseudo-loss", [_loss(lambda x, w: -(x[-1] * w[-1]).mean())]
)
def _first_step(log_probs: Any, weights: Any) -> Any:
    """You use one step of each trajectory. All of them are added."""
    x, w = _columns(log_probs), _columns(weights)
    return -(x[0] * w[0]).mean()


# --- train_step --------------------------------------------------------------------------------


def train_step(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """Move linear softmax logits `states @ theta` by one plain step down the pseudo-loss."""
    return theta + alpha * _ascent(theta, states, actions, weights)


def _scores(theta: Any, states: Any, actions: Any) -> Floats:
    """Scores of each step in the logits `[T, N, A]`."""
    A = theta.shape[1]
    scores: Floats = np.eye(A)[actions] - np.exp(log_softmax(states @ theta))
    return scores


def _ascent(theta: Any, states: Any, actions: Any, weights: Any) -> Any:
    """Gradient estimate `[d, A]`."""
    terms = weights[..., None] * _scores(theta, states, actions)
    return np.einsum("tnd,tna->da", states, terms) / weights.shape[1]


def _step_inputs(rng: np.random.Generator) -> Case:
    shapes = [
        (3, 2, 3, 2),
        (4, 3, 2, 3),
        (1, 4, 3, 2),
        (5, 1, 2, 2),
        (6, 5, 4, 2),
        (2, 2, 2, 2),
        (1, 1, 1, 3),
    ]
    for T, N, d, A in shapes:
        weights = rng.normal(3.0, 2.0, size=(T, N))
        weights[T - T // 3 :, 0] = 0.0
        states, actions = rng.normal(size=(T, N, d)), rng.integers(A, size=(T, N))
        yield rng.normal(size=(d, A)), states, actions, weights, float(rng.uniform(0.05, 0.5))
    T, N, d, A = 4, 3, 2, 3
    weights, actions = rng.normal(size=(T, N)), rng.integers(A, size=(T, N))
    yield 1e3 * rng.normal(size=(d, A)), rng.normal(size=(T, N, d)), actions, weights, 0.1


STEP = Exercise("train_step", train_step, _step_inputs, fresh=True)


def _stepped(change: Callable[..., Any]) -> Callable[..., Any]:
    """Build a step from a function of (theta, states, actions, weights) to the direction."""
    return lambda theta, *batch: theta + batch[-1] * change(theta, *batch[:-1])


@STEP.mistake("sign", "equation-pseudo-loss-gradient")
def _downhill(theta: Any, *batch: Any) -> Any:
    """You moved the other way: this step makes what paid less likely. Minus the gradient of the
    loss, which is itself a minus: the return goes up."""
    return 2 * theta - train_step(theta, *batch)


@STEP.mistake(
    "mean over steps",
    "equation-per-step-loss",
    [
        _stepped(
            lambda theta, s, a, w: _ascent(theta, s, a, w) * w.shape[1] / max((w != 0).sum(), 1)
        )
    ],
)
def _step_by_step(theta: Any, *batch: Any) -> Any:
    """You average over steps. The gradient is a mean over trajectories, whose steps are added."""
    return theta + (train_step(theta, *batch) - theta) / len(batch[0])


@STEP.mistake("sum over trajectories", "equation-pseudo-loss")
def _all_of_them(theta: Any, *batch: Any) -> Any:
    """You add the trajectories up. Divide by their number N, the columns of the weights."""
    return theta + (train_step(theta, *batch) - theta) * batch[0].shape[1]


@STEP.mistake("divided by T", "equation-pseudo-loss")
def _by_rows(theta: Any, *batch: Any) -> Any:
    """You divide by the number of rows, which is time. The trajectories are the columns."""
    T, N = batch[0].shape[:2]
    return theta + (train_step(theta, *batch) - theta) * N / T


@STEP.mistake("step size missing", "sec-loop")
def _unit_step(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """Your step has size 1: `alpha` does not enter."""
    return train_step(theta, states, actions, weights, 1.0)


@STEP.mistake("the gradient, not the new parameters", "sec-loop", [lambda *x: -_ascent(*x[:-1])])
def _gradient_only(*args: Any) -> Any:
    """You return the direction. Asked are the parameters after the step."""
    return _ascent(*args[:-1])


@STEP.mistake("the step, not the new parameters", "sec-loop")
def _step_only(theta: Any, *batch: Any) -> Any:
    """You return how far to move. Asked is where that leads: add it to theta."""
    return train_step(theta, *batch) - theta


@STEP.mistake("not moved", "sec-loop")
def _still(theta: Any, *batch: Any) -> Any:
    """The parameters came back as they were. Is the gradient computed after the step, or is it that
    of another tensor than the one that moves?"""
    return theta.copy()


@STEP.mistake(
    "two steps", "sec-loop", [lambda theta, *batch: train_step(train_step(theta, *batch), *batch)]
)
def _twice(theta: Any, *batch: Any) -> Any:
    """You moved twice as far: are gradients of two backward passes added up, or the step made
    twice?"""
    return theta + 2 * (train_step(theta, *batch) - theta)


@STEP.mistake(
    "an optimiser's step",
    "sec-loop",
    [_stepped(lambda *x: (g := _ascent(*x)) / (np.linalg.norm(g) + 1e-12))],
)
def _adam(theta: Any, *batch: Any) -> Any:
    """Your step has another length than the gradient: Adam's first step has the size alpha in every
    entry, whatever the gradient. Asked is the plain one, theta plus alpha times the estimate."""
    g = _ascent(theta, *batch[:-1])
    return theta + batch[-1] * g / (np.abs(g) + 1e-8)


@STEP.mistake("weights ignored", "equation-pseudo-loss")
def _any_action(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """The weights do not enter: every action is made likelier, whatever it earned."""
    return train_step(theta, states, actions, np.ones(weights.shape), alpha)


@STEP.mistake("minus p missing", "equation-pseudo-loss-gradient")
def _no_mean(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """You push the logit of each action and forget what that takes from the others: the score is
    e_a minus the probabilities. Did you select from the logits, without log-softmax?"""
    terms = weights[..., None] * np.eye(theta.shape[1])[actions]
    return theta + alpha * np.einsum("tnd,tna->da", states, terms) / weights.shape[1]


@STEP.mistake("exp for log", "sec-exp-for-log")
def _without_log(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """You differentiate probabilities, not their logarithms: each step is weighed by the
    probability of its action once more."""
    pi = softmax(states @ theta)
    chosen = np.take_along_axis(pi, actions[..., None], axis=-1)[..., 0]
    return train_step(theta, states, actions, weights * chosen, alpha)


@STEP.mistake("averaged before multiplying", "sec-broadcast")
def _apart(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """You use the average weight for all steps: multiply each log-probability by its own weight,
    and add up then."""
    return train_step(theta, states, actions, np.full(weights.shape, weights.mean()), alpha)


@STEP.mistake("softmax over the wrong axis", "sec-select")
def _over_time(theta: Any, states: Any, actions: Any, weights: Any, alpha: float) -> Any:
    """You normalise over time or over trajectories. The actions are the last axis of the logits."""
    logits = states @ theta
    pi = np.exp(log_softmax(np.moveaxis(logits, 0, -1)))  # [N, A, T]
    picked = weights[..., None] * np.eye(theta.shape[1])[actions]  # [T, N, A]
    terms = picked - np.moveaxis(pi * picked.sum(axis=0)[..., None], -1, 0)
    return theta + alpha * np.einsum("tnd,tna->da", states, terms) / weights.shape[1]


# --- reinforce ---------------------------------------------------------------------------------

SOLVED, FORGIVEN = 475, 25  # mean return (reward) that is asked for, and what chance may cost


@cache
def _controller() -> Floats:
    """Logits `[4, 2]` that hold the pole up, by control theory: no policy gradient in sight.

    The motion near rest is linear, x' = M x + B u; the Riccati equation gives the best feedback.
    """
    rest, left, right = np.zeros((4, 1)), np.array([0]), np.array([1])

    def middle(x: Floats) -> Floats:
        return (cart_pole(x, left)[0] + cart_pole(x, right)[0])[:, 0] / 2

    M = np.array([(middle(e) - middle(-e)) / 2e-4 for e in 1e-4 * np.eye(4)[..., None]]).T
    B = (cart_pole(rest, right)[0] - cart_pole(rest, left)[0]) / 2
    X = np.eye(4)
    for _ in range(500):
        K = np.linalg.solve(np.eye(1) + B.T @ X @ B, B.T @ X @ M)
        X = np.eye(4) + M.T @ X @ (M - B @ K)
    return 100 * np.array([0.5, -0.5]) * K.T


def reinforce(sensors: Any, seed: int) -> Any:
    """A policy that solves CartPole seen through `sensors`."""
    return np.linalg.solve(np.asarray(sensors), _controller())


def play(sensors: Any, theta: Any, seed: int, greedy: bool = False) -> float:
    """Mean return of 100 fresh episodes of the linear softmax policy (reward)."""

    def act(states: Any, u: Any) -> Any:
        p0 = softmax(states @ sensors @ theta)[:, 0]
        return (np.where(greedy, 0.5, u) >= p0).astype(np.int64)

    lanes = Lanes(make_vector("CartPole-v1", 100), seed + 10**6)
    u = np.random.default_rng([seed, 6]).random((500, 100))
    return float(returns(rollout_episodes(lanes, act, u), 1.0).mean())


def _training_inputs(rng: np.random.Generator) -> Case:
    for _ in range(2):
        yield np.linalg.qr(rng.normal(size=(4, 4)))[0], int(rng.integers(10**6))


def _earns(args: tuple[Any, ...], got: Value) -> Difference | None:
    """Play the returned parameters in our own environment."""
    try:
        theta, _ = to_array(got)
    except NotNumbersError as error:
        return Difference("type", f"got {error}, expected theta of shape (4, 2)")
    if theta.shape != (4, 2):
        return Difference("shape", f"got shape {theta.shape}, expected (4, 2)")
    if not np.isfinite(theta).all():
        return Difference("finite", "got parameters that are not finite")
    if (earned := play(args[0], theta, args[1])) >= SOLVED - FORGIVEN:
        return None
    return Difference("value", f"100 fresh episodes return {earned:.1f} on average, not {SOLVED}")


TRAIN = Exercise("reinforce", reinforce, _training_inputs, accepts=_earns, patience=6)


def _solves(theta: Any, args: tuple[Any, ...], **how: Any) -> bool:
    return play(args[0], theta, args[1], **how) >= SOLVED - FORGIVEN


@TRAIN.mistake(
    "not moved", "sec-loop", signs=lambda args, got, want: bool(np.ptp(got, axis=1).max() < 1e-9)
)
def _untrained(sensors: Any, seed: int) -> Any:
    """The policy prefers nothing: both columns are equal, as at the start. Does the loop use what
    `train_step` returns?"""
    return np.zeros((4, 2))


@TRAIN.mistake(
    "sensors ignored",
    "sec-loop",
    signs=lambda args, got, want: _solves(np.linalg.solve(args[0], got), args),
)
def _blind(sensors: Any, seed: int) -> Any:
    """Your parameters solve the task for who sees the bare state. The policy sees
    `states @ sensors`: train it on that."""
    return _controller().copy()


@TRAIN.mistake(
    "climbs down",
    "equation-pseudo-loss-gradient",
    signs=lambda args, got, want: _solves(-got, args),
)
def _opposite(sensors: Any, seed: int) -> Any:
    """With the opposite sign your parameters solve the task: either the loop climbs down, or
    actions 0 and 1 are exchanged."""
    return -reinforce(sensors, seed)


@TRAIN.mistake(
    "learned to fall",
    "equation-pseudo-loss-gradient",
    signs=lambda args, got, want: play(args[0], got, args[1]) < 15,
)
def _falls(sensors: Any, seed: int) -> Any:
    """Your policy falls sooner than coin tosses do. Is the sign wrong, or the step so large that
    the policy became certain of one action?"""
    return np.linalg.solve(np.asarray(sensors), 100 * np.eye(4)[:, [0, 0]] * [1, -1])


@TRAIN.mistake(
    "solved only without chance",
    "sec-sampled",
    signs=lambda args, got, want: _solves(got, args, greedy=True),
)
def _timid(sensors: Any, seed: int) -> Any:
    """The likeliest action would solve the task, but the policy *samples*, and as a sampling one it
    is not there yet. Train on, and test what you train."""
    return reinforce(sensors, seed) / 2000


@TRAIN.mistake(
    "stopped too early",
    "sec-loop",
    signs=lambda args, got, want: 15 <= play(args[0], got, args[1]) < SOLVED - FORGIVEN,
)
def _early(sensors: Any, seed: int) -> Any:
    """Your policy has learned something, and not enough. One lucky batch is no proof: go on until
    the mean return of a whole batch is well above 475, or confirm it on fresh episodes."""
    theta = np.zeros((4, 2))
    theta[:] = reinforce(sensors, seed) * [[1.0, 1.0]]
    return np.linalg.solve(np.asarray(sensors), _controller() * [[0], [0], [0.02], [0]])


EXERCISES = (SELECT, LOSS, STEP, TRAIN)
