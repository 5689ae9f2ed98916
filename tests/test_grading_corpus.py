"""The grader against the corpus: no attack gains a point, no honest point is lost.

All cases are graded by the command, in two processes, with every layer that this machine has;
those that take only a moment once more, in one process, with the files in the other order.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import importlib.util
import json
import os
import py_compile
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgcourse
from pgcourse.checks import core
from pgcourse.checks.holder import Holder, run_cells
from pgcourse.checks.wire import Raised, Request, Returned, encode
from pgcourse.grading.isolation import Limits
from pgcourse.grading.reading import printable
from pgcourse.grading.sandbox import Warm
from tests.corpus import Case, attacks, faulty, files, honest, wrong
from tests.test_grading import by_value  # noqa: F401 (a fixture)

PACKAGE = Path(pgcourse.__file__).parent
ROOT = PACKAGE.parent
SECRET = {"PGCOURSE_CORPUS_SECRET": "a word that no worker knows"}
LIMITS = {
    "memory": 2**29, "cell_seconds": 2, "call_seconds": 1, "submission_seconds": 25,
    "processes": 24, "open_files": 128, "file_size": 2**22, "scratch": 2**23, "output": 2**21,
    "restarts": 4,
}  # fmt: skip
FAMILIES = {"honest": honest, "wrong": wrong, "faulty": faulty, "files": files}
SHADOWS = ("numpy", "msgspec", "torch", "sitecustomize", "usercustomize", "pgcourse", "json")
SHADOW = "open('corpus-was-here', 'w')\nraise SystemExit('imported')\n"

# Runs a command and says which processes it left behind: they fall to this one.
GUARD = """
import ctypes, glob, os, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
code = subprocess.run(sys.argv[1:]).returncode
def left():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0: break
        except ChildProcessError: return []
    return [open(f).read() for f in glob.glob("/proc/self/task/*/children")]
until = time.monotonic() + 3
while left() and time.monotonic() < until: time.sleep(0.05)
for pids in left():
    for pid in pids.split():
        print("left behind:", pid, open(f"/proc/{pid}/cmdline").read().replace(chr(0), " "), file=sys.stderr)
        os.kill(int(pid), 9)
sys.exit(code)
"""


def specification(folder: Path) -> Path:
    """Write what is asked: every function of the book, `softmax` two points, some in parts."""
    path = folder / "spec.yml"
    asked = [
        {"function": name, "points": 2 if name == "softmax" else 1, "partial": name == "rollout"}
        for name in core.exercises()
    ]
    path.write_text(json.dumps({"seed": 77, "questions": asked, "limits": LIMITS}))
    return path


def places(folder: Path, **more: Any) -> dict[str, Any]:
    """Return what attacks know: where everything is, and whom to harm."""
    by_heart = core.cases_of(core.exercises()["softmax"], 0)
    table = {repr(c.args[0].round(9).tolist()): c.expected.tolist() for c in by_heart}
    return {
        "root": str(ROOT), "package": str(PACKAGE), "home": os.path.expanduser("~"),
        "out": str(folder / "out"), "submissions": str(folder / "in"), "pid": os.getpid(),
        "victim": str(folder / "in" / "pure_python.py"), "table": table, "port": 9,
        "socket": "pgcourse-corpus",
    } | more  # fmt: skip


def all_cases(known: dict[str, Any]) -> dict[str, list[Case]]:
    """Return the cases of each family."""
    found = {name: list(family.CASES) for name, family in FAMILIES.items()}
    found["wrong"] += wrong.by_name()
    return found | {"attacks": attacks.cases(known)}


def write(cases: list[Case], root: Path) -> None:
    """Write the files of the cases, and modules that would shadow others."""
    root.mkdir()
    for case in cases:
        path = root / case.file
        if case.make is None:
            path.write_bytes(case.data)
        else:
            case.make(path)
    (root / "shadow").mkdir()
    (root / "shadow" / "mine.py").write_bytes(honest.CASES[0].data)
    for name in SHADOWS:
        (root / "shadow" / f"{name}.py").write_text(SHADOW)


def digest(folder: Path) -> dict[str, str]:
    """Return what every file below a folder holds."""
    regular = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    small = (p for p in regular if "__pycache__" not in p.parts and p.stat().st_size < 2**26)
    return {
        str(p): f"{p.stat().st_mode} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in small
    }


def grade(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command where a student's modules would shadow others."""
    program = "from pgcourse.cli import main; import sys; sys.exit(main())"
    command = [sys.executable, "-P", "-c", program, "grade", str(folder / "in")]
    command += ["--out", str(folder / "out"), "--spec", str(specification(folder)), *options]
    environment = os.environ | SECRET | {"PYTHONPATH": str(ROOT)}
    guarded = [sys.executable, "-c", GUARD, *command]
    return subprocess.run(
        guarded, cwd=folder / "in" / "shadow", env=environment, capture_output=True, text=True
    )


