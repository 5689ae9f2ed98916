"""Wing — environments: the worlds of the course, by name and at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def refund(horizon: int = 2) -> MDP:
    """What a coin pays at first it takes back: the return is always 0, whatever is done.

    State 0 pays 1 and leads to 2, which takes 1; state 1 takes 1 and leads to 3, which pays 1.
    Both lead to state 4, which pays nothing. No action changes anything.
    """
    R = np.array([1.0, -1.0, -1.0, 1.0, 0.0])[:, None].repeat(2, axis=1)
    P = np.eye(5)[[2, 3, 4, 4, 4]][:, None].repeat(2, axis=1)
    return MDP(P, R, np.array([0.5, 0.5, 0.0, 0.0, 0.0]), 1.0, horizon)


def two_doors(gamma: float = 0.5, horizon: int | None = 2) -> MDP:
    """Two doors in a row: action 1 passes the first, and behind it action 1 earns 1.

    State 2 is the end. Each door has a dial of its own: the logit of action 1 there.
    """
    P, R = np.zeros((3, 2, 3)), np.zeros((3, 2))
    P[:, :, 2] = 1
    P[0, 1], R[1, 1] = np.eye(3)[1], 1.0
    return MDP(P, R, np.eye(3)[0], gamma, horizon)


def investment(gamma: float = 0.1, horizon: int | None = 3) -> MDP:
    """Action 1 earns 1 at first; at the next step it costs 2, and pays back 3 one step later.

    States 0 and 1 are the first two steps; 2 and 3 are the third, after actions 0 and 1; 4 is the
    end.
    """
    P = np.eye(5)[[[1, 1], [2, 3], [4, 4], [4, 4], [4, 4]]]
    R = np.array([[0.0, 1.0], [0.0, -2.0], [0.0, 0.0], [3.0, 3.0], [0.0, 0.0]])
    return MDP(P, R, np.eye(5)[0], gamma, horizon)


WORLDS: dict[str, Callable[..., MDP]] = {
    "two_state": two_state,
    "corridor": corridor,
    "aliased_corridor": aliased_corridor,
    "refund": refund,
    "two_doors": two_doors,
    "investment": investment,
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


# --- classic control, all lanes at once --------------------------------------------------------

Rules = tuple[Floats, Floats, NDArray[np.bool_]]  # new state [K, N], rewards [N], terminated [N]


def cart_pole(state: Floats, actions: NDArray[Any]) -> Rules:
    """One step of CartPole-v1 in all lanes; `[4, N]` cart, speed, angle, turn."""
    _, speed, angle, turn = state
    cos, sin = np.cos(angle), np.sin(angle)
    push = (FORCES[actions] + 0.05 * np.square(turn) * sin) / 1.1
    inertia = 0.5 * (4 / 3 - 0.1 * np.square(cos) / 1.1)
    turn_up = (9.8 * sin - cos * push) / inertia
    speed_up = push - 0.05 * turn_up * cos / 1.1
    state = state + 0.02 * np.array([speed, speed_up, turn, turn_up])
    far = np.abs(state[::2]) > CART_POLE_BOUNDS  # [2, N]
    return state, np.ones(len(cos)), far[0] | far[1]


FORCES = np.array([-10.0, 10.0])
CART_POLE_BOUNDS = np.array([[2.4], [24 * np.pi / 360]])


def pendulum(state: Floats, actions: NDArray[Any]) -> Rules:
    """One step of Pendulum-v1 in every lane; `state [2, N]` angle and its speed."""
    angle, turn = state
    torque = np.clip(actions[:, 0], -2.0, 2.0)
    upright = (angle + np.pi) % (2 * np.pi) - np.pi
    cost = upright**2 + 0.1 * turn**2 + 0.001 * torque**2
    turn = np.clip(turn + (3 * 10.0 / 2 * np.sin(angle) + 3.0 * torque) * 0.05, -8, 8)
    return np.array([angle + turn * 0.05, turn]), -cost, np.zeros(len(angle), dtype=bool)


def _two_links(state: Floats, torque: Floats) -> Floats:
    """Time derivative of Acrobot's state `[4, N]`: two angles and their speeds."""
    a1, a2, v1, v2 = state
    cos, sin = np.cos(a2), np.sin(a2)
    d1 = 0.25 + (1.25 + cos) + 1.0 + 1.0
    d2 = 0.25 + 0.5 * cos + 1.0
    phi2 = 0.5 * 9.8 * np.cos(a1 + a2 - np.pi / 2)
    phi1 = -0.5 * v2**2 * sin - v2 * v1 * sin + 1.5 * 9.8 * np.cos(a1 - np.pi / 2) + phi2
    turn2 = (torque + d2 / d1 * phi1 - 0.5 * v1**2 * sin - phi2) / (0.25 + 1.0 - d2**2 / d1)
    return np.array([v1, v2, -(d2 * turn2 + phi1) / d1, turn2])


