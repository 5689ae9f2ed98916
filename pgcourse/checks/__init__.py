"""Wing — checks: one definition of "correct" per exercise, and answers that teach.

Students call `check(f)`. The grader, the tests of the references and the tests of the wrong
answers call `examine` with the same definitions; only where the function runs differs.
"""

from __future__ import annotations

import os
import sys
from typing import Any


class CheckFailedError(AssertionError):
    """A check did not find the function right, and `PGCOURSE_STRICT=1` asked to be told so."""

    def _render_traceback_(self) -> list[str]:
        """Show a notebook the verdict, not the insides of the check."""
        return str(self).splitlines()


def check(function: Any, *, seed: int | None = None) -> None:
    """Check a function of the exercises and show what was found.

    Args:
        function: your function; its name says which exercise it answers.
        seed: which random inputs to try; by default they are your own and stay the same.

    Raises:
        CheckFailedError: the function is not right, and the variable `PGCOURSE_STRICT` is 1.
    """
    from pgcourse.checks import core, show
    from pgcourse.checks.holder import Holder

    name = getattr(function, "__name__", repr(function))
    exercise = core.find_exercise(name)
    if exercise is None:
        verdict = core.no_such_exercise(name)
    else:
        own = core.own_seed() if seed is None else seed
        verdict = core.examine(exercise, Holder({name: function}), own)
    _display(show.Shown(verdict))
    if os.environ.get("PGCOURSE_STRICT") == "1" and not verdict.right:
        raise CheckFailedError(show.as_text(verdict))


def _display(shown: Any) -> None:
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display

        display(shown)
    else:
        print(shown)
