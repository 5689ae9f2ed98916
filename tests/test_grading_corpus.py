"""The grader against the corpus: no attack gains a point, no honest point is lost.

All cases are graded by the command, in two processes, with every layer that this machine has;
those that take only a moment once more, in one process, with the files in the other order.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import json
import os
import py_compile
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from markdown_it import MarkdownIt

import pgcourse
from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.wire import Answer, Raised, Request, Returned, encode
from pgcourse.grading.finding import printable
from pgcourse.grading.isolation import Limits
from pgcourse.grading.sandbox import Warm
from tests.corpus import Case, attacks, faulty, files, honest, wrong

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are those of Linux")
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
        command = open(f"/proc/{pid}/cmdline").read().replace(chr(0), " ")
        print("left behind:", pid, command, file=sys.stderr)
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


@pytest.fixture(scope="module")
def by_value() -> Iterator[None]:
    """Have functions of the package travel with their code: a worker has no reference."""
    names = [n for stem in CHAPTERS for n in (f"pgcourse.{stem}", f"pgcourse.checks.{stem}")]
    modules = [sys.modules[n] for n in names if core.exercises() and n in sys.modules]
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
            for loader in ("__spec__", "__loader__"):  # pytest's own, which does not travel
                patch.setattr(module, loader, None)
        yield
    for module in modules:
        cloudpickle.unregister_pickle_by_value(module)


# --- the run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, by_value: None) -> dict[str, Any]:
    """Grade the corpus once, whatever number of processes run the tests."""
    shared = tmp_path_factory.getbasetemp()
    shared = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "corpus"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = shared / "told.json"
        if not told.exists():
            told.write_text(json.dumps(_graded(shared)))
    result = json.loads(told.read_text())
    if "skipped" in result:
        pytest.skip(result["skipped"])
    return {"folder": shared, **result}


def _graded(folder: Path) -> dict[str, Any]:
    py_compile.compile(str(PACKAGE / "policies.py"))
    cases = [c for family in all_cases(places(folder)).values() for c in family]
    assert len({c.file for c in cases}) == len(cases)
    write(cases, folder / "in")
    before = digest(folder / "in") | digest(PACKAGE)
    run = grade(folder, "-j", "2", "--require-isolation", isolation())
    if run.returncode == 3 and isolation() == "basic":
        return {"skipped": run.stderr.strip()}
    after = digest(folder / "in") | digest(PACKAGE)
    return {
        "code": run.returncode, "stdout": run.stdout, "stderr": run.stderr,
        "changed": sorted(x for x in before | after if before.get(x) != after.get(x)),
    }  # fmt: skip


def isolation() -> str:
    """Return what the machine of the tests must have: with less than "basic", attacks would win."""
    return "full" if os.geteuid() == 0 and os.environ.get("CI") else "basic"


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


def test_the_corpus_is_large(by_value: None, tmp_path: Path) -> None:
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


@pytest.mark.usefixtures("by_value")
def test_grades_are_what_the_lines_say(graded: dict[str, Any]) -> None:
    rows, lines = points(graded["folder"]), outcome(graded["folder"])
    assert len(list((graded["folder"] / "out").glob("feedback/*.html"))) == len(rows)
    assert {row["possible"] for row in rows.values()} == {f"{len(core.exercises()) + 1}"}
    for case in (c for f in all_cases(places(graded["folder"])).values() for c in f):
        row = rows.get(case.name)  # names that are shown in other words have no row here
        if row and "rollout" not in lines.get(case.file, {}).get("asked", []):
            assert float(row["points"]) == sum(case.points.values()), case.name


def test_nothing_that_students_say_acts_where_it_is_shown(graded: dict[str, Any]) -> None:
    out = graded["folder"] / "out"
    pages = [*out.glob("feedback/*.html"), out / "index.html"]
    for text in (page.read_text(encoding="utf-8") for page in pages):
        assert not any(evil in text for evil in ("<script>corpus", "<img src=x", "\x1b", "\u202e"))
    for page in out.glob("feedback/*.md"):
        text = page.read_text(encoding="utf-8")
        shown = MarkdownIt("commonmark", {"html": True}).render(text)
        assert not any(evil in shown for evil in ("<script>corpus", "<img src=x", '="javascript:'))
        assert "\x1b" not in text
    cells = [v for row in points(graded["folder"]).values() for v in row.values() if v]
    assert not [v for v in cells if v.lstrip()[:1] in tuple("=+-@|%\uff1d\t")]
    assert "corpus()" not in graded["stdout"] + graded["stderr"]
    assert "\x1b[31m" not in graded["stdout"] + graded["stderr"]


@pytest.mark.usefixtures("by_value")
def test_the_order_of_files_and_the_number_of_processes_change_nothing(
    graded: dict[str, Any], tmp_path: Path
) -> None:
    """Grade a fifth of the quick cases in one process, in the other order."""
    before, folder = outcome(graded["folder"]), tmp_path
    cases = [c for f in all_cases(places(graded["folder"])).values() for c in f]
    quick = [c for c in cases if c.make is None and before[printable(c.file)]["seconds"] < 0.5][::5]
    write([], folder / "in")
    for number, case in enumerate(quick):
        (folder / "in" / f"{9999 - number}").mkdir()
        (folder / "in" / f"{9999 - number}" / f"x{case.suffix}").write_bytes(case.data)
    grade(folder, "-j", "1", "--require-isolation", isolation())
    after = outcome(folder)
    for number, case in enumerate(quick):
        one, two = before[printable(case.file)], after[f"{9999 - number}/x{case.suffix}"]
        for key in ("status", "why", "asked"):
            assert one[key] == two[key], case.name
        told = [
            [(r["question"], r["status"], r["share"]) for r in x["results"]] for x in (one, two)
        ]
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


# Makes each attack in a process of its own, unprotected, and says what `softmax` did.
CONTROLS = """
import io, json, os, sys, time
import cloudpickle
import numpy as np
from pgcourse.checks import core
from pgcourse.checks.holder import Holder, run_cells

