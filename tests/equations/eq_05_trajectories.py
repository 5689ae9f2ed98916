"""Equations of chapter 5, checked by summing over batches, over sequences and over lengths."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from pgcourse.arguments import Floats
from pgcourse.environments import random_mdp
from pgcourse.mdp import MDP, discounted_return, enumerate_trajectories, trajectory_prob
from pgcourse.policies import softmax
from tests.equations import definition, equation, limit, misprint

Z = 1.959963984540054  # half the width of a 95 % interval in standard deviations
STEP = 1e-30  # of a complex derivative, exact to rounding

# --- batches of trajectories -------------------------------------------------------------------


@dataclass(frozen=True)
class Batches:
    """Every batch of N trajectories of a small world: its probability, and its members' terms."""

    mdp: MDP
    theta: Floats
    N: int

    @property
    def paths(self) -> tuple[Floats, Floats, Floats]:
        """Probability `[K]`, return `[K]` and score `[K, D]` of each trajectory, by hand."""
        states, actions = enumerate_trajectories(self.mdp)
        pi = softmax(self.theta)
        p = trajectory_prob(self.mdp, pi, states, actions)
        R = discounted_return(self.mdp.R[states[:, :-1], actions], self.mdp.gamma)
        scores = np.zeros((len(p), *self.theta.shape))
        for k in range(len(p)):
            for s, a in zip(states[k], actions[k], strict=False):
                scores[k, s] -= pi[s]
                scores[k, s, a] += 1
        return p, R, scores.reshape(len(p), -1)

    @property
    def gradient(self) -> Floats:
        """∇J `[D]`: each policy entry moved along the imaginary axis, J by forward recursion."""

        def J(theta: Any) -> Any:
            pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
            d, total = self.mdp.d0.astype(complex), 0.0
            for t in range(self.mdp.T):
                total = total + self.mdp.gamma**t * ((d[:, None] * pi) * self.mdp.R).sum()
                d = np.einsum("s,sa,saz->z", d, pi, self.mdp.P)
            return total

        moves = np.eye(self.theta.size).reshape(-1, *self.theta.shape) * 1j * STEP
        return np.array([np.imag(J(self.theta + e)) / STEP for e in moves])

    def average(self, estimate: Callable[[Floats], Any]) -> Any:
        """Expectation of a function of the N terms R·score, `[N, D]`, over all K^N batches."""
        p, R, S = self.paths
        g = R[:, None] * S
        batches = itertools.product(range(len(p)), repeat=self.N)
        return sum(p[list(b)].prod() * np.asarray(estimate(g[list(b)])) for b in batches)


def batches(rng: np.random.Generator) -> Iterator[Batches]:
    for S, A, T, N in [(2, 2, 2, 1), (2, 2, 2, 2), (2, 2, 1, 3), (1, 3, 2, 2), (3, 1, 1, 2)]:
        world = random_mdp(S, A, rng.uniform(0.3, 1.0), T, rng)
        yield Batches(world, rng.normal(size=(S, A)), N)


def pairs(rng: np.random.Generator) -> Iterator[Batches]:
    return (case for case in batches(rng) if case.N > 1)


definition(
    "mc-estimator",
    r"\hat g = \frac{1}{N} \sum_{i=1}^{N} R(\tau_i) \sum_{t=0}^{T_i-1} "
    r"\grad \log \pi_\theta(a_{i,t} \mid s_{i,t})",
    chapter=5,
)


@equation(
    "mc-unbiased",
    r"\E_{\tau_1, \dots, \tau_N \sim p_\theta}[\hat g] = \grad J(\theta)",
    on=batches,
    uses=("mc-estimator",),
)
def mc_unbiased(case: Batches) -> tuple[Floats, Floats]:
    """The mean of ĝ over all batches against complex-step derivatives of J."""
    return case.average(lambda g: g.mean(axis=0)), case.gradient


@misprint("mc-unbiased", "the sum over the batch, not its mean")
def _(case: Batches) -> Floats:
    return case.N * case.gradient


@misprint("mc-unbiased", "mean return times mean score")
def _(case: Batches) -> Floats:
    p, R, S = case.paths
    return (p @ R) * (p @ S)


@misprint("mc-unbiased", "a mean over the steps of the batch")
def _(case: Batches) -> Floats:
    return case.gradient / case.mdp.T


