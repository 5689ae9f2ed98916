"""Equations of chapter 7: sums over trajectories on one side, values and states on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgcourse.arguments import Floats
from pgcourse.environments import investment, random_mdp, two_doors
from pgcourse.mdp import MDP, enumerate_trajectories, trajectory_prob
from pgcourse.policies import softmax
from tests.equations import definition, equation, misprint

STEP = 1e-30  # of a complex derivative, exact to rounding


@dataclass(frozen=True)
class World:
    """A small episodic world and logits; sums over all of its trajectories."""

    mdp: MDP
    theta: Floats

    @property
    def paths(self) -> tuple[Floats, Floats, Floats]:
        """Probability `[K]`, rewards `[K, T]` and scores of each step `[K, T, D]`, by hand."""
        states, actions = enumerate_trajectories(self.mdp)
        pi = softmax(self.theta)
        p = trajectory_prob(self.mdp, pi, states, actions)
        scores = np.zeros((*actions.shape, *self.theta.shape))
        for k, t in np.ndindex(actions.shape):
            s, a = states[k, t], actions[k, t]
            scores[k, t, s] = np.eye(len(pi[s]))[a] - pi[s]
        return p, self.mdp.R[states[:, :-1], actions], scores.reshape(*actions.shape, -1)

    def expected(self, weights: Callable[[Floats], Floats]) -> Floats:
        """Expectation `[D]` of the sum of weight times score; weights `[K, T]` from rewards."""
        p, r, scores = self.paths
        return np.einsum("k,kt,ktd->d", p, weights(r), scores)

    def moved(self, f: Callable[[Any], Any]) -> Floats:
        """Gradient `[D]` of f, each logit moved along the imaginary axis."""
        moves = np.eye(self.theta.size).reshape(-1, *self.theta.shape) * 1j * STEP
        return np.array([np.imag(f(self.theta + e)) / STEP for e in moves])

    def values(self, theta: Any, gamma: float | None = None) -> list[Any]:
        """V_0, ..., V_T, each `[S]`, backward; theta may be complex."""
        gamma = self.mdp.gamma if gamma is None else gamma
        pi, V = policy(theta), [np.zeros(self.mdp.S)]
        for _ in range(self.mdp.T):
            V.append((pi * (self.mdp.R + gamma * self.mdp.P @ V[-1])).sum(axis=1))
        return V[::-1]

    def J(self, theta: Any, gamma: float | None = None) -> Any:
        return self.mdp.d0 @ self.values(theta, gamma)[0]

    @property
    def gradient(self) -> Floats:
        return self.moved(self.J)

    @property
    def laws(self) -> list[Floats]:
        """d_0, ..., d_{T-1}, forward."""
        pi, d = softmax(self.theta), [self.mdp.d0]
        for _ in range(self.mdp.T - 1):
            d.append(np.einsum("s,sa,saz->z", d[-1], pi, self.mdp.P))
        return d

    def later_values(self, first: int = 1) -> float:
        V = self.values(self.theta)
        return float(sum(d @ v for d, v in list(zip(self.laws, V, strict=False))[first:]))

    def later_slopes(self, first: int = 1) -> Floats:
        """Sum over later times of the gradient of V_t, averaged over d_t as it stands."""
        laws = self.laws

        def total(theta: Any) -> Any:
            V = self.values(theta)
            return sum((d @ v for d, v in list(zip(laws, V, strict=False))[first:]), 0.0)

        return self.moved(total)


def policy(theta: Any) -> Any:
    return np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)


def worlds(rng: np.random.Generator) -> Iterator[World]:
    for S, A, T in [(2, 2, 3), (3, 2, 2), (2, 3, 3), (1, 2, 5), (2, 2, 4)]:
        world = random_mdp(S, A, rng.uniform(0.3, 0.95), T, rng)
        yield World(world, rng.normal(size=(S, A)))


# --- causality ---------------------------------------------------------------------------------


def own_and_other(case: World, past: bool) -> Floats:
    """E[r_k score_t] `[D]` for each pair k < t, or k >= t."""
    p, r, scores = case.paths
    T = case.mdp.T
    pairs = [(k, t) for t in range(T) for k in range(T) if (k < t) == past]
    return np.array([(p * r[:, k]) @ scores[:, t] for k, t in pairs])


@equation(
    "causality",
    r"\E_{\tau \sim p_\theta}\bigl[ r_k\, \grad \log \pi_\theta(a_t \mid s_t) \bigr] = 0 "
    r"\qquad (k < t)",
    on=worlds,
)
def causality(case: World) -> tuple[Floats, Floats]:
    """Every pair of an earlier reward and a later score, over all trajectories."""
    left = own_and_other(case, past=True)
    return left, np.zeros_like(left)


@misprint("causality", "k = t included")
def _(case: World) -> Floats:
    p, r, scores = case.paths
    pairs = [(t, t) for t in range(1, case.mdp.T) for k in range(t)]
    return np.array([(p * r[:, k]) @ scores[:, t] for k, t in pairs])


@misprint("causality", "k > t")
def _(case: World) -> Floats:
    p, r, scores = case.paths
    pairs = [(k, t) for k in range(1, case.mdp.T) for t in range(k)]
    return np.array([(p * r[:, k]) @ scores[:, t] for k, t in pairs])


@misprint("causality", "the mean reward, as if scores had mean one")
def _(case: World) -> Floats:
    p, r, scores = case.paths
    T, D = case.mdp.T, scores.shape[2]
    return np.array([np.full(D, p @ r[:, k]) for t in range(T) for k in range(t)])


definition("reward-to-go", r"G_t = \sum_{k=t}^{T-1} \gamma^{k-t} r_k", chapter=7)


def to_go(r: Floats, gamma: float, power: Callable[[int, int], int] = lambda k, t: k - t) -> Floats:
    """G_t `[K, T]` from rewards `[K, T]`, by the double sum."""
    T = r.shape[1]
    columns = [sum(gamma ** power(k, t) * r[:, k] for k in range(t, T)) for t in range(T)]
    return np.stack(columns, axis=1)


Rewards = tuple[Floats, float]


def some_rewards(rng: np.random.Generator) -> Iterator[Rewards]:
    for T in (1, 2, 5, 30):
        yield rng.normal(size=(3, T)), rng.uniform(0.2, 0.95)


def one_step_back(case: Rewards, now: float, after: float) -> Floats:
    """now r_t + after G_{t+1} with G_T = 0, where G is the double sum."""
    r, gamma = case
    later = np.column_stack([to_go(r, gamma)[:, 1:], np.zeros(len(r))])
    return now * r + after * later


@equation(
    "reward-to-go-recursion",
    r"G_t = r_t + \gamma\, G_{t+1}, \qquad G_T = 0",
    on=some_rewards,
    uses=("reward-to-go",),
)
def reward_to_go_recursion(case: Rewards) -> tuple[Floats, Floats]:
    """The double sum at every time, against the double sum one step later."""
    return to_go(*case), one_step_back(case, 1.0, case[1])


@misprint("reward-to-go-recursion", "the discount on the wrong term")
def _(case: Rewards) -> Floats:
    return one_step_back(case, case[1], 1.0)


@misprint("reward-to-go-recursion", "no discount")
def _(case: Rewards) -> Floats:
    return one_step_back(case, 1.0, 1.0)


@misprint("reward-to-go-recursion", "the discount squared")
def _(case: Rewards) -> Floats:
    return one_step_back(case, 1.0, case[1] ** 2)


@equation(
    "causal-gradient",
    r"\grad J_\gamma(\theta) = \E_{\tau \sim p_\theta}\Bigl[ \sum_{t=0}^{T-1} "
    r"\grad \log \pi_\theta(a_t \mid s_t) \sum_{k=t}^{T-1} \gamma^k r_k \Bigr]",
    on=worlds,
)
def causal_gradient(case: World) -> tuple[Floats, Floats]:
    """Complex-step derivatives of J, against scores times later rewards over all trajectories."""
    gamma = case.mdp.gamma
    return case.gradient, case.expected(lambda r: to_go(r, gamma, lambda k, t: k))


@misprint("causal-gradient", "the sum begins at t + 1")
def _(case: World) -> Floats:
    discounts = case.mdp.gamma ** np.arange(case.mdp.T)
    return case.expected(lambda r: to_go(r, case.mdp.gamma, lambda k, t: k) - discounts * r)


@misprint("causal-gradient", "the rewards before t")
def _(case: World) -> Floats:
    discounts = case.mdp.gamma ** np.arange(case.mdp.T)
    return case.expected(lambda r: np.cumsum(discounts * r, axis=1))


@misprint("causal-gradient", "the discount counted from t")
def _(case: World) -> Floats:
    return case.expected(lambda r: to_go(r, case.mdp.gamma))


@equation(
    "exact-discount",
    r"\grad J_\gamma(\theta) = \E_{\tau \sim p_\theta}\Bigl[ \sum_{t=0}^{T-1} \gamma^t G_t\, "
    r"\grad \log \pi_\theta(a_t \mid s_t) \Bigr]",
    on=worlds,
    uses=("reward-to-go",),
)
def exact_discount(case: World) -> tuple[Floats, Floats]:
    """Complex-step derivatives of J, against scores times gamma^t G_t over all trajectories."""
    return case.gradient, discounted(case, lambda t: t)


def discounted(case: World, power: Callable[[Any], Any]) -> Floats:
    factors = case.mdp.gamma ** power(np.arange(case.mdp.T))
    return case.expected(lambda r: factors * to_go(r, case.mdp.gamma))


@misprint("exact-discount", "the factor dropped")
def _(case: World) -> Floats:
    return discounted(case, lambda t: 0 * t)


@misprint("exact-discount", "t counted from 1")
def _(case: World) -> Floats:
    return discounted(case, lambda t: t + 1)


@misprint("exact-discount", "the factor twice")
def _(case: World) -> Floats:
    return discounted(case, lambda t: 2 * t)


# --- the recursion with ends -------------------------------------------------------------------


@dataclass(frozen=True)
class Lane:
    """Terms and ends of one lane, and what the recursion is multiplied by."""

    x: Floats
    e: Floats
    c: float

    def recursion(self, keep: Callable[[int], float]) -> Floats:
        y = np.zeros(len(self.x) + 1)
        for t in reversed(range(len(self.x))):
            y[t] = self.x[t] + self.c * keep(t) * y[t + 1]
        return y[:-1]


def lanes(rng: np.random.Generator) -> Iterator[Lane]:
    for T in (1, 4, 9, 40):
        yield Lane(rng.normal(size=T), (rng.random(T) < 0.3).astype(float), rng.uniform(0.3, 1))
    yield Lane(rng.normal(size=5), np.array([1.0, 0, 1, 1, 0]), 0.9)


@equation(
    "backward-sum",
    r"y_t = x_t + c\,(1 - e_t)\, y_{t+1}, \quad y_T = 0 \qquad \Longrightarrow \qquad "
    r"y_t = \sum_{k=t}^{n(t)} c^{k-t} x_k",
    on=lanes,
)
def backward_sum(case: Lane) -> tuple[Floats, Floats]:
    """The recursion, against the sum to the end of each step's own episode."""
    T = len(case.x)
    last = [next((k for k in range(t, T) if case.e[k]), T - 1) for t in range(T)]
    right = [sum(case.c ** (k - t) * case.x[k] for k in range(t, last[t] + 1)) for t in range(T)]
    return case.recursion(lambda t: 1 - case.e[t]), np.array(right)


