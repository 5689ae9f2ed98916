"""Equations of chapter 4: tables of whole histories, and complex steps through every law.

General worlds are tables of conditional probabilities, one for each history; their joint law is
built event by event. Derivatives are complex steps (see chapter 3): nothing is subtracted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgcourse.environments import random_mdp
from pgcourse.mdp import MDP, Floats, discounted_return, enumerate_trajectories
from tests.equations import definition, equation, limit, misprint

STEP = 1e-30


def soft(theta: Any) -> Any:
    e = np.exp(theta)
    return e / e.sum(axis=-1, keepdims=True)


def gradient(F: Callable[[Any], Any], theta: Floats) -> Floats:
    """Derivatives of an analytic F by complex steps; the axes of theta come first."""
    moved = theta + 1j * STEP * np.eye(theta.size).reshape(theta.size, *theta.shape)
    slopes = np.array([np.imag(F(th)) / STEP for th in moved])
    return slopes.reshape(*theta.shape, *slopes.shape[1:])


# --- any world at all: the chain rule ----------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """A world and a policy that may both remember: the law of (s_0, a_0, s_1, a_1, ..., s_T).

    `law` has one axis an event and holds the joint probability of every sequence of events.
    """

    law: Floats  # [S, A, S, A, ..., S]
    P: Floats  # [S, A, S], what the world does where it does not remember
    pi: Floats  # [S, A], likewise the policy

    def upto(self, events: int, axes: slice = slice(None)) -> Floats:
        """Probability of the first events; of those in `axes` alone, every axis kept."""
        rest = tuple(range(events, self.law.ndim))
        kept = set(range(events)[axes])
        forgotten = tuple(i for i in range(events) if i not in kept)
        return self.law.sum(axis=rest).sum(axis=forgotten, keepdims=True)

    def conditional(self, event: int, axes: slice = slice(None)) -> Floats:
        """Probability of event number `event` given the events in `axes` before it."""
        ahead = self.upto(event + 1, slice(None))
        forgotten = tuple(i for i in range(event) if i not in range(event)[axes])
        ahead = ahead.sum(axis=forgotten, keepdims=True)
        return ahead / ahead.sum(axis=-1, keepdims=True)


def tree(rng: np.random.Generator, S: int, A: int, T: int, world: bool, policy: bool) -> Tree:
    """Draw a tree; `world` and `policy` say which of them remembers."""
    P, pi = rng.dirichlet(np.ones(S), size=(S, A)), rng.dirichlet(np.ones(A), size=S)
    law = rng.dirichlet(np.ones(S))
    for _ in range(T):
        law = law[..., None] * (rng.dirichlet(np.ones(A), size=law.shape) if policy else pi)
        law = law[..., None] * (rng.dirichlet(np.ones(S), size=law.shape) if world else P)
    return Tree(law, P, pi)


SIZES = [(2, 2, 2), (3, 2, 2), (2, 3, 2), (2, 2, 3)]


def remembering(rng: np.random.Generator) -> Iterator[Tree]:
    """Worlds and policies that both remember everything."""
    for S, A, T in SIZES:
        yield tree(rng, S, A, T, world=True, policy=True)


def markov_worlds(rng: np.random.Generator) -> Iterator[Tree]:
    """Worlds that do not remember, under policies that do."""
    for S, A, T in SIZES:
        yield tree(rng, S, A, T, world=False, policy=True)


def memoryless_policies(rng: np.random.Generator) -> Iterator[Tree]:
    """Worlds that remember, under policies that do not."""
    for S, A, T in SIZES:
        yield tree(rng, S, A, T, world=True, policy=False)


definition("history", r"h_t = (s_0, a_0, s_1, a_1, \ldots, s_t)", chapter=4)


def chained(case: Tree, axes: slice = slice(None), events: slice = slice(None)) -> Floats:
    """Multiply the conditional probability of each event given earlier ones."""
    product: Any = np.ones(())
    for event in range(case.law.ndim)[events]:
        factor = case.conditional(event, axes)
        product = product[(...,) + (None,) * (event + 1 - product.ndim)] * factor
    return np.broadcast_to(product, case.law.shape)


@equation(
    "chain-rule",
    r"\Pr(\tau) = \Pr(s_0) \prod_{t=0}^{T-1} \Pr(a_t \mid h_t)\, \Pr(s_{t+1} \mid h_t, a_t)",
    on=remembering,
    uses=("history",),
)
def chain_rule(case: Tree) -> tuple[Floats, Floats]:
    """The joint law of all events, against the product of conditionals summed out of it."""
    return case.law, chained(case)


@misprint("chain-rule", "conditioned on the last event only")
def _(case: Tree) -> Floats:
    return chained(case, slice(-1, None))


@misprint("chain-rule", "conditioned on all but the first state")
def _(case: Tree) -> Floats:
    return chained(case, slice(1, None))


@misprint("chain-rule", "the last transition missing")
def _(case: Tree) -> Floats:
    return np.broadcast_to(chained(case, events=slice(-1))[..., :1], case.law.shape)


def last(case: Tree, event: int, before: slice = slice(None)) -> Floats:
    """Conditional law of one event given those before, for every whole history."""
    full = case.upto(event + 1).shape
    return np.broadcast_to(case.conditional(event, before), full)


@equation(
    "markov-step",
    r"\Pr(s_{t+1} \mid h_t, a_t) = P(s_{t+1} \mid s_t, a_t)",
    on=markov_worlds,
    uses=("history",),
)
def markov_step(case: Tree) -> tuple[Floats, Floats]:
    """The last state given the whole history, under a policy that remembers, against P."""
    event = case.law.ndim - 1
    return last(case, event), np.broadcast_to(case.P, case.law.shape)


@misprint("markov-step", "the action ignored")
def _(case: Tree) -> Floats:
    event = case.law.ndim - 1
    return last(case, event, slice(event - 2, event - 1))


@misprint("markov-step", "given the action only")
def _(case: Tree) -> Floats:
    return last(case, case.law.ndim - 1, slice(-1, None))


@misprint("markov-step", "given the first state and the action")
def _(case: Tree) -> Floats:
    step = np.moveaxis(case.P, (0, 1, 2), (0, -2, -1))
    middle = (None,) * (case.law.ndim - 3)
    return np.broadcast_to(step[(slice(None), *middle)], case.law.shape)


@equation(
    "policy-step",
    r"\Pr(a_t \mid h_t) = \pi_\theta(a_t \mid s_t)",
    on=memoryless_policies,
    uses=("history",),
)
def policy_step(case: Tree) -> tuple[Floats, Floats]:
    """The last action given the whole history, in a world that remembers, against the policy."""
    event = case.law.ndim - 2
    return last(case, event), np.broadcast_to(case.pi, case.law.shape[:-1])


@misprint("policy-step", "the state ignored")
def _(case: Tree) -> Floats:
    return last(case, case.law.ndim - 2, slice(0, 0))


@misprint("policy-step", "given the action before")
def _(case: Tree) -> Floats:
    event = case.law.ndim - 2
    return last(case, event, slice(event - 2, event - 1))


# --- the product, with random rewards ----------------------------------------------------------


@dataclass(frozen=True)
class Paying:
    """A world whose next state and reward are drawn together, and a policy."""

    K: Floats  # [S, A, S, B] probability of next state and of one of B rewards
    d0: Floats  # [S]
    pi: Floats  # [S, A]
    T: int


def paying(rng: np.random.Generator) -> Iterator[Paying]:
    for S, A, B, T in [(2, 2, 2, 2), (3, 2, 2, 2), (2, 3, 3, 1), (1, 2, 2, 3)]:
        K = rng.dirichlet(np.ones(S * B), size=(S, A)).reshape(S, A, S, B)
        yield Paying(K, rng.dirichlet(np.ones(S)), rng.dirichlet(np.ones(A), size=S), T)


def event_by_event(case: Paying) -> Floats:
    """Let every trajectory happen: extend each prefix by an action, then by (state, reward)."""
    S, A, _, B = case.K.shape
    prefixes = {((s,), s): case.d0[s] for s in range(S)}
    for _ in range(case.T):
        acted = {
            ((*h, a), s): p * case.pi[s, a] for (h, s), p in prefixes.items() for a in range(A)
        }
        prefixes = {
            ((*h, z, r), z): p * case.K[s, h[-1], z, r]
            for (h, s), p in acted.items()
            for z in range(S)
            for r in range(B)
        }
    return np.array([prefixes[key] for key in sorted(prefixes)])


def factored(case: Paying, K: Floats, pi: Floats, more: int = 0) -> Floats:
    """The product over the steps, for every trajectory in the same order."""
    S, A, _, B = case.K.shape
    steps = list(itertools.product(range(A), range(S), range(B)))
    found = []
    for s in range(S):
        for path in itertools.product(steps, repeat=case.T):
            p, here = case.d0[s], s
            for a, z, r in path:
                p, here = p * pi[here, a] * K[here, a, z, r], z
            for _ in range(more):
                p *= case.K[here, path[-1][0], here, path[-1][2]]
            found.append(p)
    return np.array(found)


@equation(
    "path-law-with-rewards",
    r"p_\theta(\tau) = d_0(s_0) \prod_{t=0}^{T-1} \pi_\theta(a_t \mid s_t)\, "
    r"P(s_{t+1}, r_t \mid s_t, a_t)",
    on=paying,
)
def path_law_with_rewards(case: Paying) -> tuple[Floats, Floats]:
    """Every trajectory with its rewards, event by event, against the product."""
    return event_by_event(case), factored(case, case.K, case.pi)


@misprint("path-law-with-rewards", "an extra last transition")
def _(case: Paying) -> Floats:
    return factored(case, case.K, case.pi, more=1)


@misprint("path-law-with-rewards", "the law of the reward missing")
def _(case: Paying) -> Floats:
    states = np.broadcast_to(case.K.sum(axis=3, keepdims=True), case.K.shape)
    return factored(case, states, case.pi)


@misprint("path-law-with-rewards", "next state and reward taken as independent")
def _(case: Paying) -> Floats:
    apart = case.K.sum(axis=3, keepdims=True) * case.K.sum(axis=2, keepdims=True)
    return factored(case, apart, case.pi)


@misprint("path-law-with-rewards", "the policy missing")
def _(case: Paying) -> Floats:
    return factored(case, case.K, np.ones_like(case.pi))


# --- the logarithm and its gradient ------------------------------------------------------------


@dataclass(frozen=True)
class Tabular:
    """An episodic world, the logits of a policy, and all trajectories."""

    mdp: MDP
    theta: Floats  # [S, A]

    @property
    def paths(self) -> tuple[Any, Any]:
        return enumerate_trajectories(self.mdp)

    @property
    def returns(self) -> Floats:
        states, actions = self.paths
        return discounted_return(self.mdp.R[states[:, :-1], actions], self.mdp.gamma)

    def law(self, theta: Any) -> Any:
        """Probability of every trajectory `[K]`, also at complex logits, step after step."""
        (states, actions), pi = self.paths, soft(theta)
        p = self.mdp.d0[states[:, 0]].astype(pi.dtype)
        for t in range(self.mdp.T):
            s, a, z = states[:, t], actions[:, t], states[:, t + 1]
            p = p * pi[s, a] * self.mdp.P[s, a, z]
        return p

    def J(self, theta: Any) -> Any:
        """Expected return by the backward recursion, also at complex logits."""
        mdp, pi = self.mdp, soft(theta)
        V = np.zeros(mdp.S)
        for _ in range(mdp.T):
            V = (pi * (mdp.R + mdp.gamma * mdp.P @ V)).sum(axis=1)
        return mdp.d0 @ V

    @property
    def p(self) -> Floats:
        return np.real(self.law(self.theta))

    def step_scores(self, minus: float = 1.0) -> Floats:
        """The score of every step of every trajectory `[K, T, S, A]`: e - pi in the row of s_t."""
        (states, actions), (S, A) = self.paths, self.theta.shape
        at, taken = np.eye(S)[states[:, :-1]], np.eye(A)[actions]
        rows = taken - minus * soft(self.theta)[states[:, :-1]]
        return at[..., :, None] * rows[..., None, :]

    @property
    def scores(self) -> Floats:
        """Summed scores `[K, S, A]`."""
        return self.step_scores().sum(axis=1)

    @property
    def slope(self) -> Floats:
        """∇J `[S, A]`, by complex steps through the recursion."""
        return gradient(self.J, self.theta)

    def expect(self, weights: Floats, scores: Floats) -> Floats:
        return np.tensordot(weights, scores, axes=1)


def tabular(rng: np.random.Generator) -> Iterator[Tabular]:
    for S, A, T in [(2, 2, 3), (3, 2, 2), (2, 3, 3), (1, 2, 3), (4, 2, 1), (3, 3, 2)]:
        mdp = random_mdp(S, A, rng.uniform(0.3, 0.95), T, rng)
        yield Tabular(mdp, rng.normal(size=(S, A)))


def log_parts(case: Tabular) -> tuple[Floats, Floats, Floats]:
    """Logarithms of the first factor `[K]`, of the policy's and of the world's `[K, T]`."""
    states, actions = case.paths
    pi, here = soft(case.theta), states[:, :-1]
    moves = case.mdp.P[here, actions, states[:, 1:]]
    return np.log(case.mdp.d0[states[:, 0]]), np.log(pi[here, actions]), np.log(moves)


@equation(
    "log-path-law",
    r"\log p_\theta(\tau) = \log d_0(s_0) + \sum_{t=0}^{T-1} \Bigl[ \log \pi_\theta(a_t \mid s_t)"
    r" + \log P(s_{t+1} \mid s_t, a_t) \Bigr]",
    on=tabular,
)
def log_path_law(case: Tabular) -> tuple[Floats, Floats]:
    """The logarithm of the product, against the sum of the logarithms."""
    first, policy, world = log_parts(case)
    return np.log(case.p), first + (policy + world).sum(axis=1)


@misprint("log-path-law", "the last transition twice")
def _(case: Tabular) -> Floats:
    first, policy, world = log_parts(case)
    return first + (policy + world).sum(axis=1) + world[:, -1]


@misprint("log-path-law", "the first state forgotten")
def _(case: Tabular) -> Floats:
    _, policy, world = log_parts(case)
    return (policy + world).sum(axis=1)


@misprint("log-path-law", "product of the logarithms")
def _(case: Tabular) -> Floats:
    first, policy, world = log_parts(case)
    return first + (policy * world).sum(axis=1)


@misprint("log-path-law", "mean over time")
def _(case: Tabular) -> Floats:
    first, policy, world = log_parts(case)
    return first + (policy + world).sum(axis=1) / (case.mdp.T + 1)


def dynamics(case: Tabular, theta: Any) -> Any:
    """What log p_theta(tau) holds beside the policy, from the whole law, `[K]`."""
    states, actions = case.paths
    return np.log(case.law(theta)) - np.log(soft(theta)[states[:, :-1], actions]).sum(axis=1)


@equation(
    "dynamics-no-gradient",
    r"\grad \Bigl[ \log d_0(s_0) + \sum_{t=0}^{T-1} \log P(s_{t+1} \mid s_t, a_t) \Bigr] = 0",
    on=tabular,
)
def dynamics_no_gradient(case: Tabular) -> tuple[Floats, Floats]:
    """log p minus the policy's part, differentiated by every logit, against zero."""
    left = gradient(lambda th: dynamics(case, th), case.theta)
    return left, np.zeros_like(left)


