"""Equations of chapter 2: softmax, sampling, restricted classes, the aliased corridor, ascent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import mpmath
import numpy as np
import sympy
from scipy.optimize import brentq

from pgcourse.arguments import Floats
from pgcourse.environments import aliased_corridor, random_mdp
from pgcourse.mdp import MDP, discounted_return, enumerate_trajectories
from tests.equations import definition, equation, inequality, limit, misprint

CHAPTER = 2

# --- softmax -----------------------------------------------------------------------------------


def logits(rng: np.random.Generator) -> Iterator[Floats]:
    for shape in [(2, 2), (3, 2), (2, 4), (1, 3), (3, 1), (5, 5)]:
        yield 2 * rng.normal(size=shape)


def ratio(theta: Floats, of: Callable[[Any], Any] = np.exp, axis: int = -1) -> Floats:
    """Exponentials over their sum, straight from the formula."""
    weights: Floats = of(theta)
    return weights / weights.sum(axis=axis, keepdims=True)


@equation(
    "softmax",
    r"\pi_\theta(a \mid s) = \frac{\exp \theta_{s, a}}{\sum_b \exp \theta_{s, b}}",
    on=logits,
)
def softmax(theta: Floats) -> tuple[Floats, Floats]:
    """The one distribution with log-ratios theta_a - theta_0, by a linear system, against it."""
    S, A = theta.shape
    pi = np.zeros((S, A))
    for s in range(S):
        M = np.eye(A)  # row a says pi_a - exp(theta_a - theta_0) pi_0 = 0, row 0 that all sum to 1
        M[1:, 0] = -np.exp(theta[s, 1:] - theta[s, 0])
        M[0] = 1
        pi[s] = np.linalg.solve(M, np.eye(A)[0])
    return pi, ratio(theta)


@misprint("softmax", "normalised over the states")
def _(theta: Floats) -> Floats:
    return ratio(theta, axis=0)


@misprint("softmax", "minus in the exponent")
def _(theta: Floats) -> Floats:
    return ratio(-theta)


@misprint("softmax", "powers of two")
def _(theta: Floats) -> Floats:
    return ratio(theta, np.exp2)


@misprint("softmax", "the exponential in the sum only")
def _(theta: Floats) -> Floats:
    return theta / np.exp(theta).sum(axis=-1, keepdims=True)


def shifts(rng: np.random.Generator) -> Iterator[tuple[Floats, Floats]]:
    for theta in logits(rng):
        yield theta, 3 * rng.normal(size=(len(theta), 1))


@equation(
    "shift-invariance",
    r"\frac{\exp(\theta_{s, a} + c_s)}{\sum_b \exp(\theta_{s, b} + c_s)} = \pi_\theta(a \mid s)",
    on=shifts,
)
def shift_invariance(case: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Probabilities of logits moved by one constant a row against those of the logits."""
    theta, c = case
    return ratio(theta + c), ratio(theta)


@misprint("shift-invariance", "the constant in the numerator only")
def _(case: tuple[Floats, Floats]) -> Floats:
    theta, c = case
    return np.exp(theta + c) / np.exp(theta).sum(axis=-1, keepdims=True)


@misprint("shift-invariance", "one constant for each action")
def _(case: tuple[Floats, Floats]) -> Floats:
    theta, c = case
    return ratio(theta + c * np.arange(theta.shape[1]))


@misprint("shift-invariance", "a factor instead of a shift")
def _(case: tuple[Floats, Floats]) -> Floats:
    theta, c = case
    return ratio(theta * c)


def large_logits(rng: np.random.Generator) -> Iterator[Floats]:
    yield from logits(rng)
    for size in (30.0, 800.0, 1e5):
        yield size * rng.normal(size=(3, 4))


def exact_log_softmax(theta: Floats) -> Floats:
    """Logarithms of the softmax with sixty digits and exponents of any size."""
    with mpmath.workdps(60):
        rows = []
        for row in theta:
            weights = [mpmath.exp(mpmath.mpf(float(x))) for x in row]
            rows.append([float(mpmath.log(w / mpmath.fsum(weights))) for w in weights])
        return np.array(rows)


