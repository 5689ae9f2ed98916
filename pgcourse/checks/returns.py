"""Checks of chapter 7: rewards-to-go, weights of the gradient, a world where they are noisier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from pgcourse import returns as chapter
from pgcourse.arguments import Floats
from pgcourse.checks.core import Difference, Exercise, Mistake, NotNumbersError, to_array
from pgcourse.checks.wire import Items, Value
from pgcourse.environments import refund
from pgcourse.mdp import MDP, count_trajectories, enumerate_trajectories, trajectory_prob
from pgcourse.policies import softmax
from pgcourse.trajectories import from_paths, split_episodes

Case = Iterator[tuple[Any, ...]]
Share = Callable[..., Any]  # (t, k, gamma, T) -> what the weight of step t gets of the reward of k

# --- wrong weights, as matrices ----------------------------------------------------------------


def _power(gamma: float, e: Any) -> Any:
    """gamma^e, and 0 where e is negative: the past gets nothing."""
    return np.where(np.asarray(e) >= 0, float(gamma) ** np.maximum(e, 0), 0.0)


def _right(t: Any, k: Any, g: float, T: int) -> Any:
    return _power(g, k - t)


def _from_start(t: Any, k: Any, g: float, T: int) -> Any:
    return _power(g, k) * (k >= t)


@cache
def _matrix(share: Share, T: int, gamma: float) -> Floats:
    t, k = np.indices((T, T))
    return np.asarray(share(t, k, gamma, T), dtype=np.float64)


def _on_lanes(share: Share) -> Callable[..., Any]:
    """Make an answer to `reward_to_go` that is linear in the rewards."""
    return lambda rewards, gamma: _matrix(share, len(rewards), gamma) @ rewards


def _on_episodes(share: Share) -> Callable[..., Any]:
    """Make an answer to `reward_to_go_batch` that is linear within each episode."""
    return _episode_by_episode(lambda r, gamma: _matrix(share, len(r), gamma) @ r)


def _episode_by_episode(rule: Callable[[Any, float], Any]) -> Callable[..., Any]:
    def answer(rewards: Any, gamma: float, ends: Any) -> Any:
        out = np.zeros(rewards.shape)
        for i, lane in enumerate(ends.T):
            for start, stop in split_episodes(lane, lane):
                out[start:stop, i] = rule(rewards[start:stop, i], gamma)
        return out

    return answer


def _normalised(G: Any) -> Any:
    return (G - G.mean()) / (G.std() + 1e-8)


# (name, where the page speaks of it, what each wrong answer does, diagnosis)
SUMS: list[tuple[str, str, Sequence[Share], str]] = [
    (
        "gamma to the power k, not k - t",
        "sec-exact",
        [_from_start],
        "You discount from the start of the episode. In G_t the reward of step t itself counts in "
        "full, and that of step k is multiplied by gamma^(k - t).",
    ),
    (
        "cumulative sum in the wrong direction",
        "sec-recursion",
        [
            lambda t, k, g, T: _power(g, t - k),
            lambda t, k, g, T: _power(g, k) * (k <= t),
            lambda t, k, g, T: k <= t,
        ],
        "You add up what was earned *before* each step. A reward-to-go adds what is earned from "
        "the step on: begin with the last row and go backward.",
    ),
    (
        "not discounted",
        "equation-reward-to-go",
        [lambda t, k, g, T: k >= t],
        "You add later rewards with weight 1. That of step k is multiplied by gamma^(k - t).",
    ),
    (
        "the return at every step",
        "sec-causality",
        [lambda t, k, g, T: _power(g, k), lambda t, k, g, T: k >= 0],
        "Every step gets the whole return. What was earned before step t does not belong to G_t.",
    ),
    (
        "left in reverse order",
        "sec-recursion",
        [lambda t, k, g, T: _power(g, k - (T - 1 - t))],
        "Your numbers are right and stand in reverse: turn the list round once more at the end.",
    ),
    (
        "own reward left out",
        "equation-reward-to-go",
        [lambda t, k, g, T: _power(g, k - t - 1), lambda t, k, g, T: g * _power(g, k - t - 1)],
        "Your sum begins one step late. The reward of step t is the first consequence of its "
        "action, and belongs to G_t.",
    ),
    (
        "one factor of gamma too many",
        "equation-reward-to-go-recursion",
        [lambda t, k, g, T: g * _power(g, k - t)],
        "All is multiplied by gamma once too often: in G_t the reward of step t counts in full. "
        "Is it gamma * (r + G) where r + gamma * G is meant?",
    ),
    (
        "discounted twice",
        "equation-reward-to-go-recursion",
        [
            lambda t, k, g, T: _power(g * g, k - t),
            lambda t, k, g, T: _power(g, k) * _power(g, k - t),
        ],
        "The discount acts twice. Either multiply rewards by powers of gamma, or multiply the sum "
        "by gamma once a step, not both.",
    ),
    (
        "next reward only",
        "equation-reward-to-go-recursion",
        [lambda t, k, g, T: (k == t) + g * (k == t + 1)],
        "You add the next reward and stop there. What is carried back is G_{t+1}, which holds all "
        "later rewards, not r_{t+1}: go backward and use what you have just computed.",
    ),
    (
        "own reward only",
        "equation-reward-to-go",
        [lambda t, k, g, T: k == t, lambda t, k, g, T: _power(g, k) * (k == t)],
        "Each step gets its own reward and nothing of what follows. An action answers for all "
        "that comes after it.",
    ),
    (
        "last step left out",
        "equation-reward-to-go-recursion",
        [
            lambda t, k, g, T: _power(g, k - t) * (k < T - 1),
            lambda t, k, g, T: _power(g, k - t) * (t < T - 1),
        ],
        "The last reward is missing, in all sums or in its own row. The recursion begins with "
        "G_{T-1} = r_{T-1}.",
    ),
    (
        "mean instead of sum",
        "equation-reward-to-go",
        [
            lambda t, k, g, T: _power(g, k - t) / (T - t),
            lambda t, k, g, T: _power(g, k - t) / T,
        ],
        "You divide by a number of steps. A reward-to-go is a sum.",
    ),
    (
        "discount on the wrong term",
        "equation-reward-to-go-recursion",
        [
            lambda t, k, g, T: g * (k >= t),
            lambda t, k, g, T: np.where(k == T - 1, 1.0, g) * (k >= t),
        ],
        "gamma multiplies the reward of the step, where it should multiply what follows: "
        "r + gamma * G, not gamma * r + G.",
    ),
    (
        "discount counted from the end",
        "equation-reward-to-go",
        [lambda t, k, g, T: _power(g, T - 1 - k) * (k >= t)],
        "With you the last reward counts most: powers of gamma and rewards run in opposite "
        "directions. Were the rewards reversed, and the powers not?",
    ),
    (
        "past rewards included",
        "sec-causality",
        [lambda t, k, g, T: float(g) ** (1.0 * (k - t)) if g else k >= 0],
        "Your sum runs over all steps, and gives rewards of the past a power of gamma below 0. "
        "It begins with the reward of step t itself.",
    ),
    (
        "exponent upside down",
        "equation-reward-to-go",
        [lambda t, k, g, T: np.where(k >= t, (g or 1.0) ** (1.0 * (t - k)), 0.0)],
        "The exponent is k - t, how far ahead the reward lies. With t - k later rewards count "
        "*more*, without limit.",
    ),
    (
        "1 - gamma",
        "equation-reward-to-go",
        [
            lambda t, k, g, T: _power(1 - g, k - t),
            lambda t, k, g, T: (1 - g) * _power(g, k - t),
        ],
        "1 - gamma stands in your sum, as a factor or in the place of gamma. The first reward "
        "counts 1, the next gamma, the next gamma squared.",
    ),
    (
        "sign",
        "equation-reward-to-go",
        [lambda t, k, g, T: -_power(g, k - t)],
        "Every sum has the wrong sign. Rewards are added as they are; the minus of the loss comes "
        "later.",
    ),
]


def _register(exercise: Exercise, lift: Callable[[Share], Callable[..., Any]]) -> None:
    for name, see, shares, says in SUMS:
        exercise.mistakes.append(Mistake(name, says, see, tuple(lift(share) for share in shares)))


# --- reward_to_go ------------------------------------------------------------------------------


def reward_to_go(rewards: Any, gamma: float) -> Any:
    """Rewards-to-go of each lane."""
    return chapter.reward_to_go(rewards, gamma)


def _to_go_inputs(rng: np.random.Generator) -> Case:
    for shape, gamma in [((5,), 0.9), ((4, 3), 0.8), ((7,), 0.6), ((3, 5), 0.7), ((6,), 1.0)]:
        yield rng.normal(1.0, 1.0, size=shape), gamma
    yield rng.normal(size=4), 0.0
    yield rng.normal(size=(3, 3)), 0.5
    yield rng.normal(size=1), 0.9
    yield rng.normal(size=(1, 4)), 0.9
    yield rng.normal(size=(6, 1)), 0.95
    yield rng.normal(1.0, 1.0, size=200), float(rng.uniform(0.01, 0.02))  # gamma^200 is 0
    yield rng.normal(1.0, 1.0, size=200), 0.99


TO_GO = Exercise("reward_to_go", reward_to_go, _to_go_inputs)
_register(TO_GO, _on_lanes)


@TO_GO.mistake("over the wrong axis", "sec-recursion")
def _across(rewards: Any, gamma: float) -> Any:
    """You sum along the lanes. Time is the first axis: row t holds step t of every lane."""
    return (_matrix(_right, rewards.shape[-1], gamma) @ rewards.T).T


@TO_GO.mistake(
    "lanes mixed",
    "sec-recursion",
    [
        lambda r, gamma: reward_to_go(r.reshape(len(r), -1).sum(axis=1), gamma),
        lambda r, gamma: reward_to_go(r.T.ravel(), gamma).reshape(r.T.shape).T,
        lambda r, gamma: reward_to_go(r.reshape(len(r), -1).mean(axis=1), gamma),
    ],
)
def _pooled(rewards: Any, gamma: float) -> Any:
    """Rewards of one lane get into the sums of another. Each column is a trajectory by itself."""
    return reward_to_go(rewards.ravel(), gamma).reshape(rewards.shape)


def _filled(rewards: Any, gamma: float) -> Any:
    G, after = np.zeros(len(rewards)), 0.0
    for t in reversed(range(len(rewards))):
        after = rewards[t] + gamma * after
        G[t] = after
    return G


@TO_GO.mistake(
    "a single lane only",
    "sec-recursion",
    [
        _filled,
        lambda r, gamma: (
            np.array([sum(gamma**k * float(x) for k, x in enumerate(r))] * len(r))
            if r.ndim > 1
            else reward_to_go(r, gamma)
        ),
    ],
)
def _one_lane(rewards: Any, gamma: float) -> Any:
    """It works for `[T]`, and not for `[T, N]`. A row holds N rewards: make room for all of them
    (`np.zeros_like(rewards)`), and let powers of gamma meet rows, not columns."""
    T = len(rewards)
    return np.array([(rewards[t:] * gamma ** np.arange(T - t)).sum() for t in range(T)])


@TO_GO.mistake(
    "divides by gamma^t",
    "sec-division",
    [lambda r, g: (_matrix(_from_start, len(r), g) @ r).T.__truediv__(g ** np.arange(len(r))).T],
)
def _divides(rewards: Any, gamma: float) -> Any:
    """You discount from the start and divide by gamma^t afterwards. In a long episode gamma^t is 0
    to the last digit, and for gamma = 0 it is 0 from the second step on: nothing is left to
    divide."""
    powers = (gamma ** np.arange(len(rewards))).reshape(-1, *[1] * (rewards.ndim - 1))
    return np.cumsum((powers * rewards)[::-1], axis=0)[::-1] / powers


@TO_GO.mistake(
    "normalised",
    "equation-reward-to-go",
    [lambda r, g: reward_to_go(r, g) - reward_to_go(r, g).mean()],
)
def _scaled(rewards: Any, gamma: float) -> Any:
    """You shift or scale the sums, as some programs do before they use them. Asked are the
    sums."""
    return _normalised(reward_to_go(rewards, gamma))


@TO_GO.mistake(
    "one number",
    "equation-reward-to-go",
    [lambda r, gamma: float(reward_to_go(r, gamma)[0].sum())],
)
def _start_only(rewards: Any, gamma: float) -> Any:
    """You return one number a trajectory, its return. Asked is one for each step: keep what the
    loop passes."""
    return reward_to_go(rewards, gamma)[0]


@TO_GO.mistake(
    "a row too many",
    "equation-reward-to-go-recursion",
    [lambda r, gamma: np.concatenate([r[:1] * 0, reward_to_go(r, gamma)])],
)
def _with_zero(rewards: Any, gamma: float) -> Any:
    """You return T + 1 rows. G_T = 0 helps to begin the recursion; it is no step, so leave it out
    at the end."""
    return np.concatenate([reward_to_go(rewards, gamma), rewards[:1] * 0])


@TO_GO.mistake("an axis too many", "equation-reward-to-go")
def _as_column(rewards: Any, gamma: float) -> Any:
    """Your result has a last axis of length 1. Its shape must be that of the rewards."""
    return reward_to_go(rewards, gamma)[..., None]


@TO_GO.mistake("rounded to whole numbers", "equation-reward-to-go")
def _whole_numbers(rewards: Any, gamma: float) -> Any:
    """Your sums are whole numbers: were they put into an array of integers? It must hold floats."""
    return reward_to_go(rewards, gamma).astype(int)


# --- reward_to_go_batch ------------------------------------------------------------------------


def reward_to_go_batch(rewards: Any, gamma: float, ends: Any) -> Any:
    """Rewards-to-go that do not cross the end of an episode, `[T, N]`."""
    return chapter.reward_to_go(rewards, gamma, ends)


def _batch_inputs(rng: np.random.Generator) -> Case:
    first = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    yield rng.normal(1.0, 1.0, size=(6, 3)), 0.9, first.astype(bool)
    shapes = [(7, 2, 0.8), (5, 4, 0.7), (3, 3, 0.6), (12, 2, 1.0), (8, 1, 0.9), (4, 5, 0.0)]
    for T, N, gamma in shapes:
        ends = rng.random((T, N)) < 0.3
        ends[T // 2, 0] = True
        yield rng.normal(1.0, 1.0, size=(T, N)), gamma, ends
    for flag in (False, True):
        yield rng.normal(1.0, 1.0, size=(5, 2)), 0.9, np.full((5, 2), flag)
        yield rng.normal(size=(1, 3)), 0.9, np.full((1, 3), flag)
    edges = np.zeros((6, 2), dtype=bool)
    edges[0, 0] = edges[-1, 1] = edges[2:4, 1] = True
    yield rng.normal(1.0, 1.0, size=(6, 2)), 0.8, edges
    yield rng.normal(size=(250, 2)), 0.01, rng.random((250, 2)) < 0.002


BATCH = Exercise("reward_to_go_batch", reward_to_go_batch, _batch_inputs)


def _recursion(keep: Callable[[Any, int], Any]) -> Callable[..., Any]:
    """Go backward; `keep(ends, t)` says what of G_{t+1} is carried to step t."""

    def answer(rewards: Any, gamma: float, ends: Any) -> Any:
        G = rewards.copy()
        for t in reversed(range(len(G) - 1)):
            G[t] += gamma * keep(ends, t) * G[t + 1]
        return G

    return answer


def _asked_once(rewards: Any, gamma: float, ends: Any) -> Any:
    G = rewards.copy()
    for t in reversed(range(len(G) - 1)):
        G[t] += 0 if ends[t] else gamma * G[t + 1]
    return G


@BATCH.mistake(
    "an end in one lane cuts all",
    "sec-carry",
    [_asked_once, _recursion(lambda e, t: not e[t].all()), _recursion(lambda e, t: not e[t, 0])],
)
def _any_lane(rewards: Any, gamma: float, ends: Any) -> Any:
    """You ask one flag for the whole row. Lanes end at different times: the factor is a row of N
    numbers, one for each lane."""
    return _recursion(lambda e, t: not e[t].any())(rewards, gamma, ends)


@BATCH.mistake(
    "crosses episodes",
    "sec-carry",
    [
        lambda r, gamma, e: _on_lanes(_from_start)(r, gamma),
        lambda r, gamma, e: r + ~e * (reward_to_go(r, gamma) - r),
    ],
)
def _crossing(rewards: Any, gamma: float, ends: Any) -> Any:
    """`ends` does not enter: rewards of the next episode are counted for actions of this one. On
    the last step of an episode nothing is carried over."""
    return reward_to_go(rewards, gamma)


@BATCH.mistake("ends misread as starts", "sec-carry")
def _starts(rewards: Any, gamma: float, ends: Any) -> Any:
    """You cut *before* the step that `ends` marks. The flag is on the last step of an episode:
    that step belongs to it, and the cut lies behind."""
    return _recursion(lambda e, t: ~e[t + 1])(rewards, gamma, ends)


@BATCH.mistake(
    "cut one step late",
    "sec-carry",
    [lambda r, g, e: reward_to_go_batch(r, g, np.roll(e, 1, axis=0))],
)
def _late(rewards: Any, gamma: float, ends: Any) -> Any:
    """You cut one step behind the end: the last step of an episode still gets the reward that the
    next one begins with. Step t asks its own flag, ends[t]."""
    return _recursion(lambda e, t: ~e[t - 1] if t else True)(rewards, gamma, ends)


@BATCH.mistake("flags upside down", "sec-carry", [_recursion(lambda e, t: -e[t].astype(int))])
def _negated(rewards: Any, gamma: float, ends: Any) -> Any:
    """You carry over where an episode ends, and cut everywhere else. The factor is gamma where
    `ends` is false, and 0 where it is true."""
    return _recursion(lambda e, t: e[t])(rewards, gamma, ends)


def _zeroed(rewards: Any, gamma: float, ends: Any) -> Any:
    G = np.zeros((len(rewards) + 1, rewards.shape[1]))
    for t in reversed(range(len(rewards))):
        G[t] = (rewards[t] + gamma * G[t + 1]) * ~ends[t]
    return G[:-1]


@BATCH.mistake(
    "reward at the end lost",
    "sec-carry",
    [_zeroed, lambda r, gamma, e: reward_to_go_batch(r, gamma, e) * ~e],
)
def _reset_late(rewards: Any, gamma: float, ends: Any) -> Any:
    """The reward of an episode's last step is missing. Forget what *follows* first, then add the
    reward of the step: it belongs to the episode."""
    return reward_to_go_batch(rewards * ~ends, gamma, ends)


def _finished(ends: Any) -> Any:
    """Steps of episodes that end within the batch."""
    return np.cumsum(ends[::-1], axis=0)[::-1] > 0


@BATCH.mistake(
    "unfinished episode dropped",
    "sec-carry",
    [lambda r, gamma, e: np.where(e.any(axis=0), reward_to_go_batch(r, gamma, e), 0.0)],
)
def _dropped(rewards: Any, gamma: float, ends: Any) -> Any:
    """Steps behind the last end of a lane get 0. The last row counts as cut whether or not `ends`
    says so: what was earned up to there counts."""
    return np.where(_finished(ends), reward_to_go_batch(rewards, gamma, ends), 0.0)


@BATCH.mistake(
    "last row not treated as an end",
    "sec-carry",
    [
        lambda r, g, e: reward_to_go_batch(np.vstack([r, r[:1]]), g, np.vstack([e, e[:1]]))[:-1],
        lambda r, g, e: reward_to_go_batch(np.vstack([r, r[-1:]]), g, np.vstack([e, e[-1:]]))[:-1],
    ],
)
def _wraps(rewards: Any, gamma: float, ends: Any) -> Any:
    """Something is carried into the last row, from the first row or from the last once more.
    Nothing follows the last row: there the sum begins with 0."""
    G = np.zeros_like(rewards)
    for _ in range(2):
        for t in reversed(range(len(G))):
            G[t] = rewards[t] + gamma * ~ends[t] * G[(t + 1) % len(G)]
    return G


@BATCH.mistake("stops at the first end", "sec-carry")
def _first_episode(rewards: Any, gamma: float, ends: Any) -> Any:
    """Behind the first end of a lane you have zeros. Another episode begins there."""
    before = np.cumsum(ends, axis=0) - ends
    return np.where(before == 0, reward_to_go_batch(rewards, gamma, ends), 0.0)


@BATCH.mistake(
    "lanes mixed",
    "sec-recursion",
    [
        lambda r, g, e: reward_to_go_batch(r.ravel()[:, None], g, e.ravel()[:, None]).reshape(
            r.shape
        ),
        lambda r, g, e: reward_to_go_batch(r.sum(axis=1)[:, None], g, e.any(axis=1)[:, None])[:, 0],
    ],
)
def _strung(rewards: Any, gamma: float, ends: Any) -> Any:
    """Rewards of one lane get into the sums of another: were the lanes strung together? Each
    column is a lane by itself, and its last row a cut."""
    columns = rewards.T.ravel()[:, None], gamma, ends.T.ravel()[:, None]
    return reward_to_go_batch(*columns).reshape(rewards.T.shape).T


@BATCH.mistake("over the wrong axis", "sec-recursion")
def _along_lanes(rewards: Any, gamma: float, ends: Any) -> Any:
    """You sum along the lanes. Time is the first axis: row t holds step t of every lane."""
    return reward_to_go_batch(rewards.T, gamma, ends.T).T


@BATCH.mistake(
    "normalised",
    "equation-reward-to-go",
    [lambda *a: _each_lane(_normalised, reward_to_go_batch(*a))],
)
def _scaled_batch(rewards: Any, gamma: float, ends: Any) -> Any:
    """You shift or scale the sums, as some programs do before they use them. Asked are the
    sums."""
    return _normalised(reward_to_go_batch(rewards, gamma, ends))


def _each_lane(rule: Callable[[Any], Any], G: Any) -> Any:
    return np.stack([rule(lane) for lane in G.T], axis=1)


def _divide(r: Any, gamma: float) -> Any:
    powers = gamma ** np.arange(len(r))
    return np.cumsum((powers * r)[::-1])[::-1] / powers


@BATCH.mistake("divides by gamma^t", "sec-division")
def _divides_batch(rewards: Any, gamma: float, ends: Any) -> Any:
    """You discount from the start and divide by gamma^t afterwards. In a long episode gamma^t is 0
    to the last digit: nothing is left to divide."""
    return _episode_by_episode(_divide)(rewards, gamma, ends)


_register(BATCH, _on_episodes)

# --- policy_gradient_weights -------------------------------------------------------------------

MODES = ("return", "reward_to_go", "exact")


def policy_gradient_weights(rewards: Any, gamma: float, mode: str) -> Any:
    """Weights `[T]` of the steps of one trajectory."""
    G = chapter.reward_to_go(rewards, gamma)
    powers = gamma ** np.arange(len(G))
    return {"return": np.full(len(G), G[0]), "reward_to_go": G, "exact": powers * G}[mode]


def _weight_inputs(rng: np.random.Generator) -> Case:
    for T, gamma in [(5, 0.9), (4, 0.7), (7, 0.5), (1, 0.8), (3, 1.0), (4, 0.0), (200, 0.01)]:
        for mode in MODES:
            yield rng.normal(1.0, 1.0, size=T), gamma, mode


WEIGHTS = Exercise("policy_gradient_weights", policy_gradient_weights, _weight_inputs)


def _whole(t: Any, k: Any, g: float, T: int) -> Any:
    return _power(g, k)


def _modes(**changed: Share) -> Callable[..., Any]:
    """Make an answer from the shares of each mode; those not named are right."""
    shares = {"return": _whole, "reward_to_go": _right, "exact": _from_start} | changed
    return lambda rewards, gamma, mode: _on_lanes(shares[mode])(rewards, gamma)


def _both(share: Share) -> Callable[..., Any]:
    """Change rewards-to-go, and with them the exact mode."""
    return _modes(reward_to_go=share, exact=lambda t, k, g, T: _power(g, t) * share(t, k, g, T))


def _returns(share: Share) -> Callable[..., Any]:
    return _modes(**{"return": share})


def _all_the_same(share: Share) -> Callable[..., Any]:
    return _modes(**dict.fromkeys(MODES, share))


@WEIGHTS.mistake("gamma^t dropped", "sec-dropped")
def _no_factor(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "exact" you return G_t. The gradient of the discounted return asks for gamma^t
    G_t; without the factor the update is the gradient of nothing."""
    return _modes(exact=_right)(rewards, gamma, mode)