def averaged(case: Tabular, theta: Any) -> Any:
    """Transition matrix `[S, S]` averaged over the policy: this one does depend on theta."""
    return np.einsum("sa,saz->sz", soft(theta), case.mdp.P)


@misprint("dynamics-no-gradient", "transitions averaged over the policy")
def _(case: Tabular) -> Floats:
    states, _ = case.paths

    def moves(theta: Any) -> Any:
        return np.log(averaged(case, theta)[states[:, :-1], states[:, 1:]]).sum(axis=1)

    return gradient(moves, case.theta)


@misprint("dynamics-no-gradient", "the law of s_t for the dynamics")
def _(case: Tabular) -> Floats:
    states, _ = case.paths

    def visits(theta: Any) -> Any:
        d, total = case.mdp.d0, 0
        for t in range(1, case.mdp.T + 1):
            d = d @ averaged(case, theta)
            total = total + np.log(d[states[:, t]])
        return total

    return gradient(visits, case.theta)


def whole_scores(case: Tabular) -> Floats:
    """∇ log p `[K, S, A]` by complex steps through the whole product, dynamics included."""
    return np.moveaxis(gradient(lambda th: np.log(case.law(th)), case.theta), -1, 0)


@equation(
    "grad-log-prob",
    r"\grad \log p_\theta(\tau) = \sum_{t=0}^{T-1} \grad \log \pi_\theta(a_t \mid s_t)",
    on=tabular,
)
def grad_log_prob(case: Tabular) -> tuple[Floats, Floats]:
    """The logarithm of the whole product differentiated, against the policy's scores."""
    return whole_scores(case), case.scores


