"""Equations of chapter 6: derivatives by torch on one side, scores by hand on the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pgcourse.arguments import Floats
from pgcourse.environments import random_mdp
from pgcourse.mdp import MDP, discounted_return, enumerate_trajectories
from pgcourse.policies import softmax
from tests.equations import definition, equation, misprint

# --- one batch ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """N trajectories of unequal lengths, one list of (s, a) each, their returns, and logits."""

    steps: list[list[tuple[int, int]]]
    R: Floats
    theta: Floats

    def gradient(self, weigh: Callable[[int], float]) -> Floats:
        """Derivative by torch of the sum of weight times log pi; `[S, A]`."""
        theta = torch.tensor(self.theta, requires_grad=True)
        log_pi = torch.log_softmax(theta, dim=1)
        total = torch.zeros((), dtype=torch.float64)
        for i, steps in enumerate(self.steps):
            for s, a in steps:
                total = total + weigh(i) * log_pi[s, a]
        (found,) = torch.autograd.grad(total, theta)
        return np.asarray(found)

    @property
    def estimate(self) -> Floats:
        """The estimate of chapter 5, by hand: mean of return times summed score."""
        pi, total = softmax(self.theta), np.zeros(self.theta.shape)
        for R, steps in zip(self.R, self.steps, strict=True):
            for s, a in steps:
                total[s] -= R * pi[s]
                total[s, a] += R
        return total / len(self.R)


def some_batches(rng: np.random.Generator) -> Iterator[Batch]:
    for S, A, lengths in [(2, 2, (3, 1)), (3, 3, (2, 5, 4)), (1, 2, (1,)), (4, 2, (6, 2, 2, 7))]:
        steps = [[(int(rng.integers(S)), int(rng.integers(A))) for _ in range(n)] for n in lengths]
        yield Batch(steps, rng.normal(size=len(lengths)), rng.normal(size=(S, A)))


definition(
    "pseudo-loss",
    r"L(\theta) = -\frac{1}{N} \sum_{i=1}^{N} \sum_{t=0}^{T_i-1} \Psi_{i,t} "
    r"\log \pi_\theta(a_{i,t} \mid s_{i,t})",
    chapter=6,
)


@equation(
    "pseudo-loss-gradient",
    r"\grad L(\theta) = -\hat g \qquad \text{with} \quad \Psi_{i,t} = R(\tau_i)",
    on=some_batches,
    uses=("pseudo-loss",),
)
def pseudo_loss_gradient(case: Batch) -> tuple[Floats, Floats]:
    """The loss differentiated by torch, against scores added by hand."""
    N = len(case.R)
    return case.gradient(lambda i: -case.R[i] / N), -case.estimate


@misprint("pseudo-loss-gradient", "plus, not minus")
def _(case: Batch) -> Floats:
    return case.estimate


@misprint("pseudo-loss-gradient", "the sum, not the mean")
def _(case: Batch) -> Floats:
    return -case.estimate * (len(case.R) + (len(case.R) == 1))


@misprint("pseudo-loss-gradient", "mean return for each return")
def _(case: Batch) -> Floats:
    return -Batch(case.steps, np.full(len(case.R), case.R.mean()), case.theta).estimate


@equation(
    "per-step-loss",
    r"\grad \bar L(\theta) = -\frac{N}{\sum_{i=1}^{N} T_i}\, \hat g",
    on=some_batches,
    uses=("pseudo-loss",),
)
def per_step_loss(case: Batch) -> tuple[Floats, Floats]:
    """The mean over steps differentiated by torch, against the estimate over the mean length."""
    M = sum(map(len, case.steps))
    return case.gradient(lambda i: -case.R[i] / M), -case.estimate * len(case.R) / M


@misprint("per-step-loss", "the ratio upside down")
def _(case: Batch) -> Floats:
    return -case.estimate * sum(map(len, case.steps)) / len(case.R)


@misprint("per-step-loss", "each trajectory by its own length")
def _(case: Batch) -> Floats:
    lengths = np.array([len(steps) for steps in case.steps])
    return -Batch(case.steps, case.R / lengths, case.theta).estimate


# --- all trajectories --------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A small episodic world and logits; sums over all of its trajectories."""

    mdp: MDP
    theta: Floats
    c: float = 0.0
    N: int = 1

    def paths(self, theta: torch.Tensor) -> tuple[torch.Tensor, Floats, torch.Tensor]:
        """Chance of the world's part times pi `[K]`, return `[K]`, summed log pi `[K]`."""
        states, actions = enumerate_trajectories(self.mdp)
        now, after = states[:, :-1], states[:, 1:]
        fixed = self.mdp.d0[states[:, 0]] * self.mdp.P[now, actions, after].prod(axis=1)
        R = discounted_return(self.mdp.R[now, actions], self.mdp.gamma)
        log_pi = torch.log_softmax(theta, dim=1)[torch.tensor(now), torch.tensor(actions)]
        ell = log_pi.sum(dim=1)
        return torch.tensor(fixed) * ell.exp(), R, ell

    def J(self, theta: torch.Tensor) -> torch.Tensor:
        """Expected return by the states' law, step by step: no trajectory in sight."""
        pi, d = torch.softmax(theta, dim=1), torch.tensor(self.mdp.d0)
        P, R = torch.tensor(self.mdp.P), torch.tensor(self.mdp.R)
        total = torch.zeros((), dtype=torch.float64)
        for t in range(self.mdp.T):
            total = total + self.mdp.gamma**t * (d[:, None] * pi * R).sum()
            d = torch.einsum("s,sa,saz->z", d, pi, P)
        return total

    @property
    def gradient(self) -> Floats:
        """∇J `[D]` by torch."""
        return derivative(self.J, self.theta)

    @property
    def by_hand(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """p `[K]`, R `[K]`, summed log pi `[K]`, its gradient `[K, D]` and Hessian `[K, D, D]`."""
        states, actions = enumerate_trajectories(self.mdp)
        p, R, ell = (np.asarray(x) for x in self.paths(torch.tensor(self.theta)))
        pi, (S, A) = softmax(self.theta), self.theta.shape
        scores, hessians = np.zeros((len(p), S, A)), np.zeros((len(p), S, A, S, A))
        for k, (path, taken) in enumerate(zip(states, actions, strict=True)):
            for s, a in zip(path[:-1], taken, strict=True):
                scores[k, s] += np.eye(A)[a] - pi[s]
                hessians[k, s, :, s] -= np.diag(pi[s]) - np.outer(pi[s], pi[s])
        return p, R, ell, scores.reshape(len(p), -1), hessians.reshape(len(p), S * A, S * A)

    def entropies(self, steps: int | None = None) -> float:
        """Expected sum of the entropies (nats) of the first steps, by the states' law."""
        pi, d, total = softmax(self.theta), self.mdp.d0, 0.0
        for _ in range(self.mdp.T if steps is None else steps):
            total += d @ -(pi * np.log(pi)).sum(axis=1)
            d = np.einsum("s,sa,saz->z", d, pi, self.mdp.P)
        return float(total)


def derivative(f: Callable[[torch.Tensor], torch.Tensor], theta: Floats) -> Floats:
    """Gradient `[D]` of f by torch."""
    x = torch.tensor(theta, requires_grad=True)
    (found,) = torch.autograd.grad(f(x), x)
    return np.asarray(found).ravel()


def second_derivative(f: Callable[[torch.Tensor], torch.Tensor], theta: Floats) -> Floats:
    """Hessian `[D, D]` of f by torch."""
    found: Any = torch.autograd.functional.hessian(f, torch.tensor(theta))  # type: ignore[no-untyped-call]
    return np.asarray(found).reshape(theta.size, theta.size)


def worlds(rng: np.random.Generator) -> Iterator[World]:
    for S, A, T in [(2, 2, 3), (3, 2, 2), (2, 3, 2), (1, 2, 4)]:
        world = random_mdp(S, A, rng.uniform(0.5, 1.0), T, rng)
        yield World(world, rng.normal(size=(S, A)), rng.uniform(-5, 5))


def worlds_in_batches(rng: np.random.Generator) -> Iterator[World]:
    for S, A, T, N in [(2, 2, 2, 2), (2, 2, 1, 3), (1, 3, 2, 2), (2, 2, 2, 1)]:
        yield World(random_mdp(S, A, 1.0, T, rng), rng.normal(size=(S, A)), N=N)


@equation(
    "loss-shift",
    r"\E_{\tau_1, \dots, \tau_N \sim p_\theta}\bigl[ L_{\Psi + c}(\theta) - L_{\Psi}(\theta) \bigr]"
    r" = c \E_{\tau \sim p_\theta}\Bigl[ \sum_{t=0}^{T-1} "
    r"\Ent\bigl(\pi_\theta(\cdot \mid s_t)\bigr) \Bigr]",
    on=worlds,
    uses=("pseudo-loss",),
)
def loss_shift(case: World) -> tuple[float, float]:
    """The log-probabilities of all trajectories, against entropies by the states' law."""
    p, R, ell, _, _ = case.by_hand
    return float(p @ (-(R + case.c) * ell + R * ell)), case.c * case.entropies()


@misprint("loss-shift", "minus")
def _(case: World) -> float:
    return -case.c * case.entropies()


@misprint("loss-shift", "the first state only")
def _(case: World) -> float:
    return case.c * case.entropies(1)


@misprint("loss-shift", "no change")
def _(case: World) -> float:
    return 0.0


@equation(
    "gradient-shift",
    r"\E_{\tau_1, \dots, \tau_N \sim p_\theta}\bigl[ \grad L_{\Psi + c}(\theta) \bigr]"
    r" = -\grad J(\theta) \qquad \text{with} \quad \Psi_{i,t} = R(\tau_i)",
    on=worlds,
    uses=("pseudo-loss",),
)
def gradient_shift(case: World) -> tuple[Floats, Floats]:
    """Scores with shifted returns over all trajectories, against J differentiated by torch."""
    p, R, _, scores, _ = case.by_hand
    return -(p * (R + case.c)) @ scores, -case.gradient


@misprint("gradient-shift", "plus the shift of the value, differentiated")
def _(case: World) -> Floats:
    def entropy(theta: torch.Tensor) -> torch.Tensor:
        p, _, ell = case.paths(theta)
        return -(p * ell).sum()

    return -case.gradient + case.c * derivative(entropy, case.theta)


@misprint("gradient-shift", "plus, not minus")
def _(case: World) -> Floats:
    return case.gradient


@equation(
    "expected-loss-gradient",
    r"\grad \E_{\tau \sim p_\theta}[L(\theta)] = -\grad J(\theta) - \E_{\tau \sim p_\theta}\bigl["
    r" R(\tau)\, \ell_\theta(\tau)\, \grad \ell_\theta(\tau) \bigr]",
    on=worlds,
    uses=("pseudo-loss",),
)
def expected_loss_gradient(case: World) -> tuple[Floats, Floats]:
    """The expected value differentiated by torch, its law included, against sums by hand."""

    def value(theta: torch.Tensor) -> torch.Tensor:
        p, R, ell = case.paths(theta)
        return -(p * torch.tensor(R) * ell).sum()

    p, R, ell, scores, _ = case.by_hand
    return derivative(value, case.theta), -case.gradient - (p * R * ell) @ scores


@misprint("expected-loss-gradient", "the law not differentiated")
def _(case: World) -> Floats:
    return -case.gradient


@misprint("expected-loss-gradient", "the sign of the second term")
def _(case: World) -> Floats:
    p, R, ell, scores, _ = case.by_hand
    return -case.gradient + (p * R * ell) @ scores


@equation(
    "pseudo-hessian",
    r"\grad^2 J(\theta) = -\E_{\tau \sim p_\theta}\bigl[ \grad^2 L(\theta) \bigr]"
    r" + \E_{\tau \sim p_\theta}\bigl[ R(\tau)\, \grad \ell_\theta(\tau)\,"
    r" \grad \ell_\theta(\tau)\transpose \bigr]",
    on=worlds,
    uses=("pseudo-loss",),
)
def pseudo_hessian(case: World) -> tuple[Floats, Floats]:
    """J differentiated twice by torch, against scores and their derivatives by hand."""
    p, R, _, scores, hessians = case.by_hand
    outer = np.einsum("k,ki,kj->ij", p * R, scores, scores)
    return second_derivative(case.J, case.theta), np.tensordot(p * R, hessians, 1) + outer


@misprint("pseudo-hessian", "the outer products missing")
def _(case: World) -> Floats:
    p, R, _, _, hessians = case.by_hand
    return np.tensordot(p * R, hessians, 1)


@misprint("pseudo-hessian", "the outer products alone")
def _(case: World) -> Floats:
    p, R, _, scores, _ = case.by_hand
    return np.einsum("k,ki,kj->ij", p * R, scores, scores)


@misprint("pseudo-hessian", "the sign of the pseudo-loss")
def _(case: World) -> Floats:
    p, R, _, scores, hessians = case.by_hand
    outer = np.einsum("k,ki,kj->ij", p * R, scores, scores)
    return outer - np.tensordot(p * R, hessians, 1)


definition(
    "dice",
    r"D(\theta) = \frac{1}{N} \sum_{i=1}^{N} R(\tau_i)\, "
    r"\exp\bigl( \ell_\theta(\tau_i) - \ell_{\theta_k}(\tau_i) \bigr)",
    chapter=6,
)


def three_derivatives(f: Callable[[torch.Tensor], torch.Tensor], theta: Floats) -> Floats:
    """Value, gradient and Hessian in one row."""
    value = float(f(torch.tensor(theta)))
    return np.concatenate(
        [[value], derivative(f, theta), second_derivative(f, theta).ravel()], dtype=np.float64
    )


def expected_dice(case: World, box: Callable[[torch.Tensor], torch.Tensor]) -> Floats:
    """Expectation under p at theta_k of R times box(l - l_k) and two derivatives, at theta_k."""
    p, R, ell_k = case.paths(torch.tensor(case.theta))

    def D(theta: torch.Tensor) -> torch.Tensor:
        return (p * torch.tensor(R) * box(case.paths(theta)[2] - ell_k)).sum()

    return three_derivatives(D, case.theta)


@equation(
    "dice-derivatives",
    r"\E_{\tau_1, \dots, \tau_N \sim p_{\theta_k}}\bigl[ \grad^n D(\theta) \bigr]"
    r"_{\theta = \theta_k} = \grad^n J(\theta_k) \qquad (n = 0, 1, 2, \ldots)",
    on=worlds,
    uses=("dice",),
)
def dice_derivatives(case: World) -> tuple[Floats, Floats]:
    """Value, gradient and Hessian of the expected D, and those of J, all by torch."""
    return expected_dice(case, torch.exp), three_derivatives(case.J, case.theta)


@misprint("dice-derivatives", "the difference without its exponential")
def _(case: World) -> Floats:
    return expected_dice(case, lambda x: x)


@misprint("dice-derivatives", "one plus the difference: right up to n = 1")
def _(case: World) -> Floats:
    return expected_dice(case, lambda x: 1 + x)


@misprint("dice-derivatives", "the ratio upside down")
def _(case: World) -> Floats:
    return expected_dice(case, lambda x: torch.exp(-x))


@equation(
    "broadcast-gradient",
    r"\E_{\tau_1, \dots, \tau_N \sim p_\theta}\Bigl[ \frac{1}{N^2} \sum_{i=1}^{N} \sum_{j=1}^{N} "
    r"R(\tau_i) \grad \ell_\theta(\tau_j) \Bigr] = \frac{1}{N} \grad J(\theta)",
    on=worlds_in_batches,
    uses=("pseudo-loss",),
)
def broadcast_gradient(case: World) -> tuple[Floats, Floats]:
    """All pairs in all batches of N trajectories, against J differentiated by torch."""
    p, R, _, scores, _ = case.by_hand
    total = np.zeros(scores.shape[1])
    for batch in itertools.product(range(len(p)), repeat=case.N):
        k = list(batch)
        total += p[k].prod() * R[k].mean() * scores[k].mean(axis=0)
    return total, case.gradient / case.N


@misprint("broadcast-gradient", "nothing lost")
def _(case: World) -> Floats:
    return case.gradient


@misprint("broadcast-gradient", "everything lost")
def _(case: World) -> Floats:
    return 0 * case.gradient


# --- one decision ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """One softmax decision: logits `[A]`, weights `[A]`, and how weights move with logits."""

    theta: Floats
    psi: Floats
    W: Floats  # [A, A]

    def moving(self, theta: torch.Tensor) -> torch.Tensor:
        """Weights `[A]` that depend on the parameters, as a critic's do that shares them."""
        return torch.tensor(self.psi) + torch.tensor(self.W) @ torch.sin(theta)

    @property
    def scores(self) -> Floats:
        """Score of each action, `[A, A]`."""
        return np.eye(len(self.theta)) - softmax(self.theta)


def decisions(rng: np.random.Generator) -> Iterator[Decision]:
    for A in (2, 3, 5):
        yield Decision(rng.normal(size=A), rng.normal(size=A), rng.normal(size=(A, A)))


@equation(
    "probability-for-log",
    r"\E_{a \sim \pi_\theta}\bigl[ \Psi(a) \grad \pi_\theta(a) \bigr] = "
    r"\tfrac12 \grad \sum_a \Psi(a)\, \pi_\theta(a)^2",
    on=decisions,
)
def probability_for_log(case: Decision) -> tuple[Floats, Floats]:
    """Probabilities times scores by hand, against the squares differentiated by torch."""
    pi = softmax(case.theta)
    left = (pi * case.psi * pi) @ case.scores
    return left, squares(case, 2) / 2


def squares(case: Decision, power: int) -> Floats:
    psi = torch.tensor(case.psi)
    return derivative(lambda x: (psi * torch.softmax(x, 0) ** power).sum(), case.theta)


@misprint("probability-for-log", "not squared: the policy gradient")
def _(case: Decision) -> Floats:
    return squares(case, 1)


@misprint("probability-for-log", "the half missing")
def _(case: Decision) -> Floats:
    return squares(case, 2)


@equation(
    "leak",
    r"\E_{a \sim \pi_\theta}\bigl[ \grad ( \Psi_\theta \log \pi_\theta ) \bigr] = "
    r"\E_{a \sim \pi_\theta}\bigl[ \Psi_\theta \grad \log \pi_\theta \bigr] + "
    r"\E_{a \sim \pi_\theta}\bigl[ \log \pi_\theta\, \grad \Psi_\theta \bigr]",
    on=decisions,
)
def leak(case: Decision) -> tuple[Floats, Floats]:
    """The product differentiated by torch, against both terms by hand."""
    pi = softmax(case.theta)
    fixed = torch.tensor(pi)
    left = derivative(
        lambda x: (fixed * case.moving(x) * torch.log_softmax(x, 0)).sum(), case.theta
    )
    psi = np.asarray(case.moving(torch.tensor(case.theta)))
    leaked = (pi * np.log(pi)) @ (case.W * np.cos(case.theta))
    return left, (pi * psi) @ case.scores + leaked


@misprint("leak", "nothing leaks")
def _(case: Decision) -> Floats:
    return (softmax(case.theta) * case.moving(torch.tensor(case.theta)).numpy()) @ case.scores


@misprint("leak", "the logarithm missing")
def _(case: Decision) -> Floats:
    pi = softmax(case.theta)
    psi = case.moving(torch.tensor(case.theta)).numpy()
    return (pi * psi) @ case.scores + pi @ (case.W * np.cos(case.theta))