def acrobot(state: Floats, actions: NDArray[Any]) -> Rules:
    """One step of Acrobot-v1 in every lane, by the rule of Runge and Kutta; `state [4, N]`."""
    torque, dt = actions - 1.0, 0.2
    k1 = _two_links(state, torque)
    k2 = _two_links(state + dt / 2 * k1, torque)
    k3 = _two_links(state + dt / 2 * k2, torque)
    k4 = _two_links(state + dt * k3, torque)
    state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    for angle in state[:2]:
        while np.count_nonzero(over := np.abs(angle) > np.pi):
            angle[over] -= 2 * np.pi * np.sign(angle[over])
    fastest = np.array([[4 * np.pi], [9 * np.pi]])
    state[2:] = np.clip(state[2:], -fastest, fastest)
    up = -np.cos(state[0]) - np.cos(state[1] + state[0]) > 1.0
    return state, np.where(up, 0.0, -1.0), up


def _acrobot_sees(state: Floats) -> NDArray[np.float32]:
    a1, a2, v1, v2 = state
    return np.array([np.cos(a1), np.sin(a1), np.cos(a2), np.sin(a2), v1, v2], np.float32).T


def _pendulum_sees(state: Floats) -> NDArray[np.float32]:
    return np.array([np.cos(state[0]), np.sin(state[0]), state[1]], np.float32).T


@dataclass(frozen=True)
class Game:
    """What differs between the environments below.

    Args:
        step: (state, actions) -> new state, rewards, terminated.
        see: `state [K, N]` -> what the policy sees, `[N, ...]` float32.
        spread: `[K]` a first state is uniform between minus and plus this.
        limit: number of steps after which an episode is truncated.
        precision: of a first state.
    """

    step: Callable[[Floats, NDArray[Any]], Rules]
    see: Callable[[Floats], NDArray[np.float32]]
    spread: tuple[float, ...]
    limit: int
    precision: type = np.float64


GAMES = {
    "CartPole-v1": Game(cart_pole, lambda x: x.T.astype(np.float32), (0.05,) * 4, 500),
    "Acrobot-v1": Game(acrobot, _acrobot_sees, (0.1,) * 4, 500, np.float32),
    "Pendulum-v1": Game(pendulum, _pendulum_sees, (np.pi, 1.0), 200),
}


class Classic:
    """A vector environment of Gymnasium's interface whose lanes step together in a few operations.

    It resets a lane in the step that ends its episode (SAME_STEP), and lane i draws from a stream
    of its own, so that with equal seeds it plays the episodes of Gymnasium's SyncVectorEnv.

    Args:
        name: one of `GAMES`.
        num_envs: number of lanes N.
    """

    drawn = 64  # first states that a lane draws at a time: a call of its stream costs a step of all

    def __init__(self, name: str, num_envs: int) -> None:
        from gymnasium.spaces import Box, Discrete

        self.game, self.num_envs = GAMES[name], num_envs
        self.metadata = {"autoreset_mode": "SAME_STEP"}
        self.single_action_space = {
            "CartPole-v1": Discrete(2),
            "Acrobot-v1": Discrete(3),
            "Pendulum-v1": Box(-2.0, 2.0, (1,)),
        }[name]
        K, self._spread = len(self.game.spread), np.array(self.game.spread)
        self._streams = [np.random.default_rng() for _ in range(num_envs)]
        self._starts = np.empty((self.drawn, K, num_envs))
        self._used = np.full(num_envs, self.drawn)
        self._state, self._age = np.zeros((K, num_envs)), np.zeros(num_envs, dtype=np.int64)
        self.single_observation_space = Box(-np.inf, np.inf, self.game.see(self._state).shape[1:])

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: Any = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a new episode in every lane; a seed begins new streams, lane i from seed + i."""
        if seed is not None:
            seeds = range(seed, seed + self.num_envs) if isinstance(seed, int) else seed
            self._streams = [np.random.default_rng(s) for s in seeds]
            self._used[:] = self.drawn
        return self._begin(np.arange(self.num_envs)), {}

    def _begin(self, lanes: NDArray[np.int64]) -> NDArray[np.float32]:
        for i in lanes[self._used[lanes] == self.drawn]:
            starts = self._streams[i].uniform(-self._spread, self._spread, self._starts.shape[:2])
            self._starts[:, :, i] = starts.astype(self.game.precision)
            self._used[i] = 0
        first = self._starts[self._used[lanes], :, lanes].T  # [K, lanes]
        self._used[lanes] += 1
        self._state[:, lanes], self._age[lanes] = first, 0
        return self.game.see(first)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every lane; `final_obs` of the last part holds what a lane that ended saw."""
        self._state, rewards, terminated = self.game.step(self._state, actions)
        self._age += 1
        truncated = self._age >= self.game.limit
        seen, infos = self.game.see(self._state), {}
        if np.count_nonzero(over := terminated | truncated):
            infos = {"final_obs": seen, "_final_obs": over}
            seen = seen.copy()
            seen[over] = self._begin(np.flatnonzero(over))
        return seen, rewards, terminated, truncated, infos


def make_vector(name: str, num_envs: int) -> Any:
    """Return N lanes of the environment called `name` to be stepped together.

    Ours where we have its equations of motion, else Gymnasium's, in one process and SAME_STEP. Even
    CartPole is ours: Gymnasium's native lanes are slower, share a stream and return phantom rows.
    """
    if name in GAMES:
        return Classic(name, num_envs)
    import gymnasium

    options = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    return gymnasium.make_vec(name, num_envs, vectorization_mode="sync", vector_kwargs=options)
