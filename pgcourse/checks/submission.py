"""Judge the functions of a whole notebook, in a process of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.holder import Remote


def defined_in(path: Path) -> set[str]:
    """Return the names that the code cells of a notebook define at their outermost level.

    Raises:
        ValueError: the file is no notebook, or the extra that reads notebooks is not installed.
        OSError: the file cannot be read.
    """
    try:
        import jupytext
    except ImportError:
        raise ValueError(
            "reading notebooks needs the extra: pip install 'pgcourse[test]'"
        ) from None
    try:
        notebook = jupytext.read(path)
    except OSError:
        raise
    except Exception as error:  # what a damaged file raises is not foreseeable
        raise ValueError(f"{path} must be a notebook, got {type(error).__name__}") from None
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return {a or b for a, b in re.findall(r"^(?:def +(\w+) *\(|(\w+) *=(?!=))", code, re.M)}


def asked_for(path: Path) -> list[core.Exercise]:
    """Return the exercises of every chapter of which the notebook defines a function.

    Raises:
        ValueError: as `defined_in`, or the file defines no function of any exercise.
        OSError: the file cannot be read.
    """
    defined = defined_in(path)
    chapters = [core.chapter_exercises(stem) for stem in CHAPTERS]
    found = [e for chapter in chapters if defined & {e.name for e in chapter} for e in chapter]
    if not found:
        raise ValueError(f"{path} must define a function of an exercise, got none")
    return found


def verdicts(path: Path, seed: int | None = None) -> Iterator[core.Verdict]:
    """Yield the verdict on each function that the notebook should define."""
    exercises = asked_for(path)
    remote = Remote(path)
    try:
        for exercise in exercises:
            yield core.examine(exercise, remote, core.own_seed() if seed is None else seed)
    finally:
        remote.close()
