"""Wing — experiments: train on an environment by its name, watch it, keep and reload the weights.

Data flow: name, seed -> lanes, policy, run, weigh, update -> `train` -> Outcome -> file.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from tqdm import tqdm

from pgcourse.arguments import Floats
from pgcourse.environments import make_vector
from pgcourse.pseudo_loss import (
    Descent,
    Policy,
    Run,
    SoftmaxPolicy,
    full_return,
    network,
    runner,
    train,
)
from pgcourse.trajectories import Lanes, Trajectories, returns, rollout_episodes

HIDDEN, LANES, ALPHA, MOST = 32, 100, 0.02, 300


@dataclass(frozen=True)
class Task:
    """What must be known of an environment to learn in it.

    Args:
        name: what Gymnasium calls it.
        features: length of what the policy sees.
        actions: number of actions.
        T: steps after which an episode is truncated.
        threshold: mean return that counts as solved (reward).
    """

    name: str
    features: int
    actions: int
    T: int
    threshold: float


def task(name: str) -> Task:
    """Look up an environment.

    Raises:
        ValueError: there is none of this name, or the course cannot learn in it yet.
    """
    import gymnasium

    try:
        spec, one = gymnasium.spec(name), gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as error:
        says = str(error).splitlines()[0]
        raise ValueError(f"environment must be one that Gymnasium can make, got {name!r}: {says}") from None
    seen, done = one.observation_space, one.action_space
    if not isinstance(done, gymnasium.spaces.Discrete):
        raise ValueError(f"environment must have a list of actions, got {name}: continuous actions come with chapter 10")
    if not (isinstance(seen, gymnasium.spaces.Box) and len(seen.shape) == 1):
        raise ValueError(f"environment must show a vector of numbers, got {name}, which shows {seen}")
    if spec.max_episode_steps is None or spec.reward_threshold is None: raise ValueError("x")
    return Task(name, seen.shape[0], int(done.n), spec.max_episode_steps, spec.reward_threshold)


@dataclass(frozen=True)
class Outcome:
    """What became of a training.

    Args:
        policy: the last one that played.
        curve: `[K]` mean return of each batch, the last one by that policy (reward).
        confirmed: mean return of fresh episodes of that policy, if it is solved.
    """

    policy: Any
    curve: Floats
    confirmed: float | None


def solve(
    training: Iterable[tuple[Policy, Trajectories]],
    confirm: Run[Policy],
    threshold: float,
    most: int,
    file: TextIO | None = None,
) -> Outcome:
    """Follow a training live until a batch reaches the threshold and fresh episodes confirm it.

    An interrupt ends it early and loses nothing.

    Args:
        training: what `train` yields.
        confirm: plays fresh episodes.
        threshold: mean return that counts as solved (reward).
        most: number of batches after which to give up.
        file: where the progress is shown; standard output if not given.
    """
    curve, confirmed = list[float](), None
    shown = tqdm(islice(training, most), total=most, file=file or sys.stdout, bar_format=BAR)
    try:
        for policy, trajectories in shown:
            curve.append(float(returns(trajectories, 1.0).mean()))
            shown.set_postfix_str(f"mean return {curve[-1]:.1f}", refresh=False)
            if curve[-1] >= threshold:
                fresh = float(returns(confirm(policy), 1.0).mean())
                if fresh >= threshold:
                    confirmed = fresh
                    break
    except KeyboardInterrupt:
        pass
    shown.close()
    return Outcome(policy, np.array(curve), confirmed)


BAR = "{n_fmt} of at most {total_fmt} batches, {elapsed}{postfix}"


def reinforce(name: str, seed: int, file: TextIO | None = None) -> Outcome:
    """Train a small network with the full return of each episode as its weight."""
    todo, rng = task(name), np.random.default_rng(seed)

    def seats():
        lanes = Lanes(make_vector(name, LANES), int(rng.integers(2**31)))
        return runner(rollout_episodes, lanes, todo.T, rng)

    policy = SoftmaxPolicy(network((todo.features, HIDDEN, todo.actions), rng))
    training = train(policy, seats(), full_return, Descent(policy, ALPHA))
    return solve(training, seats(), todo.threshold, MOST, file)
