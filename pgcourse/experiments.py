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

LANES, HIDDEN, ALPHA, MOST = 100, 32, 0.02, 300
BAR = "{n_fmt} of at most {total_fmt} batches, {elapsed}{postfix}"


@dataclass(frozen=True)
class Task:
    """What must be known of an environment to learn in it.

    Args:
        name: what Gymnasium calls it.
        features: how many numbers the policy sees.
        actions: how many actions it has.
        T: steps after which an episode is truncated.
        threshold: mean return that counts as solved (reward).
    """

    name: str
    features: int
    actions: int
    T: int
    threshold: float


def task(name: str) -> Task:
    """Look up an environment of Gymnasium.

    Raises:
        ValueError: there is none of this name, or the course cannot learn in it yet.
    """
    import gymnasium

    try:
        spec, one = gymnasium.spec(name), gymnasium.make(name)
    except (gymnasium.error.Error, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"environment must be one of Gymnasium's, got {name!r}: {reason}"
        ) from None
    seen, actions = one.observation_space, one.action_space
    one.close()
    if not isinstance(actions, gymnasium.spaces.Discrete):
        text = f"got {name} with {actions}; continuous actions come in chapter 10"
        raise ValueError(f"environment must have a finite list of actions, {text}")
    if not (isinstance(seen, gymnasium.spaces.Box) and len(seen.shape) == 1):
        raise ValueError(f"environment must show a row of numbers, got {name} with {seen}")
    if spec.max_episode_steps is None or spec.reward_threshold is None:
        raise ValueError(f"environment must have a time limit and a threshold, got {name}")
    limit, threshold = spec.max_episode_steps, spec.reward_threshold
    return Task(name, seen.shape[0], int(actions.n), limit, threshold)


@dataclass(frozen=True)
class Outcome:
    """What became of a training.

    Args:
        policy: the last one that played.
        curve: `[K]` mean return of each batch, the last one by that policy (reward).
        confirmed: mean return of fresh episodes of that policy, None if it is not solved.
        interrupted: somebody ended it early.
    """

    policy: Any
    curve: Floats
    confirmed: float | None
    interrupted: bool


def solve(
    training: Iterable[tuple[Policy, Trajectories]],
    confirm: Run[Policy],
    threshold: float,
    most: int,
    file: TextIO | None = None,
) -> Outcome:
    """Follow a training, live, until a batch reaches the threshold and fresh episodes confirm it.

    An interrupt ends it early and loses nothing.

    Args:
        training: what `train` yields.
        confirm: plays fresh episodes.
        threshold: mean return that counts as solved (reward).
        most: number of batches after which to give up.
        file: where the progress is shown; standard output if not given.
    """
    policy, curve, confirmed, interrupted = None, list[float](), None, False
    shown = tqdm(islice(training, most), total=most, file=file or sys.stdout, bar_format=BAR)
    try:
        for policy, played in shown:
            curve.append(float(returns(played, 1.0).mean()))
            shown.set_postfix_str(f"mean return {curve[-1]:.1f}", refresh=False)
            if curve[-1] >= threshold:
                fresh = float(returns(confirm(policy), 1.0).mean())
                if fresh >= threshold:
                    confirmed = fresh
                    break
    except KeyboardInterrupt:
        interrupted = True
    shown.close()
    return Outcome(policy, np.array(curve), confirmed, interrupted)


def reinforce(name: str, seed: int, file: TextIO | None = None) -> Outcome:
    """Train a small network by the full return of each episode, 100 episodes a batch.

    Args:
        name: of an environment, see `task`.
        seed: of all that is random.
        file: where the progress is shown; standard output if not given.
    """
    todo, rng = task(name), np.random.default_rng(seed)

    def new_lanes() -> Run[SoftmaxPolicy]:
        lanes = Lanes(make_vector(name, LANES), int(rng.integers(2**31)))
        return runner(rollout_episodes, lanes, todo.T, rng)

    policy = SoftmaxPolicy(network((todo.features, HIDDEN, todo.actions), rng))
    training = train(policy, new_lanes(), full_return, Descent(policy, ALPHA))
    return solve(training, new_lanes(), todo.threshold, MOST, file)


# --- files -------------------------------------------------------------------------------------


def save(policy: SoftmaxPolicy, path: str | Path) -> None:
    """Write the weights, arrays and nothing else, as npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: p.numpy() for name, p in policy.net.state_dict().items()})
    Path(path).write_bytes(buffer.getvalue())


def load(path: str | Path) -> SoftmaxPolicy:
    """Read the weights that `save` wrote; nothing in the file is executed.

    Raises:
        ValueError: the file holds something else. OSError: it cannot be read.
    """
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as file:
            state = {name: torch.as_tensor(file[name]) for name in file.files}
        weights = [W for name, W in state.items() if name.endswith("weight")]
        net = network([weights[0].shape[1], *map(len, weights)], np.random.default_rng())
        net.load_state_dict(state)
    except OSError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError, EOFError):
        raise ValueError(f"{path} must be a policy that `save` wrote, got another file") from None
    except zipfile.BadZipFile:
        raise ValueError(f"{path} must be a policy that `save` wrote, got a damaged file") from None
    if not all(torch.isfinite(p).all() for p in net.parameters()):
        raise ValueError(f"{path} must hold finite weights, got some that are not")
    return SoftmaxPolicy(net)
