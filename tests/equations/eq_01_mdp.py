"""Equations of chapter 1, checked by enumeration and linear algebra on random worlds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pgcourse.environments import corridor, random_mdp, random_policy
from pgcourse.mdp import (
    MDP,
    Floats,
    discounted_return,
    enumerate_trajectories,
    evaluate_by_enumeration,
    trajectory_prob,
)
from tests.equations import definition, equation, limit, misprint

Case = tuple[MDP, Floats]
SIZES = [(2, 2, 3), (3, 2, 2), (2, 3, 3), (1, 2, 3), (3, 1, 4), (4, 2, 1)]


def episodic(rng: np.random.Generator) -> Iterator[Case]:
    for S, A, T in SIZES:
        yield random_mdp(S, A, rng.uniform(0.3, 1.0), T, rng), random_policy(S, A, rng)


def discounted(rng: np.random.Generator) -> Iterator[Case]:
    for S, A, _ in [*SIZES, (30, 4, 0)]:
        yield random_mdp(S, A, rng.uniform(0.3, 0.98), None, rng), random_policy(S, A, rng)


def chain(mdp: MDP, pi: Floats) -> tuple[Floats, Floats]:
    """Transition matrix and expected reward of each state under the policy, entry by entry."""
    P_pi, r_pi = np.zeros((mdp.S, mdp.S)), np.zeros(mdp.S)
    for s in range(mdp.S):
        for a in range(mdp.A):
            P_pi[s] += pi[s, a] * mdp.P[s, a]
            r_pi[s] += pi[s, a] * mdp.R[s, a]
    return P_pi, r_pi


def series(case: Case, power: int = 0) -> Floats:
    """Sum gamma^(t + power) Pr(s_t = s) until nothing is left, one step at a time."""
    mdp, pi = case
    P_pi, now, total = chain(mdp, pi)[0], mdp.d0, np.zeros(mdp.S)
    for t in range(2000):
        total, now = total + mdp.gamma ** (t + power) * now, now @ P_pi
    return total


def paths(case: Case) -> tuple[Floats, Floats, Floats, Floats]:
    """All trajectories with their probability and return, from the definitions."""
    mdp, pi = case
    states, actions = enumerate_trajectories(mdp)
    R = discounted_return(mdp.R[states[:, :-1], actions], mdp.gamma)
    return states, actions, trajectory_prob(mdp, pi, states, actions), R


# --- the law of a trajectory -------------------------------------------------------------------


def step_by_step(case: Case) -> Floats:
    """Draw the trajectory event by event: extend every prefix, one factor at a time."""
    mdp, pi = case
    prefixes = {(s,): mdp.d0[s] for s in range(mdp.S) if mdp.d0[s] > 0}
    for _ in range(mdp.T):
        prefixes = {
            (*prefix, a, z): p * pi[prefix[-1], a] * mdp.P[prefix[-1], a, z]
            for prefix, p in prefixes.items()
            for a in range(mdp.A)
            for z in range(mdp.S)
            if mdp.P[prefix[-1], a, z] > 0
        }
    return np.array([prefixes[key] for key in sorted(prefixes)])


def product(case: Case, steps: slice = slice(None), start: bool = True) -> Floats:
    mdp, pi = case
    states, actions = enumerate_trajectories(mdp)
    factors = pi[states[:, :-1], actions] * mdp.P[states[:, :-1], actions, states[:, 1:]]
    return factors[:, steps].prod(axis=1) * (mdp.d0[states[:, 0]] if start else 1)


@equation(
    "path-law",
    r"p_\theta(\tau) = d_0(s_0) \prod_{t=0}^{T-1} \pi_\theta(a_t \mid s_t)\, "
    r"P(s_{t+1} \mid s_t, a_t)",
    on=episodic,
)
def path_law(case: Case) -> tuple[Floats, Floats]:
    """The probability of every trajectory, event after event, against the product."""
    return step_by_step(case), product(case)


@misprint("path-law", "T + 1 factors: the last transition counted twice")
def _(case: Case) -> Floats:
    mdp, _pi = case
    states, actions = enumerate_trajectories(mdp)
    return product(case) * mdp.P[states[:, -2], actions[:, -1], states[:, -1]]


@misprint("path-law", "the last factor missing")
def _(case: Case) -> Floats:
    return product(case, slice(-1))


@misprint("path-law", "without the first state")
def _(case: Case) -> Floats:
    return product(case, start=False)


@equation("total-probability", r"\sum_\tau p_\theta(\tau) = 1", on=episodic)
def total_probability(case: Case) -> tuple[float, float]:
    """The probabilities of all trajectories, s_T included, sum to 1."""
    return float(paths(case)[2].sum()), 1.0


@misprint("total-probability", "the sum counts trajectories")
def _(case: Case) -> float:
    return float(len(paths(case)[2]))


# --- return and objective ----------------------------------------------------------------------

definition("return", r"R(\tau) = \sum_{t=0}^{T-1} \gamma^t\, r_t", chapter=1)


def expected_rewards(case: Case, first: int = 0) -> float:
    """Sum gamma^t E[r_t], the state distribution carried forward by hand."""
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    now, total = mdp.d0, 0.0
    for t in range(mdp.T):
        total += mdp.gamma ** (t + first) * float(now @ r_pi)
        now = now @ P_pi
    return total


@equation(
    "expected-return",
    r"J(\theta) = \E_{\tau \sim p_\theta}[R(\tau)] = \sum_\tau p_\theta(\tau)\, R(\tau)",
    on=episodic,
    uses=("return",),
)
def expected_return(case: Case) -> tuple[float, float]:
    """Expected rewards of each step, discounted and added, against the sum over trajectories."""
    _, _, p, R = paths(case)
    return expected_rewards(case), float(p @ R)


@misprint("expected-return", "all trajectories weighed equally")
def _(case: Case) -> float:
    return float(paths(case)[3].mean())


@misprint("expected-return", "discounted from the first reward on")
def _(case: Case) -> float:
    return expected_rewards(case, first=1)


# --- values ------------------------------------------------------------------------------------

definition(
    "state-value",
    r"V_t(s) = \E_{\tau \sim p_\theta}\Bigl[\sum_{k=t}^{T-1} \gamma^{k-t} r_k \Bigm| s_t = s\Bigr]",
    chapter=1,
)


def backward(case: Case, gamma_power: int = 1, reward: float = 1.0) -> Floats:
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    V = [np.zeros(mdp.S)]
    for _ in range(mdp.T):
        V.append(reward * r_pi + mdp.gamma**gamma_power * P_pi @ V[-1])
    return np.array(V[::-1])


@equation(
    "bellman",
    r"V_t(s) = \sum_a \pi_\theta(a \mid s) \Bigl[ R[s, a] + \gamma \sum_{s'} P(s' \mid s, a)\, "
    r"V_{t+1}(s') \Bigr]",
    on=episodic,
    uses=("state-value",),
)
def bellman(case: Case) -> tuple[Floats, Floats]:
    """Values by averaging over all continuations against the backward recursion."""
    return evaluate_by_enumeration(*case).V, backward(case)


@misprint("bellman", "discount missing")
def _(case: Case) -> Floats:
    return backward(case, gamma_power=0)


@misprint("bellman", "discount squared")
def _(case: Case) -> Floats:
    return backward(case, gamma_power=2)


@misprint("bellman", "reward subtracted")
def _(case: Case) -> Floats:
    return backward(case, reward=-1.0)


@equation(
    "return-from-values", r"J(\theta) = \sum_s d_0(s)\, V_0(s)", on=episodic, uses=("state-value",)
)
def return_from_values(case: Case) -> tuple[float, float]:
    """The sum over trajectories against the average of the first values."""
    _, _, p, R = paths(case)
    return float(p @ R), float(case[0].d0 @ backward(case)[0])


@misprint("return-from-values", "V_1 for V_0")
def _(case: Case) -> float:
    return float(case[0].d0 @ backward(case)[1])


def with_clock(case: Case, gamma: float) -> tuple[Floats, Floats]:
    """Matrix I - gamma P and reward of the world whose states are the pairs (t, s), by hand."""
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    n = mdp.T * mdp.S
    M, r = np.eye(n), np.zeros(n)
    for t in range(mdp.T):
        for s in range(mdp.S):
            r[t * mdp.S + s] = r_pi[s]
            for z in range(mdp.S if t + 1 < mdp.T else 0):
                M[t * mdp.S + s, (t + 1) * mdp.S + z] -= gamma * P_pi[s, z]
    return M, r


@equation(
    "time-in-state",
    r"V_t(s) = \Bigl[(I - \gamma \bar P_\theta)^{-1}\, \bar r_\theta\Bigr]_{(t, s)}",
    on=episodic,
    uses=("state-value",),
)
def time_in_state(case: Case) -> tuple[Floats, Floats]:
    """Values by enumeration against one linear system over the pairs (t, s)."""
    M, r = with_clock(case, case[0].gamma)
    return evaluate_by_enumeration(*case).V[:-1].ravel(), np.linalg.solve(M, r)


@misprint("time-in-state", "plus for minus")
def _(case: Case) -> Floats:
    M, r = with_clock(case, -case[0].gamma)
    return np.linalg.solve(M, r)


# --- the discounted setting --------------------------------------------------------------------


@equation("linear-solve", r"V = (I - \gamma P_\theta)^{-1}\, r_\theta", on=discounted)
def linear_solve(case: Case) -> tuple[Floats, Floats]:
    """The discounted rewards of 2000 steps, added one by one, against one linear system."""
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    V, ahead = np.zeros(mdp.S), r_pi
    for t in range(2000):
        V, ahead = V + mdp.gamma**t * ahead, P_pi @ ahead
    return V, np.linalg.solve(np.eye(mdp.S) - mdp.gamma * P_pi, r_pi)


@misprint("linear-solve", "gamma missing")
def _(case: Case) -> Floats:
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    return np.linalg.lstsq(np.eye(mdp.S) - P_pi, r_pi, rcond=None)[0]


@misprint("linear-solve", "transposed")
def _(case: Case) -> Floats:
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    return np.linalg.solve(np.eye(mdp.S) - mdp.gamma * P_pi.T, r_pi)


definition(
    "occupancy",
    r"d^\pi(s) = (1 - \gamma) \sum_{t=0}^{\infty} \gamma^t \Pr(s_t = s)",
    chapter=1,
)


def flow(case: Case, transpose: bool = True, scale: bool = True) -> Floats:
    mdp, pi = case
    P_pi = chain(mdp, pi)[0]
    M = np.eye(mdp.S) - mdp.gamma * (P_pi.T if transpose else P_pi)
    return np.linalg.solve(M, (1 - mdp.gamma if scale else 1.0) * mdp.d0)


@equation(
    "occupancy-flow",
    r"d^\pi = (1 - \gamma)\, d_0 + \gamma\, P_\theta^\top d^\pi",
    on=discounted,
    uses=("occupancy",),
)
def occupancy_flow(case: Case) -> tuple[Floats, Floats]:
    """The series of visits, summed, against the solution of the flow equation."""
    return (1 - case[0].gamma) * series(case), flow(case)


@misprint("occupancy-flow", "not normalised: the factor of d_0 missing")
def _(case: Case) -> Floats:
    return flow(case, scale=False)


@misprint("occupancy-flow", "P for its transpose")
def _(case: Case) -> Floats:
    return flow(case, transpose=False)


@equation(
    "return-from-occupancy",
    r"J(\theta) = \frac{1}{1 - \gamma} \sum_s d^\pi(s) \sum_a \pi_\theta(a \mid s)\, R[s, a]",
    on=discounted,
    uses=("occupancy",),
)
def return_from_occupancy(case: Case) -> tuple[float, float]:
    """The first value by linear algebra against visits times rewards."""
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    J = mdp.d0 @ np.linalg.solve(np.eye(mdp.S) - mdp.gamma * P_pi, r_pi)
    return float(J), float((1 - mdp.gamma) * series(case) @ r_pi / (1 - mdp.gamma))


@misprint("return-from-occupancy", "the factor 1 / (1 - gamma) missing")
def _(case: Case) -> float:
    return float((1 - case[0].gamma) * series(case) @ chain(*case)[1])


@misprint("return-from-occupancy", "d_0 for the occupancy")
def _(case: Case) -> float:
    return float(case[0].d0 @ chain(*case)[1] / (1 - case[0].gamma))


@limit(
    "horizon-limit",
    r"\bigl| J_T - J_\infty \bigr| \le \frac{\gamma^T}{1 - \gamma} \max_{s, a} |R[s, a]|"
    r" \;\longrightarrow\; 0 \qquad (T \to \infty)",
    on=discounted,
)
def horizon_limit(case: Case) -> tuple[list[float], float]:
    """Episodic returns at T = 8, 16, ..., 1024 against the discounted one; the bound holds too."""
    mdp, pi = case
    P_pi, r_pi = chain(mdp, pi)
    J = mdp.d0 @ np.linalg.solve(np.eye(mdp.S) - mdp.gamma * P_pi, r_pi)
    sizes = [2**k for k in range(3, 11)]
    gaps = [abs(J - expected_rewards((replace(mdp, horizon=T), pi))) for T in sizes]
    bounds = [mdp.gamma**T / (1 - mdp.gamma) * np.abs(mdp.R).max() for T in sizes]
    assert all(gap <= bound + 1e-12 * abs(J) for gap, bound in zip(gaps, bounds, strict=True))
    return bounds, 0.0


@misprint("horizon-limit", "gamma^T missing: the bound would stay")
def _(case: Case) -> list[float]:
    mdp, _ = case
    return [np.abs(mdp.R).max() / (1 - mdp.gamma)] * 8


# --- the corridor ------------------------------------------------------------------------------


def corridors(rng: np.random.Generator) -> Iterator[tuple[int, float, float]]:
    for length in (1, 2, 4, 9):
        yield length, rng.uniform(0.2, 0.98), rng.uniform(0.05, 1.0)


def closed_form(length: int, gamma: float, p: float, x: float) -> Floats:
    return -(1 - x ** (length - np.arange(length))) / (1 - gamma)


@equation(
    "corridor-value",
    r"V(s) = -\,\frac{1 - x^{\,n-s}}{1 - \gamma}, \qquad x = \frac{\gamma p}{1 - \gamma (1 - p)}",
    on=corridors,
)
def corridor_value(case: tuple[int, float, float]) -> tuple[Floats, Floats]:
    """The value of each cell by linear algebra against the closed form."""
    length, gamma, p = case
    P_pi, r_pi = chain(corridor(length, gamma), np.tile([1 - p, p], (length + 1, 1)))
    V = np.linalg.solve(np.eye(length + 1) - gamma * P_pi, r_pi)
    return V[:length], closed_form(length, gamma, p, gamma * p / (1 - gamma * (1 - p)))


@misprint("corridor-value", "x = gamma p: the waiting forgotten")
def _(case: tuple[int, float, float]) -> Floats:
    length, gamma, p = case
    return closed_form(length, gamma, p, gamma * p)
