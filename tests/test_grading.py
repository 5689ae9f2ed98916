"""The grader's trusted side: what is asked, read, kept, counted and told."""

from __future__ import annotations

import contextlib
import csv
import html.parser
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import nbformat
import pytest

import pgcourse.cli
from pgcourse import CHAPTERS
from pgcourse.checks import core, wire
from pgcourse.checks.holder import Callee
from pgcourse.grading import feedback, grade, reading, results, scores, spread, texts
from pgcourse.grading.finding import Found, find, questions_of
from pgcourse.grading.grade import Grader, Task
from pgcourse.grading.reading import UnreadableError, cells_of
from pgcourse.grading.results import BusyError, Line, Result, Shown, Store
from pgcourse.grading.sandbox import Limits, Warm
from pgcourse.grading.specification import Question, Specification, SpecificationError, load
from tests import graders

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("PGCOURSE_KILLS", "3"))  # of a run of 20 files for each
NAMES = [f"{i:02d}_{stem}" for i, stem in enumerate(CHAPTERS)]
RIGHT = "def hello_grader(name):\n    return f'Hello, {name}!'\n"


def notebook(*sources: str, **more: Any) -> bytes:
    cells = [{"cell_type": "code", "metadata": {}, "source": s, "outputs": []} for s in sources]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": cells} | more).encode()


# --- what is asked -----------------------------------------------------------------------------


def specification(folder: Path, text: str) -> Specification:
    path = folder / "spec.yml"
    path.write_text(text, encoding="utf-8")
    return load(path)


FULL = """title: Sheet 3
seed: 8161
chapters: [policies]
questions:
  - hello_grader
  - function: rollout
    points: 3
    partial: true
  - {function: softmax, points: 2, mistakes: {overflow: 0.5}}
due: 2026-11-20T23:59:00+01:00
late: {lose: 10, grace: 15, until: 3}
limits: {call_seconds: 3, notebook_bytes: 1000}
"""


def test_a_specification_is_read(tmp_path: Path) -> None:
    name = core.exercises()["softmax"].mistakes[0].name
    spec = specification(tmp_path, FULL.replace("overflow", json.dumps(name)))
    told = [(q.function, q.points) for q in spec.questions]
    chapter = [(e.name, 1.0) for e in core.chapter_exercises("policies") if e.name != "softmax"]
    assert told == [*chapter, ("hello_grader", 1.0), ("rollout", 3.0), ("softmax", 2.0)]
    assert (spec.seed, spec.limits.call_seconds, spec.notebook_bytes) == (8161, 3.0, 1000)
    assert spec.questions[-1].mistakes == {name: 0.5}
    assert spec.due == datetime.fromisoformat("2026-11-20T23:59:00+01:00")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("questions:\n  - nothing", ":2: questions[0] must name a function of the exercises, got"),
        ("seed: 1\nsead: 2", ":2: a key must be one of title, seed,"),
        (
            "questions:\n- function: rollout\n  point: 2",
            ":3: a key must be one of function, points",
        ),
        ("late: {loose: 3}", ":1: a key must be one of lose, grace, until, got loose"),
        ("questions:\n- rollout\n- rollout", ":3: questions[1] must name each function once"),
        ("questions:\n- function: rollout\n  points: -1", ":3: questions[0].points must be a num"),
        ("questions:\n- function: rollout\n  points: -1", ">= 0.0, got -1"),
        ("questions:\n- {function: rollout, points: lots}", "must be a number, got lots"),
        ("questions:\n- {function: rollout, points: .nan}", "questions[0].points must be"),
        ("questions:\n- {function: rollout, points: .inf}", "questions[0].points must be"),
        ("questions:\n- points: 3", "questions[0] must have the key function, got none"),
        ("questions: rollout", ":1: questions must be a list, got rollout"),
        ("questions:\n- [rollout]", "questions[0] must be a name or a mapping"),
        ("seed: -3", ":1: seed must be a whole number >= 0, got -3"),
        ("seed: 1\nseed: 2", ":1: key seed must stand once"),
        ("due: 2026-13-01T00:00:00Z", ":1: due must be a date with time and offset from UTC"),
        ("due: 2026-11-20 23:59", "due must be a date with time and offset"),
        ("due: 20", "due must be text, got 20"),
        ("late: {lose: 10}", "late must stand beside a due date, got none"),
        ("due: 2026-11-20T23:59:00Z\nlate: {lose: 110}", ":2: late.lose must be a number <= 100"),
        ("chapters: [mdp, magic]", ":1: chapters[1] must be one of start, mdp"),
        ("chapters: [mdp, mdp]", "chapters[1] must stand once, got mdp"),
        ("limits: {cells: 3}", "limits must have keys among: memory"),
        ("limits: {cpu: 0}", "limits must be a number > 0"),
        ("submitted: none.csv", "submitted must be a table that can be read"),
        ("questions: [", ":1: must be YAML, got"),
        ("- a list", "the file must be a mapping of keys to values"),
        ("\x00", "must be YAML"),
        ("questions:\n- {function: rollout, partial: true, mistakes: {a: 1}}", "not both"),
        ("questions:\n- {function: rollout, mistakes: {unheard of: 1}}", "have names among"),
        ("questions:\n- {function: rollout, mistakes: {too slow: 2}}", "at most the points"),
    ],
)
def test_a_wrong_specification_is_told_by_line_key_condition_and_value(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(SpecificationError) as caught:
        specification(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "spec.yml"))
    assert told in str(caught.value)