@misprint("grad-log-prob", "mean over time")
def _(case: Tabular) -> Floats:
    return case.scores / (case.mdp.T + 1)


@misprint("grad-log-prob", "the first step missing")
def _(case: Tabular) -> Floats:
    return case.step_scores()[:, 1:].sum(axis=1)


@misprint("grad-log-prob", "the last step twice")
def _(case: Tabular) -> Floats:
    return case.scores + case.step_scores()[:, -1]


@misprint("grad-log-prob", "gradient of pi for gradient of log pi")
def _(case: Tabular) -> Floats:
    states, actions = case.paths
    pi = soft(case.theta)[states[:, :-1], actions]
    return (pi[..., None, None] * case.step_scores()).sum(axis=1)


@misprint("grad-log-prob", "the dynamics differentiated")
def _(case: Tabular) -> Floats:
    states, _ = case.paths

    def moves(theta: Any) -> Any:
        return np.log(averaged(case, theta)[states[:, :-1], states[:, 1:]]).sum(axis=1)

    return case.scores + np.moveaxis(gradient(moves, case.theta), -1, 0)


def counts(case: Tabular) -> Floats:
    """n(s, a) for every trajectory `[K, S, A]`, by counting."""
    (states, actions), (S, A) = case.paths, case.theta.shape
    n = np.zeros((len(states), S, A))
    for k, (path, chosen) in enumerate(zip(states, actions, strict=True)):
        for t, a in enumerate(chosen):
            n[k, path[t], a] += 1
    return n