def total_variance(case: Batches) -> float:
    """Trace of the covariance of one term R·score."""
    p, R, S = case.paths
    g = R[:, None] * S
    return float(p @ ((g - p @ g) ** 2).sum(axis=1))


@equation(
    "mc-variance",
    r"\tr \Cov_{\tau_1, \dots, \tau_N \sim p_\theta}[\hat g] = \frac{1}{N} "
    r"\tr \Cov_{\tau \sim p_\theta}\Bigl[ R(\tau) \sum_{t=0}^{T-1} "
    r"\grad \log \pi_\theta(a_t \mid s_t) \Bigr]",
    on=batches,
    uses=("mc-estimator",),
)
def mc_variance(case: Batches) -> tuple[float, float]:
    """Squared deviations of ĝ over all batches against those of one term, over N."""
    exact = case.gradient
    left = case.average(lambda g: ((g.mean(axis=0) - exact) ** 2).sum())
    return float(left), total_variance(case) / case.N


@misprint("mc-variance", "N squared")
def _(case: Batches) -> float:
    return total_variance(case) / case.N**2


@misprint("mc-variance", "the square root of N")
def _(case: Batches) -> float:
    return total_variance(case) / np.sqrt(case.N)


@misprint("mc-variance", "the mean not subtracted")
def _(case: Batches) -> float:
    p, R, S = case.paths
    return float(p @ (R[:, None] ** 2 * S**2).sum(axis=1)) / case.N


definition(
    "standard-error",
    r"\hat\sigma_j = \sqrt{ \frac{1}{N (N - 1)} \sum_{i=1}^{N} "
    r"\bigl( g_{i,j} - \hat g_j \bigr)^2 }",
    chapter=5,
)


def squared_error(g: Floats, divisor: float) -> Floats:
    return ((g - g.mean(axis=0)) ** 2).sum(axis=0) / divisor


@equation(
    "standard-error-unbiased",
    r"\E_{\tau_1, \dots, \tau_N \sim p_\theta}\bigl[\hat\sigma_j^2\bigr]"
    r" = \Var_{\tau_1, \dots, \tau_N \sim p_\theta}[\hat g_j]",
    on=pairs,
    uses=("mc-estimator", "standard-error"),
)
def standard_error_unbiased(case: Batches) -> tuple[Floats, Floats]:
    """The mean squared standard error over all batches against the variance of ĝ over them."""
    N, exact = case.N, case.gradient
    left = case.average(lambda g: squared_error(g, N * (N - 1)))
    return left, case.average(lambda g: (g.mean(axis=0) - exact) ** 2)


@misprint("standard-error-unbiased", "N for N - 1")
def _(case: Batches) -> Floats:
    N = case.N
    return case.average(lambda g: squared_error(g, N * (N - 1))) * (N / (N - 1))


@misprint("standard-error-unbiased", "the deviation of one, not of the mean")
def _(case: Batches) -> Floats:
    return case.average(lambda g: squared_error(g, case.N - 1))


# --- coverage ----------------------------------------------------------------------------------

Coin = tuple[float, int]  # probability of the return 1, number of trajectories


def coins(rng: np.random.Generator) -> Iterator[Coin]:
    for N in (2, 3, 5, 8, 11):
        yield rng.uniform(0.05, 0.95), N


def binomial(p: float, N: int, inside: Callable[[int], bool]) -> float:
    return sum(comb(N, k) * p**k * (1 - p) ** (N - k) for k in range(N + 1) if inside(k))


def within(
    p: float, N: int, z: float = Z, divisor: Callable[[int], float] = lambda N: N - 1
) -> Any:
    """Say for k returns of 1 whether p lies within z standard errors of k / N."""
    return lambda k: abs(k / N - p) <= z * np.sqrt(k / N * (1 - k / N) / divisor(N)) + 1e-15


