"""Equations of chapter 3: complex-step derivatives and closed forms against sums and quadrature.

A complex step gives the derivative of an analytic function without subtracting: the imaginary
part of F(θ + ih) / h, exact to rounding at h = 1e-30.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss

from pgcourse.arguments import Floats
from tests.equations import definition, equation, limit, misprint

STEP = 1e-30
NODES = leggauss(240)


def gradient(F: Callable[[Any], Any], theta: Floats) -> Floats:
    """Derivatives of an analytic F by complex steps; the axis of theta comes first."""
    columns = np.eye(len(theta)) * 1j * STEP
    return np.array([np.imag(F(theta + e)) / STEP for e in columns])


# --- finite sums -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """K outcomes whose probabilities depend on D parameters in a crooked way."""

    B: Floats  # [K, D]
    C: Floats  # [K, D]
    theta: Floats  # [D]
    f: Floats  # [K]

    def p(self, theta: Any) -> Any:
        e = np.exp(self.B @ theta + np.sin(self.C @ theta))
        return e / e.sum()

    @property
    def probs(self) -> Floats:
        return np.real(self.p(self.theta))

    @property
    def scores(self) -> Floats:
        """By hand `[K, D]`: slope of each exponent, minus the mean slope."""
        slope = self.B + np.cos(self.C @ self.theta)[:, None] * self.C
        return slope - self.probs @ slope

    @property
    def slope(self) -> Floats:
        """∇ E[f(x)] `[D]`, by complex steps through the expectation itself."""
        return gradient(lambda th: self.p(th) @ self.f, self.theta)


def families(rng: np.random.Generator) -> Iterator[Family]:
    for K, D in [(2, 1), (3, 2), (3, 5), (6, 1), (1, 2)]:
        B, C = rng.normal(size=(2, K, D))
        yield Family(B, C, rng.normal(size=D), rng.normal(1.0, 2.0, size=K))


@equation(
    "log-derivative",
    r"\grad p_\theta(x) = p_\theta(x)\, \grad \log p_\theta(x) \qquad (p_\theta(x) > 0)",
    on=families,
)
def log_derivative(case: Family) -> tuple[Floats, Floats]:
    """Each probability differentiated, against itself times its score."""
    return gradient(case.p, case.theta).T, case.probs[:, None] * case.scores


@misprint("log-derivative", "the factor p forgotten")
def _(case: Family) -> Floats:
    return case.scores


@misprint("log-derivative", "divided by p instead of multiplied")
def _(case: Family) -> Floats:
    return case.scores / case.probs[:, None]


@equation(
    "score-function",
    r"\grad \E_{x \sim p_\theta}[f(x)] = \sum_x p_\theta(x)\, f(x)\, \grad \log p_\theta(x)"
    r" = \E_{x \sim p_\theta}\bigl[f(x)\, \grad \log p_\theta(x)\bigr]",
    on=families,
)
def score_function(case: Family) -> tuple[Floats, Floats]:
    """The expectation differentiated, against the expectation of f times the score."""
    return case.slope, (case.probs * case.f) @ case.scores


@misprint("score-function", "gradient of p for gradient of log p")
def _(case: Family) -> Floats:
    return (case.probs * case.f) @ (case.probs[:, None] * case.scores)


@misprint("score-function", "the weight p missing from the sum")
def _(case: Family) -> Floats:
    return case.f @ case.scores


@misprint("score-function", "product of the two means")
def _(case: Family) -> Floats:
    return (case.probs @ case.f) * (case.probs @ case.scores)


@misprint("score-function", "sign")
def _(case: Family) -> Floats:
    return -(case.probs * case.f) @ case.scores


@equation(
    "score-mean-zero", r"\E_{x \sim p_\theta}\bigl[\grad \log p_\theta(x)\bigr] = 0", on=families
)
def score_mean_zero(case: Family) -> tuple[Floats, Floats]:
    """The mean score, from complex steps through every log p, against zero."""
    scores = gradient(lambda th: np.log(case.p(th)), case.theta).T
    return case.probs @ scores, np.zeros(len(case.theta))


@misprint("score-mean-zero", "all outcomes weighed equally")
def _(case: Family) -> Floats:
    return case.scores.mean(axis=0)


# --- softmax -----------------------------------------------------------------------------------

Softmax = tuple[Floats, Floats]  # logits, f


def logits(rng: np.random.Generator) -> Iterator[Softmax]:
    for A in (2, 3, 5, 1):
        yield rng.normal(0, 2, size=A), rng.normal(size=A)


def soft(theta: Any) -> Any:
    e = np.exp(theta)
    return e / e.sum()


@equation(
    "softmax-score",
    r"\grad \log \pi_\theta(a) = e_a - \pi_\theta, \qquad \pi_\theta = \softmax(\theta)",
    on=logits,
)
def softmax_score(case: Softmax) -> tuple[Floats, Floats]:
    """log softmax differentiated by every logit for every action, against e_a - p."""
    theta, _ = case
    return gradient(lambda th: np.log(soft(th)), theta).T, np.eye(len(theta)) - soft(theta)


@misprint("softmax-score", "the minus p missing")
def _(case: Softmax) -> Floats:
    return np.eye(len(case[0]))


@misprint("softmax-score", "sign")
def _(case: Softmax) -> Floats:
    return soft(case[0]) - np.eye(len(case[0]))


@misprint("softmax-score", "by the probability instead of the logit")
def _(case: Softmax) -> Floats:
    return np.diag(1 / soft(case[0]))


@equation(
    "softmax-gradient",
    r"\frac{\partial}{\partial \theta_k} \E_{a \sim \pi_\theta}[f(a)]"
    r" = \pi_\theta(k) \Bigl( f(k) - \E_{a \sim \pi_\theta}[f(a)] \Bigr)",
    on=logits,
)
def softmax_gradient(case: Softmax) -> tuple[Floats, Floats]:
    """The expectation differentiated by every logit, against the closed form."""
    theta, f = case
    p = soft(theta)
    return gradient(lambda th: soft(th) @ f, theta), p * (f - p @ f)


@misprint("softmax-gradient", "the mean not subtracted")
def _(case: Softmax) -> Floats:
    return soft(case[0]) * case[1]


@misprint("softmax-gradient", "the factor p missing")
def _(case: Softmax) -> Floats:
    return case[1] - soft(case[0]) @ case[1]


# --- integrals ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bell:
    """N(mu, sigma²) and f(x) = sin(a x) + b x², whose mean is known in closed form."""

    mu: float
    sigma: float
    c: float
    a: float = 1.3
    b: float = -0.7

    def f(self, x: Any) -> Any:
        return np.sin(self.a * x) + self.b * x**2

    def slope(self, x: Any) -> Any:
        return self.a * np.cos(self.a * x) + 2 * self.b * x

    def mean_of_f(self, theta: Any) -> Any:
        mu, sigma = theta
        wave = np.sin(self.a * mu) * np.exp(-((self.a * sigma) ** 2) / 2)
        return wave + self.b * (mu**2 + sigma**2)

    def bandit(self, x: Any) -> Any:
        return -((x - self.c) ** 2)

    def log_p(self, theta: Any, x: Any) -> Any:
        mu, sigma = theta
        return -((x - mu) ** 2) / (2 * sigma**2) - np.log(sigma) - np.log(2 * np.pi) / 2

    @property
    def theta(self) -> Floats:
        return np.array([self.mu, self.sigma])

    def scores(self, x: Floats) -> Floats:
        """`[..., 2]` by complex steps through log p."""
        return np.moveaxis(gradient(lambda th: self.log_p(th, x), self.theta), 0, -1)


def bells(rng: np.random.Generator) -> Iterator[Bell]:
    yield Bell(0.0, 1.0, 1.0)
    yield Bell(1.0, 0.5, 0.0)
    yield Bell(2.0, 0.3, 2.0)
    for _ in range(5):
        yield Bell(rng.normal(), rng.uniform(0.3, 1.5), rng.normal())


def integral(case: Bell, g: Callable[[Floats], Floats]) -> Floats:
    """∫ p(x) g(x) dx over mu ± 14 sigma by 240 Gauss-Legendre nodes; g gives `[240, ...]`."""
    nodes, weights = NODES
    x = case.mu + 14 * case.sigma * nodes
    density = np.exp(case.log_p((case.mu, case.sigma), x))
    return np.tensordot(14 * case.sigma * weights * density, g(x), axes=1)


def moment(case: Bell, g: Callable[[Floats], Floats]) -> Floats:
    """E[g(x)] by 60 Gauss-Hermite nodes: a second quadrature, exact for polynomials."""
    nodes, weights = hermegauss(60)
    return np.tensordot(weights / weights.sum(), g(case.mu + case.sigma * nodes), axes=1)


@equation(
    "score-function-integral",
    r"\grad \int p_\theta(x)\, f(x)\, \dd x"
    r" = \int p_\theta(x)\, f(x)\, \grad \log p_\theta(x)\, \dd x",
    on=bells,
)
def score_function_integral(case: Bell) -> tuple[Floats, Floats]:
    """The closed form of E[f] differentiated, against the integral by quadrature."""
    right = integral(case, lambda x: case.f(x)[:, None] * case.scores(x))
    return gradient(case.mean_of_f, case.theta), right


@misprint("score-function-integral", "the density missing")
def _(case: Bell) -> Floats:
    def flat(x: Floats) -> Floats:
        weight = case.f(x) / np.exp(case.log_p(case.theta, x))
        return weight[:, None] * case.scores(x)

    return integral(case, flat)


@misprint("score-function-integral", "the gradient taken of f, at fixed x")
def _(case: Bell) -> Floats:
    return integral(case, lambda x: np.stack([0 * x, 0 * x], axis=-1))


@equation(
    "gaussian-score-mean",
    r"\frac{\partial}{\partial \mu} \log \Normal(x; \mu, \sigma^2) = \frac{x - \mu}{\sigma^2}",
    on=bells,
)
def gaussian_score_mean(case: Bell) -> tuple[Floats, Floats]:
    """log density differentiated at 41 points, against the formula."""
    x = np.linspace(-4, 4, 41)
    return case.scores(x)[:, 0], (x - case.mu) / case.sigma**2


@misprint("gaussian-score-mean", "std for variance")
def _(case: Bell) -> Floats:
    return (np.linspace(-4, 4, 41) - case.mu) / case.sigma


@misprint("gaussian-score-mean", "derivative by x: the other sign")
def _(case: Bell) -> Floats:
    return (case.mu - np.linspace(-4, 4, 41)) / case.sigma**2


@equation(
    "gaussian-score-std",
    r"\frac{\partial}{\partial \sigma} \log \Normal(x; \mu, \sigma^2)"
    r" = \frac{(x - \mu)^2 - \sigma^2}{\sigma^3}",
    on=bells,
)
def gaussian_score_std(case: Bell) -> tuple[Floats, Floats]:
    """log density differentiated at 41 points, against the formula."""
    x = np.linspace(-4, 4, 41)
    return case.scores(x)[:, 1], ((x - case.mu) ** 2 - case.sigma**2) / case.sigma**3


@misprint("gaussian-score-std", "the normalising factor forgotten")
def _(case: Bell) -> Floats:
    return (np.linspace(-4, 4, 41) - case.mu) ** 2 / case.sigma**3


@misprint("gaussian-score-std", "by the logarithm of sigma")
def _(case: Bell) -> Floats:
    return ((np.linspace(-4, 4, 41) - case.mu) ** 2 - case.sigma**2) / case.sigma**2


@misprint("gaussian-score-std", "by the variance")
def _(case: Bell) -> Floats:
    return ((np.linspace(-4, 4, 41) - case.mu) ** 2 - case.sigma**2) / (2 * case.sigma**4)


@equation(
    "gaussian-score-log-std",
    r"\frac{\partial}{\partial \log \sigma} \log \Normal(x; \mu, \sigma^2)"
    r" = \sigma\, \frac{\partial}{\partial \sigma} \log \Normal(x; \mu, \sigma^2)"
    r" = \frac{(x - \mu)^2}{\sigma^2} - 1",
    on=bells,
)
def gaussian_score_log_std(case: Bell) -> tuple[Floats, Floats]:
    """log density differentiated by log sigma, against sigma times the other and the formula."""
    x, log_std = np.linspace(-4, 4, 41), np.array([np.log(case.sigma)])
    left = gradient(lambda th: case.log_p((case.mu, np.exp(th[0])), x), log_std)[0]
    middle = case.sigma * case.scores(x)[:, 1]
    right = (x - case.mu) ** 2 / case.sigma**2 - 1
    return np.concatenate([left, left]), np.concatenate([middle, right])


@misprint("gaussian-score-log-std", "divided by sigma instead of multiplied")
def _(case: Bell) -> Floats:
    x = np.linspace(-4, 4, 41)
    wrong = case.scores(x)[:, 1] / case.sigma
    return np.concatenate([wrong, wrong])


# --- the estimator -----------------------------------------------------------------------------

definition(
    "score-estimator",
    r"\hat g = \frac{1}{M} \sum_{i=1}^{M} f(x_i)\, \grad \log p_\theta(x_i)",
    chapter=3,
)


def batches(case: Family, M: int) -> tuple[Floats, Floats]:
    """Every batch of M independent samples: its probability `[K^M]`, its estimate `[K^M, D]`."""
    chosen = np.array(list(product(range(len(case.f)), repeat=M)))
    estimates = (case.f[chosen][:, :, None] * case.scores[chosen]).mean(axis=1)
    return case.probs[chosen].prod(axis=1), estimates


def total_variance(case: Family, M: int) -> float:
    """Trace of the covariance of the estimate, from every batch, deviations first."""
    p, estimates = batches(case, M)
    return float(p @ ((estimates - p @ estimates) ** 2).sum(axis=1))


@equation(
    "score-unbiased",
    r"\E_{x_1, \dots, x_M \sim p_\theta}[\hat g] = \grad \E_{x \sim p_\theta}[f(x)]",
    on=families,
    uses=("score-estimator",),
)
def score_unbiased(case: Family) -> tuple[Floats, Floats]:
    """Every batch of 1, 2 and 3 samples enumerated, against the differentiated expectation."""
    means = [p @ estimates for p, estimates in (batches(case, M) for M in (1, 2, 3))]
    return np.array(means), np.array([case.slope] * 3)


@misprint("score-unbiased", "a sum over samples for the mean")
def _(case: Family) -> Floats:
    return np.array([case.slope * M for M in (1, 2, 3)])


@misprint("score-unbiased", "averaged before multiplying: 1 / M of the gradient is left")
def _(case: Family) -> Floats:
    return products_of_means(case)


def second_moment(case: Family) -> float:
    return float((case.probs * case.f**2) @ (case.scores**2).sum(axis=1))


@equation(
    "score-variance",
    r"\begin{aligned}"
    r" & \tr \Cov_{x \sim p_\theta}\bigl[f(x)\, \grad \log p_\theta(x)\bigr] \\"
    r" & \qquad = \E_{x \sim p_\theta}\bigl[f(x)^2\, \norm{\grad \log p_\theta(x)}^2\bigr]"
    r" - \norm{\grad \E_{x \sim p_\theta}[f(x)]}^2"
    r" \end{aligned}",
    on=families,
)
def score_variance(case: Family) -> tuple[float, float]:
    """The mean squared deviation of one sample's estimate, against the two moments."""
    return total_variance(case, 1), second_moment(case) - float(case.slope @ case.slope)