def outcome(folder: Path) -> dict[str, dict[str, Any]]:
    """Return each file's line as it was written; a file with two is an error."""
    lines = [json.loads(x) for x in (folder / "out" / "results.jsonl").read_text().splitlines()]
    assert len({line["file"] for line in lines}) == len(lines)
    return {line["file"]: line for line in lines}


def points(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "out" / "grades.csv").open(encoding="utf-8", newline="") as table:
        return {row["student"]: row for row in csv.DictReader(table)}


# --- the run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, by_value: None) -> dict[str, Any]:  # noqa: F811
    """Grade the corpus once, whatever number of processes run the tests."""
    shared = tmp_path_factory.getbasetemp()
    shared = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "corpus"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = shared / "told.json"
        if not told.exists():
            told.write_text(json.dumps(_graded(shared)))
        return {"folder": shared, **json.loads(told.read_text())}


def _graded(folder: Path) -> dict[str, Any]:
    py_compile.compile(str(PACKAGE / "policies.py"))
    cases = [c for family in all_cases(places(folder)).values() for c in family]
    assert len({c.file for c in cases}) == len(cases)
    write(cases, folder / "in")
    before = digest(folder / "in") | digest(PACKAGE)
    run = grade(folder, "-j", "2", *full())
    after = digest(folder / "in") | digest(PACKAGE)
    return {
        "code": run.returncode, "stdout": run.stdout, "stderr": run.stderr,
        "changed": sorted(x for x in before | after if before.get(x) != after.get(x)),
    }  # fmt: skip


def full() -> list[str]:
    """Require every layer where the machine of the tests must have them."""
    return ["--require-isolation", "full"] if os.geteuid() == 0 and os.environ.get("CI") else []


@pytest.mark.parametrize("family", [*FAMILIES, "attacks"])
@pytest.mark.usefixtures("by_value")
def test_every_file_has_one_line_and_its_due(graded: dict[str, Any], family: str) -> None:
    lines, bad = outcome(graded["folder"]), []
    for case in all_cases(places(graded["folder"]))[family]:
        name = printable(case.file)
        own = [x for x in lines.values() if x["file"] == name or x["file"].startswith(f"{name}/")]
        if len(own) != 1:
            bad.append(f"{name}: {len(own)} lines")
        elif fault := fault_of(case, own[0]):
            bad.append(f"{name}: {fault}")
    assert not bad, "\n".join(bad)


def fault_of(case: Case, line: dict[str, Any]) -> str:
    """Say how a line differs from what a case is due, or nothing."""
    worth = {"softmax": 2.0}
    got = {
        r["question"]: worth.get(r["question"], 1.0)
        for r in line["results"]
        if r["status"] == "right"
    }
    told = json.dumps(line, ensure_ascii=False)
    if got != dict(case.points):
        return f"{got} for {dict(case.points)}: {told[:1500]}"
    if case.says and not any(words in told for words in case.says):
        return f"does not say {case.says}: {told[:1500]}"
    return ""
