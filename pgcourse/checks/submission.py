"""Judge the functions of a whole notebook, in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pgcourse.checks import core
from pgcourse.checks.holder import Remote
from pgcourse.grading import reading
from pgcourse.grading.finding import questions_of
from pgcourse.grading.reading import LARGEST


def code_cells(path: Path) -> list[str]:
    """Return the source of each code cell of a notebook or percent script.

    Raises:
        ValueError: the file cannot be read as one.
    """
    try:
        return reading.cells_of(reading.read(str(path), LARGEST), path.name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def asked_for(cells: list[str]) -> list[core.Exercise]:
    """Return the exercises of every chapter that a notebook is about.

    Raises:
        ValueError: it defines no function of an exercise.
    """
    return [core.exercises()[name] for name in questions_of(cells)]


def verdicts(path: Path, seed: int | None = None) -> Iterator[core.Verdict]:
    """Yield the verdict on each function that the notebook should define."""
    cells = code_cells(path)
    exercises, remote = asked_for(cells), Remote(cells)
    try:
        for exercise in exercises:
            yield core.examine(exercise, remote, core.own_seed() if seed is None else seed)
    finally:
        remote.close()