def test_times_come_from_the_instructors_table(tmp_path: Path) -> None:
    table = tmp_path / "times.csv"
    table.write_text("student,submitted\nada,2026-11-20T10:00:00Z\n", encoding="utf-8")
    spec = specification(tmp_path, "submitted: times.csv")
    assert spec.submitted == {"ada": datetime(2026, 11, 20, 10, tzinfo=UTC)}
    table.write_text("student,submitted\nada,yesterday\n", encoding="utf-8")
    with pytest.raises(SpecificationError, match=r"times\.csv:2 must be a date"):
        specification(tmp_path, "submitted: times.csv")


@pytest.mark.parametrize(
    ("minutes", "kept"),
    [
        (-1, 1),
        (15, 1),
        (15.1, 0.9),
        (24 * 60 + 15, 0.9),
        (24 * 60 + 16, 0.8),
        (3 * 24 * 60 + 15, 0.7),
        (3 * 24 * 60 + 16, 0),
    ],
)
def test_lateness_costs_its_percent_for_each_started_day(
    tmp_path: Path, minutes: float, kept: float
) -> None:
    late = "due: 2026-11-20T23:59:00+01:00\nlate: {lose: 10, grace: 15, until: 3}"
    spec = specification(tmp_path, late)
    assert spec.due is not None
    assert spec.kept(spec.due + timedelta(minutes=minutes)) == pytest.approx(kept)
    assert specification(tmp_path, "seed: 1").kept(datetime.now(UTC)) == 1


# --- reading -----------------------------------------------------------------------------------

VERSION_3 = {
    "nbformat": 3,
    "worksheets": [
        {"cells": [{"cell_type": "code", "input": ["x = 1\n", "y = 2"], "outputs": []}]}
    ],
}


@pytest.mark.parametrize(
    ("data", "name", "cells"),
    [
        (notebook("x = 1", "y = 2"), "a.ipynb", ["x = 1", "y = 2"]),
        (json.dumps(VERSION_3).encode(), "a.ipynb", ["x = 1\ny = 2"]),
        (b"\xef\xbb\xbf" + notebook("x = 1"), "a.IPYNB", ["x = 1"]),
        (notebook("x = 1").decode().encode("utf-16"), "a.ipynb", ["x = 1"]),
        (b"\0" + notebook("x\0 = 1\r\ny = 2") + b"\0\0", "a.ipynb", ["x = 1\ny = 2"]),
        (notebook("x = '\ud800'"), "a.ipynb", ["x = '?'"]),
        (b'{"cells": [{"cell_type": "code", "source": "x", "outputs": [NaN]}]}', "a.ipynb", ["x"]),
        (notebook("x = 1", metadata={"kernelspec": {"name": "ir"}}), "a.ipynb", ["x = 1"]),
        (b'{"cells": [], "cells": [{"cell_type": "code", "source": "x"}]}', "a.ipynb", ["x"]),
        (notebook(*["x = 1"] * 5000), "a.ipynb", ["x = 1"] * 5000),
        (b'{"cells": [{"cell_type": "markdown", "source": "x"}]}', "a.ipynb", []),
        (b"x = 1\r\n# %%\r\ny = 2\r\n", "a.py", ["x = 1\n", "\ny = 2\n"]),
        (
            b"# %% [markdown]\n# text\n# %% name\nx = 1\n#%%\ny = 2",
            "a.py",
            ["\nx = 1\n", "\ny = 2"],
        ),
        (b"# %%\rx = 1\r# %%\r\ny = 2\r", "a.py", ["\nx = 1\n", "\ny = 2\n"]),
        (b"# In[3]:\n\nx = 1\n# In[ ]:\ny = 2", "a.py", ["\n\nx = 1\n", "\ny = 2"]),
        ("x = 'é'".encode("latin-1"), "a.py", ["x = '\ufffd'"]),
    ],
)
def test_cells_are_read_from_every_form(data: bytes, name: str, cells: list[str]) -> None:
    assert cells_of(data, name) == cells


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"PK\x03\x04",
        b"[" * 1_000_000,
        b'{"cells": ' + b'[{"a":' * 200_000,
        b'{"metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b', "cells": []}',
        b'{"cells": 5}',
        b'{"cells": [5]}',
        b'{"cells": [{"cell_type": "code", "source": {"a": 1}}]}',
        b'{"cells": [{"source": "x"}]}',
        b'{"cells": [{"cell_type": "code", "source": ' + b"9" * 1_000_000 + b"}]}",
        b'{"nbformat": NaN, "cells": ' + b"9" * 100_000 + b"}",
        b'{"nbformat": NaN, "cells": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_hostile_json_is_refused_by_name_and_at_once(data: bytes) -> None:
    start = time.process_time()
    with pytest.raises(UnreadableError, match="must be a notebook"):
        cells_of(data, "a.ipynb")
    assert time.process_time() - start < 1


def test_more_code_than_anyone_writes_is_refused() -> None:
    with pytest.raises(UnreadableError, match="characters of code"):
        cells_of(notebook("x = 1\n" * 1_000_000), "a.ipynb")
    assert len(cells_of(notebook("x = 1\n" * 500_000), "a.ipynb")) == 1


def test_outputs_and_metadata_are_never_built() -> None:
    outputs = json.dumps([{"data": {"text/plain": "x" * 5_000_000}}] * 2)
    data = (
        b'{"cells": [{"cell_type": "code", "source": "x", "outputs": ' + outputs.encode() + b"}]}"
    )
    assert cells_of(data, "a.ipynb") == ["x"]
    assert not hasattr(reading.Cell(cell_type="code"), "outputs")


