"""A pytest plug-in: `pytest --submission NOTEBOOK` reports one line a function."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--submission`."""
    parser.getgroup("pgcourse").addoption(
        "--submission",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="check the functions of a notebook or percent script (may be given several times)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the submissions, and nothing else."""
    submissions = config.getoption("--submission")
    for path in submissions:
        if not path.is_file():
            raise pytest.UsageError(f"--submission must be a notebook, got {path}")
    if submissions:
        config.args[:] = [str(path.resolve()) for path in submissions]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the submissions as files of tests."""
    if file_path in [p.resolve() for p in parent.config.getoption("--submission")]:
        return SubmissionFile.from_parent(parent, path=file_path)
    return None


class SubmissionFile(pytest.File):
    """A student's notebook."""

    def collect(self) -> Iterable[pytest.Item]:
        """Yield one item an exercise function."""
        from pgcourse.checks.core import own_seed
        from pgcourse.checks.holder import Remote
        from pgcourse.checks.submission import asked_for, code_cells

        try:
            cells = code_cells(self.path)
            exercises = asked_for(cells)
        except (OSError, ValueError) as error:
            raise self.CollectError(str(error)) from None
        self.remote = Remote(cells)
        self.session.config.add_cleanup(self.remote.close)
        for exercise in exercises:
            yield FunctionItem.from_parent(
                self, name=exercise.name, exercise=exercise, seed=own_seed()
            )


class FunctionItem(pytest.Item):
    """One function of a submission."""

    def __init__(self, *, exercise: Any, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exercise, self.seed = exercise, seed

    def runtest(self) -> None:
        """Examine the function in its own process."""
        from pgcourse.checks import CheckFailedError, core, show

        assert isinstance(self.parent, SubmissionFile)
        verdict = core.examine(self.exercise, self.parent.remote, self.seed)
        if not verdict.right:
            raise CheckFailedError(show.as_text(verdict))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show what the check says, without a traceback of its insides."""
        from pgcourse.checks import CheckFailedError

        if isinstance(excinfo.value, CheckFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the function."""
        return self.path, None, self.name