@misprint("score-variance", "the squared gradient not subtracted")
def _(case: Family) -> float:
    return second_moment(case)


@misprint("score-variance", "norm not squared")
def _(case: Family) -> float:
    norms = np.sqrt((case.scores**2).sum(axis=1))
    return float((case.probs * case.f**2) @ norms - case.slope @ case.slope)


@misprint("score-variance", "expectations multiplied")
def _(case: Family) -> float:
    square = (case.probs @ case.f**2) * (case.probs @ (case.scores**2).sum(axis=1))
    return float(square - case.slope @ case.slope)


@equation(
    "score-variance-of-mean",
    r"\tr \Cov_{x_1, \dots, x_M \sim p_\theta}[\hat g] = \frac{1}{M} \tr \Cov_{x \sim p_\theta}"
    r"\bigl[f(x)\, \grad \log p_\theta(x)\bigr]",
    on=families,
    uses=("score-estimator",),
)
def score_variance_of_mean(case: Family) -> tuple[Floats, Floats]:
    """Every batch of 1 to 4 samples enumerated, against the variance of one sample over M."""
    one = second_moment(case) - float(case.slope @ case.slope)
    sizes = np.arange(1, 5)
    return np.array([total_variance(case, M) for M in sizes]), one / sizes


@misprint("score-variance-of-mean", "M squared")
def _(case: Family) -> Floats:
    return total_variance(case, 1) / np.arange(1, 5) ** 2