@equation(
    "counts-minus-expected",
    r"\frac{\partial}{\partial \theta_{s,a}} \log p_\theta(\tau) = n(s, a)"
    r" - n(s)\, \pi_\theta(a \mid s)",
    on=tabular,
)
def counts_minus_expected(case: Tabular) -> tuple[Floats, Floats]:
    """The logarithm of the whole product differentiated, against counts of choices and visits."""
    n = counts(case)
    return whole_scores(case), n - n.sum(axis=2, keepdims=True) * soft(case.theta)


@misprint("counts-minus-expected", "the expected choices missing")
def _(case: Tabular) -> Floats:
    return counts(case)


@misprint("counts-minus-expected", "T for the visits of s")
def _(case: Tabular) -> Floats:
    return counts(case) - case.mdp.T * soft(case.theta)


@misprint("counts-minus-expected", "each visited state once")
def _(case: Tabular) -> Floats:
    n = counts(case)
    return n - (n.sum(axis=2, keepdims=True) > 0) * soft(case.theta)


# --- from the law to the gradient of J ---------------------------------------------------------


def law_slopes(case: Tabular) -> Floats:
    """∇ p(tau) for every trajectory `[K, S, A]`, by complex steps."""
    return np.moveaxis(gradient(case.law, case.theta), -1, 0)


