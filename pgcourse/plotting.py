"""Wing — plotting: figures of the book; each takes arrays and axes, and returns the axes."""

from __future__ import annotations

import sys
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from pgcourse.arguments import Floats

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
    """Show (1 - gamma) gamma^t Pr(s_t = s) over the first 30 steps, from Pr(s_t = s) `[T, S]`."""
    weighted = (1 - gamma) * gamma ** np.arange(len(d_t))[:, None] * d_t  # [T, S]
    bottom = np.zeros(len(d_t))
    for s, (height, hatch) in enumerate(zip(weighted.T, cycle(("", "///", "...")), strict=False)):
        label = f"state {s}: occupancy {height.sum():.2f}"
        ax.bar(np.arange(len(d_t)), height, bottom=bottom, width=0.8, hatch=hatch, label=label)
        bottom += height
    ax.set(xlabel="time t (steps)", ylabel="weighted probability", xlim=(-1, 31))
    ax.legend()
    return ax


def values(V: Floats, closed_form: Floats, label: str, ax: Axes) -> Axes:
    """Show values `[S]` as markers on the line of their closed form `[S]`."""
    (line,) = ax.plot(closed_form, label=label)
    ax.plot(V, "o", markersize=5, color=line.get_color())
    ax.set(xlabel="cell s", ylabel="value V(s) (reward)")
    ax.legend()
    return ax


def score_arrows(x: Floats, pushes: Floats, mean: float, gradient: float, ax: Axes) -> Axes:
    """Show how each sample `x [M]` pushes the mean, `pushes [M]`, and their average; a row each."""
    unit = 5 / np.abs(pushes).max()  # the longest arrow spans five units of x
    rows = np.arange(len(x))[::-1]
    thin: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004}
    ax.plot(x, rows, "o", linestyle="none", markersize=4)
    ax.quiver(x, rows, unit * pushes, 0 * x, color=BLUE, **thin)
    thick = thin | {"width": 0.008}
    for row, value, colour in ((-2, pushes.mean(), ORANGE), (-3.5, gradient, "black")):
        ax.quiver(mean, row, unit * value, 0, color=colour, **thick)
    ax.axvline(mean, color="black", linewidth=0.8)
    ax.set_yticks([len(x) / 2, -2, -3.5], ["samples", "their average", "exact gradient"])
    ax.set(xlabel=f"x   (arrows: 1 unit is {1 / unit:.1f})", ylim=(-4.5, len(x)))
    return ax


def spread_on_logs(
    sizes: ArrayLike, exact_values: ArrayLike, sampled: ArrayLike, label: str, ax: Axes
) -> Axes:
    """Show sampled variances `[n]` as markers on the line of the exact ones, both axes in logs."""
    (line,) = ax.loglog(sizes, exact_values, label=label)
    ax.loglog(sizes, sampled, "o", linestyle="none", markersize=5, color=line.get_color())
    ax.legend()
    return ax


def pieces(probs: Floats, u: float, ax: Axes) -> Axes:
    """Lay the probabilities `[A]` of the actions end to end on [0, 1), and mark the number u."""
    left = 0.0
    for a, (p, hatch) in enumerate(zip(probs, cycle(("", "///", "...")), strict=False)):
        ax.barh(0, p, left=left, height=0.6, hatch=hatch, color=COLOURS[a], alpha=0.6)
        ax.text(left + p / 2, 0.45, f"action {a}", ha="center")
        left += p
    ax.plot([u, u], [-0.55, 0.35], color="black", linestyle="-")
    ax.text(u, -0.62, f"u = {u}", ha="center", va="top")
    ax.set(xlim=(0, 1), ylim=(-1, 0.8), yticks=[], xlabel="cumulative probability")
    ax.spines["left"].set_visible(False)
    return ax


def curve(x: Floats, J: Floats, marks: dict[str, tuple[float, float]], ax: Axes) -> Axes:
    """Show an objective `[K]` over one parameter `[K]`, and named points (x, J) on it."""
    ax.plot(x, J)
    for (label, (at, height)), marker in zip(marks.items(), cycle("osD^"), strict=False):
        ax.plot(at, height, marker, label=label)
    ax.set(ylabel="expected return J (reward)")
    ax.legend()
    return ax


