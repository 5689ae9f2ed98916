"""Steps a second: our rollout beside Stable-Baselines3 and two loops over Gymnasium's own lanes.

    pip install '.[bench]'
    python benchmarks/rollout.py            # or: make bench

CartPole-v1 with a policy and a critic of two layers of 64 tanh units. All drivers act by the same
weights and store the same: states, actions, rewards, ends, log-probabilities, values. Before a
clock runs, the stored numbers of each are compared with torch, and our steps with Gymnasium's.
Drivers take turns in one run, and the median of five counts. Every row counts as a step, also the
phantom rows of Gymnasium's native lanes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from pgcourse.environments import make_vector
from pgcourse.pseudo_loss import SoftmaxPolicy, forward, log_probs_of, network
from pgcourse.trajectories import Lanes, rollout

NAME, REPEATS, SEED = "CartPole-v1", 5, 0
SIZES = {1: 1000, 8: 500, 64: 200, 1024: 48}  # lanes: rows
GOALS = {1: 4, 8: 8, 64: 10, 1024: 15}  # times Stable-Baselines3
RNG = np.random.default_rng(SEED)
POLICY = SoftmaxPolicy(network((4, 64, 64, 2), RNG))
CRITIC = network((4, 64, 64, 1), RNG)
Array = np.ndarray


class Stored(NamedTuple):
    """What a driver keeps of T rows, `[T, N, ...]` each."""

    states: Array
    actions: Array
    rewards: Array
    ends: Array
    log_probs: Array
    values: Array


Driver = Callable[[Array], Stored]  # uniform numbers [T, N] -> what was stored


def ours(N: int) -> Driver:
    """Our lanes and rollout; log-probabilities and values at the end, all rows at once."""
    lanes = Lanes(make_vector(NAME, N), SEED)

    def collect(u: Array) -> Stored:
        x = rollout(lanes, POLICY.actor(said := []), u)
        log_probs = log_probs_of(np.concatenate(said), x.actions.ravel()).reshape(u.shape)
        values = forward(CRITIC)(x.states.reshape(-1, 4)).reshape(u.shape)
        ends = x.terminated | x.truncated
        return Stored(x.states, x.actions, x.rewards, ends, log_probs, values)

    return collect


def over(environment: Any) -> Driver:
    """A plain loop over a vector environment of Gymnasium, with torch networks.

    It is made fast where that costs no line: no graph, arrays made beforehand, actions from uniform
    numbers instead of a distribution object, log-probabilities and values at the end.
    """
    now = [environment.reset(seed=SEED)[0]]

    @torch.inference_mode()
    def collect(u: Array) -> Stored:
        T, N = u.shape
        states, logits = np.empty((T, N, 4), np.float32), torch.empty(T, N, 2)
        actions, rewards = np.empty((T, N), np.int64), np.empty((T, N))
        ends = np.empty((T, N), bool)
        for t in range(T):
            states[t] = now[0]
            logits[t] = POLICY.net(torch.from_numpy(states[t]))
            actions[t] = u[t] >= torch.softmax(logits[t], 1)[:, 0].numpy()
            now[0], rewards[t], terminated, truncated, _ = environment.step(actions[t])
            ends[t] = terminated | truncated
        log_probs = logits.log_softmax(2).gather(2, torch.from_numpy(actions)[..., None])[..., 0]
        values = CRITIC(torch.from_numpy(states))[..., 0]
        return Stored(states, actions, rewards, ends, log_probs.numpy(), values.numpy())

    return collect


def gymnasium_sync(N: int) -> Driver:
    """Gymnasium's environments stepped one by one."""
    makers = [lambda: gymnasium.make(NAME)] * N
    return over(SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP))


def gymnasium_native(N: int) -> Driver:
    """Gymnasium's own batched CartPole."""
    return over(gymnasium.make_vec(NAME, N, vectorization_mode="vector_entry_point"))