@equation(
    "interchange",
    r"\grad \sum_\tau p_\theta(\tau)\, R(\tau) = \sum_\tau \grad p_\theta(\tau)\, R(\tau)",
    on=tabular,
)
def interchange(case: Tabular) -> tuple[Floats, Floats]:
    """J differentiated as a whole, against each probability differentiated by itself."""
    return case.slope, case.expect(case.returns, law_slopes(case))


@misprint("interchange", "the return forgotten")
def _(case: Tabular) -> Floats:
    return law_slopes(case).sum(axis=0)


@misprint("interchange", "the mean over trajectories for their sum")
def _(case: Tabular) -> Floats:
    return case.expect(case.returns, law_slopes(case)) / len(case.p)


@equation(
    "path-log-trick",
    r"\grad p_\theta(\tau) = p_\theta(\tau)\, \grad \log p_\theta(\tau)",
    on=tabular,
)
def path_log_trick(case: Tabular) -> tuple[Floats, Floats]:
    """Each probability differentiated, against itself times its summed scores."""
    return law_slopes(case), case.p[:, None, None] * case.scores


@misprint("path-log-trick", "the density missing")
def _(case: Tabular) -> Floats:
    return case.scores


@misprint("path-log-trick", "divided by the density")
def _(case: Tabular) -> Floats:
    return case.scores / case.p[:, None, None]


