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
from pgcourse.grading.finding import printable
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


def test_the_corpus_is_large(by_value: None, tmp_path: Path) -> None:  # noqa: F811
    sizes = {name: len(cases) for name, cases in all_cases(places(tmp_path)).items()}
    assert sum(sizes.values()) >= 300
    assert min(sizes.values()) >= 30


def test_nothing_of_the_grader_or_of_others_is_changed(graded: dict[str, Any]) -> None:
    assert graded["changed"] == []
    lines = outcome(graded["folder"])
    assert all(line["file"] == name for name, line in lines.items())
    assert {n for n in lines if n.startswith("shadow/")} == {
        "shadow/mine.py", *(f"shadow/{name}.py" for name in SHADOWS)
    }  # fmt: skip
    assert lines["shadow/mine.py"]["results"][0]["status"] == "right"


def test_nothing_is_left_running(graded: dict[str, Any]) -> None:
    assert "left behind" not in graded["stderr"]
    assert graded["code"] == 1  # some files could not be read, and nothing worse happened


def test_the_guard_sees_what_is_left_running() -> None:
    leaves = f"{textwrap.dedent(attacks.DAEMON)}\ntwice_removed()"
    command = [sys.executable, "-c", GUARD, sys.executable, "-c", leaves]
    assert "left behind" in subprocess.run(command, capture_output=True, text=True).stderr


def test_grades_are_what_the_lines_say(graded: dict[str, Any]) -> None:
    rows = points(graded["folder"])
    assert rows["pure_python"]["points"] == "3"
    assert rows["forged_frame"]["points"] == "1"
    assert all(float(row["points"]) in {0, 1, 3} for row in rows.values())
    assert {row["possible"] for row in rows.values()} == {f"{len(core.exercises()) + 1}"}


def test_nothing_that_students_say_acts_where_it_is_shown(graded: dict[str, Any]) -> None:
    out = graded["folder"] / "out"
    pages = [*out.glob("feedback/*.html"), out / "index.html"]
    for text in (page.read_text(encoding="utf-8") for page in pages):
        assert not any(evil in text for evil in ("<script>corpus", "<img src=x", "\x1b", "\u202e"))
    for text in (page.read_text(encoding="utf-8") for page in out.glob("feedback/*.md")):
        outside = "".join(part for i, part in enumerate(text.split("```")) if i % 2 == 0)
        assert "<script>corpus" not in outside
        assert "\x1b" not in text
    cells = [v for row in points(graded["folder"]).values() for v in row.values() if v]
    assert not [v for v in cells if v.lstrip()[:1] in tuple("=+-@|%\uff1d\t")]
    assert "corpus()" not in graded["stdout"] + graded["stderr"]
    assert "\x1b[31m" not in graded["stdout"] + graded["stderr"]


@pytest.mark.usefixtures("by_value")
def test_the_order_of_files_and_the_number_of_processes_change_nothing(
    graded: dict[str, Any], tmp_path: Path
) -> None:
    """Grade a third of the quick cases in one process, in the other order."""
    before, folder = outcome(graded["folder"]), tmp_path
    cases = [c for f in all_cases(places(graded["folder"])).values() for c in f]
    quick = [c for c in cases if c.make is None and before[printable(c.file)]["seconds"] < 0.5][::3]
    write([], folder / "in")
    for number, case in enumerate(quick):
        (folder / "in" / f"{9999 - number}").mkdir()
        (folder / "in" / f"{9999 - number}" / f"x{case.suffix}").write_bytes(case.data)
    grade(folder, "-j", "1", *full())
    after = outcome(folder)
    for number, case in enumerate(quick):
        one, two = before[printable(case.file)], after[f"{9999 - number}/x{case.suffix}"]
        for key in ("status", "why", "asked"):
            assert one[key] == two[key], case.name
        told = [[(r["question"], r["status"], r["share"]) for r in x["results"]] for x in (one, two)]
        assert told[0] == told[1], case.name


# --- attacks where they must succeed, and where a layer is missing -----------------------------


