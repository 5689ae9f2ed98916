"""Judge the functions of a whole notebook, in a process of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.holder import Remote


def asked_for(path: Path) -> list[core.Exercise]:
    """Return the exercises of every chapter of which the notebook defines a function.

    Raises:
        ValueError: the file defines no function of any exercise.
        OSError: the file cannot be read.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    defined = set(re.findall(r"\bdef (\w+)\(", text))
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
