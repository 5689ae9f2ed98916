"""Count what the course proves, by proving it: `python -m tests.counts [--json]`."""

from __future__ import annotations

import contextlib
import io
import json
import sys

from pgcourse.checks import core
from pgcourse.checks.holder import Holder
from tests import equations, mutants, variants
from tests.equivalent_mutants import EQUIVALENT


def equation_counts() -> dict[str, int]:
    """Count numbered equations and misprints; run each."""
    registry = equations.load().values()
    checked = [e for e in registry if e.kind != "definition"]
    misprints = [(e, m) for e in checked for m in e.misprints]
    return {
        "numbered equations": len(registry),
        "equations checked": sum(equations.holds(e)[0] for e in checked),
        "definitions, each used by a check": sum(
            equations.holds(e)[0] for e in registry if e.kind == "definition"
        ),
        "negative controls": len(misprints),
        "negative controls failing as they must": sum(equations.caught(e, m) for e, m in misprints),
    }


def answer_counts() -> dict[str, int]:
    """Count wrong and right answers; judge each."""
    exercises = core.exercises().values()
    wrong = [(e, m, w) for e in exercises for m in e.mistakes for w in m.wrong]
    right = [(e, f) for e in exercises for _, f in variants.correct(e)]
    caught = [(e.name, m.name) for e, m, w in wrong if _judge(e, w).mistake != m.name]
    named = {(e.name, m.name) for e, m, _ in wrong}
    return {
        "exercise functions": len(exercises),
        "named wrong answers": len(named),
        "caught under their own name": len(named - set(caught)),
        "correct variants": len(right),
        "correct variants accepted": sum(_judge(e, f).right for e, f in right),
    }


def _judge(exercise: core.Exercise, function: object) -> core.Verdict:
    return core.examine(exercise, Holder({exercise.name: function}), 0)


def mutant_counts() -> dict[str, int]:
    """Count mutants of the reference functions; judge each."""
    every = mutants.all_mutants()
    survivors = [m for m in every if not mutants.is_rejected(m)]
    return {
        "mutants": len(every),
        "mutants rejected": len(every) - len(survivors),
        "mutants listed as equivalent": sum(
            (m.function, m.change) in EQUIVALENT for m in survivors
        ),
    }


def all_counts() -> dict[str, int]:
    """Return every count by its name."""
    with contextlib.redirect_stdout(io.StringIO()):
        return equation_counts() | answer_counts() | mutant_counts()


def main(as_json: bool) -> None:
    """Print the counts as a table, or as JSON."""
    counts = all_counts()
    width = max(map(len, counts))
    table = "\n".join(f"{name:{width}s}  {count:6d}" for name, count in counts.items())
    print(json.dumps(counts, indent=2) if as_json else table)


if __name__ == "__main__":
    main("--json" in sys.argv[1:])
