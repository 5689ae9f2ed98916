"""Wing — plotting: figures of the book; each takes arrays and axes, and returns the axes."""

from __future__ import annotations

import sys
from itertools import cycle

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes

from pgcourse.mdp import Floats

BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC3311", "#AA4499"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED)  # told apart with any colour vision
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # and each has a line style of its own


def use_style() -> None:
    """Set the look of the book: transparent SVG that reads on light and on dark pages."""
    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.constrained_layout.use": True,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.transparent": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=COLOURS) + cycler(linestyle=LINES),
            "legend.frameon": False,
            "font.size": 11,
            "svg.hashsalt": "pgcourse",  # equal figures give equal files
        }
    )
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def exact(value: float, label: str, ax: Axes, horizontal: bool = False) -> Axes:
    """Draw an exact value as a thin line with its name."""
    draw = ax.axhline if horizontal else ax.axvline
    draw(value, color="black", linewidth=0.8, linestyle="-", label=label)
    return ax


def trajectories(returns: Floats, probs: Floats, J: float, ax: Axes) -> Axes:
    """Show each trajectory by its return and probability, `[K]` each, and the average J."""
    ax.plot(returns, probs, "o", markersize=4, alpha=0.6)
    exact(J, f"J = {J:.3f}", ax)
    ax.set(xlabel="return R(τ) (reward)", ylabel="probability p(τ)")
    ax.legend()
    return ax


def occupancy(d_t: Floats, gamma: float, ax: Axes) -> Axes:
    """Show the discounted visits of each state over time, from Pr(s_t = s) `[T, S]`."""
    weighted = (1 - gamma) * gamma ** np.arange(len(d_t))[:, None] * d_t  # [T, S]
    bottom = np.zeros(len(d_t))
    for s, (height, hatch) in enumerate(zip(weighted.T, cycle(("", "///", "...")), strict=False)):
        label = f"state {s}: occupancy {height.sum():.2f}"
        ax.bar(np.arange(len(d_t)), height, bottom=bottom, width=0.8, hatch=hatch, label=label)
        bottom += height
    ax.set(xlabel="time t (steps)", ylabel="(1 − γ) γ^t Pr(s_t = s)")
    ax.legend()
    return ax


def values(V: Floats, closed_form: Floats, label: str, ax: Axes) -> Axes:
    """Show values `[S]` as markers on the line of their closed form `[S]`."""
    (line,) = ax.plot(closed_form, label=label)
    ax.plot(V, "o", markersize=5, color=line.get_color())
    ax.set(xlabel="cell s", ylabel="value V(s) (reward)")
    ax.legend()
    return ax