@misprint("score-variance-of-mean", "the root of M")
def _(case: Family) -> Floats:
    return total_variance(case, 1) / np.sqrt(np.arange(1, 5))


@equation(
    "average-first",
    r"\E_{x_1, \dots, x_M \sim p_\theta}\biggl[ \frac{1}{M^2} \sum_{i=1}^{M} \sum_{j=1}^{M}"
    r" f(x_i)\, \grad \log p_\theta(x_j) \biggr]"
    r" = \frac{1}{M} \grad \E_{x \sim p_\theta}[f(x)]",
    on=families,
)
def average_first(case: Family) -> tuple[Floats, Floats]:
    """Every batch of 1, 2 and 3 samples enumerated, means multiplied, against 1 / M."""
    return products_of_means(case), np.array([case.slope / M for M in (1, 2, 3)])


def products_of_means(case: Family) -> Floats:
    rows = []
    for M in (1, 2, 3):
        chosen = np.array(list(product(range(len(case.f)), repeat=M)))
        f, scores = case.f[chosen].mean(axis=1), case.scores[chosen].mean(axis=1)
        rows.append((case.probs[chosen].prod(axis=1) * f) @ scores)
    return np.array(rows)


@misprint("average-first", "the factor 1 / M missing: as if the order did not matter")
def _(case: Family) -> Floats:
    return np.array([case.slope] * 3)


