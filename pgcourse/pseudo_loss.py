"""Chapter 6 — pseudo_loss: a loss whose gradient is ours, and the loop that every algorithm shares.

Data flow: policy -> run -> Trajectories -> weigh -> weights [T, N] -> update -> policy.

Up to the weights everything is NumPy, so no gradient can leak; only what follows is torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pgcourse.arguments import Floats, Ints
from pgcourse.policies import softmax
from pgcourse.trajectories import Lanes, Trajectories, returns, sample_actions
from pgcourse.trajectories import Policy as Actor

Array = NDArray[Any]
Policy = TypeVar("Policy", bound="SoftmaxPolicy")
Collect = Callable[[Lanes, Actor, Array], Trajectories]
Run = Callable[[Policy], Trajectories]
Weigh = Callable[[Trajectories], Floats]
Update = Callable[[Policy, Trajectories, Floats], Policy]

# --- the pseudo-loss ---------------------------------------------------------------------------


def select_log_probs(logits: Tensor, actions: Tensor) -> Tensor:
    """Return the log-probability of each action taken: log-softmax, then select.

    Args:
        logits: `[..., A]`; the gradient reaches them.
        actions: `[...]` int64.
    """
    return logits.log_softmax(dim=-1).gather(-1, actions.unsqueeze(-1)).squeeze(-1)


def log_probs_of(logits: Array, actions: Ints) -> Array:
    """Do as `select_log_probs` in NumPy: `[M]` as data, from `[M, A]` and `[M]`."""
    first, *others = logits.T - logits[np.arange(len(actions)), actions]
    return np.asarray(-reduce(np.logaddexp, others, first))  # a few long operations


def reinforce_loss(log_probs: Tensor, weights: Floats) -> Tensor:
    """Return the number whose gradient is minus the policy gradient, {eq}`pseudo-loss`.

    Args:
        log_probs: `[T, N]`, or `[T]` for one trajectory; nats.
        weights: of the same shape, 0 on padding; NumPy, so no gradient can flow into them.

    Raises:
        ValueError: weights are no NumPy array, or the shapes differ.
    """
    if not isinstance(weights, np.ndarray):
        raise ValueError(f"weights must be a NumPy array, got {type(weights).__name__}")
    if (want := tuple(log_probs.shape)) != weights.shape:
        raise ValueError(f"weights must have the shape of log_probs = {want}, got {weights.shape}")
    N = weights.shape[1] if weights.ndim == 2 else 1
    return -(log_probs * torch.as_tensor(weights, dtype=log_probs.dtype)).sum() / N


# --- a policy made of a network ----------------------------------------------------------------


def network(sizes: Sequence[int], rng: np.random.Generator) -> nn.Sequential:
    """Build linear layers of these sizes with tanh between them; the last begins near zero."""
    layers: list[nn.Module] = []
    for depth, (wide, narrow) in enumerate(pairwise(sizes), 2):
        linear, scale = nn.Linear(wide, narrow), 0.01 if depth == len(sizes) else 1.0
        drawn = rng.normal(0, scale / np.sqrt(wide), size=(narrow, wide))
        linear.load_state_dict({"weight": torch.as_tensor(drawn), "bias": torch.zeros(narrow)})
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


ROWS = 512  # that pass a network together: more would leave the processor's cache


def forward(net: nn.Sequential) -> Callable[[Array], Array]:
    """Return a NumPy forward pass, `[M, ...]` to `[M, ...]`, on the weights of a `network`.

    Where no gradient is needed this is several times faster: a small torch call takes longer to
    begin than to compute, and NumPy's tanh is 7 times faster.

    Raises:
        ValueError: the layers are not what `network` makes.
    """
    if any(type(layer) is not (nn.Linear, nn.Tanh)[i % 2] for i, layer in enumerate(net)):
        raise ValueError(f"net must be linear layers with tanh between them, got {net}")
    arrays = [p.detach().numpy() for p in net.parameters()]  # shared memory, no copies
    layers = [(W.T, b[None]) for W, b in zip(arrays[::2], arrays[1::2], strict=True)]
    *hidden, (W_last, b_last) = layers

    def compute(x: Array) -> Array:
        if len(x) > ROWS:
            return np.concatenate([compute(x[i : i + ROWS]) for i in range(0, len(x), ROWS)])
        for W, b in hidden:
            x = x.dot(W)  # begins sooner than `@`
            x += b
            np.tanh(x, out=x)  # in place: new memory would cost more than the arithmetic
        out: Array = x.dot(W_last) + b_last
        return out

    return compute


@dataclass(frozen=True)
class SoftmaxPolicy:
    """A softmax over what a network says: `[M, A]` logits from states `[M, ...]`."""

    net: nn.Sequential

    def noise(self, T: int, N: int, rng: np.random.Generator) -> Floats:
        """Draw what T steps of N lanes need: uniform numbers `[T, N]`."""
        return rng.random((T, N))

    def actor(self, said: list[Array] | None = None) -> Actor:
        """Return (states, noise) -> actions `[N]`, as `sample_action` picks; `said` gets logits."""
        logits_of = forward(self.net)

        def act(states: Array, noise: Array) -> Ints:
            logits = logits_of(states)
            if said is not None:
                said.append(logits)
            if logits.shape[1] != 2:
                return sample_actions(softmax(logits), noise)
            odds = np.exp(logits[:, 1] - logits[:, 0], dtype=np.float64)  # p1 / p0
            return np.asarray(noise * (1 + odds) >= 1, dtype=np.int64)

        return act

    def log_probs(self, states: Array, actions: Array) -> Tensor:
        """Return log-probabilities `[M]` of actions `[M]`, with their graph."""
        return select_log_probs(self.net(torch.as_tensor(states)), torch.as_tensor(actions))


# --- the loop ----------------------------------------------------------------------------------


def train(
    policy: Policy, run: Run[Policy], weigh: Weigh, update: Update[Policy]
) -> Iterator[tuple[Policy, Trajectories]]:
    """Improve a policy for as long as somebody asks; yield it with what it has just played.

    Args:
        policy: where to begin; an update may move it in place.
        run: policy -> trajectories.
        weigh: trajectories -> weights `[T, N]`.
        update: (policy, trajectories, weights) -> policy.
    """
    while True:
        yield policy, (trajectories := run(policy))
        weights = weigh(trajectories)
        policy = update(policy, trajectories, weights)


def runner(collect: Collect, lanes: Lanes, T: int, rng: np.random.Generator) -> Run[Policy]:
    """Return a run: at most T steps in each lane, collected by `rollout` or `rollout_episodes`."""

    def run(policy: Policy) -> Trajectories:
        return collect(lanes, policy.actor(), policy.noise(T, len(lanes.states), rng))

    return run


def full_return(trajectories: Trajectories) -> Floats:
    """Weigh each step `[T, N]` by the undiscounted return of its whole trajectory (reward)."""
    return np.asarray(returns(trajectories, 1.0) * trajectories.valid)


def step_log_probs(policy: SoftmaxPolicy, trajectories: Trajectories) -> Tensor:
    """Return the log-probability of each step `[T, N]`, with its graph; 0 on padding."""
    valid = trajectories.valid
    found = policy.log_probs(trajectories.states[valid], trajectories.actions[valid])
    return torch.zeros(valid.shape).masked_scatter(torch.as_tensor(valid), found)


class Descent:
    """Update: a step of Adam, of size alpha, down the pseudo-loss, so up the return."""

    def __init__(self, policy: SoftmaxPolicy, alpha: float) -> None:
        self.optimizer = torch.optim.Adam(policy.net.parameters(), lr=alpha)

    def __call__(self, policy: Policy, trajectories: Trajectories, weights: Floats) -> Policy:
        """Move the policy in place, and return it."""
        loss = reinforce_loss(step_log_probs(policy, trajectories), weights)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return policy