def test_files_are_found_and_strange_ones_refused(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for folder in ("bob/deep", "empty", "odd.ipynb", "bob/.ipynb_checkpoints"):
        (root / folder).mkdir(parents=True)
    for name in ("ada_01_mdp.ipynb", "ada_00_start (1).ipynb", "bob/x.py", "bob/deep/y.ipynb"):
        (root / name).write_bytes(notebook("x"))
    (root / "bob/.ipynb_checkpoints/x.ipynb").write_bytes(notebook("x"))
    (root / "bob/notes.pdf").write_bytes(b"x")
    for name in (b"\xff.ipynb", b"\\xff.ipynb", b"\\\xff.ipynb"):
        (root / os.fsdecode(name)).write_bytes(b"")
    (tmp_path / "secret.ipynb").write_bytes(notebook("x"))
    (root / "bob/link.ipynb").symlink_to(tmp_path / "secret.ipynb")
    (root / "bob/folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.ipynb")
    found = {f.name: (f.student, f.ignored or f.refused) for f in find(root)}
    assert found == {
        "ada_01_mdp.ipynb": ("ada", ""),
        "ada_00_start (1).ipynb": ("ada", ""),
        "bob/x.py": ("bob", ""),
        "bob/deep/y.ipynb": ("bob", ""),
        "bob/.ipynb_checkpoints/x.ipynb": ("bob", "a hidden file, or a copy made by a tool"),
        "bob/notes.pdf": ("bob", "neither .ipynb nor .py"),
        "bob/link.ipynb": ("bob", "a link, which is not followed"),
        "bob/folder": ("bob", "a link, which is not followed"),
        "\\xff.ipynb": ("\\xff", ""),
        "\\\\xff.ipynb": ("\\\\xff", ""),
        "\\\\\\xff.ipynb": ("\\\\\\xff", ""),
        "empty": ("empty", "an empty folder"),
        "odd.ipynb": ("odd.ipynb", "an empty folder"),
        "pipe.ipynb": ("pipe", "not a regular file"),
    }
    for path in (root / "bob/link.ipynb", root / "pipe.ipynb", root / "bob", root / "none"):
        with pytest.raises(UnreadableError):
            reading.read(str(path), 10**6)
    with pytest.raises(UnreadableError, match="must have at most 10 bytes"):
        reading.read(str(root / "bob/x.py"), 10)
    with pytest.raises(UnreadableError, match="is empty"):
        reading.read(str(root / os.fsdecode(b"\xff.ipynb")), 10)


def test_a_notebook_is_asked_for_its_chapter_and_for_what_it_defines() -> None:
    chapter = [e.name for e in core.chapter_exercises("trajectories")]
    cells = [f"def {name}(x):\n    pass" for name in chapter[1:]]
    assert questions_of(cells) == chapter
    helper = [*cells, "softmax = lambda x: x"]
    assert questions_of(helper) == chapter  # a helper is no second chapter
    assert questions_of(helper, ["softmax"]) == ["softmax"]  # but an answer, where asked
    assert questions_of(helper, ["log_softmax"]) == []
    with pytest.raises(UnreadableError, match="must define a function"):
        questions_of(["print('nothing of the course')", "soft = max"])


RETURN = "f'Hello, {name}!'"
BINDINGS = [
    f"hello_grader, other = (lambda name: {RETURN}), None",
    f"(other, hello_grader) = None, lambda name: {RETURN}",
    f"x = 1; hello_grader = lambda name: {RETURN}",
    f"a = hello_grader = lambda name: {RETURN}",
    f"if True: hello_grader = lambda name: {RETURN}",
    f"hello_grader: object = lambda name: {RETURN}",
    f"globals()['hello_grader'] = lambda name: {RETURN}",
    f"%%writefile own.py\ndef hello_grader(name): return {RETURN}",
]


@pytest.mark.parametrize("text", BINDINGS)
def test_a_function_is_found_however_it_is_bound(text: str) -> None:
    assert questions_of([text]) == ["hello_grader"]
    if "globals" not in text:  # beside others, too
        assert questions_of([text, "def softmax(x): pass"], ["softmax", "hello_grader"]) == [
            "hello_grader",
            "softmax",
        ]


def test_finding_what_is_bound_takes_no_time() -> None:
    start = time.process_time()
    for text in (" ", "a", "(", ",", ":a", ";", "=", "a:", "a ", "a,", "\n ", "a\n", "def ", " (,"):
        with contextlib.suppress(UnreadableError):
            questions_of([text * (200_000 // len(text))])
    assert time.process_time() - start < 3


# --- results -----------------------------------------------------------------------------------


def test_a_torn_line_counts_as_not_written(tmp_path: Path) -> None:
    lines = [Line(f"{i}.ipynb", "ada", "key", "graded") for i in range(3)]
    with Store(tmp_path) as store:
        store.add(lines)
    whole = (tmp_path / "results.jsonl").read_bytes()
    for cut in [*range(0, len(whole), 7), len(whole)]:
        (tmp_path / "results.jsonl").write_bytes(whole[:cut])
        with Store(tmp_path) as store:
            kept = whole[:cut].count(b"\n")
            assert [store.get(f"{i}.ipynb") for i in range(3)] == lines[:kept] + [None] * (3 - kept)
            store.add(lines[kept:])
            assert store.path.read_bytes() == whole


def test_a_later_line_replaces_an_earlier_one(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add([Line("b", "ada", "1", "graded"), Line("a", "ada", "1", "graded")])
        store.add([Line("b", "ada", "2", "graded")])
        store.path.write_bytes(store.path.read_bytes() + b"damaged\n")
    with Store(tmp_path) as store:
        store.settle()
        keys = [json.loads(line)["key"] for line in store.path.read_text().splitlines()]
        assert keys == ["1", "2"]
        with pytest.raises(BusyError):
            Store(tmp_path)


def run(*arguments: object) -> int:
    return graders.main(["grade", *map(str, arguments), "-j", "1"])


@pytest.fixture
def pretender(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from _pretending(monkeypatch)


def _pretending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(spread, "Grader", graders.Pretender)
    before = signal.getsignal(signal.SIGTERM)
    yield
    spread.dismiss()
    signal.signal(signal.SIGTERM, before)


def handed_in(folder: Path, **texts_: str) -> Path:
    root = folder / "in"
    root.mkdir(exist_ok=True)
    for name, text in texts_.items():
        (root / f"{name}.py").write_text(f"def hello_grader(name): # {text}\n", encoding="utf-8")
    return root


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return {row["student"]: row for row in csv.DictReader(lines)}


def lines_of(out: Path) -> dict[str, Line]:
    raw = (out / "results.jsonl").read_bytes().splitlines()
    told = [msgspec.json.decode(line, type=Line) for line in raw]
    assert len({line.file for line in told}) == len(told)
    return {line.file: line for line in told}


@pytest.mark.usefixtures("pretender")
def test_a_second_run_grades_only_what_is_new_or_changed(tmp_path: Path) -> None:
    root, out = handed_in(tmp_path, ada="right", bob="wrong"), tmp_path / "out"
    assert run(root, "--out", out) == 0
    first = (out / "results.jsonl").read_bytes()
    assert run(root, "--out", out) == 0
    assert (out / "results.jsonl").read_bytes() == first
    handed_in(tmp_path, bob="right", eve="not attempted")
    assert run(root, "--out", out) == 0
    after = (out / "results.jsonl").read_bytes()
    assert first.splitlines()[0] == after.splitlines()[0]
    points = {name: row["points"] for name, row in table(out / "grades.csv").items()}
    assert points == {"ada": "1", "bob": "1", "eve": "0"}


@pytest.mark.usefixtures("pretender")
def test_points_change_without_grading_again(tmp_path: Path) -> None:
    root, out, spec = handed_in(tmp_path, ada="right"), tmp_path / "out", tmp_path / "spec.yml"
    seconds: set[float] = set()
    for points in (2, 3):
        spec.write_text(f"questions: [{{function: hello_grader, points: {points}}}]")
        assert run(root, "--out", out, "--spec", spec) == 0
        assert table(out / "grades.csv")["ada"]["points"] == str(points)
        seconds.add(lines_of(out)["ada.py"].seconds)
    assert len(seconds) == 1
    spec.write_text("seed: 5\nquestions: [hello_grader]")
    key = lines_of(out)["ada.py"].key
    run(root, "--out", out, "--spec", spec)
    assert lines_of(out)["ada.py"].key != key  # another seed is another verdict


@pytest.mark.usefixtures("pretender")
def test_only_grades_again_what_is_named(tmp_path: Path) -> None:
    root, out = handed_in(tmp_path, ada="right", bob="wrong"), tmp_path / "out"
    (root / "ada.py").write_text("def softmax(x): # right\n  pass\ndef log_softmax(x): pass\n")
    run(root, "--out", out)
    before = lines_of(out)
    graders.Pretender._judge, kept = _all_wrong, graders.Pretender._judge  # type: ignore[method-assign]
    try:
        assert run(root, "--out", out, "--only", "softmax") == 0
    finally:
        graders.Pretender._judge = kept  # type: ignore[method-assign]
    after = lines_of(out)
    told = {r.question: r.status for r in after["ada.py"].results}
    assert told.pop("softmax") == "wrong"
    assert set(told.values()) == {"right"}
    assert before["bob.py"].results == after["bob.py"].results
    assert run(root, "--out", out, "--only", "nobody") == 2


def _all_wrong(self: Any, cells: Any, asked: Any) -> Any:
    return [Result(q, "wrong") for q in asked], []


@pytest.mark.usefixtures("pretender")
def test_a_run_for_one_question_leaves_the_others_to_the_next(tmp_path: Path) -> None:
    root, out = handed_in(tmp_path), tmp_path / "out"
    (root / "ada.py").write_text("def softmax(x): # right\n  pass\ndef log_softmax(x): pass\n")
    run(root, "--out", out, "--only", "softmax")
    assert [r.question for r in lines_of(out)["ada.py"].results] == ["softmax"]
    run(root, "--out", out)
    assert len(lines_of(out)["ada.py"].results) == len(core.chapter_exercises("policies"))


@pytest.mark.usefixtures("pretender")
def test_retry_failed_takes_what_broke_and_nothing_else(tmp_path: Path) -> None:
    root, out = handed_in(tmp_path, ada="right", bob="wrong # breaks"), tmp_path / "out"
    (root / "eve.ipynb").write_text("{")
    assert run(root, "--out", out) == 1
    kept = graders.Pretender._judge
    graders.Pretender._judge = _all_wrong  # type: ignore[method-assign]
    try:
        run(root, "--out", out, "--retry-failed")
    finally:
        graders.Pretender._judge = kept  # type: ignore[method-assign]
    told = lines_of(out)
    assert (told["ada.py"].results[0].status, told["bob.py"].failed) == ("right", False)
    assert told["eve.ipynb"].status == "unreadable"


@pytest.mark.usefixtures("pretender")
def test_exit_codes_tell_what_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = handed_in(tmp_path, ada="right"), tmp_path / "out"
    assert run(root, "--out", out) == 0
    assert run(tmp_path / "none", "--out", out) == 2
    assert run(root, "--out", root / "out") == 2
    assert "DIR must lie outside" in capsys.readouterr().err
    (tmp_path / "bad.yml").write_text("seed: x")
    assert run(root, "--out", out, "--spec", tmp_path / "bad.yml") == 2
    (tmp_path / "nothing").mkdir()
    assert run(tmp_path / "nothing", "--out", out) == 2
    with Store(out):
        assert run(root, "--out", out) == 2
    (root / "eve.ipynb").write_bytes(b"")
    assert run(root, "--out", out) == 1
    with pytest.raises(SystemExit) as usage:
        pgcourse.cli.main(["grade"])
    assert usage.value.code == 2

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def missing(*_: object) -> None:
        raise grade_isolation("isolation must be full")

    from pgcourse.grading.sandbox import IsolationError as grade_isolation  # noqa: N813

    for judge, code in ((interrupt, 130), (missing, 3)):
        monkeypatch.setattr(graders.Pretender, "_judge", judge)
        assert run(root, "--out", out, "--only", "ada") == code


@pytest.mark.usefixtures("pretender")
def test_a_run_killed_at_any_moment_ends_as_one_that_was_not(tmp_path: Path) -> None:
    kinds = ["right # sleep", "wrong # sleep", "not attempted # sleep"]
    root = handed_in(tmp_path, **{f"s{i:03d}": kinds[i % 3] for i in range(20 * KILLS)})
    command = [sys.executable, "-m", "tests.graders", "grade", str(root), "-j", "1", "--out"]
    rng, out = random.Random(3), tmp_path / "killed"
    kills = 0
    for _ in range(KILLS):
        process = subprocess.Popen([*command, str(out)], cwd=ROOT, stdout=subprocess.DEVNULL)
        path, start = out / "results.jsonl", 0 if kills else -1
        start = path.stat().st_size if path.exists() else start
        until = time.monotonic() + 20
        while time.monotonic() < until and not (path.exists() and path.stat().st_size > start):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        with path.open("ab") as file:
            file.write(b'{"file": "s0' * rng.randrange(2))  # a torn line
    assert kills >= 2
    for folder in (out, tmp_path / "calm"):
        assert run(root, "--out", folder) == 0
    assert len(lines_of(out)) == len(list(root.iterdir()))
    assert (out / "grades.csv").read_bytes() == (tmp_path / "calm/grades.csv").read_bytes()


# --- points ------------------------------------------------------------------------------------


def test_points_follow_the_specification_alone() -> None:
    def points(status: str, share: float = 0.0, mistake: str = "", **more: Any) -> float:
        question = Question("softmax", points=3, **more)
        return scores.points_of(question, Result("softmax", status, share, mistake))

    assert points("right", 1.0) == 3
    assert points("wrong", 0.9) == 0
    assert points("wrong", 0.9, partial=True) == 2.7
    assert points("wrong", 0.5, "sign", mistakes={"sign": 1}) == 1
    assert points("wrong", 0.5, "other", mistakes={"sign": 1}) == 0
    for status in ("not attempted", "not handed in"):
        assert points(status, 1.0, "sign", mistakes={"sign": 1}) == 0


def test_a_worse_answer_never_has_more_partial_points() -> None:
    exercise = core.exercises()["softmax_score"]
    cases = core.cases_of(exercise, 3)

    class Some(Callee):
        """Right on the first inputs, then raising."""

        def __init__(self, right: int) -> None:
            self.right = right

        def answer(self, request: wire.Request) -> wire.Answer:
            number = next(i for i, case in enumerate(cases) if case.request == request)
            if number >= self.right:
                return wire.Raised("ValueError", "no")
            return wire.Returned(wire.encode(cases[number].expected))

    shares = [core.examine(exercise, Some(n), 3).share for n in range(len(cases) + 1)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert all(s <= n / len(cases) for n, s in enumerate(shares))


@pytest.mark.parametrize("name", core.exercises())
def test_public_answers_by_heart_have_no_points(name: str) -> None:
    exercise = core.exercises()[name]
    if exercise.accepts is not None:
        pytest.skip("right answers are many")
    known = [(case.request.args, case) for case in core.cases_of(exercise, 0)]

    class Remembering(Callee):
        """Knows the answers to public inputs, and nothing else."""

        def answer(self, request: wire.Request) -> wire.Answer:
            case = next((case for args, case in known if args == request.args), None)
            if case is None:
                return wire.Raised("ValueError", "never seen")
            blocked = [wire.Blank("None")] * len(exercise.blocked)
            gradients = [*map(wire.encode, case.gradients), *blocked]
            return wire.Returned(wire.encode(case.expected), gradients)

    assert core.examine(exercise, Remembering(), 0).share == 1
    assert core.examine(exercise, Remembering(), 3).share == 0


def test_right_values_with_a_fault_are_less_than_right() -> None:
    exercise = core.exercises()["softmax_score"]
    cases = core.cases_of(exercise, 3)

    class Careless(Callee):
        def answer(self, request: wire.Request) -> wire.Answer:
            case = next(case for case in cases if case.request == request)
            return wire.Returned(wire.encode(case.expected), changed=[0] * (case is cases[1]))

    verdict = core.examine(exercise, Careless(), 3)
    drawn = sum(core.drawn_by_seed(exercise, 3))
    assert (verdict.mistake, verdict.share) == ("changes its input", (drawn - 1) / drawn)


def test_the_best_of_several_notebooks_counts(tmp_path: Path) -> None:
    lines = [
        Line(f, "ada", f, "graded", asked=["softmax"], results=[Result("softmax", status)])
        for f, status in (("a", "wrong"), ("b", "right"), ("c", "not attempted"))
    ]
    with Store(tmp_path) as store:
        store.add(lines)
        files = [Found("", f, "ada", 100.0) for f in "abc"]
        (student,) = scores.students(files, store, Specification())
        (worse,) = scores.students(files[::2], store, Specification())
    assert (student.points, student.possible) == (1, 1)
    assert (worse.points, worse.answers[0].result.status) == (0, "wrong")


def test_lateness_is_taken_from_the_table_else_from_the_latest_file(tmp_path: Path) -> None:
    spec = specification(tmp_path, "due: 2026-11-20T12:00:00Z\nlate: {lose: 25}")
    assert spec.due is not None
    late = spec.due.timestamp() + 60
    with Store(tmp_path / "out") as store:
        store.add([Line("a", "ada", "", "graded", asked=["softmax"])])
        found = [Found("", "a", "ada", late)]
        (student,) = scores.students(found, store, spec)
        assert (student.kept, student.listed) == (0.75, False)
        spec.submitted["ada"] = spec.due
        (student,) = scores.students(found, store, spec)
        assert (student.kept, student.listed) == (1.0, True)


# --- what is told ------------------------------------------------------------------------------

FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\uff1d1+1",
    " =1",
    "\u200b=1",
    "\ufeff=1",
]
FORMULAS += ["\u202e=1", '"=1', "'=1", "%0A=1", "|calc", "\uff0b1", "\ufe63" + "1", "\n=1"]


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_no_cell_begins_as_a_formula(text: str) -> None:
    written = texts.cell(text)
    assert written.startswith("'")
    assert not any(unicodedata.category(c) in texts.HIDDEN - {"Cn"} for c in written)
    for harmless in ("ada", "Ada Lovelace", "O'Neil", "3", "Çelik", "a=b"):
        assert texts.cell(harmless) == harmless


NASTY = "<script>alert(1)</script>`` ``` </pre> [x](http://evil) ![x](y) \u202e \x1b[31m \0 & \" '"


def student_with(result: Result, name: str = NASTY) -> scores.Student:
    line = Line(f"{NASTY}.ipynb", name, "", "graded", asked=[result.question], notes=[NASTY])
    answered = scores.Answered(Question(result.question), result, 0.0)
    return scores.Student(name, (answered,), (line,), datetime.now(UTC), False, 0.5)


class Tags(html.parser.HTMLParser):
    """Collect the tags and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen |= {tag, *(f"{tag}.{name}" for name, _ in attrs)}


def test_what_students_choose_is_escaped_and_cut() -> None:
    shown = Shown(NASTY + "x" * 10**6, [("x", "x = 1")])
    result = Result("softmax", "wrong", 0.5, "sign", "Says `code`.", "sec-x", "value", "", shown)
    page = feedback.as_html(student_with(result), Specification())
    calm = feedback.as_html(student_with(Result("softmax", "right"), "ada"), Specification())
    extra = Tags(page).seen - Tags(calm).seen
    assert extra <= {"p", "pre", "code", "section.class"}
    assert len(page) < 40_000
    text = feedback.as_markdown(student_with(result), Specification())
    outside = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S)
    assert "\n````text\n" in text  # the fence is longer than any in the text
    assert not re.search(r"(?<!\\)(<script|\[x\]|`` )", outside)
    for told in (page, text):
        assert not set("\u202e\x1b\0") & set(told)


def test_hidden_inputs_never_reach_the_feedback() -> None:
    secret = "got 0.123456, expected 0.654321"
    hidden = Result("softmax", "wrong", 0.5, "", "", "", "value", secret)
    for write in (feedback.as_html, feedback.as_markdown):
        page = write(student_with(hidden), Specification())
        assert "0.123456" not in page
        assert "Right on 50 % of the hidden inputs; elsewhere the numbers differ" in page
        public = msgspec.structs.replace(hidden, shown=Shown("got 1, expected 2", [("x", "x = 5")]))
        assert "got 1, expected 2\non this input:\nx = 5" in write(
            student_with(public), Specification()
        )


def test_a_page_needs_no_other_file() -> None:
    page = feedback.as_html(student_with(Result("softmax", "right")), Specification())
    assert not re.search(r"(src|href|url\(|@import)", page)
    book = Specification(book="https://example.org/book")
    result = Result("softmax", "wrong", see="sec-stable")
    assert "https://example.org/book/02_policies.html#sec-stable" in feedback.as_html(
        student_with(result), book
    )


def test_students_with_like_names_have_files_of_their_own() -> None:
    names = ["ada", "../ada", "a/da", "", ".", "..", "con" * 100, "Ada", "ada ", "ä", "ö", "\\xff"]
    names.append(texts.file_name("ada "))  # who is called like the file of another
    files = [texts.file_name(name) for name in names]
    assert len(set(files)) == len(files)
    assert all(re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,80}", f, re.A) for f in files)
    assert files[0] == "ada"


# --- through the sandbox -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(Specification(seed=20261120)) as one:
        yield one


def graded(grader: Grader, path: Path, only: frozenset[str] = frozenset()) -> Line:
    line = grader.grade(Task(Found(str(path), path.name, "ada"), only=only))
    assert line is not None
    return line


@pytest.mark.parametrize("name", NAMES)
def test_solutions_are_right_and_untouched_exercises_not_attempted(
    grader: Grader, name: str
) -> None:
    for folder, status, share in (("solutions", "right", 1), ("exercises", "not attempted", 0)):
        path = ROOT / folder / f"{name}.ipynb"
        with grader.warm.worker(cells_of(path.read_bytes(), path.name), name[3:]) as worker:
            worker.answer(wire.Request("no_such_function", []))
            assert worker.notes == []
        line = graded(grader, path)
        asked = [e.name for e in core.chapter_exercises(name[3:])]
        assert [(r.question, r.status, r.share) for r in line.results] == [
            (question, status, share) for question in asked
        ]


def carrying(stem: str) -> str:
    """Return a cell that brings the answers of a chapter along: a worker has none."""
    names = [f"pgcourse.{stem}", "pgcourse.checks.core", f"pgcourse.checks.{stem}"]
    paths = {name: ROOT / f"{name.replace('.', '/')}.py" for name in names}
    sources = {name: path.read_text("utf-8") for name, path in paths.items() if path.exists()}
    return f"""import sys, types
for name, source in {sources!r}.items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(source, vars(module))
of_chapter = {{e.name: e for e in module.EXERCISES}}
"""


@dataclass(frozen=True)
class Called(Callee):
    """Passes requests on under another name, so that one worker serves many answers."""

    worker: Callee
    name: str

    def answer(self, request: wire.Request) -> wire.Answer:
        return self.worker.answer(msgspec.structs.replace(request, name=self.name))

    def answers(self, requests: Sequence[wire.Request]) -> Iterator[wire.Answer]:
        return self.worker.answers([msgspec.structs.replace(r, name=self.name) for r in requests])


@pytest.mark.parametrize("stem", CHAPTERS)
def test_named_wrong_answers_keep_their_names_and_points(grader: Grader, stem: str) -> None:
    every = [
        (f"{e.name}_{number}", e, mistake)
        for e in core.chapter_exercises(stem)
        for number, mistake in enumerate(e.mistakes)
    ]
    cells = [
        carrying(stem),
        "for e in of_chapter.values():\n  for number, mistake in enumerate(e.mistakes):\n"
        "    globals()[f'{e.name}_{number}'] = mistake.wrong[0]",
    ]
    with grader.warm.worker(cells, stem) as worker:
        for name, exercise, mistake in every:
            verdict = core.examine(exercise, Called(worker, name), 20261120)
            assert (name, verdict.mistake) == (name, mistake.name), worker.notes
            result = grade.result_of(verdict, None)
            fits = Question(exercise.name, mistakes={mistake.name: 0.25})
            other = Question(exercise.name, mistakes={"another": 0.25})
            assert (scores.points_of(fits, result), scores.points_of(other, result)) == (0.25, 0)


def test_a_reference_sent_the_same_way_is_right(grader: Grader, tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    exercises = core.chapter_exercises("policies")
    sent = (f"{e.name} = of_chapter['{e.name}'].reference" for e in exercises)
    path.write_bytes(notebook(carrying("policies"), *sent))
    assert {r.status for r in graded(grader, path).results} == {"right"}


def test_honest_habits_cost_nothing(grader: Grader, tmp_path: Path) -> None:
    cells = [
        "%matplotlib inline\nimport torch, os, warnings\ntorch.set_default_dtype(torch.float64)",
        "def hello_grader(name):\n    return 'a first try'",
        "os.chdir('/')\nwarnings.warn('careful')\nundefined_name",
        "def greeting(name):\n    return f'Hello, {name}!'",
        RIGHT.replace("f'Hello, {name}!'", "greeting(name)"),
        "print('x' * 100_000)\nraise SystemExit",
    ]
    path = tmp_path / "a.ipynb"
    path.write_bytes(notebook(*cells))
    assert [r.status for r in graded(grader, path).results] == ["right"]
    path.write_bytes(notebook(*cells[::-1], cells[4]))  # another order, the last definition right
    assert [r.status for r in graded(grader, path).results] == ["right"]
    path.write_bytes(notebook(*cells, cells[1]))  # the last definition counts, as in Jupyter
    assert [r.status for r in graded(grader, path).results] == ["wrong"]


def test_all_chapters_of_a_file_share_one_deadline(tmp_path: Path) -> None:
    names = ["hello_grader", "softmax", "rollout"]
    cells = ["import time; time.sleep(1)", *(f"def {name}(*args): return 5" for name in names)]
    (tmp_path / "a.ipynb").write_bytes(notebook(*cells))
    asked = tuple(Question(name) for name in names)
    for seconds, on_time in ((1.8, 1), (60.0, 3)):
        limits = Limits(submission_seconds=seconds)
        with Grader(Specification(asked, 3, limits=limits)) as one:
            one.warm = Warm(limits, omit={"preload"})
            results = graded(one, tmp_path / "a.ipynb").results
        late = ["used up its 1.8 s" in result.seen for result in results]
        assert late == [False] * on_time + [True] * (3 - on_time)


def test_a_function_cannot_carry_hidden_inputs_into_the_feedback(
    grader: Grader, tmp_path: Path
) -> None:
    source = """import glob, os, tempfile
places = [os.getcwd(), tempfile.gettempdir(), os.path.expanduser("~"), "/dev/shm", "/var/tmp"]
seen = [open(f).read() for p in places for f in glob.glob(p + "/*kept*")]
def softmax(logits):
    seen.append(repr(logits))
    for p in places:
        try:
            open(p + "/kept.txt", "w").write(" ".join(seen))
        except OSError:
            pass
    raise type("E" + str(len(seen)), (Exception,), {})(" ".join(seen))
"""
    path = tmp_path / "a.ipynb"
    path.write_bytes(notebook(source))
    result = graded(grader, path, frozenset({"softmax"})).results[0]
    page = feedback.as_html(student_with(result, "ada"), Specification())
    hidden = [repr(c.args[0]) for c in core.cases_of(core.exercises()["softmax"], 20261120)]
    public = [repr(c.args[0]) for c in core.cases_of(core.exercises()["softmax"], 0)]
    only_hidden = [texts.html(x) for x in hidden if x not in public]
    assert only_hidden
    assert not any(x in page for x in only_hidden)
    assert result.shown is not None
    assert public[0] in result.shown.difference


def test_the_key_follows_bytes_specification_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    base = grade.key_of(b"a", Specification(seed=1))
    assert base == grade.key_of(b"a", Specification(seed=1, title="other", book="x"))
    assert base != grade.key_of(b"b", Specification(seed=1))
    assert base != grade.key_of(b"a", Specification(seed=2))
    assert base != grade.key_of(b"a", Specification((Question("softmax"),), seed=1))
    monkeypatch.setattr(grade, "version", lambda: "another")
    assert base != grade.key_of(b"a", Specification(seed=1))


def test_processes_and_one_process_give_the_same_grades(grader: Grader) -> None:
    files = [ROOT / folder / "00_start.ipynb" for folder in ("solutions", "exercises")]
    tasks = [Task(Found(str(path), str(path), "ada")) for path in files]
    work = spread.spread(2, None, grader.specification, None, [(task,) for task in tasks])
    told = [line for _, lines in work for line in lines if line]
    alone = [line for task in tasks if (line := grader.grade(task))]
    assert [r.status for line in alone for r in line.results] == ["right", "not attempted"]
    timeless = [
        sorted((msgspec.structs.replace(line, seconds=0) for line in lines), key=lambda x: x.file)
        for lines in (told, alone)
    ]
    assert timeless[0] == timeless[1]


def test_results_are_typed_on_the_way_in() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"file": 3}', type=results.Line)


def test_solutions_are_notebooks_of_the_current_format() -> None:
    for name in NAMES:
        path = ROOT / f"solutions/{name}.ipynb"
        known = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        assert cells_of(path.read_bytes(), path.name) == known


def nested(depth: int) -> wire.Value:
    value: wire.Value = wire.Number(1.0)
    for _ in range(depth):
        value = wire.Items([value])
    return value


FORGED = [
    nested(50_000),
    wire.Items([wire.Number(1.0)] * 300_000),
    wire.Text("x" * 1_000_000),
    wire.Array("float64", (2,), b""),
    wire.Array("object", (1,), b"12345678"),
    wire.Array("float64", (0, 2**62), b""),
    wire.Array("float64", (1,) * 1000, b"12345678"),
    wire.Array("float64", (2**62,) * 60_000, b""),
    wire.Array("nonsense", (1,), b"12345678"),
    wire.Array("float64", (-1, -8), b"12345678"),
    wire.Number(float("nan")),
    wire.Items([wire.Text("x"), wire.Blank("..."), wire.Other("set", [wire.Number(1)])]),
    wire.Items([wire.Items([]), wire.Items([wire.Items([])])]),
    wire.Blank("neither None nor Ellipsis"),
    wire.Other("ndarray", [wire.Number(1.0)] * 10),
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda v: repr(v)[:30] if v is not FORGED[0] else "")
def test_a_forged_answer_is_wrong_and_costs_little(forged: wire.Value) -> None:
    class Forger(Callee):
        def answer(self, request: wire.Request) -> wire.Answer:
            return wire.Returned(forged)

    for exercise in core.exercises().values():
        core.cases_of(exercise, 3)
    start = time.process_time()
    with contextlib.suppress(ValueError, RecursionError):
        wire.decode(forged)
    assert time.process_time() - start < 1
    for exercise in core.exercises().values():
        assert core.examine(exercise, Forger(), 3).status == "wrong"
    assert time.process_time() - start < 10


def test_forged_gradients_are_no_gradients() -> None:
    def square(x: Any) -> Any:
        return x**2

    exercise = core.Exercise(
        "toy", square, lambda rng: iter([(rng.normal(size=3),)]), gradient_of=(0,)
    )
    (case,) = core.cases_of(exercise, 0)
    right = wire.encode(2 * case.args[0] * case.cotangent)

    class Forger(Callee):
        def __init__(self, *gradients: wire.Value) -> None:
            self.gradients = list(gradients)

        def answer(self, request: wire.Request) -> wire.Answer:
            return wire.Returned(wire.encode(case.expected), self.gradients)

    assert core.examine(exercise, Forger(right)).right
    for forged in [(), (right, right), *((v,) for v in FORGED)]:
        verdict = core.examine(exercise, Forger(*forged))
        assert (verdict.mistake, verdict.share) == ("no gradient", 0)


def test_a_dask_cluster_gives_the_same_grades(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="needs pip install '.[dask]'")
    root = handed_in(tmp_path)
    for name in NAMES[:2]:
        (root / f"{name}.ipynb").write_bytes((ROOT / f"solutions/{name}.ipynb").read_bytes())
    (root / "broken.ipynb").write_bytes(b"{")
    spec = tmp_path / "spec.yml"
    spec.write_text("seed: 3\nchapters: [start, mdp]", encoding="utf-8")
    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    command = [sys.executable, "-m", "pgcourse.cli", "grade", str(root), "--spec", str(spec)]
    with distributed.LocalCluster(**options) as cluster:
        where = ["--scheduler", cluster.scheduler_address]
        for name, more in (("cluster", where), ("here", ["-j", "1"])):
            told = subprocess.run([*command, "--out", str(tmp_path / name), *more], cwd=ROOT)
            assert told.returncode == 1
    grades = [(tmp_path / name / "grades.csv").read_bytes() for name in ("cluster", "here")]
    assert grades[0] == grades[1]