@misprint("backward-sum", "ends ignored")
def _(case: Lane) -> Floats:
    return case.recursion(lambda t: 1.0)


@misprint("backward-sum", "cut where the next episode ends")
def _(case: Lane) -> Floats:
    return case.recursion(lambda t: 1 - np.append(case.e, 0)[t + 1])


@misprint("backward-sum", "cut everywhere but at ends")
def _(case: Lane) -> Floats:
    return case.recursion(lambda t: case.e[t])


# --- variance ----------------------------------------------------------------------------------

definition(
    "past-term",
    r"Y(\tau) = \sum_{t=1}^{T-1} \Bigl( \sum_{k=0}^{t-1} \gamma^k r_k \Bigr) "
    r"\grad \log \pi_\theta(a_t \mid s_t)",
    chapter=7,
)


def past(case: World) -> Floats:
    """Discounted rewards before each step, `[K, T]`."""
    _, r, _ = case.paths
    paid = case.mdp.gamma ** np.arange(case.mdp.T) * r
    return np.cumsum(paid, axis=1) - paid


def halves(case: World) -> tuple[Floats, Floats, Floats]:
    """p `[K]`, X and Y `[K, D]`: what later and what earlier rewards contribute."""
    p, r, scores = case.paths
    later = to_go(r, case.mdp.gamma, lambda k, t: k)
    return p, np.einsum("kt,ktd->kd", later, scores), np.einsum("kt,ktd->kd", past(case), scores)