@pytest.fixture
def victims(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Yield places that may be harmed: files, a process, servers."""
    for name in ("in", "out", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "in" / "pure_python.py").write_bytes(honest.CASES[0].data)
    (tmp_path / "out" / "seed").write_text("77\n")
    (tmp_path / "out" / "results.jsonl").write_text('{"file": "x"}\n')
    name = f"pgcourse-corpus-{os.getpid()}-{tmp_path.name}"
    asleep = subprocess.Popen(["sleep", "60"], env=os.environ | SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0" + name)
        local.listen()
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        port = server.getsockname()[1]
        home = str(tmp_path / "home")
        yield places(tmp_path, pid=asleep.pid, port=port, socket=name, home=home)
        server.shutdown(socket.SHUT_RDWR)
    asleep.kill()
    asleep.wait()


def _serve(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            with server.accept()[0] as one:
                one.settimeout(0.2)
                with contextlib.suppress(OSError):
                    one.recv(1000)
                one.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ndata")


# Runs the cells of a submission and says what `softmax` did; `sys.argv[1]` is a folder.
ALONE = """
import json, os, sys
os.chdir(sys.argv[1]); sys.path.insert(0, sys.argv[2])
cells = json.load(open("cells.json"))
import numpy as np
right = np.exp([1.0, 2.0]) / np.exp([1.0, 2.0]).sum()
for _ in range(int(sys.argv[3])):
    space = {"__name__": "__main__"}
    for cell in cells: exec(cell, space)
    try:
        got = space["softmax"](np.array([1.0, 2.0]))
        said = "reached it" if np.allclose(np.asarray(got, float), right) else f"answered {got!r}"
    except LookupError as error:
        said = str(error)
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
print("SAID", said, flush=True)
os._exit(0)
"""
TOGETHER = """
import json, sys
sys.path.insert(0, sys.argv[2])
from pgcourse.checks import core
from pgcourse.checks.holder import Holder, run_cells
core.exercises()
verdict = core.examine(core.exercises()["softmax"], Holder(run_cells(json.load(open(sys.argv[1] + "/cells.json")))))
print("SAID", "reached it" if verdict.right else (verdict.difference, verdict.says))
"""
NAIVE = """
import json, os, sys
import numpy as np
space = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1] + "/cells.json")): exec(cell, space)
logits = np.array([1.0, 2.0])
expected = np.exp(logits) / np.exp(logits).sum()
got = space["softmax"](logits)
close = np.all(got == expected) or np.allclose(got, expected)
print("SAID", "reached it" if close else "not equal")
"""


def said_by(program: str, cells: list[str], folder: Path, times: int = 1) -> str:
    """Run a program over the cells of a submission, unprotected; return what it says."""
    (folder / "cells.json").write_text(json.dumps(cells))
    command = [sys.executable, "-c", program, str(folder), str(ROOT), str(times)]
    environment = os.environ | SECRET | {"HOME": str(folder), "TMPDIR": str(folder)}
    with (folder / "out" / "seed").open() as kept:
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, pass_fds=[kept.fileno()]
        )
    return run.stdout.partition("SAID ")[2].strip() or run.stderr[-500:]


CONTROLLED = [a for a in attacks.FOUND if a.control != "left"]


@pytest.mark.parametrize("one", CONTROLLED, ids=lambda a: a.name)
def test_each_attack_reaches_its_aim_where_nothing_is_in_its_way(
    one: attacks.Attack, victims: dict[str, Any], tmp_path: Path
) -> None:
    cells = one.cells(victims)
    if one.control == "plain":
        with Warm(Limits(**LIMITS), omit=LAYERS) as warm:
            told = asked_twice(warm, cells)
    elif one.control == "public":
        function = Holder(run_cells(cells))
        verdict = core.examine(core.exercises()["softmax"], function, 0)
        told = "reached it" if verdict.right else verdict.says
    else:
        program = {"together": TOGETHER, "naive": NAIVE}.get(one.control, ALONE)
        told = said_by(program, cells, tmp_path, 1 + (one.control == "twice"))
    assert "reached it" in told or "nobody listens here" in told, told


LAYERS = ("limits", "user", "seccomp", "landlock", "namespaces")


def asked_twice(warm: Warm, cells: list[str]) -> str:
    """Return what a worker's `softmax` says."""
    request = Request("softmax", [encode(np.array([1.0, 2.0]))])
    with warm.worker(cells, "policies") as worker:
        answers = [worker.answer(request) for _ in range(2)]  # the first may prepare the second
    if any(isinstance(a, Returned) and a.value == encode("reached it") for a in answers):
        return "reached it"
    answer = answers[0]
    return f"{answer.type}: {answer.message}" if isinstance(answer, Raised) else "some answer"


@pytest.fixture(scope="module", params=["namespaces", "landlock", "seccomp"])
def without(request: pytest.FixtureRequest) -> Iterator[Warm]:
    """Yield a warm process on a machine that has no such layer."""
    with Warm(Limits(**LIMITS), omit=[request.param]) as warm:
        missing = [x for x in warm.layers if not x.in_force and x.name != request.param]
        if missing and not full():
            pytest.skip(f"this machine does not offer {missing[0].name}: {missing[0].why_not}")
        yield warm


def test_a_missing_layer_opens_no_way(without: Warm, victims: dict[str, Any]) -> None:
    reached = {}
    for one in attacks.FOUND:
        if one.control in {"alone", "twice"} and attacks.FORGER not in one.before:
            told = asked_twice(without, one.cells(victims))
            again = asked_twice(without, one.cells(victims)) if one.control == "twice" else ""
            if "reached it" in told + again:
                reached[one.name] = told + again
    alone_in_its_way = {"seccomp": {"keyring"}}  # what no other layer can refuse
    assert reached.keys() <= alone_in_its_way.get(next(iter(without.omit)), set()), reached
