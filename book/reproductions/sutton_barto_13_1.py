"""Compute Figure 13.1 of Sutton & Barto 2018 again: REINFORCE in the aliased corridor.

    python book/reproductions/sutton_barto_13_1.py

A hundred runs of a thousand episodes for each step size, run i in lane i, every run with two
preferences of its own, for right and left. An update follows each step of an episode, weighed by
the rewards from there on, as in their pseudo-code. An episode is cut after 2,000 steps: where a
run has become certain of one action, it would not end.
"""

from pathlib import Path

import numpy as np

from pgcourse.environments import aliased_corridor
from pgcourse.trajectories import sample_actions

WORLD, RUNS, EPISODES, LONGEST, FIRST_P = aliased_corridor(), 100, 1000, 2000, 0.05
NEXT = WORLD.P.argmax(axis=2)  # the corridor has no chance: where each action leads, [S, A]


def episodes(pi, rng):
    """Actions `[T, RUNS]` of one episode a run under `pi [RUNS, 2]`, and who was on the way."""
    state, actions, going = np.zeros(RUNS, int), [], []
    while (state < 3).any() and len(actions) < LONGEST:
        actions.append(sample_actions(pi, rng.random(RUNS)))
        going.append(state < 3)
        state = NEXT[state, actions[-1]]
    return np.array(actions), np.array(going)


def learn(alpha, rng):
    """Total reward of each episode, `[EPISODES, RUNS]`."""
    theta = np.tile(np.log([1 - FIRST_P, FIRST_P]), (RUNS, 1))  # preferences for left and right
    totals = np.empty((EPISODES, RUNS))
    for k in range(EPISODES):
        p = 1 / (1 + np.exp(theta[:, 0] - theta[:, 1]))
        actions, going = episodes(np.column_stack([1 - p, p]), rng)
        to_go = -np.cumsum(going[::-1], axis=0)[::-1]  # G_t: each step costs 1
        totals[k] = to_go[0]
        for action, G, on in zip(actions, to_go, going, strict=True):
            p = 1 / (1 + np.exp(theta[:, 0] - theta[:, 1]))
            push = alpha * G * (action - p) * on
            theta += np.column_stack([-push, push])
    return totals


if __name__ == "__main__":
    columns, stuck = [], []
    for k in (12, 13, 14):
        totals = learn(2.0**-k, np.random.default_rng(k))
        lost = (totals[-100:] <= -LONGEST).any(axis=0)
        stuck.append(int(lost.sum()))
        columns.append(totals[:, ~lost].reshape(EPISODES // 10, -1).mean(axis=1))
    head = f"mean total reward, ten episodes a row; alpha = 2^-12, 2^-13, 2^-14; left out: {stuck}"
    np.savetxt(Path(__file__).with_suffix(".csv"), np.transpose(columns), "%.4f", ",", header=head)
    print(head, *[x[-10:].mean().round(2) for x in columns], sep="\n")