@equation(
    "reinforce",
    r"\grad J(\theta) = \E_{\tau \sim p_\theta}\Bigl[ R(\tau) \sum_{t=0}^{T-1} "
    r"\grad \log \pi_\theta(a_t \mid s_t) \Bigr]",
    on=tabular,
)
def reinforce(case: Tabular) -> tuple[Floats, Floats]:
    """The backward recursion differentiated, against the sum over all trajectories."""
    return case.slope, case.expect(case.p * case.returns, case.scores)


@misprint("reinforce", "the density missing from the sum over trajectories")
def _(case: Tabular) -> Floats:
    return case.expect(case.returns, case.scores)


def togo(case: Tabular) -> Floats:
    """Sum of the rewards-to-go of all steps `[K]`."""
    states, actions = case.paths
    rewards = case.mdp.R[states[:, :-1], actions]
    T = case.mdp.T
    return sum(discounted_return(rewards[:, t:], case.mdp.gamma) for t in range(T))


@misprint("reinforce", "summed scores times the sum of all rewards-to-go")
def _(case: Tabular) -> Floats:
    return case.expect(case.p * togo(case), case.scores)


@misprint("reinforce", "the sum of log pi where its gradient belongs")
def _(case: Tabular) -> Floats:
    value = case.p @ (case.returns * log_parts(case)[1].sum(axis=1))
    return np.full(case.theta.shape, value)


@misprint("reinforce", "product of the two expectations")
def _(case: Tabular) -> Floats:
    return (case.p @ case.returns) * case.expect(case.p, case.scores)


@misprint("reinforce", "an extra transition in the law")
def _(case: Tabular) -> Floats:
    again = np.exp(log_parts(case)[2][:, -1])
    return case.expect(case.p * again * case.returns, case.scores)


@misprint("reinforce", "mean over time")
def _(case: Tabular) -> Floats:
    return case.expect(case.p * case.returns, case.scores) / (case.mdp.T + 1)


@misprint("reinforce", "the minus pi missing")
def _(case: Tabular) -> Floats:
    return case.expect(case.p * case.returns, case.step_scores(minus=0).sum(axis=1))


@misprint("reinforce", "sign")
def _(case: Tabular) -> Floats:
    return -case.expect(case.p * case.returns, case.scores)


@misprint("reinforce", "the discount forgotten")
def _(case: Tabular) -> Floats:
    states, actions = case.paths
    plain = case.mdp.R[states[:, :-1], actions].sum(axis=1)
    return case.expect(case.p * plain, case.scores)


# --- the other roads ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Discounted:
    """A discounted world and the logits of a policy."""

    mdp: MDP
    theta: Floats

    def chain(self, theta: Any) -> tuple[Any, Any]:
        pi = soft(theta)
        return np.einsum("sa,saz->sz", pi, self.mdp.P), (pi * self.mdp.R).sum(axis=1)

    def V(self, theta: Any) -> Any:
        P_pi, r_pi = self.chain(theta)
        return np.linalg.solve(np.eye(self.mdp.S) - self.mdp.gamma * P_pi, r_pi)

    @property
    def slope(self) -> Floats:
        """∇J `[S, A]`, by complex steps through the linear system."""
        return gradient(lambda th: self.mdp.d0 @ self.V(th), self.theta)

    def adjoint(self, transpose: bool = True) -> Floats:
        P_pi, _ = self.chain(self.theta)
        M = np.eye(self.mdp.S) - self.mdp.gamma * (P_pi.T if transpose else P_pi)
        return np.linalg.solve(M, self.mdp.d0)

    def inner(self, gamma: float) -> Floats:
        """∇ r + gamma ∇P V `[S, A, S]`, the value held still."""
        V = self.V(self.theta)

        def moved(theta: Any) -> Any:
            P_pi, r_pi = self.chain(theta)
            return r_pi + gamma * P_pi @ V

        return gradient(moved, self.theta)


def discounted(rng: np.random.Generator) -> Iterator[Discounted]:
    for S, A in [(2, 2), (3, 2), (2, 3), (1, 3), (6, 2)]:
        mdp = random_mdp(S, A, rng.uniform(0.3, 0.95), None, rng)
        yield Discounted(mdp, rng.normal(size=(S, A)))