def logs(theta: Floats, m: Any, sign: float = -1.0) -> Floats:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        total: Floats = np.log(np.exp(theta - m).sum(axis=-1, keepdims=True))
        return theta - m + (total if sign > 0 else -total)


@equation(
    "log-softmax",
    r"\log \pi_\theta(a \mid s) = \theta_{s, a} - m_s - \log \sum_b \exp(\theta_{s, b} - m_s), "
    r"\qquad m_s = \max_b \theta_{s, b}",
    on=large_logits,
)
def log_softmax(theta: Floats) -> tuple[Floats, Floats]:
    """Sixty-digit arithmetic against the formula in double precision, for logits up to 1e5."""
    return exact_log_softmax(theta), logs(theta, theta.max(axis=-1, keepdims=True))


@misprint("log-softmax", "the maximum left out: overflow")
def _(theta: Floats) -> Floats:
    return logs(theta, 0.0)


@misprint("log-softmax", "the maximum subtracted only inside the sum")
def _(theta: Floats) -> Floats:
    m = theta.max(axis=-1, keepdims=True)
    return logs(theta, m) + m


@misprint("log-softmax", "one maximum for all states: underflow")
def _(theta: Floats) -> Floats:
    return logs(theta, theta.max())


@misprint("log-softmax", "plus for minus before the logarithm")
def _(theta: Floats) -> Floats:
    return logs(theta, theta.max(axis=-1, keepdims=True), sign=1.0)


# --- sampling ----------------------------------------------------------------------------------

GRID = 64

definition(
    "inverse-cdf",
    r"a(u) = \min \Bigl\{ a : \sum_{b \le a} \pi_\theta(b \mid s) > u \Bigr\}",
    chapter=CHAPTER,
)


def dyadic(rng: np.random.Generator) -> Iterator[Floats]:
    """Probabilities that are multiples of 1/64, some of them 0, so that all sums are exact."""
    for A in (2, 3, 4, 5, 7):
        counts = rng.multinomial(GRID, rng.dirichlet(np.ones(A)))
        counts[rng.integers(A)] = 0
        counts[counts.argmax()] += GRID - counts.sum()
        yield counts / GRID


def shares(probs: Floats, pick: Callable[[Floats, float], int]) -> Floats:
    """How much of [0, 1) each action gets; a(u) is constant between multiples of 1/64."""
    picked = [pick(probs, k / GRID) for k in range(GRID)]
    return np.bincount(picked, minlength=len(probs)) / GRID


def first_above(probs: Floats, u: float) -> int:
    return next(a for a in range(len(probs)) if sum(probs[: a + 1]) > u)


@equation(
    "sampling-law",
    r"\Pr_{u \sim U[0, 1)} \bigl( a(u) = a \bigr) = \pi_\theta(a \mid s)",
    on=dyadic,
    uses=("inverse-cdf",),
)
def sampling_law(probs: Floats) -> tuple[Floats, Floats]:
    """The length of the set of all u that pick an action against its probability."""
    return shares(probs, first_above), probs


@misprint("sampling-law", "the likeliest action always")
def _(probs: Floats) -> Floats:
    return shares(probs, lambda p, u: int(np.argmax(p)))


@misprint("sampling-law", "b < a for b <= a in the sum")
def _(probs: Floats) -> Floats:
    return shares(
        probs, lambda p, u: next((a for a in range(len(p)) if sum(p[:a]) > u), len(p) - 1)
    )


@misprint("sampling-law", "probabilities not accumulated")
def _(probs: Floats) -> Floats:
    return shares(probs, lambda p, u: next((a for a in range(len(p)) if p[a] > u), len(p) - 1))


# --- the objective -----------------------------------------------------------------------------

Case = tuple[MDP, Floats]
SIZES = [(2, 2, 3), (3, 2, 2), (2, 3, 3), (1, 2, 3), (3, 1, 4), (4, 2, 1)]


def episodic(rng: np.random.Generator) -> Iterator[Case]:
    for S, A, T in SIZES:
        yield random_mdp(S, A, rng.uniform(0.3, 1.0), T, rng), 2 * rng.normal(size=(S, A))


def recursion(mdp: MDP, pi: Any) -> Any:
    """Expected return by backward recursion; pi may be complex, which makes derivatives exact."""
    V: Any = np.zeros(mdp.S)
    for _ in range(mdp.T):
        V = (pi * (mdp.R + mdp.gamma * mdp.P @ V)).sum(axis=1)
    return mdp.d0 @ V


