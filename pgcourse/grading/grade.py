"""Grade one file: its cells go to the sandbox, answers come back, the verdicts are made here.

Data flow: Found -> bytes -> cells -> (chapter -> Worker -> Verdict ...) -> Line. All workers of a
file share one deadline.

A wrong answer is asked a second time about public inputs, in a fresh worker that has never seen a
hidden one: so nothing that feedback shows can carry hidden inputs out.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import textwrap
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

import pgcourse
from pgcourse import CHAPTERS
from pgcourse.checks import core, show
from pgcourse.grading import reading
from pgcourse.grading.finding import Found, questions_of
from pgcourse.grading.reading import UnreadableError
from pgcourse.grading.results import Line, Result, Shown
from pgcourse.grading.sandbox import IsolationError, Warm, Worker
from pgcourse.grading.specification import Specification

LONGEST = 500  # characters of what a student's code says
SILENT = {"TimeoutError", "EOFError", "MemoryError"}  # a process that hung or broke


@dataclass(frozen=True)
class Task:
    """A file to grade.

    Args:
        found: the file.
        known: the key under which it is graded completely, if it is.
        only: the questions to judge; all if empty.
    """

    found: Found
    known: str = ""
    only: frozenset[str] = frozenset()


class Grader:
    """What grades one file after another; a context manager that owns a warm process."""

    def __init__(self, specification: Specification, require: str | None = None) -> None:
        self.specification, self.require = specification, require

    @functools.cached_property
    def warm(self) -> Warm:
        """The warm process, started when the first file needs it."""
        return Warm(self.specification.limits, self.require)

    def close(self) -> None:
        """End the warm process."""
        if warm := self.__dict__.pop("warm", None):
            warm.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def grade(self, task: Task) -> Line | None:
        """Return the file's line, or None if the one that is known still holds."""
        start = time.perf_counter()
        line = self._line(task)
        spent = round(time.perf_counter() - start, 3)
        return msgspec.structs.replace(line, seconds=spent) if line else None

    def _line(self, task: Task) -> Line | None:
        found = task.found
        data, reason = self._read(found)
        key = key_of(data or reason.encode(), self.specification)
        if key == task.known:
            return None
        line = functools.partial(Line, found.name, found.student, key)
        if reason:
            return line("ignored" if found.ignored else "unreadable", reason)
        try:
            return self._graded(reading.cells_of(data, found.name), task.only, line)
        except IsolationError:
            raise
        except UnreadableError as error:
            return line("unreadable", str(error))
        except Exception as error:  # whatever one file provokes, the others are graded
            return line("unreadable", f"could not be graded: {error!r}"[:LONGEST])

    def _read(self, found: Found) -> tuple[bytes, str]:
        """Return the bytes of a file, or why there are none."""
        if told := found.ignored or found.refused:
            return b"", told
        try:
            return reading.read(found.path, self.specification.notebook_bytes), ""
        except UnreadableError as error:
            return b"", str(error)

    def _graded(self, cells: list[str], only: Collection[str], line: Callable[..., Line]) -> Line:
        asked = questions_of(cells, [q.function for q in self.specification.questions])
        judged = [q for q in asked if not only or q in only]
        try:
            results, notes = self._judge(cells, judged)
        except IsolationError:
            raise
        except RuntimeError:  # the warm process itself is gone: once more, with a new one
            self.close()
            results, notes = self._judge(cells, judged)
        layers = [layer.name for layer in self.warm.layers if layer.in_force]
        without = [f"{x.name}: {x.why_not}" for x in self.warm.layers if not x.in_force]
        return line("graded", "", asked, results, notes, layers, without)

    def _judge(self, cells: list[str], asked: Collection[str]) -> tuple[list[Result], list[str]]:
        """Judge all functions on the hidden inputs, then wrong ones on the public inputs."""
        until = time.monotonic() + self.specification.limits.submission_seconds
        begin = functools.partial(self.warm.worker, cells, until=until)
        verdicts, _ = examine(begin, asked, self.specification.seed or 0)
        unclear = [name for name, verdict in verdicts.items() if _unclear(verdict)]
        again, notes = examine(begin, unclear, self.specification.public_seed)
        shown = {name: shown_of(verdict) for name, verdict in again.items()}
        return [result_of(v, shown.get(n)) for n, v in verdicts.items()], notes


def examine(
    begin: Callable[[str], Worker], asked: Collection[str], seed: int
) -> tuple[dict[str, core.Verdict], list[str]]:
    """Judge functions, with a worker for each chapter; also say which cells failed.

    Args:
        begin: makes a worker for a chapter.
        asked: names of the functions.
        seed: of the inputs.
    """
    verdicts: dict[str, core.Verdict] = {}
    notes: dict[str, None] = {}  # each once, in their order
    for stem in CHAPTERS:
        if exercises := [e for e in core.chapter_exercises(stem) if e.name in asked]:
            with begin(stem) as worker:
                verdicts |= {e.name: core.examine(e, worker, seed) for e in exercises}
                notes |= dict.fromkeys(_notes(worker))
    return verdicts, list(notes)


def _notes(worker: Worker) -> Iterator[str]:
    for note in worker.notes[:20]:
        yield f"cell {note.number + 1}: {note.text}"[:LONGEST]


def _unclear(verdict: core.Verdict) -> bool:
    """Say whether a public input would tell more: not where nothing was tried or nothing ended."""
    broke = verdict.difference is not None and _broke(verdict.difference)
    return verdict.status == "wrong" and verdict.mistake != "returns nothing" and not broke


def _broke(difference: core.Difference) -> bool:
    return difference.stage == "raised" and difference.text.split()[1].rstrip(":") in SILENT


def result_of(verdict: core.Verdict, shown: Shown | None) -> Result:
    """Return what is kept of a verdict."""
    difference = verdict.difference
    return Result(
        verdict.exercise,
        verdict.status,
        round(verdict.share, 6),
        verdict.mistake or "",
        verdict.says,
        verdict.see,
        _stage(difference),
        difference.text[:LONGEST] if difference else "",
        shown,
        difference is not None and _broke(difference),
    )


def _stage(difference: core.Difference | None) -> str:
    """Return in which respect an answer differs, in words that a student cannot choose."""
    if difference is None or difference.stage != "raised":
        return difference.stage if difference else ""
    name = difference.text.split()[1].rstrip(":")
    known = getattr(builtins, name, None)
    is_error = isinstance(known, type) and issubclass(known, BaseException)
    return f"raised {name}" if is_error else "raised an exception"


def shown_of(verdict: core.Verdict) -> Shown | None:
    """Return what a student may see of a wrong answer to a public input."""
    if verdict.right or verdict.status == "not attempted":
        return None
    difference = verdict.difference.text[:LONGEST] if verdict.difference else ""
    inputs = [
        (name, textwrap.dedent(show.brief(name, value, 1000))) for name, value in verdict.inputs
    ]
    return Shown(difference, inputs)


def key_of(data: bytes, specification: Specification) -> str:
    """Return the hash of a file's bytes, what is asked, and the version that judges."""
    judged = msgspec.json.encode([specification.judged(), version()])
    return hashlib.sha256(judged + b"\0" + data).hexdigest()[:32]


@functools.cache
def version() -> str:
    """Return the version, with a hash of what says "right" and "wrong"."""
    folder = Path(pgcourse.__file__).parent
    files = [*sorted(folder.glob("*.py")), *sorted(folder.glob("checks/*.py"))]
    content = b"\0".join(f.read_bytes() for f in files)
    return f"{pgcourse.__version__}-{hashlib.sha256(content).hexdigest()[:16]}"
