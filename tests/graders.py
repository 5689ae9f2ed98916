"""A grader that only pretends to judge, to try what surrounds it: a notebook says what it is."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Collection

import pgcourse.cli
from pgcourse.grading import spread
from pgcourse.grading.grade import Grader
from pgcourse.grading.results import Result


class Pretender(Grader):
    """Give the status that a cell's comment names; `# sleep` takes a moment, `# breaks` hangs."""

    asked: list[str]

    def _judge(self, cells: list[str], asked: Collection[str]) -> tuple[list[Result], list[str]]:
        text = "\n".join(cells)
        time.sleep(0.02 * ("# sleep" in text))
        found = re.search(r"# (right|wrong|not attempted)", text)
        status = found[1] if found else "wrong"
        return [Result(q, status, broke="# breaks" in text) for q in asked], []

    @property
    def warm(self) -> Pretender:  # type: ignore[override]
        return self

    layers = ()


def main(arguments: list[str]) -> int:
    """Run the command line with the pretender."""
    spread.Grader = Pretender  # type: ignore[misc]
    return pgcourse.cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