def spread(p: Floats, g: Floats) -> float:
    """Trace of the covariance of g `[K, D]`."""
    return float(p @ ((g - p @ g) ** 2).sum(axis=1))


@equation(
    "past-noise",
    r"\E_{\tau \sim p_\theta}\bigl[ \norm{Y}^2 \bigr] = \sum_{t=1}^{T-1} \E_{\tau \sim p_\theta}"
    r"\Bigl[ \Bigl( \sum_{k=0}^{t-1} \gamma^k r_k \Bigr)^2 "
    r"\norm{\grad \log \pi_\theta(a_t \mid s_t)}^2 \Bigr]",
    on=worlds,
    uses=("past-term",),
)
def past_noise(case: World) -> tuple[float, float]:
    """The square of the summed terms over all trajectories, against the sum of their squares."""
    p, _, Y = halves(case)
    return float(p @ (Y**2).sum(axis=1)), squares(case, past(case))


def squares(case: World, weights: Floats) -> float:
    p, _, scores = case.paths
    return float(np.einsum("k,kt,ktd->", p, weights**2, scores**2))


@misprint("past-noise", "the reward of step t included")
def _(case: World) -> float:
    _, r, _ = case.paths
    return squares(case, past(case) + case.mdp.gamma ** np.arange(case.mdp.T) * r)