@WEIGHTS.mistake("gamma^t twice", "sec-exact")
def _factor_twice(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "exact" the factor acts twice: a sum of gamma^k r_k over k >= t holds it
    already."""
    return _modes(exact=lambda t, k, g, T: _power(g, t) * _from_start(t, k, g, T))(
        rewards, gamma, mode
    )


@WEIGHTS.mistake("gamma to the power k, not k - t", "sec-exact")
def _early(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "reward_to_go" you discount from the start of the episode: that is the mode
    "exact". In G_t the reward of step t counts in full."""
    return _modes(reward_to_go=_from_start)(rewards, gamma, mode)


@WEIGHTS.mistake("return from t on", "sec-modes", [_returns(_from_start)])
def _causal_return(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "return" you leave out what was earned before the step. There every step has the
    same weight: the return of the whole trajectory."""
    return _returns(_right)(rewards, gamma, mode)


@WEIGHTS.mistake("reward_to_go and exact exchanged", "sec-modes")
def _exchanged(rewards: Any, gamma: float, mode: str) -> Any:
    """The modes "reward_to_go" and "exact" have changed places: the exact one is that with the
    factor gamma^t."""
    return _modes(reward_to_go=_from_start, exact=_right)(rewards, gamma, mode)


@WEIGHTS.mistake("return and reward_to_go exchanged", "sec-modes")
def _whole_to_go(rewards: Any, gamma: float, mode: str) -> Any:
    """The modes "return" and "reward_to_go" have changed places."""
    return _modes(**{"return": _right, "reward_to_go": _whole})(rewards, gamma, mode)


@WEIGHTS.mistake("always the return", "sec-modes")
def _only_return(rewards: Any, gamma: float, mode: str) -> Any:
    """Whatever the mode, you give each step the whole return. The other two leave out what was
    earned before the step."""
    return _all_the_same(_whole)(rewards, gamma, mode)


@WEIGHTS.mistake("always the reward-to-go", "sec-modes")
def _only_to_go(rewards: Any, gamma: float, mode: str) -> Any:
    """Whatever the mode, you return G_t. Compare `mode` with its three names."""
    return _all_the_same(_right)(rewards, gamma, mode)


@WEIGHTS.mistake("always exact", "sec-modes")
def _only_exact(rewards: Any, gamma: float, mode: str) -> Any:
    """Whatever the mode, you return gamma^t G_t. Compare `mode` with its three names."""
    return _all_the_same(_from_start)(rewards, gamma, mode)


@WEIGHTS.mistake(
    "not discounted",
    "equation-reward-to-go",
    [
        _both(lambda t, k, g, T: k >= t),
        _modes(reward_to_go=lambda t, k, g, T: k >= t),
        _modes(**{"return": lambda t, k, g, T: k >= 0, "reward_to_go": lambda t, k, g, T: k >= t}),
        lambda r, gamma, mode: policy_gradient_weights(r, 1.0, mode),
    ],
)
def _bare_return(rewards: Any, gamma: float, mode: str) -> Any:
    """You add rewards with weight 1. In the return the reward of step k counts gamma^k, in G_t
    gamma^(k - t)."""
    return _returns(lambda t, k, g, T: k >= 0)(rewards, gamma, mode)


@WEIGHTS.mistake("gamma^t times the return", "sec-modes")
def _fading(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "return" you multiply by gamma^t. Every step has the same weight there, the sum
    of gamma^k r_k over the trajectory."""
    return _returns(lambda t, k, g, T: _power(g, t + k))(rewards, gamma, mode)


@WEIGHTS.mistake("gamma^t times the whole return", "sec-exact")
def _fading_return(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "exact" you multiply the whole return by gamma^t. The factor belongs to the
    reward-to-go: gamma^t G_t."""
    return _modes(exact=lambda t, k, g, T: _power(g, t + k))(rewards, gamma, mode)


@WEIGHTS.mistake(
    "one number for the return",
    "sec-modes",
    [
        _returns(lambda t, k, g, T: _power(g, k) * (t == 0)),
        lambda r, gamma, mode: (
            policy_gradient_weights(r, gamma, mode)[:1]
            if mode == "return"
            else policy_gradient_weights(r, gamma, mode)
        ),
    ],
)
def _scalar(rewards: Any, gamma: float, mode: str) -> Any:
    """In the mode "return" you give one number. It is the weight of *every* step: return it T
    times."""
    weights = policy_gradient_weights(rewards, gamma, mode)
    return float(weights[0]) if mode == "return" else weights


@WEIGHTS.mistake(
    "cumulative sum in the wrong direction",
    "sec-recursion",
    [
        _both(lambda t, k, g, T: _power(g, k) * (k <= t)),
        _modes(
            reward_to_go=lambda t, k, g, T: _power(g, t - k),
            exact=lambda t, k, g, T: _power(g, k) * (k <= t),
        ),
    ],
)
def _forward(rewards: Any, gamma: float, mode: str) -> Any:
    """You add up what was earned *before* each step. A reward-to-go adds what is earned from the
    step on: begin with the last row and go backward."""
    return _both(lambda t, k, g, T: _power(g, t - k))(rewards, gamma, mode)


@WEIGHTS.mistake(
    "own reward left out",
    "equation-reward-to-go",
    [_both(lambda t, k, g, T: g * _power(g, k - t - 1))],
)
def _next_on(rewards: Any, gamma: float, mode: str) -> Any:
    """Your sums begin one step late. The reward of step t is the first consequence of its action,
    and belongs to its weight."""
    return _both(lambda t, k, g, T: _power(g, k - t - 1))(rewards, gamma, mode)


@WEIGHTS.mistake(
    "one factor of gamma too many",
    "sec-exact",
    [
        _modes(exact=lambda t, k, g, T: g * _from_start(t, k, g, T)),
        _returns(lambda t, k, g, T: g * _power(g, k)),
        lambda *args: args[1] * policy_gradient_weights(*args),
    ],
)
def _from_one(rewards: Any, gamma: float, mode: str) -> Any:
    """You multiply by gamma once too often. Time begins at 0: the first step has the factor
    gamma^0 = 1."""
    return _both(lambda t, k, g, T: g * _power(g, k - t))(rewards, gamma, mode)


@WEIGHTS.mistake(
    "left in reverse order",
    "sec-recursion",
    [_modes(exact=lambda t, k, g, T: _power(g, T - 1 - t) * _power(g, k - t))],
)
def _reversed(rewards: Any, gamma: float, mode: str) -> Any:
    """Something stands in reverse: rewards-to-go or powers of gamma. Both run with time, from step
    0 on."""
    return _both(lambda t, k, g, T: _power(g, k - (T - 1 - t)))(rewards, gamma, mode)


@WEIGHTS.mistake(
    "own reward only",
    "equation-reward-to-go",
    [
        _modes(exact=lambda t, k, g, T: _power(g, t) * (k == t)),
        _both(lambda t, k, g, T: (k == t) + g * (k == t + 1)),
    ],
)
def _own(rewards: Any, gamma: float, mode: str) -> Any:
    """You weigh a step by its own reward, or by it and the next. An action answers for all that
    comes after it."""
    return _both(lambda t, k, g, T: k == t)(rewards, gamma, mode)


@WEIGHTS.mistake(
    "discounted twice",
    "equation-reward-to-go-recursion",
    [
        _modes(reward_to_go=lambda t, k, g, T: _power(g, k) * _power(g, k - t)),
        _modes(
            reward_to_go=lambda t, k, g, T: _power(g, k) * _power(g, k - t),
            exact=lambda t, k, g, T: _power(g, k) * _power(g, k - t),
        ),
        _both(lambda t, k, g, T: _power(g * g, k - t)),
        _modes(exact=lambda t, k, g, T: _power(g, k) * _power(g, k - t)),
    ],
)
def _doubly(rewards: Any, gamma: float, mode: str) -> Any:
    """The discount acts twice. Either multiply rewards by powers of gamma, or multiply the sum by
    gamma once a step, not both."""
    return _both(lambda t, k, g, T: _power(g, k) * _power(g, k - t))(rewards, gamma, mode)


@WEIGHTS.mistake(
    "mean instead of sum",
    "equation-reward-to-go",
    [
        lambda *args: policy_gradient_weights(*args) / len(args[0]),
        _both(lambda t, k, g, T: _power(g, k - t) / (T - t)),
    ],
)
def _averaged(rewards: Any, gamma: float, mode: str) -> Any:
    """You divide by a number of steps. Returns and rewards-to-go are sums."""
    return _returns(lambda t, k, g, T: _power(g, k) / T)(rewards, gamma, mode)


@WEIGHTS.mistake(
    "divides by gamma^t",
    "sec-division",
    [
        lambda r, g, mode: (
            policy_gradient_weights(r, g, mode)
            if mode == "return"
            else _divide(r, g) * (g ** np.arange(len(r)) if mode == "exact" else 1.0)
        )
    ],
)
def _quotient(rewards: Any, gamma: float, mode: str) -> Any:
    """You discount from the start and divide by gamma^t afterwards. In a long episode gamma^t is 0
    to the last digit, and for gamma = 0 it is 0 from the second step on."""
    if mode == "reward_to_go":
        return _divide(rewards, gamma)
    return policy_gradient_weights(rewards, gamma, mode)


@WEIGHTS.mistake(
    "normalised",
    "sec-modes",
    [lambda *a: policy_gradient_weights(*a) - policy_gradient_weights(*a).mean()],
)
def _shifted(rewards: Any, gamma: float, mode: str) -> Any:
    """You shift or scale the weights, as some programs do before they use them. Asked are the
    weights as they are."""
    return _normalised(policy_gradient_weights(rewards, gamma, mode))


# --- find_mdp_where_reward_to_go_is_worse ------------------------------------------------------

MOST_ENTRIES, MOST_TRAJECTORIES = 100, 5000
World = tuple[Floats, Floats, Floats, Floats]  # P, R, d0, theta


def find_mdp_where_reward_to_go_is_worse(horizon: int, gamma: float) -> Any:
    """(P, R, d0, theta): what was paid is taken back, so that the return is 0."""
    world = refund()
    R = np.array(world.R)
    R[2:4] /= gamma
    return world.P, R, world.d0, np.zeros((world.S, world.A))


def _horizons(rng: np.random.Generator) -> Case:
    yield 2, 1.0
    yield 2, 0.4
    yield 3, float(rng.uniform(0.3, 0.45))
    yield 4, float(rng.uniform(0.3, 0.45))


def total_variance(world: World, horizon: int, gamma: float, by: Any) -> float:
    """Trace of the covariance of one trajectory's estimate with these weights."""
    P, R, d0, theta = world
    mdp = MDP(P, R, d0, gamma, horizon)
    states, actions = enumerate_trajectories(mdp)
    p = trajectory_prob(mdp, softmax(theta), states, actions)
    every = from_paths(mdp, states, actions)
    g = np.einsum("tk,tksa->ksa", by(gamma)(every), chapter.step_scores(every, theta))
    return float(p @ ((g - np.tensordot(p, g, 1)) ** 2).sum(axis=(1, 2)))


def _is_worse(
    world: World, horizon: int, gamma: float, by: Any = chapter.by_exact_reward_to_go
) -> bool:
    """Say whether rewards-to-go are noisier than the full return, by more than rounding."""
    full = total_variance(world, horizon, gamma, chapter.by_return)
    causal = total_variance(world, horizon, gamma, by)
    return causal - full > 1e-6 * causal > 1e-18 * float(np.max(np.abs(world[1]))) ** 2


def _as_world(got: Value) -> World:
    """Read (P, R, d0, theta); probabilities in single precision are made to sum to 1."""
    if not isinstance(got, Items) or len(got.items) != 4:
        raise NotNumbersError("something else than four arrays (P, R, d0, theta)")
    (P, coarse), (R, _), (d0, also), (theta, _) = (to_array(part) for part in got.items)
    if P.ndim != 3 or P.shape[0] * P.shape[1] > MOST_ENTRIES:
        raise ValueError(f"P must be [S, A, S] with S times A at most 100, got shape {P.shape}")
    if theta.shape != P.shape[:2] or not np.isfinite(theta).all():
        raise ValueError(f"theta must be finite, [S, A] = {P.shape[:2]}, got shape {theta.shape}")
    return _summing_to_one(P, coarse), R, _summing_to_one(d0, also), theta


def _summing_to_one(p: Floats, precision: str) -> Floats:
    sums = p.sum(axis=-1, keepdims=True)
    return p / sums if precision != "float64" and np.all(np.abs(sums - 1) < 1e-5) else p


def _is_found(args: tuple[Any, ...], got: Value) -> Difference | None:
    """Compute both variances of the world that came back."""
    horizon, gamma = args
    try:
        world = _as_world(got)
        count = count_trajectories(MDP(*world[:3], gamma, horizon))
    except NotNumbersError as error:
        return Difference("type", f"got {error}", "not a world")
    except ValueError as error:
        return Difference("value", str(error), "not a world")
    if count > MOST_TRAJECTORIES:
        text = f"the world has {count} trajectories, more than {MOST_TRAJECTORIES}"
        return Difference("value", text, "too many trajectories")
    if _is_worse(world, horizon, gamma):
        return None
    full, causal = (
        total_variance(world, horizon, gamma, by)
        for by in (chapter.by_return, chapter.by_exact_reward_to_go)
    )
    text = f"total variance with rewards-to-go {causal:.6g}, with the full return {full:.6g}"
    return Difference("value", text, _why_not(world, horizon, gamma, causal, full))


def _why_not(world: World, horizon: int, gamma: float, causal: float, full: float) -> str:
    if _is_worse(world, 2, gamma):
        return "horizon ignored"
    if _is_worse(world, horizon, 1.0):
        return "gamma ignored"
    if abs(causal - full) <= 1e-6 * full:
        return "no difference"
    if _is_worse(world, horizon, gamma, chapter.by_reward_to_go):
        return "gamma^t dropped"
    return "the full return is noisier"


FIND = Exercise(
    "find_mdp_where_reward_to_go_is_worse",
    find_mdp_where_reward_to_go_is_worse,
    _horizons,
    accepts=_is_found,
)


def _coin(*amounts: float) -> World:
    """A coin is tossed; heads are paid these amounts in turn, and tails must pay them."""
    S, signs = 2 * len(amounts) + 1, np.array([1.0, -1.0])
    R = np.append(np.outer(amounts, signs).ravel(), 0.0)[:, None].repeat(2, axis=1)
    P = np.eye(S)[np.minimum(np.arange(S) + 2, S - 1)][:, None].repeat(2, axis=1)
    return P, R, np.eye(S)[:2].mean(axis=0), np.zeros((S, 2))


@FIND.mistake(
    "not a world",
    "sec-worse",
    [
        lambda T, gamma: (refund().P[:, :, :4], refund().R, refund().d0, np.zeros((5, 2))),
        lambda T, gamma: (refund().P, refund().R, refund().d0 * 2, np.zeros((5, 2))),
        lambda T, gamma: (np.swapaxes(refund().P, 1, 2), refund().R, refund().d0, np.zeros((5, 2))),
        lambda T, gamma: (refund().P, refund().R, refund().d0, np.zeros(10)),
        lambda T, gamma: (refund().P, refund().R, refund().d0),
    ],
)
def _unfit(horizon: int, gamma: float) -> Any:
    """The arrays are no world with a policy. Asked are P `[S, A, S]` and d0 `[S]` that sum to 1
    over their last axis, R `[S, A]` and theta `[S, A]`."""
    world = refund()
    return world.P / 2, world.R, world.d0, np.zeros((5, 2))


@FIND.mistake("too many trajectories", "sec-worse")
def _crowded(horizon: int, gamma: float) -> Any:
    """Your world has more than 5,000 trajectories, and the check adds up all of them. A few states
    are enough."""
    S = 30
    return np.full((S, 3, S), 1 / S), np.ones((S, 3)), np.full(S, 1 / S), np.zeros((S, 3))


@FIND.mistake("horizon ignored", "sec-worse")
def _for_two_steps(horizon: int, gamma: float) -> Any:
    """Your world does it for two steps. This horizon is longer: what happens afterwards is earned
    too. Lead to a state that pays nothing and never ends."""
    return _coin(1.0, -1 / gamma, 1 / gamma**2)


@FIND.mistake("gamma ignored", "sec-worse")
def _for_gamma_one(horizon: int, gamma: float) -> Any:
    """Your world does it for gamma = 1. With a discount the later reward counts less in the
    return, and no longer takes back what the earlier one paid: make it larger."""
    return _coin(1.0, -1.0)


@FIND.mistake("gamma^t dropped", "sec-dropped")
def _undiscounted_weights(horizon: int, gamma: float) -> Any:
    """With weights G_t your world would do; but those are no estimate of the gradient when gamma
    is below 1. The reward-to-go that is compared here is gamma^t G_t."""
    return _coin(1.0 if gamma == 1 else gamma - np.sqrt(gamma / np.sqrt(horizon - 1)), -1.0)


@FIND.mistake("no difference", "sec-worse", [lambda T, gamma: _coin(*[0.0] * (T - 1), 1.0)])
def _certain(horizon: int, gamma: float) -> Any:
    """Both estimates scatter alike. There must be something in the past that can cancel: a reward
    *before* a decision, and a policy that is not certain of its action."""
    return *_coin(1.0, -1.0)[:3], np.tile([1e5, 0.0], (5, 1))


@FIND.mistake("the full return is noisier", "sec-worse")
def _usual(horizon: int, gamma: float) -> Any:
    """In your world rewards-to-go are the less noisy ones, as usual. Look for a world in which the
    past makes up for the future: whoever was paid early pays late."""
    return _coin(1.0, 1.0)


EXERCISES = (TO_GO, BATCH, WEIGHTS, FIND)