def J_of(mdp: MDP, theta: Any) -> Any:
    return recursion(mdp, ratio(theta))


def sum_over_paths(case: Case, factor: Callable[[Floats], Floats]) -> float:
    """Sum of the returns of all trajectories, each action a factor made of its logits."""
    mdp, theta = case
    states, actions = enumerate_trajectories(mdp)
    total = 0.0
    for s, a in zip(states, actions, strict=True):
        p = mdp.d0[s[0]]
        for t in range(mdp.T):
            p *= factor(theta[s[t]])[a[t]] * mdp.P[s[t], a[t], s[t + 1]]
        total += p * float(discounted_return(mdp.R[s[:-1], a], mdp.gamma))
    return total


@equation(
    "objective",
    r"J(\theta) = \sum_\tau \Bigl[ d_0(s_0) \prod_{t=0}^{T-1} "
    r"\frac{\exp \theta_{s_t, a_t}}{\sum_b \exp \theta_{s_t, b}}\, P(s_{t+1} \mid s_t, a_t) \Bigr] "
    r"R(\tau)",
    on=episodic,
    uses=("return",),
)
def objective(case: Case) -> tuple[float, float]:
    """Backward recursion with the softmax policy against the sum over trajectories."""
    return float(J_of(*case)), sum_over_paths(case, ratio)


@misprint("objective", "the logits taken for probabilities")
def _(case: Case) -> float:
    return sum_over_paths(case, lambda row: row)


@misprint("objective", "normaliser missing")
def _(case: Case) -> float:
    return sum_over_paths(case, np.exp)


@misprint("objective", "log-probabilities for probabilities")
def _(case: Case) -> float:
    return sum_over_paths(case, lambda row: np.log(ratio(row)))


# --- optimal policies, and classes without them --------------------------------------------------


def discounted(rng: np.random.Generator) -> Iterator[MDP]:
    for S, A in [(2, 2), (3, 2), (2, 3), (4, 2), (3, 3), (1, 4)] * 2:
        yield random_mdp(S, A, rng.uniform(0.6, 0.95), None, rng)


def worth(mdp: MDP, pi: Floats) -> float:
    """Discounted expected return by one linear system."""
    P_pi, r_pi = np.einsum("sa,saz->sz", pi, mdp.P), (pi * mdp.R).sum(axis=1)
    return float(mdp.d0 @ np.linalg.solve(np.eye(mdp.S) - mdp.gamma * P_pi, r_pi))


def deterministic(mdp: MDP) -> list[float]:
    """What each deterministic policy is worth."""
    return [worth(mdp, np.eye(mdp.A)[list(a)]) for a in product(range(mdp.A), repeat=mdp.S)]


def blind(mdp: MDP) -> list[float]:
    """What each deterministic policy is worth that takes the same action everywhere."""
    return [worth(mdp, np.tile(row, (mdp.S, 1))) for row in np.eye(mdp.A)]


@equation(
    "deterministic-best",
    r"\max_{\pi \in \Pi} J(\pi) = \max_{\pi \in \Pi_{\mathrm{det}}} J(\pi)",
    on=discounted,
)
def deterministic_best(mdp: MDP) -> tuple[float, float]:
    """Value iteration, which maximises over all policies, against the deterministic ones."""
    V = np.zeros(mdp.S)
    for _ in range(1500):
        V = (mdp.R + mdp.gamma * mdp.P @ V).max(axis=1)
    return float(mdp.d0 @ V), max(deterministic(mdp))


@misprint("deterministic-best", "the same action in all states")
def _(mdp: MDP) -> float:
    return max(blind(mdp))


@misprint("deterministic-best", "the best next reward only")
def _(mdp: MDP) -> float:
    return worth(mdp, np.eye(mdp.A)[mdp.R.argmax(axis=1)])


def thousand_worlds(rng: np.random.Generator) -> Iterator[MDP]:
    for _ in range(1000):
        yield random_mdp(2, 2, 0.9, None, rng)