@misprint("past-noise", "squares of rewards, not of their sum")
def _(case: World) -> float:
    p, r, scores = case.paths
    paid = (case.mdp.gamma ** np.arange(case.mdp.T) * r) ** 2
    return float(np.einsum("k,kt,ktd->", p, np.cumsum(paid, axis=1) - paid, scores**2))


@equation(
    "variance-split",
    r"\tr \Cov_{\tau \sim p_\theta}[X + Y] = \tr \Cov_{\tau \sim p_\theta}[X] + "
    r"\E_{\tau \sim p_\theta}\bigl[ \norm{Y}^2 \bigr] + "
    r"2 \E_{\tau \sim p_\theta}\bigl[ X \cdot Y \bigr]",
    on=worlds,
    uses=("past-term",),
)
def variance_split(case: World) -> tuple[float, float]:
    """The variance with the full return, against that of its two halves."""
    p, r, scores = case.paths
    R = r @ case.mdp.gamma ** np.arange(case.mdp.T)
    return spread(p, R[:, None] * scores.sum(axis=1)), split(case, 2.0)


def split(case: World, factor: float) -> float:
    p, X, Y = halves(case)
    return spread(p, X) + float(p @ (Y**2).sum(axis=1) + factor * p @ (X * Y).sum(axis=1))


@misprint("variance-split", "as if both halves were uncorrelated")
def _(case: World) -> float:
    return split(case, 0.0)


@misprint("variance-split", "the factor 2 missing")
def _(case: World) -> float:
    return split(case, 1.0)


@misprint("variance-split", "minus")
def _(case: World) -> float:
    return split(case, -2.0)


def monotonous(rng: np.random.Generator) -> Iterator[World]:
    """One state whose every step pays 1."""
    for A, T in [(2, 1), (2, 5), (3, 4), (2, 8)]:
        world = MDP(np.ones((1, A, 1)), np.ones((1, A)), np.ones(1), 1.0, T)
        yield World(world, rng.normal(size=(1, A)))


def constant(case: World, full: Callable[[int], float], causal: Callable[[int], float]) -> Floats:
    q = 1 - (softmax(case.theta) ** 2).sum()
    return q * np.array([full(case.mdp.T), causal(case.mdp.T)])


@equation(
    "constant-reward-variance",
    r"\E_{\tau \sim p_\theta}\bigl[ \norm{X + Y}^2 \bigr] = q\,T^3, \qquad "
    r"\E_{\tau \sim p_\theta}\bigl[ \norm{X}^2 \bigr] = \tfrac16\, q\,T\,(T + 1)(2T + 1)",
    on=monotonous,
    uses=("past-term",),
)
def constant_reward_variance(case: World) -> tuple[Floats, Floats]:
    """Both second moments over all trajectories, against powers of T."""
    p, X, Y = halves(case)
    left = [p @ ((X + Y) ** 2).sum(axis=1), p @ (X**2).sum(axis=1)]
    closed = constant(case, lambda T: T**3, lambda T: T * (T + 1) * (2 * T + 1) / 6)
    return np.array(left), closed


@misprint("constant-reward-variance", "a power of T lost")
def _(case: World) -> Floats:
    return constant(case, lambda T: T**2, lambda T: T * (T + 1) * (2 * T + 1) / 6)


@misprint("constant-reward-variance", "exactly a third")
def _(case: World) -> Floats:
    return constant(case, lambda T: T**3, lambda T: T**3 / 3)