@equation(
    "adjoint",
    r"\begin{aligned} \grad J(\theta) &= \sum_s \nu(s)\, \bigl[ \grad r_\theta + \gamma\, "
    r"(\grad P_\theta)\, V \bigr](s) \\ \nu &= (I - \gamma P_\theta^\top)^{-1}\, d_0 "
    r"\end{aligned}",
    on=discounted,
)
def adjoint(case: Discounted) -> tuple[Floats, Floats]:
    """The linear system differentiated as a whole, against one more solve and the parts."""
    return case.slope, case.inner(case.mdp.gamma) @ case.adjoint()


@misprint("adjoint", "P for its transpose")
def _(case: Discounted) -> Floats:
    return case.inner(case.mdp.gamma) @ case.adjoint(transpose=False)


@misprint("adjoint", "the transitions not differentiated")
def _(case: Discounted) -> Floats:
    return case.inner(0.0) @ case.adjoint()


@misprint("adjoint", "normalised: the factor 1 / (1 - gamma) lost")
def _(case: Discounted) -> Floats:
    return (1 - case.mdp.gamma) * case.inner(case.mdp.gamma) @ case.adjoint()


@misprint("adjoint", "the first states for the adjoint")
def _(case: Discounted) -> Floats:
    return case.inner(case.mdp.gamma) @ case.mdp.d0


def by_time(case: Tabular, discount: float = 1.0, of: str = "advantage") -> Floats:
    """Sum discount^t d_t(s) pi(a|s) A_t(s, a), backward values and forward laws by hand."""
    mdp, pi = case.mdp, soft(case.theta)
    V, advantages = np.zeros(mdp.S), []
    for _ in range(mdp.T):
        Q = mdp.R + mdp.gamma * mdp.P @ V
        V = (pi * Q).sum(axis=1)
        advantages.append(Q - V[:, None] if of == "advantage" else Q)
    total, d = np.zeros(pi.shape), mdp.d0
    for t, A in enumerate(reversed(advantages)):
        total += discount**t * d[:, None] * pi * A
        d = d @ averaged(case, case.theta)
    return total


@equation(
    "adjoint-in-time",
    r"\frac{\partial J}{\partial \theta_{s,a}} = \sum_{t=0}^{T-1} \gamma^t\, d_t(s)\, "
    r"\pi_\theta(a \mid s)\, A_t(s, a)",
    on=tabular,
)
def adjoint_in_time(case: Tabular) -> tuple[Floats, Floats]:
    """The backward recursion differentiated, against laws forward times advantages backward."""
    return case.slope, by_time(case, case.mdp.gamma)


@misprint("adjoint-in-time", "the factor gamma^t missing")
def _(case: Tabular) -> Floats:
    return by_time(case)


@misprint("adjoint-in-time", "Q for the advantage")
def _(case: Tabular) -> Floats:
    return by_time(case, case.mdp.gamma, of="action value")


HALVINGS = 0.25 / 2.0 ** np.arange(8)


def differences(case: Tabular, h: float, back: float = -1.0, width: float = 2.0) -> Floats:
    steps = h * np.eye(case.theta.size).reshape(-1, *case.theta.shape)
    rises = [np.real(case.J(case.theta + e) - case.J(case.theta + back * e)) for e in steps]
    return np.reshape(rises, case.theta.shape) / (width * h)


def errors(case: Tabular, **how: float) -> list[float]:
    return [float(np.abs(differences(case, h, **how) - case.slope).max()) for h in HALVINGS]


@limit(
    "central-difference",
    r"\frac{J(\theta + h e_i) - J(\theta - h e_i)}{2 h} \;\longrightarrow\; "
    r"\frac{\partial J(\theta)}{\partial \theta_i} \qquad (h \to 0)",
    on=tabular,
)
def central_difference(case: Tabular) -> tuple[list[float], float]:
    """Central differences at h = 1/4, 1/8, ..., against complex steps; errors fall like h²."""
    found = errors(case)
    assert found[-1] <= found[0] / 4**6 + 1e-12
    return found, 0.0


@misprint("central-difference", "divided by h: the factor 2 missing")
def _(case: Tabular) -> list[float]:
    return errors(case, width=1.0)


@misprint("central-difference", "twice the same side")
def _(case: Tabular) -> list[float]:
    return errors(case, back=1.0)