def best_blind(mdp: MDP) -> float:
    """The exact supremum over p of the policies that play action 1 with probability p everywhere.

    J(p) is a ratio of two parabolas, which three values each determine; its summits are the ends
    and the roots of the numerator of the derivative.
    """
    p = np.array([0.0, 0.5, 1.0])
    pis = [np.array([[1 - x, x]] * 2) for x in p]
    J = np.array([worth(mdp, pi) for pi in pis])
    D = np.array(
        [np.linalg.det(np.eye(2) - mdp.gamma * np.einsum("sa,saz->sz", pi, mdp.P)) for pi in pis]
    )
    bottom = np.polyfit(p, D, 2)
    top = np.polyfit(p, J * D, 2)
    slope = np.polysub(np.polymul(np.polyder(top), bottom), np.polymul(top, np.polyder(bottom)))
    roots = np.roots(slope)
    inside = [float(r.real) for r in roots if abs(r.imag) < 1e-9 and 0 <= r.real <= 1]
    return max(worth(mdp, np.array([[1 - x, x]] * 2)) for x in [0.0, 1.0, *inside])


@inequality(
    "restricted-class",
    r"\sup_{\pi \in \tilde\Pi} J(\pi) \;\le\; \sup_{\pi \in \Pi} J(\pi), \qquad "
    r"\tilde\Pi = \{ \pi_\theta : \theta \in \Theta \} \subseteq \Pi",
    on=thousand_worlds,
    tightness=1e-12,
)
def restricted_class(mdp: MDP) -> tuple[float, float]:
    """The best policy that cannot tell two states apart against the best of all."""
    return best_blind(mdp), max(deterministic(mdp))


@misprint("restricted-class", "a deterministic policy is best in the class too")
def _(mdp: MDP) -> float:
    return max(blind(mdp))


@misprint("restricted-class", "the average of the deterministic policies")
def _(mdp: MDP) -> float:
    return float(np.mean(deterministic(mdp)))


# --- the aliased corridor ------------------------------------------------------------------------


def chances(rng: np.random.Generator) -> Iterator[float]:
    yield from (0.5, 0.95, 0.05)
    yield from rng.uniform(0.02, 0.98, size=5)


def corridor_solve(p: Any) -> Any:
    """Expected return from the first cell of the aliased corridor, by one linear system."""
    mdp = aliased_corridor()
    P_pi = (1 - p) * mdp.P[:3, 0, :3] + p * mdp.P[:3, 1, :3]
    return np.linalg.solve(np.eye(3) - P_pi, -np.ones(3))[0]


def corridor_formula(p: float, a: float = 2.0, b: float = 2.0) -> float:
    return -a * (b - p) / (p * (1 - p))


@equation("aliased-return", r"J(p) = -\,\frac{2\,(2 - p)}{p\,(1 - p)}", on=chances)
def aliased_return(p: float) -> tuple[float, float]:
    """A linear system over the three cells against the closed form."""
    return float(corridor_solve(p)), corridor_formula(p)


@misprint("aliased-return", "the factor 2 missing")
def _(p: float) -> float:
    return corridor_formula(p, a=1.0)


@misprint("aliased-return", "left and right exchanged")
def _(p: float) -> float:
    return corridor_formula(1 - p)


@misprint("aliased-return", "p squared for p (1 - p)")
def _(p: float) -> float:
    return -2 * (2 - p) / p**2


def odds(p: float, right: float = 2.0, left: float = 4.0) -> float:
    x = np.log(p / (1 - p))
    return -float(6 + right * np.exp(x) + left * np.exp(-x))


@equation(
    "aliased-logit",
    r"J(\theta) = -\bigl( 6 + 2 e^{\theta} + 4 e^{-\theta} \bigr), \qquad "
    r"p = \frac{1}{1 + e^{-\theta}}",
    on=chances,
)
def aliased_logit(p: float) -> tuple[float, float]:
    """A linear system over the three cells against the form in the logit."""
    return float(corridor_solve(p)), odds(p)


@misprint("aliased-logit", "the two exponents exchanged")
def _(p: float) -> float:
    return odds(p, right=4.0, left=2.0)


@misprint("aliased-logit", "4 for both factors")
def _(p: float) -> float:
    return odds(p, right=4.0)


