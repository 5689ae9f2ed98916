"""Exercises are what their solutions generate, run untouched, and are judged as they should be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from pgcourse import CHAPTERS
from pgcourse.checks import core
from tools import exercises

ROOT = Path(__file__).parents[1]
NAMES = [f"{i:02d}_{stem}" for i, stem in enumerate(CHAPTERS)]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    env = os.environ | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_exercises_are_what_solutions_generate() -> None:
    assert exercises.drift() == []


def test_drift_is_seen(tmp_path: Path) -> None:
    for folder in ("solutions", "exercises"):
        (tmp_path / folder).mkdir()
        for path in (ROOT / folder).glob("0*.ipynb"):
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "exercises/00_start.ipynb").write_text("{}", encoding="utf-8")
    (tmp_path / "exercises/99_extra.ipynb").write_text("{}", encoding="utf-8")
    assert [line.split(":")[0] for line in exercises.drift(tmp_path)] == [
        "99_extra.ipynb",
        "00_start.ipynb",
    ]


SOLVED = 'def f(x):\n    """Doc."""\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n'


def test_only_the_marked_bodies_change() -> None:
    assert exercises.blank(SOLVED) == 'def f(x):\n    """Doc."""\n    return ...\n'
    for name in NAMES:
        solution = nbformat.read(ROOT / f"solutions/{name}.ipynb", as_version=4)
        exercise = nbformat.read(ROOT / f"exercises/{name}.ipynb", as_version=4)
        for before, after in zip(solution.cells, exercise.cells, strict=True):
            kept = before.source.split("### BEGIN SOLUTION")[0].rstrip(" ")
            assert after.source.startswith(kept)
            assert (after.id, after.cell_type) == (before.id, before.cell_type)
            assert not after.get("outputs")


@pytest.mark.parametrize(
    "source",
    [
        SOLVED.replace("### END SOLUTION", "# end"),
        SOLVED.replace("### BEGIN SOLUTION", "# begin"),
        SOLVED.replace("    ### END SOLUTION\n", "    ### END SOLUTION\n    return x\n"),
        SOLVED.replace("    ### BEGIN", "    y = 1\n    ### BEGIN"),
        SOLVED.replace("    ### BEGIN", "        ### BEGIN", 1),
    ],
)
def test_misplaced_markers_are_refused(source: str) -> None:
    with pytest.raises((exercises.MarkerError, SyntaxError)):
        exercises.blank(source)


@pytest.mark.parametrize("name", NAMES)
def test_every_function_of_the_chapter_is_asked_for_and_hinted(name: str) -> None:
    notebook = nbformat.read(ROOT / f"exercises/{name}.ipynb", as_version=4)
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    wanted = core.chapter_exercises(name[3:])
    assert re.findall(r"^check\((\w+)\)", code, re.M) == [e.name for e in wanted]  # in this order
    for exercise in wanted:
        assert f"def {exercise.name}(" in code
        assert f"`{exercise.name}(" in text
    for level in (1, 2, 3):
        assert text.count(f"<summary>Hint {level}") == len(wanted)
    assert text.count(" minutes*") == len(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_untouched_exercises_run_and_say_not_attempted(name: str) -> None:
    import asyncio

    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / f"exercises/{name}.ipynb", as_version=4)
    asyncio.run(NotebookClient(notebook, timeout=120).async_execute())
    told = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    wanted = core.chapter_exercises(name[3:])
    assert sum("not attempted" in output for output in told) == len(wanted)


# The two commands of the README tell a right notebook from a wrong one.


def wrong_notebook(folder: Path) -> Path:
    text = (ROOT / "solutions/01_mdp.ipynb").read_text(encoding="utf-8")
    path = folder / "student.ipynb"
    path.write_text(text.replace("(1 - gamma) * d0)", "d0)"), encoding="utf-8")
    return path


def test_submission_option_tells_right_from_wrong(tmp_path: Path) -> None:
    right = python("pytest", "--submission", "solutions/01_mdp.ipynb")
    assert (right.returncode, "4 passed" in right.stdout) == (0, True), right.stdout + right.stderr
    untouched = ("--submission", "exercises/00_start.ipynb")
    wrong = python("pytest", "--submission", str(wrong_notebook(tmp_path)), *untouched)
    assert wrong.returncode == 1
    assert "2 failed, 3 passed" in wrong.stdout
    assert "state_visitation: not normalised" in wrong.stdout
    assert "hello_grader: not attempted" in wrong.stdout


def test_submission_option_refuses_what_it_cannot_judge(tmp_path: Path) -> None:
    missing = python("pytest", "--submission", str(tmp_path / "nothing.ipynb"))
    assert missing.returncode == 4
    assert "--submission must be a notebook" in missing.stderr
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    empty = python("pytest", "--submission", str(tmp_path / "empty.py"))
    assert empty.returncode == 2
    assert "must define a function of an exercise" in empty.stdout


def test_nbval_with_strict_checks_tells_right_from_wrong(tmp_path: Path) -> None:
    options = ("-p", "no:xdist", "--nbval-lax")
    right = python("pytest", *options, "solutions/00_start.ipynb", PGCOURSE_STRICT="1")
    assert right.returncode == 0, right.stdout
    wrong = python("pytest", *options, "exercises/00_start.ipynb", PGCOURSE_STRICT="1")
    assert wrong.returncode == 1


def test_the_command_line_checks_a_notebook(tmp_path: Path) -> None:
    right = python("pgcourse.cli", "check", "solutions/00_start.ipynb")
    assert (right.returncode, right.stdout) == (0, "✓ hello_grader: right on 8 inputs\n")
    wrong = python("pgcourse.cli", "check", str(wrong_notebook(tmp_path)))
    assert (wrong.returncode, wrong.stdout.count("✓")) == (1, 3)
    assert python("pgcourse.cli", "check", str(tmp_path / "none.ipynb")).returncode == 2
