"""Compute that the update without gamma^t is no gradient, as Nota & Thomas 2020 prove.

    python book/reproductions/nota_thomas.py

Two doors in a row, a dial each. A gradient has equal slopes across, and no sum along a closed way.
"""

from pathlib import Path

import numpy as np

from pgcourse.environments import two_doors
from pgcourse.returns import dropped_update

GAMMAS = 0.25, 0.5, 0.75, 0.9, 1.0
X, W = np.polynomial.legendre.leggauss(12)  # on [-1, 1]
SIDES = (((0, 0), (1, 0)), ((1, 0), (1, 1)), ((1, 1), (0, 1)), ((0, 1), (0, 0)))


def field(gamma, dials):
    """Exact expected update of both dials."""
    theta = np.zeros((3, 2))
    theta[:2, 1] = dials
    return dropped_update(two_doors(gamma), theta)[:2, 1]


def across(gamma, i, j, h=1e-5):
    """Slope of entry i in dial j, at (0, 0)."""
    step = h * np.eye(2)[j]
    return (field(gamma, step) - field(gamma, -step))[i] / (2 * h)


def loop(gamma):
    """Sum of the update along the unit square of the dials, once round."""
    total = 0.0
    for start, stop in np.array(SIDES, dtype=float):
        way = stop - start
        total += sum(
            w / 2 * way @ field(gamma, start + (x + 1) / 2 * way) for x, w in zip(X, W, strict=True)
        )
    return total


def table():
    """Rows of gamma, ratio of the slopes across, sum along the loop."""
    rows = [(g, across(g, 0, 1) / across(g, 1, 0), loop(g)) for g in GAMMAS]
    return np.round(rows, 10) + 0.0  # no minus zero


if __name__ == "__main__":
    head = "gamma, ratio of the slopes across, sum along the unit square"
    np.savetxt(Path(__file__).with_suffix(".csv"), table(), "%.10f", ",", header=head)
    print(head, table(), sep="\n")