def by_algebra() -> tuple[float, float]:
    p = sympy.Symbol("p")
    J = -2 * (2 - p) / (p * (1 - p))
    best = next(r for r in sympy.solve(sympy.diff(J, p), p) if 0 < r < 1)
    return float(best), float(J.subs(p, best))


def by_search() -> tuple[float, float]:
    """Where the derivative of the linear system (by a complex step) changes its sign."""
    best = brentq(lambda p: corridor_solve(p + 1e-30j).imag, 0.1, 0.9, xtol=1e-15, rtol=1e-14)
    return best, float(corridor_solve(best))


def by_means() -> tuple[float, float]:
    """2 e^x + 4 e^-x is at least 2 sqrt(2 * 4), with equality where both terms are equal."""
    x = np.log(4 / 2) / 2
    return 1 / (1 + float(np.exp(-x))), -(6 + 2 * float(np.sqrt(2 * 4)))


def three_routes(rng: np.random.Generator) -> Iterator[Callable[[], tuple[float, float]]]:
    yield from (by_algebra, by_search, by_means)


@equation(
    "aliased-best",
    r"\max_{0 < p < 1} J(p) = J\bigl(2 - \sqrt 2\bigr) = -\bigl(6 + 4 \sqrt 2\bigr)",
    on=three_routes,
)
def aliased_best(route: Callable[[], tuple[float, float]]) -> tuple[Floats, Floats]:
    """Maximiser and maximum by algebra, by root search on the world, and by means, against it."""
    return np.array(route()), np.array([2 - np.sqrt(2), -(6 + 4 * np.sqrt(2))])


@misprint("aliased-best", "the digits printed in the book: 0.59 and -11.6")
def _(route: Any) -> Floats:
    return np.array([0.59, -11.6])


@misprint("aliased-best", "square root of 2 minus 1")
def _(route: Any) -> Floats:
    return np.array([np.sqrt(2) - 1, -(6 + 4 * np.sqrt(2))])


@misprint("aliased-best", "2 for 4 before the root")
def _(route: Any) -> Floats:
    return np.array([2 - np.sqrt(2), -(6 + 2 * np.sqrt(2))])


# --- uphill --------------------------------------------------------------------------------------


def gradient(mdp: MDP, theta: Floats) -> Floats:
    """Gradient of J by complex steps, entry by entry."""
    g = np.zeros(theta.shape)
    for index in np.ndindex(theta.shape):
        moved = theta.astype(complex)
        moved[index] += 1e-30j
        g[index] = J_of(mdp, moved).imag / 1e-30
    return g


Direction = tuple[MDP, Floats, Floats]


def unit(v: Floats) -> Floats:
    return v / np.linalg.norm(v)


def directions(rng: np.random.Generator) -> Iterator[Direction]:
    for S, A, T in [(2, 2, 3), (3, 2, 2), (2, 3, 3), (1, 2, 3)]:
        world = random_mdp(S, A, rng.uniform(0.3, 1.0), T, rng)
        yield world, rng.normal(size=(S, A)), unit(rng.normal(size=(S, A)))


STEPS = 2.0 ** -np.arange(6, 15)


def quotients(case: Direction, limit_value: float) -> list[float]:
    mdp, theta, v = case
    J = J_of(mdp, theta)
    return [abs((J_of(mdp, theta + h * v) - J) / h - limit_value) for h in STEPS]


@limit(
    "directional-derivative",
    r"\frac{J(\theta + h v) - J(\theta)}{h} \;\longrightarrow\; v^\top \grad J(\theta) "
    r"\qquad (h \to 0)",
    on=directions,
)
def directional_derivative(case: Direction) -> tuple[list[float], float]:
    """Difference quotients at h = 2^-6, ..., 2^-14 against the gradient by complex steps."""
    mdp, theta, v = case
    return quotients(case, float((v * gradient(mdp, theta)).sum())), 0.0


@misprint("directional-derivative", "minus: the direction of descent")
def _(case: Direction) -> list[float]:
    mdp, theta, v = case
    return quotients(case, -float((v * gradient(mdp, theta)).sum()))


@misprint("directional-derivative", "the length of the gradient in every direction")
def _(case: Direction) -> list[float]:
    return quotients(case, float(np.linalg.norm(gradient(case[0], case[1]))))


