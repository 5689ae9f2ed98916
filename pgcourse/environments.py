"""Wing — environments: the worlds of the course, by name and at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pgcourse.arguments import Floats
from pgcourse.mdp import MDP


def two_state(gamma: float = 1.0, horizon: int | None = 3) -> MDP:
    """The smallest world with a decision: two states, two actions, 128 trajectories for T = 3.

    Action 0 tends to stay, action 1 tends to move; state 1 pays, and moving costs.
    """
    P = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.7, 0.3]]]
    R = [[0.0, -0.5], [1.0, 0.5]]
    return MDP(np.array(P), np.array(R), np.array([0.75, 0.25]), gamma, horizon)


def corridor(length: int = 4, gamma: float = 0.9, horizon: int | None = None) -> MDP:
    """A corridor of `length` cells and a goal: action 1 steps towards it, action 0 stays.

    Each step costs 1 until the goal, which is the last state and absorbing.
    """
    S = length + 1
    P = np.zeros((S, 2, S))
    P[np.arange(S), 0, np.arange(S)] = 1
    P[np.arange(S), 1, np.minimum(np.arange(S) + 1, length)] = 1
    R = np.full((S, 2), -1.0)
    R[length] = 0
    return MDP(P, R, np.eye(S)[0], gamma, horizon)


def aliased_corridor(gamma: float = 1.0, horizon: int | None = 1000) -> MDP:
    """The corridor with switched actions of Sutton & Barto 2018, Example 13.1.

    Three cells and a goal; action 0 is left and action 1 right, except in cell 1, where they are
    swapped. The agent cannot tell the cells apart, so its policy is one number: Pr(right).
    """
    step = {(0, 0): 0, (0, 1): 1, (1, 0): 2, (1, 1): 0, (2, 0): 1, (2, 1): 3, (3, 0): 3, (3, 1): 3}
    P = np.zeros((4, 2, 4))
    for (s, a), successor in step.items():
        P[s, a, successor] = 1
    R = np.full((4, 2), -1.0)
    R[3] = 0
    return MDP(P, R, np.eye(4)[0], gamma, horizon)


WORLDS: dict[str, Callable[..., MDP]] = {
    "two_state": two_state,
    "corridor": corridor,
    "aliased_corridor": aliased_corridor,
}


def world(name: str, **options: Any) -> MDP:
    """Return the world called `name`.

    Raises:
        ValueError: no world has this name.
    """
    if name not in WORLDS:
        raise ValueError(f"name must be one of {', '.join(WORLDS)}, got {name!r}")
    return WORLDS[name](**options)


def random_mdp(S: int, A: int, gamma: float, horizon: int | None, rng: np.random.Generator) -> MDP:
    """Draw a world: Dirichlet transitions of which about a third are impossible, normal rewards."""
    P = rng.dirichlet(np.ones(S), size=(S, A)) * (rng.random((S, A, S)) < 2 / 3)
    P[P.sum(axis=2) == 0] = 1 / S
    P /= P.sum(axis=2, keepdims=True)
    return MDP(P, rng.normal(size=(S, A)), rng.dirichlet(np.ones(S)), gamma, horizon)


def random_policy(S: int, A: int, rng: np.random.Generator) -> Floats:
    """Draw a stochastic policy `[S, A]`, every action possible."""
    return rng.dirichlet(np.ones(A), size=S)
