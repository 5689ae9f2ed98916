"""The registry of numbered equations: each label, the LaTeX it proves, and how.

A module `eq_NN_stem.py` a chapter. An equation is a function from one case (a random world, a
random distribution, ...) to its left and right side; a misprint is a function from the same case
to a wrong right side, and must fail. `tests/test_equations.py` runs them, the book shows them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Cases = Callable[[np.random.Generator], Iterable[Any]]
RTOL, ATOL = 1e-9, 1e-12
INEQUALITY_CASES = 1000


@dataclass(frozen=True)
class Misprint:
    """A typical wrong form of an equation: `function(case)` gives the wrong right side."""

    name: str
    function: Callable[[Any], Any]


@dataclass(frozen=True)
class Equation:
    """A numbered equation of the book; `kind` says how its two sides are compared.

    "equation": left == right. "inequality": left <= right on 1000 cases, and the smallest
    relative gap is below `tightness`. "limit": the left side is a sequence of distances to the
    limit as a size doubles, and shrinks to nothing. "definition": nothing to prove; some other
    equation `uses` it.
    """

    label: str
    latex: str
    kind: str
    chapter: int
    function: Callable[[Any], Any] | None = None
    cases: Cases | None = None
    uses: tuple[str, ...] = ()
    tightness: float = 0.0
    misprints: list[Misprint] = field(default_factory=list)

    def rows(self, seed: int = 0) -> Iterable[tuple[Any, Any, Any]]:
        """Yield (case, left, right) for every case."""
        assert self.function is not None
        assert self.cases is not None
        for case in self.cases(np.random.default_rng(seed)):
            left, right = self.function(case)
            yield case, left, right


_REGISTRY: dict[str, Equation] = {}


def _register(kind: str, label: str, latex: str, cases: Cases | None, **more: Any) -> Any:
    def keep(function: Any) -> Any:
        if label in _REGISTRY:
            raise ValueError(f"label must be new, got {label!r} twice")
        chapter = int(function.__module__.rsplit(".eq_", 1)[1][:2])
        _REGISTRY[label] = Equation(label, latex, kind, chapter, function, cases, **more)
        return function

    return keep


def equation(label: str, latex: str, *, on: Cases, uses: tuple[str, ...] = ()) -> Any:
    """Register `function(case) -> (left, right)`, equal to rtol 1e-9 on every case."""
    return _register("equation", label, latex, on, uses=uses)


def inequality(
    label: str, latex: str, *, on: Cases, tightness: float, uses: tuple[str, ...] = ()
) -> Any:
    """Register `function(case) -> (left, right)` with left <= right, nearly equal somewhere."""
    return _register("inequality", label, latex, on, uses=uses, tightness=tightness)


def limit(label: str, latex: str, *, on: Cases, uses: tuple[str, ...] = ()) -> Any:
    """Register `function(case) -> (distances, 0)`: distances to the limit, a size doubling."""
    return _register("limit", label, latex, on, uses=uses)


def definition(label: str, latex: str, *, chapter: int) -> None:
    """Register a definition: a numbered display that gives a symbol its meaning."""
    if label in _REGISTRY:
        raise ValueError(f"label must be new, got {label!r} twice")
    _REGISTRY[label] = Equation(label, latex, "definition", chapter)


def misprint(label: str, name: str) -> Any:
    """Register `function(case) -> wrong right side` (for a limit: wrong distances)."""

    def keep(function: Any) -> Any:
        _REGISTRY[label].misprints.append(Misprint(name, function))
        return function

    return keep


def load() -> dict[str, Equation]:
    """Import every chapter's equations and return them by label, in the order of the book."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        if module.name.startswith("eq_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return dict(_REGISTRY)


def _scale(left: Any, right: Any) -> tuple[np.ndarray, np.ndarray, float]:
    left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    return left, right, float(np.max(np.abs(right), initial=0.0))


def equal(left: Any, right: Any) -> bool:
    """Say whether both sides agree to rtol 1e-9 of the largest entry; shapes must match."""
    left, right, size = _scale(left, right)
    return left.shape == right.shape and bool(
        np.all(np.isfinite(right)) and np.all(np.abs(left - right) <= RTOL * size + ATOL)
    )


def vanishes(distances: Any) -> bool:
    """Say whether a sequence of distances keeps shrinking and has lost 99 %."""
    distances = np.asarray(distances, dtype=float)
    steady = np.all(distances[1:] <= 0.75 * distances[:-1] + ATOL)
    return bool(steady and distances[-1] <= 0.01 * distances[0] + ATOL)


def holds(equation: Equation, seed: int = 0) -> tuple[bool, str]:
    """Prove one equation on all its cases: (verdict, what was seen)."""
    if equation.kind == "definition":
        users = [e.label for e in load().values() if equation.label in e.uses]
        return bool(users), f"used by {', '.join(users) or 'no equation'}"
    rows = list(equation.rows(seed))
    if equation.kind == "limit":
        return all(vanishes(left) for _, left, _ in rows), f"{len(rows)} sequences"
    if equation.kind == "inequality":
        gaps = [(r - l) / max(abs(r), abs(l), 1e-300) for _, l, r in rows]  # noqa: E741
        tight = min(gaps, key=abs)
        enough = len(rows) >= INEQUALITY_CASES
        right_way = all(r - l >= -ATOL - RTOL * abs(r) for _, l, r in rows)  # noqa: E741
        return right_way and enough and abs(tight) <= equation.tightness, (
            f"{len(rows)} cases, smallest relative gap {tight:.1e}"
        )
    return len(rows) >= 3 and all(equal(left, right) for _, left, right in rows), (
        f"{len(rows)} cases"
    )


def caught(equation: Equation, wrong: Misprint, seed: int = 0) -> bool:
    """Say whether the equation fails, as it must, when its right side is misprinted."""
    for case, left, _ in equation.rows(seed):
        other = wrong.function(case)
        if equation.kind == "limit" and not vanishes(other):
            return True
        if equation.kind == "inequality" and float(left) > float(other) + ATOL:
            return True
        if equation.kind == "equation" and not equal(left, other):
            return True
    return False