def many_directions(rng: np.random.Generator) -> Iterator[Direction]:
    for i in range(1000):
        world, theta = random_mdp(2, 2, 0.9, 2, rng), rng.normal(size=(2, 2))
        v = gradient(world, theta) if i % 100 == 0 else rng.normal(size=(2, 2))
        yield world, theta, unit(v)


@inequality(
    "steepest-ascent",
    r"v^\top \grad J(\theta) \;\le\; \norm{\grad J(\theta)} \qquad (\norm{v} = 1)",
    on=many_directions,
    tightness=1e-12,
)
def steepest_ascent(case: Direction) -> tuple[float, float]:
    """The slope in a direction (a complex step along it) against the length of the gradient."""
    mdp, theta, v = case
    along = float(J_of(mdp, theta + 1e-30j * v).imag / 1e-30)
    return along, float(np.linalg.norm(gradient(mdp, theta)))


@misprint("steepest-ascent", "the squared length")
def _(case: Direction) -> float:
    return float(np.linalg.norm(gradient(case[0], case[1])) ** 2)


@misprint("steepest-ascent", "the largest entry for the length")
def _(case: Direction) -> float:
    return float(np.abs(gradient(case[0], case[1])).max())


@misprint("steepest-ascent", "the slope along v of length 2")
def _(case: Direction) -> float:
    return float(np.linalg.norm(gradient(case[0], case[1]))) / 2


definition(
    "ascent-step",
    r"\theta_{k+1} = \theta_k + \alpha\, \grad J(\theta) \big|_{\theta = \theta_k}",
    chapter=CHAPTER,
)


def gains(case: Direction, sign: float = 1.0, power: int = 2) -> list[float]:
    mdp, theta, _ = case
    g = gradient(mdp, theta)
    J, target = J_of(mdp, theta), float(np.linalg.norm(g)) ** power
    return [abs((J_of(mdp, theta + sign * h * g) - J) / h - target) for h in STEPS]


@limit(
    "first-order-gain",
    r"\frac{J(\theta_{k+1}) - J(\theta_k)}{\alpha} \;\longrightarrow\; "
    r"\norm{\grad J(\theta)}^2 \big|_{\theta = \theta_k} \qquad (\alpha \to 0)",
    on=directions,
    uses=("ascent-step",),
)
def first_order_gain(case: Direction) -> tuple[list[float], float]:
    """Gain of one step over its size, at alpha = 2^-6, ..., 2^-14, against the squared length."""
    return gains(case), 0.0


@misprint("first-order-gain", "a step of descent")
def _(case: Direction) -> list[float]:
    return gains(case, sign=-1.0)


@misprint("first-order-gain", "the length, not squared")
def _(case: Direction) -> list[float]:
    return gains(case, power=1)


# --- J is not concave ----------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def one_choice(x: Any, rewards: Any = (0.0, 1.0)) -> Any:
    """Expected reward of one choice between two actions with logits 0 and x."""
    return recursion(
        MDP(np.ones((1, 2, 1)), np.array([rewards]), np.ones(1), 1.0, 1),
        ratio(np.array([[0 * x, x]])),
    )


Choice = tuple[float, tuple[float, float]]


def choices(rng: np.random.Generator) -> Iterator[Choice]:
    for _ in range(8):
        r0, r1 = rng.normal(size=2)
        yield rng.uniform(-6, 6), (r0, r1)


def exact_slope(case: Choice) -> float:
    """Derivative of J by a complex step: exact to rounding, nothing is subtracted."""
    x, rewards = case
    return float(one_choice(x + 1e-30j, rewards).imag / 1e-30)


@equation(
    "plateau",
    r"\frac{\dd J}{\dd \theta} = p\,(1 - p)\,\bigl( R[0, 1] - R[0, 0] \bigr), \qquad "
    r"p = \frac{1}{1 + e^{-\theta}}",
    on=choices,
)
def plateau(case: Choice) -> tuple[float, float]:
    """The derivative of one choice by a complex step against the closed form."""
    x, (r0, r1) = case
    return exact_slope(case), sigmoid(x) * sigmoid(-x) * (r1 - r0)


@misprint("plateau", "rewards subtracted the other way round")
def _(case: Choice) -> float:
    x, (r0, r1) = case
    return sigmoid(x) * sigmoid(-x) * (r0 - r1)


