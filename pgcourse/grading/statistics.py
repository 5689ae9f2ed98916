"""What the class got right and wrong, by name: counts, a figure, the instructor's page.

Data flow: Student ... -> Tally -> statistics.csv, statistics.json, statistics.svg, index.html.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgcourse.checks import core
from pgcourse.grading.feedback import page
from pgcourse.grading.results import Result
from pgcourse.grading.scores import MISSING, Student, number
from pgcourse.grading.texts import file_name, html

UNNAMED = "another wrong answer"
COLOURS = {"right": "#1a7f37", "wrong": "#b35900", "not attempted": "#6e7781", MISSING: "#c8ccd1"}
COLUMNS = ("question", "kind", "outcome", "count", "share")


def outcome(result: Result) -> str:
    """Return how an answer is counted: its status, or the name of its mistake."""
    return (result.mistake or UNNAMED) if result.status == "wrong" else result.status


def kind_of(what: str) -> int:
    """Return which of right, wrong, not attempted, not handed in an outcome is."""
    kinds = list(COLOURS)
    return kinds.index(what) if what in kinds else kinds.index("wrong")


class Tally:
    """Counts over the class; its size is that of the course, not of the class."""

    def __init__(self) -> None:
        self.students = self.problems = 0
        self.points = self.possible = 0.0
        self.outcomes: dict[str, Counter[str]] = {}
        self.files: Counter[str] = Counter()
        self.layers: Counter[str] = Counter()
        self.without: set[str] = set()

    def add(self, student: Student) -> None:
        """Count one student."""
        self.students += 1
        self.problems += bool(student.problem)
        self.points += student.points
        self.possible += student.possible
        for answer in student.answers:
            counts = self.outcomes.setdefault(answer.question.function, Counter())
            counts[outcome(answer.result)] += 1
        for line in student.lines:
            self.files[line.status] += 1
            if line.status == "graded":
                self.layers[", ".join(line.layers) or "none"] += 1
                self.without.update(line.without)

    def questions(self) -> list[str]:
        """Return the questions in the book's order."""
        return [name for name in core.exercises() if name in self.outcomes]

    def rows(self) -> Iterator[tuple[str, str, str, int, float]]:
        """Yield question, kind, outcome, count and share, the most frequent mistake first."""
        for name in self.questions():
            counts = self.outcomes[name]
            for what, count in sorted(counts.items(), key=lambda kv: (kind_of(kv[0]), -kv[1], kv)):
                share = round(count / counts.total(), 6)
                yield name, list(COLOURS)[kind_of(what)], what, count, share

    def write(self, folder: Path) -> str:
        """Write the table, the same for machines, and the figure; return the figure."""
        with (folder / "statistics.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *self.rows()])
        told: dict[str, Any] = {
            "students": self.students,
            "with problems": self.problems,
            "points": round(self.points, 4),
            "possible": round(self.possible, 4),
            "files": dict(sorted(self.files.items())),
            "isolation": dict(sorted(self.layers.items())),
            "without": sorted(self.without),
            "questions": [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()],
        }
        text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
        (folder / "statistics.json").write_text(text, encoding="utf-8")
        figure = self.figure()
        (folder / "statistics.svg").write_text(figure, encoding="utf-8")
        return figure

    def figure(self) -> str:
        """Return bars, one a question: shares of right, wrong, not attempted, not handed in."""
        import matplotlib as mpl
        from matplotlib.figure import Figure

        names = self.questions()[::-1]
        figure = Figure(figsize=(8, 1.2 + 0.35 * len(names)), layout="constrained")
        ax = figure.add_subplot()
        left = [0.0] * len(names)
        for i, (kind, colour) in enumerate(COLOURS.items()):
            shares = [
                sum(n for what, n in c.items() if kind_of(what) == i) / c.total()
                for c in (self.outcomes[name] for name in names)
            ]
            ax.barh(names, shares, left=left, color=colour, label=kind)
            left = [a + b for a, b in zip(left, shares, strict=True)]
        ax.set(xlim=(0, 1), xlabel=f"share of the answers ({self.students} students)")
        ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
        stream = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": "pgcourse", "svg.fonttype": "none"}):
            figure.savefig(stream, format="svg", metadata={"Date": None})
        return stream.getvalue()


class Index:
    """The instructor's page, written a student at a time; a context manager."""

    def __init__(self, folder: Path, title: str) -> None:
        self.file = (folder / "index.html").open("w", encoding="utf-8")
        head, self.tail = page(html(title), "\0").split("\0")
        self.file.write(f"{head}<h1>{html(title)}</h1>\n<table>\n<thead><tr>")
        self.file.write("<th>student</th><th>points</th><th>problem</th></tr></thead>\n")

    def add(self, student: Student) -> None:
        """Write one row."""
        link = f'<a href="feedback/{file_name(student.name)}.html">{html(student.name)}</a>'
        points = f"{number(student.points)} of {number(student.possible)}"
        row = f"<tr><td>{link}</td><td>{points}</td><td>{html(student.problem)}</td></tr>\n"
        self.file.write(row)

    def finish(self, tally: Tally, figure: str) -> None:
        """Write what is known only at the end: isolation, the class, the figure."""
        parts = ["</table>", "<h2>Isolation in force</h2>", "<ul>"]
        parts += [f"<li>{html(names)}: {n} files</li>" for names, n in tally.layers.items()]
        parts += [f"<li>not in force: {html(why)}</li>" for why in sorted(tally.without)]
        parts += ["</ul>", "<h2>Questions</h2>", figure[figure.index("<svg") :], "<table>"]
        parts.append("<thead><tr><th>question</th><th>outcome</th><th>count</th></tr></thead>")
        for name, _, what, count, _ in tally.rows():
            parts.append(f"<tr><td>{html(name)}</td><td>{html(what)}</td><td>{count}</td></tr>")
        self.file.write("\n".join([*parts, "</table>"]) + self.tail)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
