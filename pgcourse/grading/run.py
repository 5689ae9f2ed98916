"""Run: grade what is not graded yet, then write grades, feedback and statistics.

Data flow: Order -> Task ... -> chunks -> Line ... -> Store -> Student ... -> files for people.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from tqdm import tqdm

from pgcourse.checks import core
from pgcourse.grading import feedback
from pgcourse.grading.finding import Found, find
from pgcourse.grading.grade import Task
from pgcourse.grading.results import Line, Store
from pgcourse.grading.scores import Grades, students
from pgcourse.grading.specification import Specification, load
from pgcourse.grading.spread import Chunk, spread
from pgcourse.grading.statistics import Index, Tally
from pgcourse.grading.texts import file_name

LARGEST_CHUNK = 16  # files that a process takes at a time: what a kill may cost


class OrderError(ValueError):
    """The command cannot be carried out as it was given."""


@dataclass(frozen=True)
class Order:
    """What the command line asks for.

    Args:
        submissions: folder of what students handed in.
        out: folder of the results.
        specification: file, if there is one.
        jobs: processes.
        only: students, files and questions to grade again; everything else stays.
        retry_failed: whether to try again what could not be read, hung or broke.
        require: isolation without which nothing runs.
        scheduler: address of a Dask cluster that does the work.
    """

    submissions: Path
    out: Path
    specification: Path | None = None
    jobs: int = 1
    only: tuple[str, ...] = ()
    retry_failed: bool = False
    require: str | None = None
    scheduler: str | None = None


def run(order: Order) -> Tally:
    """Grade what is not graded yet, and write grades, feedback and statistics.

    Raises:
        OrderError, SpecificationError: nothing can be done so.
        BusyError: another grader is at it.
        IsolationError: the isolation asked for cannot be had.
    """
    specification = load(order.specification) if order.specification else Specification()
    found = _found(order)
    with Store(order.out) as store:
        if specification.seed is None:
            specification = replace(specification, seed=store.seed())
        tasks = list(_tasks(order, found, store))
        with tqdm(total=len(tasks), unit="file", disable=None, file=sys.stderr) as bar:
            work = (
                order.jobs,
                order.scheduler,
                specification,
                order.require,
                _chunks(order, tasks),
            )
            for chunk, lines in spread(*work):
                store.add([_merged(line, store) for line in lines if line])
                bar.update(len(chunk))
        store.settle()
        return report(order.out, found, store, specification)


def _found(order: Order) -> list[Found]:
    root, out = order.submissions.resolve(), order.out.resolve()
    if not root.exists():
        raise OrderError(f"SUBMISSIONS must be a folder, got {order.submissions}")
    if root == out or root in out.parents:
        raise OrderError(f"DIR must lie outside of SUBMISSIONS, got {order.out}")
    if not (found := list(find(root))):
        raise OrderError(f"SUBMISSIONS must hold files, got none in {order.submissions}")
    names = {f.student for f in found} | {f.name for f in found} | core.exercises().keys()
    if unknown := [name for name in order.only if name not in names]:
        raise OrderError(f"--only must name a student, a file or a question, got {unknown[0]}")
    return found


def _tasks(order: Order, found: Sequence[Found], store: Store) -> Iterator[Task]:
    """Yield what may have to be graded; a key that still holds is seen where the file is read."""
    questions = frozenset(order.only) & core.exercises().keys()
    owners = set(order.only) - questions
    for one in found:
        if owners and one.student not in owners and one.name not in owners:
            continue
        line = store.get(one.name)
        holds = line is not None and line.complete and not order.only
        holds = holds and not (order.retry_failed and line is not None and line.failed)
        yield Task(one, line.key if line and holds else "", questions)


def _chunks(order: Order, tasks: Sequence[Task]) -> list[Chunk]:
    share = len(tasks) // (4 * max(order.jobs, 16 if order.scheduler else 1))
    size = max(1, min(LARGEST_CHUNK, share))
    return [tuple(tasks[i : i + size]) for i in range(0, len(tasks), size)]


def _merged(line: Line, store: Store) -> Line:
    """Add to a line the verdicts that the one before has beyond it, if it is of the same key."""
    old = store.get(line.file)
    if old is None or old.key != line.key or line.status != "graded":
        return line
    results = {r.question: r for r in [*old.results, *line.results]}
    kept = [results[q] for q in line.asked if q in results]
    return msgspec.structs.replace(line, results=kept)


def report(
    folder: Path, found: Sequence[Found], store: Store, specification: Specification
) -> Tally:
    """Write what people read, a student at a time."""
    pages = folder / "feedback"
    pages.mkdir(exist_ok=True)
    tally, title = Tally(), specification.title or "Grades"
    questions = [q.function for q in specification.questions] or _asked(found, store)
    with Grades(folder / "grades.csv", questions) as grades, Index(folder, title) as index:
        for student in students(found, store, specification):
            for table in (tally, grades, index):
                table.add(student)
            page = pages / file_name(student.name)
            texts = {".html": feedback.as_html, ".md": feedback.as_markdown}
            for suffix, write in texts.items():
                path = page.with_name(page.name + suffix)
                path.write_text(write(student, specification), encoding="utf-8")
        figure = tally.write(folder)
        index.finish(tally, figure)
    return tally


def _asked(found: Sequence[Found], store: Store) -> list[str]:
    """Return every question that a file concerns, in the book's order."""
    asked: set[str] = set()
    for one in found:
        if line := store.get(one.name):
            asked.update(line.asked)
    return [name for name in core.exercises() if name in asked]