def stable_baselines3(N: int) -> Driver:
    """`collect_rollouts` of PPO, with our weights; it draws its own random numbers."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import ConvertCallback
    from stable_baselines3.common.env_util import make_vec_env

    net = {"net_arch": {"pi": [64, 64], "vf": [64, 64]}}
    model = PPO("MlpPolicy", make_vec_env(NAME, N, seed=SEED), n_steps=SIZES[N],
                batch_size=N * SIZES[N], policy_kwargs=net, device="cpu", seed=SEED)  # fmt: skip
    parts = model.policy.mlp_extractor
    theirs = [*parts.policy_net, model.policy.action_net, *parts.value_net, model.policy.value_net]
    for layer, own in zip(theirs, [*POLICY.net, *CRITIC], strict=True):
        layer.load_state_dict(own.state_dict())
    _, callback = model._setup_learn(sys.maxsize, ConvertCallback(lambda *_: True))

    def collect(u: Array) -> Stored:
        buffer = model.rollout_buffer
        model.collect_rollouts(model.env, callback, buffer, len(u))
        ends = np.roll(buffer.episode_starts, -1, axis=0).astype(bool)
        ends[-1] = model._last_episode_starts
        shown = buffer.actions[..., 0].astype(np.int64), buffer.rewards, ends
        return Stored(buffer.observations, *shown, buffer.log_probs, buffer.values)

    return collect


DRIVERS: dict[str, Callable[[int], Driver]] = {
    "ours": ours,
    "SB3": stable_baselines3,
    "sync": gymnasium_sync,
    "native": gymnasium_native,
}


def faults(x: Stored) -> list[str]:
    """Say in what stored numbers differ from what torch computes for the stored states."""
    states, actions = torch.as_tensor(x.states), torch.as_tensor(x.actions)
    with torch.no_grad():
        law = torch.distributions.Categorical(logits=POLICY.net(states))
        want = {"log_probs": law.log_prob(actions), "values": CRITIC(states)[..., 0]}
    found = [k for k, v in want.items() if not np.allclose(getattr(x, k), v, atol=1e-5)]
    shapes = {part.shape[:2] for part in x}
    return found + [f"shapes {shapes}"] * (len(shapes) > 1)


def check(drivers: dict[str, Driver], u: Array) -> None:
    """Refuse to time what does not agree."""
    stored = {name: driver(u) for name, driver in drivers.items()}
    for name, x in stored.items():
        if wrong := faults(x):
            raise SystemExit(f"{name}: {', '.join(wrong)} differ from torch")
    for part, a, b in zip(Stored._fields, stored["ours"], stored["sync"], strict=True):
        if not np.allclose(a, b, atol=1e-5):
            raise SystemExit(f"{part} differ between ours and Gymnasium's from the same seeds")


def measure(N: int, T: int) -> dict[str, float]:
    """Return the median steps a second of each driver at N lanes."""
    drivers = {name: make(N) for name, make in DRIVERS.items()}
    u = np.random.default_rng(SEED).random((T, N))
    check(drivers, u)
    seconds: dict[str, list[float]] = {name: [] for name in drivers}
    for _ in range(REPEATS):
        for name, driver in drivers.items():
            start = time.perf_counter()
            driver(u)
            seconds[name].append(time.perf_counter() - start)
    return {name: T * N / statistics.median(s) for name, s in seconds.items()}


def main() -> int:
    """Print the table."""
    try:
        import stable_baselines3
    except ImportError:
        print("benchmarks/rollout.py: Stable-Baselines3 is needed: pip install '.[bench]'")
        return 2
    torch.set_num_threads(1)
    versions = [f"{m.__name__} {m.__version__}" for m in (torch, gymnasium, stable_baselines3)]
    print(f"{NAME}, steps a second, median of {REPEATS}; {', '.join(versions)}, 1 thread")
    print(f"{'lanes':>5}" + "".join(f"{name:>12}" for name in DRIVERS), end="")
    print("   ours/SB3 (goal)   ours/fastest of Gymnasium's (goal)")
    for N, T in SIZES.items():
        rate = measure(N, T)
        print(f"{N:5d}" + "".join(f"{r:12,.0f}" for r in rate.values()), end="")
        ratios = rate["ours"] / rate["SB3"], rate["ours"] / max(rate["sync"], rate["native"])
        print(f"{ratios[0]:11.1f} ({GOALS[N]}){ratios[1]:17.1f} (2)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