@equation(
    "coverage",
    r"C_N(p) = \sum_{k=0}^{N} \binom{N}{k} p^k (1 - p)^{N-k}\, \Indicator\Bigl[ \abs{\tfrac kN - p}"
    r" \le z \sqrt{\tfrac{1}{N-1} \tfrac kN \bigl(1 - \tfrac kN\bigr)} \Bigr]",
    on=coins,
    uses=("standard-error",),
)
def coverage(case: Coin) -> tuple[float, float]:
    """All 2^N sequences of returns, each with its own interval, against the sum over k."""
    p, N = case
    total = 0.0
    for returns in itertools.product((0.0, 1.0), repeat=N):
        r = np.array(returns)
        error = np.sqrt(((r - r.mean()) ** 2).sum() / (N * (N - 1)))
        if abs(r.mean() - p) <= Z * error + 1e-15:
            total += p ** r.sum() * (1 - p) ** (N - r.sum())
    return float(total), binomial(p, N, within(p, N))


@misprint("coverage", "the binomial coefficient missing")
def _(case: Coin) -> float:
    p, N = case
    return sum(p**k * (1 - p) ** (N - k) for k in range(N + 1) if within(p, N)(k))


@misprint("coverage", "the deviation of one return for that of the mean")
def _(case: Coin) -> float:
    return binomial(*case, within(*case, divisor=lambda N: (N - 1) / N))


@misprint("coverage", "one standard error")
def _(case: Coin) -> float:
    return binomial(*case, within(*case, z=1.0))


def worst_gaps(low: float, z: float = Z, shrink: float = 0.5) -> list[float]:
    """Largest |C_N(p) - 95 %| over low <= p <= 1 - low, at N = 16, 64, ..., 4^9."""
    ps, gaps = np.linspace(low, 1 - low, 41), []
    for N in 4 ** np.arange(2, 10):
        k = np.arange(N + 1)
        choose = np.append(0, np.cumsum(np.log(N - k[:-1]) - np.log(k[:-1] + 1)))
        gap = 0.0
        for p in ps:
            near = slice(max(0, int(N * p - 8 * N**0.5)), int(N * p + 8 * N**0.5) + 1)
            n, m = k[near], N - k[near]
            weight = np.exp(choose[near] + n * np.log(p) + m * np.log(1 - p))
            half = z * (n / N * m / N / (N - 1)) ** shrink
            gap = max(gap, abs(weight[np.abs(n / N - p) <= half].sum() - 0.95))
        gaps.append(float(gap))
    return gaps


def intervals(rng: np.random.Generator) -> Iterator[float]:
    yield from (0.3, 0.4)


@limit(
    "coverage-limit",
    r"C_N(p) \;\longrightarrow\; 0.95 \qquad "
    r"(N \to \infty, \quad 0 < p < 1, \quad z = 1.95996\ldots)",
    on=intervals,
    uses=("standard-error",),
)
def coverage_limit(low: float) -> tuple[list[float], float]:
    """The worst distance from 95 % over an interval of p, as the square root of N doubles."""
    return worst_gaps(low), 0.0


@misprint("coverage-limit", "one standard error")
def _(low: float) -> list[float]:
    return worst_gaps(low, z=1.0)


@misprint("coverage-limit", "the variance of the mean for its root")
def _(low: float) -> list[float]:
    return worst_gaps(low, shrink=1.0)


# --- lanes cut at a fixed number of steps ------------------------------------------------------


@dataclass(frozen=True)
class Lane:
    """Episodes of random length, one after another, on a lane of M steps."""

    probs: Floats  # [L] probability of the length l + 1
    payment: Floats  # [L] what an episode of that length returns
    M: int

    def sequences(self, go_on: Callable[[int], bool], done: tuple[int, ...] = ()) -> Iterator[Any]:
        """Yield (probability, lengths) of every run that begins episodes while `go_on(steps)`."""
        if not go_on(sum(done)):
            yield 1.0, done
            return
        for i in np.flatnonzero(self.probs):
            for p, lengths in self.sequences(go_on, (*done, int(i) + 1)):
                yield self.probs[i] * p, lengths

    def renewals(self, within: int) -> float:
        """Expected number of episodes that end within so many steps, by recursion."""
        m = [0.0]
        for x in range(1, within + 1):
            m.append(
                sum(self.probs[i] * (1 + m[x - i - 1]) for i in range(min(x, len(self.probs))))
            )
        return m[within] if within >= 0 else -1.0