@misprint("average-first", "zero, the product of the two expectations")
def _(case: Family) -> Floats:
    return np.zeros((3, len(case.theta)))


# --- the Gaussian bandit -----------------------------------------------------------------------


@equation(
    "bandit-value",
    r"\E_{x \sim \Normal(\mu, \sigma^2)}\bigl[-(x - c)^2\bigr] = -(\mu - c)^2 - \sigma^2",
    on=bells,
)
def bandit_value(case: Bell) -> tuple[float, float]:
    """The integral by quadrature, against the closed form."""
    return float(integral(case, case.bandit)), -((case.mu - case.c) ** 2) - case.sigma**2


@misprint("bandit-value", "the sigma squared forgotten")
def _(case: Bell) -> float:
    return -((case.mu - case.c) ** 2)


@misprint("bandit-value", "sigma for its square")
def _(case: Bell) -> float:
    return -((case.mu - case.c) ** 2) - case.sigma


def spread(case: Bell, g: Callable[[Floats], Floats]) -> float:
    """Variance of g(x) by quadrature, deviations first."""
    mean = integral(case, g)
    return float(integral(case, lambda x: (g(x) - mean) ** 2))


@equation(
    "bandit-score-variance",
    r"\Var_{x \sim \Normal(\mu, \sigma^2)}\Bigl[-(x - c)^2\, \frac{x - \mu}{\sigma^2}\Bigr]"
    r" = \frac{(\mu - c)^4}{\sigma^2} + 14 (\mu - c)^2 + 15 \sigma^2",
    on=bells,
)
def bandit_score_variance(case: Bell) -> tuple[float, float]:
    """The variance by quadrature, against the closed form."""
    d2, s2 = (case.mu - case.c) ** 2, case.sigma**2
    left = spread(case, lambda x: case.bandit(x) * (x - case.mu) / s2)
    return left, d2**2 / s2 + 14 * d2 + 15 * s2


