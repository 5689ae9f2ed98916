"""Points: from the lines of a student's files to what each question, and all of them, are worth.

Data flow: lines, Specification -> Student -> row of grades.csv.

Of several notebooks that answer a question the best answer counts. Lateness is the student's: the
time in the instructor's table, else that of the latest file that was graded.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from pgcourse.checks import core
from pgcourse.grading.finding import Found
from pgcourse.grading.results import Line, Result, Store
from pgcourse.grading.specification import Question, Specification
from pgcourse.grading.texts import cell

MISSING = "not handed in"


@dataclass(frozen=True)
class Answered:
    """A question, the verdict that counts, and its points."""

    question: Question
    result: Result
    points: float


@dataclass(frozen=True)
class Student:
    """All of one student.

    Args:
        name: of the student.
        answers: one a question.
        lines: one a file.
        handed_in: when; None if no file could be graded and no table says so.
        listed: whether the instructor's table says when.
        kept: share of the points that lateness leaves.
    """

    name: str
    answers: tuple[Answered, ...]
    lines: tuple[Line, ...]
    handed_in: datetime | None
    listed: bool
    kept: float

    @property
    def points(self) -> float:
        """The points that count."""
        return round(self.kept * sum(a.points for a in self.answers), 4)

    @property
    def possible(self) -> float:
        """The points of right answers to everything."""
        return sum(a.question.points for a in self.answers)

    @property
    def problem(self) -> str:
        """Why nothing, or not all, could be graded."""
        bad = [f"{line.file}: {line.why}" for line in self.lines if line.status == "unreadable"]
        if bad or any(line.status == "graded" for line in self.lines):
            return "; ".join(bad)
        return "no notebook was handed in"


def points_of(question: Question, result: Result) -> float:
    """Return the points of an answer.

    Wrong ones have points only where the specification gives some: those of the mistake, or the
    share of the hidden inputs that were answered rightly.
    """
    if result.status == "right":
        return question.points
    if result.status != "wrong":
        return 0.0
    if question.partial:
        return round(question.points * min(result.share, 1.0), 4)
    return question.mistakes.get(result.mistake, 0.0)


def students(
    found: Iterable[Found], store: Store, specification: Specification
) -> Iterator[Student]:
    """Yield the students in the order of their names, one at a time."""
    ordered = sorted(found, key=lambda f: (f.student.casefold(), f.student, f.name))
    for name, files in groupby(ordered, key=lambda f: f.student):
        yield student_from(name, list(files), store, specification)


def student_from(
    name: str, files: list[Found], store: Store, specification: Specification
) -> Student:
    """Gather what is known of one student."""
    lines = [line for f in files if (line := store.get(f.name))]
    graded = {line.file for line in lines if line.status == "graded"}
    times = [f.modified for f in files if f.name in graded]
    when = datetime.fromtimestamp(max(times), UTC) if times else None
    when = specification.submitted.get(name, when)
    return Student(
        name,
        tuple(_answers(lines, specification)),
        tuple(lines),
        when,
        name in specification.submitted,
        1.0 if when is None else specification.kept(when),
    )


def _answers(lines: list[Line], specification: Specification) -> Iterator[Answered]:
    asked = {name for line in lines for name in line.asked}
    questions = specification.questions or [Question(n) for n in core.exercises() if n in asked]
    for question in questions:
        results = [r for line in lines for r in line.results if r.question == question.function]
        told = [Answered(question, r, points_of(question, r)) for r in results]
        nothing = Answered(question, Result(question.function, MISSING), 0.0)
        yield max(told, key=_rank, default=nothing)


def _rank(answer: Answered) -> tuple[float, int, float]:
    """Order answers: by points, then by how far they got."""
    status = ["not attempted", "wrong", "right"].index(answer.result.status)
    return answer.points, status, answer.result.share


def number(value: float) -> str:
    """Write points with no more digits than they need."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


class Grades:
    """The table of grades, a row a student; a context manager."""

    def __init__(self, path: Path, questions: list[str]) -> None:
        self.questions = questions
        self.file = path.open("w", encoding="utf-8", newline="")
        self.rows = csv.writer(self.file, lineterminator="\n")
        columns = ["student", "points", "possible", *questions]
        self.rows.writerow([*columns, "handed_in", "time_from", "late_factor", "problem"])

    def add(self, student: Student) -> None:
        """Write one row."""
        points = {a.question.function: number(a.points) for a in student.answers}
        when = student.handed_in.isoformat(timespec="seconds") if student.handed_in else ""
        self.rows.writerow(
            [
                cell(student.name),
                number(student.points),
                number(student.possible),
                *(points.get(q, "") for q in self.questions),
                when,
                ("table" if student.listed else "file") if when else "",
                number(student.kept),
                cell(student.problem),
            ]
        )

    def __enter__(self) -> Grades:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