def landscape(x: Floats, y: Floats, J: Floats, ax: Axes) -> Axes:
    """Show an objective `[len(y), len(x)]` over two parameters as a map with contour lines."""
    ax.contourf(x, y, J, levels=14, cmap="cividis", alpha=0.5)
    lines = ax.contour(x, y, J, levels=7, colors="black", linewidths=0.7)
    ax.clabel(lines, fontsize=9)
    return ax


def gradient_field(x: Floats, y: Floats, slopes: Floats, ax: Axes) -> Axes:
    """Draw a gradient `[len(y), len(x), 2]` as arrows on a landscape; only directions matter."""
    lengths = np.linalg.norm(slopes, axis=2, keepdims=True)
    east, north = np.moveaxis(slopes / np.maximum(lengths, 1e-300), 2, 0)
    ax.quiver(x, y, east, north, color=ORANGE, scale=18, width=0.008)
    return ax


def rounding_and_bending(h: Floats, errors: Floats, label: str, ax: Axes) -> Axes:
    """Show the errors `[n]` of finite differences against their step `h [n]`, both in logs."""
    ax.loglog(h, errors, label=label)
    ax.set(xlabel="step h (logit)", ylabel="largest error (reward)")
    ax.legend()
    return ax


def climb(path: Floats, label: str, ax: Axes) -> Axes:
    """Draw the steps `[K, 2]` of an ascent on a landscape, from a dot to a star."""
    (line,) = ax.plot(*path.T, linewidth=2, label=label)
    ax.plot(*path[0], "o", color=line.get_color())
    ax.plot(*path[-1], "*", markersize=11, color=line.get_color())
    ax.legend(loc="upper left")
    return ax


def intervals(means: Floats, halves: Floats, truth: float, ax: Axes) -> Axes:
    """Lay intervals, centres and half widths `[K]`, one above the other; thick if they miss."""
    missed = np.abs(means - truth) > halves
    for hit, colour, width in ((~missed, BLUE, 1.0), (missed, ORANGE, 3.0)):
        rows = np.flatnonzero(hit)
        ax.hlines(rows, (means - halves)[hit], (means + halves)[hit], colour, linewidth=width)
    ax.set(yticks=[], ylabel="batches")
    ax.spines["left"].set_visible(False)
    return exact(truth, f"exact: {truth:.3f}", ax)


def band(curves: Floats, label: str, ax: Axes) -> Axes:
    """Show the mean of K curves `[K, n]`, 2 to 13, with its 95 % interval (Student's t)."""
    K, n = curves.shape
    if not 2 <= K <= len(T_95) + 1:
        raise ValueError(f"curves must be 2 to {len(T_95) + 1}, got {K}")
    half = T_95[K - 2] * curves.std(axis=0, ddof=1) / np.sqrt(K)
    mean, x = curves.mean(axis=0), np.arange(n)
    (line,) = ax.plot(x, mean, label=f"{label}, mean of {K} seeds with 95 % band")
    ax.fill_between(x, mean - half, mean + half, color=line.get_color(), alpha=0.25, linewidth=0)
    return ax


# 97.5 % points of Student's t for 1, 2, ... degrees of freedom.
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)


def balancing(states: Floats, times: ArrayLike, ax: Axes) -> Axes:
    """Draw CartPole side by side at some times: `states [n, 4]`, `times [n]` (steps)."""
    for i, (state, t) in enumerate(zip(states, np.asarray(times), strict=True)):
        x, angle = 1.6 * i + 0.25 * state[0], state[2]  # the track is drawn a quarter as long
        ax.plot([1.6 * i - 0.6, 1.6 * i + 0.6], [0, 0], color="black", linewidth=0.8, linestyle="-")
        ax.add_patch(Rectangle((x - 0.22, 0), 0.44, 0.2, facecolor=BLUE))
        tip = x + np.sin(angle), 0.2 + np.cos(angle)
        ax.plot([x, tip[0]], [0.2, tip[1]], color=ORANGE, linewidth=4, linestyle="-")
        ax.text(1.6 * i, -0.18, f"{t}", ha="center", va="top")
    ax.set(xlim=(-0.8, 1.6 * len(states) - 0.8), ylim=(-0.5, 1.4), yticks=[], xticks=[])
    ax.set_aspect("equal")
    ax.set_xlabel("time (steps)")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