@misprint("bandit-score-variance", "18 for 14: the squared gradient not subtracted")
def _(case: Bell) -> float:
    d2, s2 = (case.mu - case.c) ** 2, case.sigma**2
    return d2**2 / s2 + 18 * d2 + 15 * s2


@misprint("bandit-score-variance", "sigma for its square")
def _(case: Bell) -> float:
    d2, s = (case.mu - case.c) ** 2, case.sigma
    return d2**2 / s + 14 * d2 + 15 * s


@equation(
    "pathwise",
    r"\frac{\partial}{\partial \mu} \E_{x \sim \Normal(\mu, \sigma^2)}[f(x)]"
    r" = \E_{z \sim \Normal(0, 1)}\bigl[f'(\mu + \sigma z)\bigr]",
    on=bells,
)
def pathwise(case: Bell) -> tuple[float, float]:
    """The closed form of E[f] differentiated, against the mean slope of f by quadrature."""
    return float(gradient(case.mean_of_f, case.theta)[0]), float(moment(case, case.slope))


@misprint("pathwise", "the slope at the mean only")
def _(case: Bell) -> float:
    return float(case.slope(case.mu))


@misprint("pathwise", "the factor sigma")
def _(case: Bell) -> float:
    return case.sigma * float(moment(case, case.slope))