logits = np.array([1.0, 2.0])
expected = np.exp(logits) / np.exp(logits).sum()
softmax = core.exercises()["softmax"]

def alone(cells, times=1):
    for _ in range(times):
        space = {"__name__": "__main__"}
        for cell in cells: exec(cell, space)
        got = said(lambda: space["softmax"](logits.copy()))
    if isinstance(got, str): return got
    return "reached it" if np.allclose(np.asarray(got, float), expected) else f"answered {got}"

def said(call):
    try: return call()
    except LookupError as error: return str(error)

def naive(cells):
    space = {"__name__": "__main__"}
    for cell in cells: exec(cell, space)
    right = expected
    got = compared(space["softmax"], logits, right)
    return "reached it" if got else "not equal"

def compared(function, logits, expected):
    got = function(logits)
    return bool(np.all(got == expected)) or bool(np.allclose(got, expected))

def checked(cells, seed=5):
    verdict = core.examine(softmax, Holder(run_cells(cells)), seed)
    return "reached it" if verdict.right else f"{verdict.difference} {verdict.says}"

controls = {"alone": alone, "twice": lambda c: alone(c, 2), "naive": naive, "together": checked,
            "public": lambda c: checked(c, 0)}
for name, control, cells in json.load(open(sys.argv[1])):
    folder = f"{sys.argv[2]}/{name}"
    os.mkdir(folder)
    if (child := os.fork()) == 0:
        try:
            os.chdir(folder)
            os.environ |= {"HOME": folder, "TMPDIR": folder}
            told = controls[control](cells)
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"
        with open("told", "w") as file: file.write(str(told))
        os._exit(0)
    until = time.monotonic() + 20
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > until: os.kill(child, 9)
        time.sleep(0.005)
"""
OUTSIDE = [a for a in attacks.FOUND if a.control not in {"left", "plain"}]
INSIDE = [a for a in attacks.FOUND if a.control == "plain"]
LAYERS = ("limits", "user", "seccomp", "landlock", "namespaces")


def test_each_attack_reaches_its_aim_where_nothing_is_in_its_way(
    victims: dict[str, Any], tmp_path: Path
) -> None:
    asked = [(one.name, one.control, one.cells(victims)) for one in OUTSIDE]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    command = [sys.executable, "-c", CONTROLS, str(tmp_path / "asked.json"), str(tmp_path)]
    environment = os.environ | SECRET | {"PYTHONPATH": str(ROOT)}
    with (tmp_path / "out" / "seed").open() as kept:
        subprocess.run(command, env=environment, pass_fds=[kept.fileno()], check=True)
    told = {one.name: (tmp_path / one.name / "told").read_text() for one in OUTSIDE}
    short = {n: t for n, t in told.items() if "reached it" not in t and "nobody listens" not in t}
    assert not short


def test_frames_are_forged_and_files_written_where_no_layer_is(victims: dict[str, Any]) -> None:
    with Warm(Limits(**LIMITS), omit=LAYERS) as warm:
        for one in INSIDE:
            with warm.worker(one.cells(victims), "policies") as worker:
                told = [reached(worker.answer(request("softmax"))) for _ in range(2)]
            assert any(told), one.name


def request(name: str) -> Request:
    return Request(name, [encode(np.array([1.0, 2.0]))])


def reached(answer: Answer) -> str:
    """Return what an attack got hold of."""
    if isinstance(answer, Returned):
        return "a text" if answer.value == encode("reached it") else ""
    said = f"{answer.type}: {answer.message}" if isinstance(answer, Raised) else ""
    return said if "reached it" in said else ""


@pytest.fixture(scope="module", params=["namespaces", "landlock", "seccomp"])
def without(request: pytest.FixtureRequest) -> Iterator[Warm]:
    """Yield a warm process on a machine that has no such layer."""
    with Warm(Limits(**LIMITS), omit=[request.param]) as warm:
        missing = [x for x in warm.layers if not x.in_force and x.name != request.param]
        if missing and isolation() == "basic":
            pytest.skip(f"this machine does not offer {missing[0].name}: {missing[0].why_not}")
        yield warm


def test_a_missing_layer_opens_no_way(without: Warm, victims: dict[str, Any]) -> None:
    made = [a for a in attacks.FOUND if a.control in {"alone", "twice"} and a.name not in FRAMES]
    cells, got = attacks.together(made, victims), set()
    for _ in range(2):  # what the first leaves, the second may find
        with without.worker(cells, "policies") as worker:
            got |= {one.name for one in made if reached(worker.answer(request(one.name)))}
    alone_in_its_way = {"seccomp": {"keyring"}}  # what no other layer can refuse
    assert got <= alone_in_its_way.get(next(iter(without.omit)), set())


FRAMES = {a.name for a in attacks.FOUND if textwrap.dedent(attacks.FORGER) in a.before}