@misprint("plateau", "the factor 1 - p missing")
def _(case: Choice) -> float:
    x, (r0, r1) = case
    return sigmoid(x) * (r1 - r0)


@misprint("plateau", "the sum of the rewards")
def _(case: Choice) -> float:
    x, (r0, r1) = case
    return sigmoid(x) * sigmoid(-x) * (r0 + r1)


def many_choices(rng: np.random.Generator) -> Iterator[Choice]:
    for _ in range(1000):
        r0, r1 = rng.normal(size=2)
        yield rng.uniform(-25, 25), (r0, r1)


@inequality(
    "plateau-bound",
    r"\Bigl| \frac{\dd J}{\dd \theta} \Bigr| \;\le\; e^{-|\theta|}\, "
    r"\bigl| R[0, 1] - R[0, 0] \bigr|",
    on=many_choices,
    tightness=1e-6,
)
def plateau_bound(case: Choice) -> tuple[float, float]:
    """The size of the derivative by a complex step against the exponential bound."""
    x, (r0, r1) = case
    return abs(exact_slope(case)), float(np.exp(-abs(x)) * abs(r1 - r0))


@misprint("plateau-bound", "theta squared in the exponent")
def _(case: Choice) -> float:
    x, (r0, r1) = case
    return float(np.exp(-(x**2)) * abs(r1 - r0))


@misprint("plateau-bound", "the factor of the rewards missing")
def _(case: Choice) -> float:
    return float(np.exp(-abs(case[0])))


def negative_pairs(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    for _ in range(1000):
        x, y = -rng.uniform(0, 20, size=2)
        yield x, x + (y - x) * rng.choice([1.0, 1e-4])


@inequality(
    "chord",
    r"J\Bigl(\frac{\theta + \theta'}{2}\Bigr) \;\le\; "
    r"\tfrac12 \bigl[ J(\theta) + J(\theta') \bigr] \qquad (\theta, \theta' \le 0)",
    on=negative_pairs,
    tightness=1e-6,
)
def chord(case: tuple[float, float]) -> tuple[float, float]:
    """The objective of one choice at a midpoint against the middle of the chord."""
    x, y = case
    return float(one_choice((x + y) / 2)), (sigmoid(x) + sigmoid(y)) / 2


@misprint("chord", "the geometric mean: log J, which is concave, for J")
def _(case: tuple[float, float]) -> float:
    return float(np.sqrt(sigmoid(case[0]) * sigmoid(case[1])))


@misprint("chord", "the lower end for the middle")
def _(case: tuple[float, float]) -> float:
    return float(sigmoid(min(case)))


@misprint("chord", "for theta above 0 too: left side plus the gap of the mirrored chord")
def _(case: tuple[float, float]) -> float:
    x, y = -case[0], -case[1]
    return float(sigmoid(-(x + y) / 2) + (sigmoid(x) + sigmoid(y)) / 2 - sigmoid((x + y) / 2))


def door() -> MDP:
    """A hall and a room behind a door; two steps, state 2 is the end."""
    P, R = np.zeros((3, 2, 3)), np.zeros((3, 2))
    P[:, :, 2] = 1
    P[0, 1] = [0, 1, 0]
    R[0, 0], R[1, 1] = 1, 4
    return MDP(P, R, np.array([1.0, 0, 0]), 1.0, 2)


def pairs(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    yield from rng.uniform(size=(8, 2)).tolist()


@equation("door-return", r"J(\theta) = (1 - p) \cdot 1 + p\,q \cdot 4", on=pairs)
def door_return(case: tuple[float, float]) -> tuple[float, float]:
    """The recursion in the world of the door against the sum over its three outcomes."""
    p, q = case
    pi = np.array([[1 - p, p], [1 - q, q], [0.5, 0.5]])
    return float(recursion(door(), pi)), 1 - p + 4 * p * q


@misprint("door-return", "the room paid without its door")
def _(case: tuple[float, float]) -> float:
    return 1 - case[0] + 4 * case[1]


@misprint("door-return", "the hall always paid")
def _(case: tuple[float, float]) -> float:
    return 1 + 4 * case[0] * case[1]
