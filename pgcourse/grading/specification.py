"""What an instructor asks for: questions, points, limits, the secret seed, the due date.

Data flow: YAML file -> Specification; a mistake in the file is told by file, line and key.

Points stand here and nowhere else: nothing that a student hands in can carry any.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.grading.reading import LARGEST
from pgcourse.grading.sandbox import Limits
from pgcourse.grading.source import Source, SpecificationError

__all__ = ["Late", "Question", "Specification", "SpecificationError", "load"]

Points = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One function and its points.

    Args:
        function: name of the function.
        points: for a right answer.
        partial: whether a wrong answer gets the share of the inputs that it answers rightly.
        mistakes: points for answers that make a named mistake, instead of `partial`.
    """

    function: str
    points: Points = 1.0
    partial: bool = False
    mistakes: dict[str, Points] = {}


class Late(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What being late costs.

    Args:
        lose: percent of the points lost with each started day.
        grace: minutes after the due date that cost nothing.
        until: days after which nothing counts; without it, only `lose` does.
    """

    lose: Annotated[float, msgspec.Meta(ge=0, le=100)]
    grace: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    until: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as it is written."""

    title: str = ""
    seed: Seed | None = None
    public_seed: Seed = 0
    chapters: list[str] = []
    questions: list[str | Question] = []
    limits: dict[str, Annotated[float, msgspec.Meta(gt=0)]] = {}
    due: str | None = None
    late: Late | None = None
    submitted: str | None = None
    book: str = ""


@dataclass(frozen=True)
class Specification:
    """What is asked, and how it counts.

    Args:
        questions: in the order of the file; none means: what each notebook concerns, a point each.
        seed: of the hidden inputs; None until a run draws one.
        public_seed: of the inputs that feedback may show.
        limits: of the sandbox.
        notebook_bytes: size of the largest file that is read.
        due: until when there is no loss.
        late: what lateness costs; without it, nothing.
        submitted: when each student handed in, where the instructor knows; else the files' times.
        book: address of the book that feedback links to.
        title: what the feedback is called.
    """

    questions: tuple[Question, ...] = ()
    seed: int | None = None
    public_seed: int = 0
    limits: Limits = field(default_factory=Limits)
    notebook_bytes: int = LARGEST
    due: datetime | None = None
    late: Late | None = None
    submitted: dict[str, datetime] = field(default_factory=dict)
    book: str = ""
    title: str = ""

    def question(self, function: str) -> Question:
        """Return the question about a function; without a list of questions, one point."""
        return next((q for q in self.questions if q.function == function), Question(function))

    def judged(self) -> list[Any]:
        """Return what a verdict depends on; points and dates are not among it."""
        asked = [q.function for q in self.questions]
        return [asked, self.seed, self.public_seed, repr(self.limits), self.notebook_bytes]

    def kept(self, when: datetime) -> float:
        """Return the share of the points that is left when handed in at `when`."""
        if self.due is None or self.late is None:
            return 1.0
        over = when - self.due - timedelta(minutes=self.late.grace)
        if over <= timedelta(0):
            return 1.0
        days = over / timedelta(days=1)
        if self.late.until is not None and days > self.late.until:
            return 0.0
        return max(0.0, 1 - self.late.lose / 100 * -(-over // timedelta(days=1)))


def load(path: Path) -> Specification:
    """Read a specification.

    Raises:
        SpecificationError: with file, line, key, condition and value.
    """
    source = Source(path)
    written: Written = source.convert({"": Written, "questions": Question, "late": Late})
    due = source.time(written.due, "due") if written.due else None
    if written.late and due is None:
        raise source.error("late", "stand beside a due date", "none")
    return Specification(
        tuple(_questions(source, written)),
        written.seed,
        written.public_seed,
        _limits(source, written.limits),
        int(written.limits.get("notebook_bytes", LARGEST)),
        due,
        written.late,
        _submitted(source, path.parent / written.submitted) if written.submitted else {},
        written.book,
        written.title,
    )


def _questions(source: Source, written: Written) -> Iterator[Question]:
    """Yield the functions of `chapters`, then `questions`; each function once."""
    seen: set[str] = set()
    listed = {q if isinstance(q, str) else q.function for q in written.questions}
    for i, stem in enumerate(written.chapters):
        if stem not in CHAPTERS:
            raise source.error(f"chapters[{i}]", f"be one of {', '.join(CHAPTERS)}", stem)
        if stem in written.chapters[:i]:
            raise source.error(f"chapters[{i}]", "stand once", stem)
        yield from (Question(e.name) for e in core.chapter_exercises(stem) if e.name not in listed)
    for i, entry in enumerate(written.questions):
        question = Question(entry) if isinstance(entry, str) else entry
        where = f"questions[{i}]"
        if question.function not in core.exercises():
            raise source.error(where, "name a function of the exercises", question.function)
        if question.function in seen:
            raise source.error(where, "name each function once", question.function)
        _check_partial(source, where, question)
        seen.add(question.function)
        yield question


def _check_partial(source: Source, where: str, question: Question) -> None:
    if question.partial and question.mistakes:
        raise source.error(where, "have partial: true or mistakes, not both", "both")
    exercise = core.exercises()[question.function]
    known = [*(m.name for m in exercise.mistakes), *core.GENERIC]
    for name, points in question.mistakes.items():
        if name not in known:
            raise source.error(f"{where}.mistakes", f"have names among: {'; '.join(known)}", name)
        if points > question.points:
            condition = f"be at most the points of the question ({question.points:g})"
            raise source.error(f"{where}.mistakes", condition, f"{name}: {points:g}")


def _limits(source: Source, written: dict[str, float]) -> Limits:
    kinds: dict[str, Any] = {f.name: type(f.default) for f in msgspec.structs.fields(Limits)}
    for key in written:
        if key not in {*kinds, "notebook_bytes"}:
            raise source.error(
                "limits", f"have keys among: {', '.join(kinds)}, notebook_bytes", key
            )
    return Limits(**{k: kinds[k](v) for k, v in written.items() if k in kinds})


def _submitted(source: Source, path: Path) -> dict[str, datetime]:
    """Read a table with the columns `student` and `submitted`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            table = csv.DictReader(lines)
            if not {"student", "submitted"} <= set(table.fieldnames or ()):
                got = ", ".join(table.fieldnames or ()) or "none"
                raise source.error("submitted", "have columns student and submitted", got)
            return {
                row["student"]: source.time(row["submitted"], f"{path.name}:{table.line_num}")
                for row in table
            }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise source.error("submitted", "be a table that can be read", str(error)) from None