def lanes(rng: np.random.Generator) -> Iterator[Lane]:
    for L, M in [(2, 5), (3, 6), (3, 3), (4, 7), (5, 4)]:
        yield Lane(rng.dirichlet(np.ones(L)), rng.normal(size=L), M)
    yield Lane(np.array([0.5, 0.0, 0.5]), np.array([1.0, 0.0, 3.0]), 3)  # the page's


@equation(
    "kept-episodes",
    r"\E_{\tau_1, \tau_2, \dots \sim p_\theta}\bigl[ \text{number kept of length } \ell \bigr]"
    r" = \Pr(\ell)\, \bigl( 1 + m(M - \ell) \bigr)",
    on=lanes,
)
def kept_episodes(case: Lane) -> tuple[Floats, Floats]:
    """Finished episodes of each length over all runs on M steps, against the renewal recursion."""
    kept = np.zeros(len(case.probs))
    for p, lengths in case.sequences(lambda steps: steps < case.M):
        for length, stop in zip(lengths, np.cumsum(lengths), strict=True):
            kept[length - 1] += p * (stop <= case.M)
    fair = np.arange(1, len(kept) + 1)
    return kept, case.probs * np.array([1 + case.renewals(case.M - x) for x in fair])


@misprint("kept-episodes", "every length counted alike")
def _(case: Lane) -> Floats:
    return case.probs * (1 + case.renewals(case.M - 1))


@misprint("kept-episodes", "the first episode forgotten")
def _(case: Lane) -> Floats:
    fair = range(1, len(case.probs) + 1)
    return case.probs * np.array([max(0.0, case.renewals(case.M - x)) for x in fair])


@equation(
    "wald",
    r"\E_{\tau_1, \tau_2, \dots \sim p_\theta}\Bigl[ \sum_{i=1}^{K} R(\tau_i) \Bigr]"
    r" = \E_{\tau_1, \tau_2, \dots \sim p_\theta}[K]\; J(\theta)",
    on=lanes,
)
def wald(case: Lane) -> tuple[float, float]:
    """Returns of all episodes begun before step M, over all runs, against E[K] times J."""
    runs = list(case.sequences(lambda steps: steps < case.M))
    total = sum(p * sum(case.payment[x - 1] for x in lengths) for p, lengths in runs)
    return float(total), sum(p * len(lengths) for p, lengths in runs) * case.probs @ case.payment


@misprint("wald", "K counts finished episodes only")
def _(case: Lane) -> float:
    return float(case.renewals(case.M) * case.probs @ case.payment)


@misprint("wald", "M divided by the mean length for E[K]")
def _(case: Lane) -> float:
    mean = case.probs @ np.arange(1, len(case.probs) + 1)
    return float(case.M / mean * case.probs @ case.payment)


# --- dividing by steps -------------------------------------------------------------------------

Fork = tuple[float, Floats, Floats]  # logit, returns [2], lengths [2]


def forks(rng: np.random.Generator) -> Iterator[Fork]:
    yield 0.0, np.array([1.0, 2.0]), np.array([1.0, 4.0])  # the page's
    for _ in range(4):
        yield rng.normal(), rng.normal(size=2), rng.integers(1, 9, size=2).astype(float)


@equation(
    "divided-by-steps",
    r"\E_{\tau_1 \sim p_\theta}\Bigl[ \frac{R(\tau_1)}{T_1}\, \frac{\partial}{\partial \theta}"
    r" \log \pi_\theta(a_0) \Bigr]"
    r" = p\, (1 - p) \Bigl( \frac{R_1}{\ell_1} - \frac{R_0}{\ell_0} \Bigr)",
    on=forks,
)
def divided_by_steps(case: Fork) -> tuple[float, float]:
    """The mean return a step, differentiated by a complex step, against the closed form."""
    theta, R, length = case
    chosen = 1 / (1 + np.exp(-(theta + 1j * STEP)))
    J = (1 - chosen) * R[0] / length[0] + chosen * R[1] / length[1]
    p = 1 / (1 + np.exp(-theta))
    return float(np.imag(J) / STEP), p * (1 - p) * (R[1] / length[1] - R[0] / length[0])


@misprint("divided-by-steps", "the gradient of J, over the mean length")
def _(case: Fork) -> float:
    theta, R, length = case
    p = 1 / (1 + np.exp(-theta))
    return p * (1 - p) * (R[1] - R[0]) / ((1 - p) * length[0] + p * length[1])