@equation(
    "bandit-pathwise-variance",
    r"\Var_{z \sim \Normal(0, 1)}\bigl[-2 (\mu + \sigma z - c)\bigr] = 4 \sigma^2",
    on=bells,
)
def bandit_pathwise_variance(case: Bell) -> tuple[float, float]:
    """The variance of the slope by quadrature, against the closed form."""
    return spread(case, lambda x: -2 * (x - case.c)), 4 * case.sigma**2


@misprint("bandit-pathwise-variance", "factor not squared")
def _(case: Bell) -> float:
    return 2 * case.sigma**2


@limit(
    "variance-blow-up",
    r"\sigma^2 \Var_{x \sim \Normal(\mu, \sigma^2)}"
    r"\Bigl[-(x - c)^2\, \frac{x - \mu}{\sigma^2}\Bigr]"
    r" \;\longrightarrow\; (\mu - c)^4 \qquad (\sigma \to 0)",
    on=bells,
)
def variance_blow_up(case: Bell) -> tuple[list[float], float]:
    """The scaled variance by quadrature as sigma halves six times, against the fourth power."""
    return blow_up(case, power=2), 0.0


def blow_up(case: Bell, power: int) -> list[float]:
    off_target = Bell(case.mu, 1.0, case.mu + 1.0 + abs(case.c - case.mu))
    small = [Bell(off_target.mu, 0.5**k, off_target.c) for k in range(1, 8)]
    target = (off_target.mu - off_target.c) ** 4
    return [
        abs(
            b.sigma**power * spread(b, lambda x, b=b: b.bandit(x) * (x - b.mu) / b.sigma**2)
            - target
        )
        for b in small
    ]


@misprint("variance-blow-up", "sigma for its square: that product still diverges")
def _(case: Bell) -> list[float]:
    return blow_up(case, power=1)


@misprint("variance-blow-up", "sigma to the fourth: that product vanishes")
def _(case: Bell) -> list[float]:
    return blow_up(case, power=4)


# --- dimension ---------------------------------------------------------------------------------

Cube = tuple[int, float, float, float]  # D, mu, sigma, c


def cubes(rng: np.random.Generator) -> Iterator[Cube]:
    for D in (1, 2, 3, 4):
        for _ in range(2):
            yield D, rng.normal(), rng.uniform(0.3, 1.5), rng.normal()


def grown(case: Cube, cross: float = 1.0, all_terms: bool = True) -> float:
    D, mu, sigma, c = case
    d2, s2 = (mu - c) ** 2, sigma**2
    others = 2 * d2**2 + 12 * d2 * s2 + 8 * s2**2 + all_terms * (D - 1) * (d2 + s2) ** 2
    return D * (d2**2 / s2 + 14 * d2 + 15 * s2) + cross * D * (D - 1) * others / s2


@equation(
    "variance-in-dimension",
    r"\begin{aligned}"
    r" & \tr \Cov_{x \sim \Normal(\mu, \sigma^2)^D}\bigl[f(x)\, \nabla_\mu \log p(x)\bigr]"
    r" = D \Bigl( \frac{\Delta^4}{\sigma^2} + 14 \Delta^2 + 15 \sigma^2 \Bigr) \\"
    r" & \qquad + \frac{D (D - 1)}{\sigma^2} \Bigl( 2 \Delta^4 + 12 \Delta^2 \sigma^2 + 8 \sigma^4"
    r" + (D - 1)(\Delta^2 + \sigma^2)^2 \Bigr)"
    r" \end{aligned}",
    on=cubes,
)
def variance_in_dimension(case: Cube) -> tuple[float, float]:
    """The trace by quadrature over the whole cube of nodes in 1 to 4 dimensions, and the form."""
    D, mu, sigma, c = case
    nodes, weights = hermegauss(6)  # exact up to degree 11; six is the highest here
    z = np.stack(np.meshgrid(*[nodes] * D, indexing="ij"), axis=-1).reshape(-1, D)
    w = np.array(list(product(weights / weights.sum(), repeat=D))).prod(axis=1)
    f = -((mu + sigma * z - c) ** 2).sum(axis=1)
    estimates = f[:, None] * z / sigma
    return float(w @ ((estimates - w @ estimates) ** 2).sum(axis=1)), grown(case)


