"""Judge the functions of a whole notebook, in a process of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.holder import Remote


def code_cells(path: Path) -> list[str]:
    """Return the source of each code cell of a notebook or percent script.

    Raises:
        ValueError: the file is no notebook, or what reads notebooks is not installed.
        OSError: the file cannot be read.
    """
    try:
        if path.suffix == ".ipynb":
            import nbformat

            notebook = nbformat.read(path, as_version=4)
        else:
            import jupytext

            notebook = jupytext.read(path)
    except OSError:
        raise
    except ImportError:
        raise ValueError("reading notebooks needs more: pip install '.[test]'") from None
    except Exception as error:  # what a damaged file raises is not foreseeable
        raise ValueError(f"{path} must be a notebook, got {type(error).__name__}") from None
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def asked_for(cells: list[str]) -> list[core.Exercise]:
    """Return the exercises of every chapter of which the cells define a function.

    Raises:
        ValueError: they define none.
    """
    found = re.findall(r"^(?:def +(\w+) *\(|(\w+) *=(?!=))", "\n".join(cells), re.M)
    defined = {a or b for a, b in found}
    chapters = [core.chapter_exercises(stem) for stem in CHAPTERS]
    asked = [e for chapter in chapters if defined & {e.name for e in chapter} for e in chapter]
    if not asked:
        raise ValueError("the notebook must define a function of an exercise, got none")
    return asked


def verdicts(path: Path, seed: int | None = None) -> Iterator[core.Verdict]:
    """Yield the verdict on each function that the notebook should define."""
    cells = code_cells(path)
    exercises, remote = asked_for(cells), Remote(cells)
    try:
        for exercise in exercises:
            yield core.examine(exercise, remote, core.own_seed() if seed is None else seed)
    finally:
        remote.close()