# --- the factor dropped ------------------------------------------------------------------------

definition(
    "dropped-update",
    r"\tilde g(\theta) = \E_{\tau \sim p_\theta}\Bigl[ \sum_{t=0}^{T-1} G_t\, "
    r"\grad \log \pi_\theta(a_t \mid s_t) \Bigr]",
    chapter=7,
)


def dropped(case: World) -> Floats:
    return case.expected(lambda r: to_go(r, case.mdp.gamma))


@equation(
    "dropped-in-states",
    r"\tilde g(\theta) = \sum_{t=0}^{T-1} \sum_s d_t(s) \sum_a Q_t(s, a)\, "
    r"\grad \pi_\theta(a \mid s)",
    on=worlds,
    uses=("dropped-update", "reward-to-go"),
)
def dropped_in_states(case: World) -> tuple[Floats, Floats]:
    """All trajectories, against states and values with no trajectory in sight."""
    return dropped(case), by_states(case, lambda t: 1.0)


def by_states(case: World, factor: Callable[[int], float]) -> Floats:
    V = case.values(case.theta)
    Q = [case.mdp.R + case.mdp.gamma * case.mdp.P @ V[t + 1] for t in range(case.mdp.T)]
    laws = case.laws
    return case.moved(
        lambda theta: sum(
            factor(t) * (laws[t][:, None] * Q[t] * policy(theta)).sum() for t in range(case.mdp.T)
        )
    )


@misprint("dropped-in-states", "with the factor")
def _(case: World) -> Floats:
    return by_states(case, lambda t: case.mdp.gamma**t)


@misprint("dropped-in-states", "the first step only")
def _(case: World) -> Floats:
    return by_states(case, lambda t: float(t == 0))


@equation(
    "undiscounted-split",
    r"J_1(\theta) = J_\gamma(\theta) + (1 - \gamma) \sum_{t=1}^{T-1} \sum_s d_t(s)\, V_t(s)",
    on=worlds,
)
def undiscounted_split(case: World) -> tuple[float, float]:
    """The undiscounted return, against discounted values along the way."""
    return float(case.J(case.theta, 1.0)), with_later(case, 1 - case.mdp.gamma)


def with_later(case: World, factor: float, first: int = 1) -> float:
    return float(case.J(case.theta)) + factor * case.later_values(first)


@misprint("undiscounted-split", "gamma for 1 - gamma")
def _(case: World) -> float:
    return with_later(case, case.mdp.gamma)


@misprint("undiscounted-split", "the sum from t = 0")
def _(case: World) -> float:
    return with_later(case, 1 - case.mdp.gamma, 0)


@misprint("undiscounted-split", "the sum from t = 2")
def _(case: World) -> float:
    return with_later(case, 1 - case.mdp.gamma, 2)


@equation(
    "dropped-gradient",
    r"\tilde g(\theta) = \grad J_\gamma(\theta) + (1 - \gamma) \sum_{t=1}^{T-1} \sum_s d_t(s)\, "
    r"\grad V_t(s)",
    on=worlds,
    uses=("dropped-update",),
)
def dropped_gradient(case: World) -> tuple[Floats, Floats]:
    """All trajectories, against values differentiated under laws that are not."""
    return dropped(case), case.gradient + (1 - case.mdp.gamma) * case.later_slopes()


@misprint("dropped-gradient", "the laws differentiated too: the gradient of J_1")
def _(case: World) -> Floats:
    return case.moved(lambda theta: case.J(theta, 1.0))


@misprint("dropped-gradient", "the gradient of the discounted return")
def _(case: World) -> Floats:
    return case.gradient


@misprint("dropped-gradient", "the sum from t = 0")
def _(case: World) -> Floats:
    return case.gradient + (1 - case.mdp.gamma) * case.later_slopes(0)


# --- two doors: a field without a potential ------------------------------------------------------

Point = tuple[float, Floats]  # gamma, (theta_1, theta_2)


def points(rng: np.random.Generator) -> Iterator[Point]:
    for gamma in (0.3, 0.5, 0.9):
        yield gamma, rng.normal(size=2)


def doors(gamma: float, dials: Floats) -> World:
    """Each dial is the logit of action 1 in its own state."""
    theta = np.zeros((3, 2))
    theta[:2, 1] = dials
    return World(two_doors(gamma), theta)


def field(gamma: float, dials: Floats) -> Floats:
    """The update without the factor in both dials, by all trajectories."""
    return dropped(doors(gamma, dials)).reshape(3, 2)[:2, 1]