@misprint("variance-in-dimension", "D times the variance of one coordinate")
def _(case: Cube) -> float:
    return grown(case, cross=0.0)


@misprint("variance-in-dimension", "the cubic term missing")
def _(case: Cube) -> float:
    return grown(case, all_terms=False)


@misprint("variance-in-dimension", "pairs counted once")
def _(case: Cube) -> float:
    return grown(case, cross=0.5)


# --- where the conditions fail -----------------------------------------------------------------

Stretch = tuple[float, float, float]  # theta, and f(x) = sin(a x) + b


def stretches(rng: np.random.Generator) -> Iterator[Stretch]:
    for _ in range(5):
        yield rng.uniform(0.5, 3.0), rng.uniform(0.5, 2.0), rng.normal()


def naive(case: Stretch) -> float:
    """E[f(x) ∂ log p] for x ~ U(0, theta), where ∂ log p = -1/theta, by quadrature."""
    theta, a, b = case
    nodes, weights = leggauss(40)
    x = theta * (nodes + 1) / 2
    return float((weights / 2) @ ((np.sin(a * x) + b) * (-1 / theta)))


@equation(
    "moving-support",
    r"\frac{\dd}{\dd \theta} \E_{x \sim U(0, \theta)}[f(x)] = \frac{f(\theta)}{\theta}"
    r" + \E_{x \sim U(0, \theta)}"
    r"\Bigl[f(x)\, \frac{\partial}{\partial \theta} \log p_\theta(x)\Bigr]",
    on=stretches,
)
def moving_support(case: Stretch) -> tuple[float, float]:
    """The closed form of the mean differentiated, against the naive estimate and the boundary."""
    theta, a, b = case
    mean = lambda th: (1 - np.cos(a * th[0])) / (a * th[0]) + b  # noqa: E731
    left = gradient(mean, np.array([theta]))[0]
    return float(left), (np.sin(a * theta) + b) / theta + naive(case)


@misprint("moving-support", "the boundary term missing: the naive estimator")
def _(case: Stretch) -> float:
    return naive(case)


@misprint("moving-support", "f at the boundary not divided by theta")
def _(case: Stretch) -> float:
    theta, a, b = case
    return float(np.sin(a * theta) + b + naive(case))


def moving_f(case: Family, theta: Any) -> Any:
    """An f that depends on the parameter too, `[K]`."""
    return case.f * np.cos(theta @ theta) + case.C @ theta


@equation(
    "f-depends-on-theta",
    r"\grad \E_{x \sim p_\theta}[f_\theta(x)] = \E_{x \sim p_\theta}\bigl[\grad f_\theta(x)\bigr]"
    r" + \E_{x \sim p_\theta}\bigl[f_\theta(x)\, \grad \log p_\theta(x)\bigr]",
    on=families,
)
def f_depends_on_theta(case: Family) -> tuple[Floats, Floats]:
    """The expectation differentiated with both dependences, against the two terms."""
    left = gradient(lambda th: case.p(th) @ moving_f(case, th), case.theta)
    own = gradient(lambda th: case.probs @ moving_f(case, th), case.theta)
    return left, own + (case.probs * moving_f(case, case.theta)) @ case.scores


@misprint("f-depends-on-theta", "only the score term")
def _(case: Family) -> Floats:
    return (case.probs * moving_f(case, case.theta)) @ case.scores


@misprint("f-depends-on-theta", "only the derivative of f")
def _(case: Family) -> Floats:
    return gradient(lambda th: case.probs @ moving_f(case, th), case.theta)