def sigma(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x)))


@equation(
    "curl",
    r"\frac{\partial \tilde g_1}{\partial \theta_2} = "
    r"\gamma\, \frac{\partial \tilde g_2}{\partial \theta_1}",
    on=points,
    uses=("dropped-update",),
)
def curl(case: Point) -> tuple[Floats, Floats]:
    """Slopes across of the field; it is linear in p, so a secant over sigma is exact."""
    return across(case, 0, 1), case[0] * across(case, 1, 0)


def across(case: Point, i: int, j: int) -> Floats:
    """Derivative of entry i by dial j: secant by p_j, which is exact, times p_j (1 - p_j)."""
    gamma, dials = case
    low, high = dials.copy(), dials.copy()
    low[j], high[j] = dials[j] - 1, dials[j] + 1
    run = sigma(high[j]) - sigma(low[j])
    p = sigma(dials[j])
    return (field(gamma, high)[i] - field(gamma, low)[i]) / run * p * (1 - p)


@misprint("curl", "as if it were a gradient")
def _(case: Point) -> Floats:
    return across(case, 1, 0)


@misprint("curl", "the discount on the other side")
def _(case: Point) -> Floats:
    return across(case, 1, 0) / case[0]


@equation(
    "loop",
    r"\oint \tilde g \cdot \dd\theta = (1 - \gamma) \bigl( \sigma(1) - \tfrac12 \bigr)^2",
    on=points,
    uses=("dropped-update",),
)
def loop(case: Point) -> tuple[float, float]:
    """Gauss quadrature along the four sides of the unit square, against the closed form."""
    gamma, _ = case
    x, w = np.polynomial.legendre.leggauss(20)
    x, w = (x + 1) / 2, w / 2
    sides = [(0, lambda u: (u, 0), 1), (1, lambda u: (1, u), 1)]
    sides += [(0, lambda u: (u, 1), -1), (1, lambda u: (0, u), -1)]
    total = sum(
        sign * w @ [field(gamma, np.array(at(u), dtype=float))[i] for u in x]
        for i, at, sign in sides
    )
    return float(total), round_trip(1 - gamma)


def round_trip(factor: float) -> float:
    return float(factor * (sigma(1.0) - 0.5) ** 2)


@misprint("loop", "zero, as for a gradient")
def _(case: Point) -> float:
    return 0.0


@misprint("loop", "gamma for 1 - gamma")
def _(case: Point) -> float:
    return round_trip(case[0])


@misprint("loop", "not squared")
def _(case: Point) -> float:
    return float((1 - case[0]) * (sigma(1.0) - 0.5))


# --- an investment: the wrong way ----------------------------------------------------------------


def invested(case: Point) -> World:
    """One dial decides at t = 0 and at t = 1."""
    gamma, dials = case
    theta = np.zeros((5, 2))
    theta[:2, 1] = dials[0]
    return World(investment(gamma), theta)


def slopes(case: Point, exact: float, without: float) -> Floats:
    p = sigma(case[1][0])
    return np.array([exact, without]) * p * (1 - p)


@equation(
    "investment-slopes",
    r"\frac{\dd J_\gamma}{\dd \theta} = (1 - 2 \gamma + 3 \gamma^2)\, p\,(1 - p), \qquad "
    r"\tilde g(\theta) = (3 \gamma - 1)\, p\,(1 - p)",
    on=points,
    uses=("dropped-update",),
)
def investment_slopes(case: Point) -> tuple[Floats, Floats]:
    """J by values and all trajectories, both summed over the states that share the dial."""
    world, gamma = invested(case), case[0]
    both = [x.reshape(5, 2)[:2, 1].sum() for x in (world.gradient, dropped(world))]
    return np.array(both), slopes(case, 1 - 2 * gamma + 3 * gamma**2, 3 * gamma - 1)


@misprint("investment-slopes", "the undiscounted slope for the first")
def _(case: Point) -> Floats:
    return slopes(case, 2.0, 3 * case[0] - 1)


@misprint("investment-slopes", "the sign of the second")
def _(case: Point) -> Floats:
    return slopes(case, 1 - 2 * case[0] + 3 * case[0] ** 2, 1 - 3 * case[0])


@misprint("investment-slopes", "the factor kept in the second")
def _(case: Point) -> Floats:
    return slopes(case, *[1 - 2 * case[0] + 3 * case[0] ** 2] * 2)
