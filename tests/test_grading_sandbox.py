"""The sandbox: what a student's code can reach, and what it cannot cost the next call.

Each attack is also made where it must succeed, so that the test can fail: in a worker without any
layer, or in a plain process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.holder import LENGTH
from pgcourse.checks.wire import Array, Items, Raised, Request, Returned, Text, encode
from pgcourse.grading import folders, isolation, paths, sandbox, stub
from pgcourse.grading.line import Line
from pgcourse.grading.sandbox import IsolationError, Limits, Warm, Worker
from pgcourse.grading.worker import Answers, Batch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

ROOT = Path(__file__).parents[1]
LAYERS = ("limits", "user", "seccomp", "landlock", "namespaces")
LIMITS = Limits(memory=512 * 2**20, cell_seconds=1, call_seconds=0.5, processes=16, file_size=2**20)
MODES: dict[str, tuple[str, ...]] = {
    "full": (),
    "basic": ("namespaces", "preload"),
    "plain": (*LAYERS, "preload"),
}
SECRET = str(stub.PACKAGE / "checks" / "core.py")
GIVEN = "import gc, os, socket, sys, time\n"


@pytest.fixture(scope="module")
def warms() -> Iterator[dict[str, Warm]]:
    """One warm process a mode; those whose layers this machine has not are not there."""
    made = [Warm(LIMITS, omit=omit) for omit in MODES.values()]  # ast.parse is not for threads
    yield {
        mode: warm
        for (mode, omit), warm in zip(MODES.items(), made, strict=True)
        if {x.name for x in warm.layers if not x.in_force} - {"user"} <= set(omit)
    }
    for warm in made:
        warm.close()


def get(warms: dict[str, Warm], mode: str) -> Warm:
    if mode not in warms:
        pytest.skip(f"this machine does not offer {mode} isolation")
    return warms[mode]


@pytest.fixture
def full(warms: dict[str, Warm]) -> Warm:
    return get(warms, "full")


def function(source: str, **given: Any) -> str:
    """Return a cell that defines `attack()` with this body; it returns what it got hold of."""
    values = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    body = textwrap.indent(textwrap.dedent(source).strip(), "    ")
    return f"{GIVEN}{values}\ndef attack():\n{body}\n"


def ask(worker: Worker, name: str = "attack", *args: Any) -> Any:
    """Return the text that a function returned, or else the answer."""
    answer = worker.answer(Request(name, [encode(a) for a in args]))
    if isinstance(answer, Returned) and isinstance(answer.value, Text):
        return answer.value.text
    return answer


def attacked(warm: Warm, source: str, chapter: str = "mdp", **given: Any) -> Any:
    with warm.worker([function(source, **given)], chapter) as worker:
        return ask(worker)


# --- what a worker can reach -------------------------------------------------------------------

REACHING = {
    "read the checks": "return open(secret).read()[:3]",
    "list the package": "return str(os.listdir(os.path.dirname(secret)))",
    "list the root": "return str(os.listdir('/'))",
    "read the grader's variables": "return str(open(f'/proc/{grader}/environ', 'rb').read(9))",
    "read the parent's memory": "return str(open(f'/proc/{os.getppid()}/mem', 'rb'))",
    "connect to a port": "s = socket.socket(); s.connect(('127.0.0.1', port)); return 'connected'",
    "connect to a name": "s = socket.socket(1); s.connect(name); return 'connected'",
    "send a datagram": "a, b = socket.socketpair(1, 2); a.sendto(b'', name2); return 'sent'",
    "signal the grader": "os.kill(grader, 0); return 'signalled'",
    "change the grader's limits": (
        "import resource as r; return str(r.prlimit(grader, r.RLIMIT_CORE, (0, 0)))"
    ),
    "write beside": "open(folder + '/x', 'w').close(); return 'wrote'",
    "run a program": "import subprocess as s; return s.run('id', stdout=-1).stdout.decode()",
    "see the other chapters": (
        "import pgcourse\n"
        "base = os.path.dirname(os.path.dirname(os.path.dirname(pgcourse.__file__)))\n"
        "return str(os.listdir(base + '/chapters/policies'))"
    ),
    "change the package": (
        "import pgcourse; open(pgcourse.__file__, 'a').close(); return 'changed'"
    ),
    "become somebody else": "os.setuid(os.getuid() + 1); return 'changed'",
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("beside")
    name, name2 = f"\0pgcourse{os.getpid()}", f"\0pgcourse{os.getpid()}d"
    port, named = socket.create_server(("127.0.0.1", 0)), socket.socket(1)
    with port, named, socket.socket(1, socket.SOCK_DGRAM) as datagrams:
        named.bind(name)
        named.listen()
        datagrams.bind(name2)
        addresses = {"port": port.getsockname()[1], "name": name, "name2": name2}
        yield {"secret": SECRET, "grader": os.getpid(), "folder": str(folder), **addresses}


@pytest.mark.parametrize("what", REACHING)
@pytest.mark.parametrize("mode", ["full", "basic"])
def test_a_worker_cannot(what: str, mode: str, warms: dict[str, Warm], given: Any) -> None:
    assert isinstance(attacked(get(warms, mode), REACHING[what], **given), Raised)


@pytest.mark.parametrize("what", REACHING)
def test_without_layers_a_worker_can(what: str, warms: dict[str, Warm], given: Any) -> None:
    if os.getuid() and what in {"become somebody else", "read the grader's variables"}:
        pytest.skip("only root can")
    if os.getuid() and what == "read the parent's memory":
        pytest.skip("hidden from the same user, too")
    assert isinstance(attacked(warms["plain"], REACHING[what], **given), str)


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_has_no_open_file_but_its_line(mode: str, warms: dict[str, Warm]) -> None:
    source = """
        found = []
        for i in range(1000):
            try:
                os.fstat(i)
                found.append(i)
            except OSError:
                pass
        return str(found)
    """
    assert attacked(get(warms, mode), source) == "[0, 1, 2, 3]"


def test_no_variable_of_the_grader_reaches_a_worker(
    monkeypatch: pytest.MonkeyPatch, full: Warm
) -> None:
    monkeypatch.setenv("PGCOURSE_SEED", "7")
    assert "PGCOURSE_SEED" not in sandbox._environment(full.folder)
    assert "PGCOURSE" not in attacked(full, "return str(dict(os.environ))")


# --- no reference ------------------------------------------------------------------------------

SEARCH = """
found = []
for thing in gc.get_objects():
    if type(thing) is type(attack) and "pgcourse" in thing.__code__.co_filename:
        found += [thing.__name__] if thing.__name__ in names else []
return ' '.join(sorted(set(found)))
"""


@pytest.mark.parametrize("stem", CHAPTERS)
def test_no_answer_of_this_chapter_or_later_lies_in_memory(stem: str, full: Warm) -> None:
    later = CHAPTERS[CHAPTERS.index(stem) :]
    names = {e.name for s in later for e in core.chapter_exercises(s)}
    with full.worker([function(SEARCH, names=names)], stem) as worker:
        assert ask(worker) == ""
    scope: dict[str, Any] = {"gc": gc, "names": names}
    exec(function(SEARCH, names=names), scope)
    assert scope["attack"]() != ""  # here, where the references are, the search finds some


@pytest.mark.parametrize("stem", CHAPTERS)
def test_only_modules_of_earlier_chapters_can_be_imported(stem: str, full: Warm) -> None:
    others = [s for s in CHAPTERS if s != "start"]
    source = """
        import importlib
        found = []
        for stem in stems:
            try:
                module = importlib.import_module("pgcourse." + stem)
            except ImportError:
                continue
            if any(hasattr(module, name) for name in names[stem]):
                found.append(stem)
        return " ".join(found)
    """
    names = {s: [e.name for e in core.chapter_exercises(s)] for s in others}
    earlier = [s for s in CHAPTERS[: CHAPTERS.index(stem)] if s != "start"]
    found = attacked(full, source, stem, stems=others, names=names)
    assert set(found.split()) <= set(earlier)
    with full.worker([f"import pgcourse.{s}" for s in earlier], stem) as worker:
        ask(worker)
        assert worker.notes == []


@pytest.mark.parametrize("module", ["pgcourse.checks.core", "pgcourse.cli", "tests", "solutions"])
def test_the_trusted_side_cannot_be_imported(module: str, warms: dict[str, Warm]) -> None:
    for warm in warms.values():
        answer = attacked(warm, f"import {module}\nreturn 'imported'")
        assert isinstance(answer, Raised)
        assert answer.type == "ModuleNotFoundError"


def test_the_environments_work_before_their_types_are_taught(full: Warm) -> None:
    source = "from pgcourse.environments import two_state as w; return str(w().P.shape)"
    assert attacked(full, source, "mdp") == "(2, 2, 2)"


def test_a_type_that_carries_an_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    stub.build(tmp_path / "a" / "inside", core.exercises().keys())
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="mdp must share no answer, got _as_gamma"):
        stub.build(tmp_path / "b" / "inside", {"_as_gamma"})


def test_a_slice_has_what_the_type_uses_and_nothing_else() -> None:
    source = """
        import math, os
        from a import b, c
        LIMIT = math.pi
        class Kept:
            size = LIMIT
            def f(self): return c()
        def answer(): return b()
    """
    text = stub.slice_of(textwrap.dedent(source), {"Kept"})
    assert "import math\n" in text
    assert "from a import c\n" in text
    assert "LIMIT" in text
    assert "answer" not in text
    assert "os" not in text


def test_folders_are_split_around_what_is_hidden(tmp_path: Path) -> None:
    for name in ("lib/site-packages/pgcourse", "lib/site-packages/numpy", "lib/other"):
        (tmp_path / name).mkdir(parents=True)
    lib = tmp_path / "lib"
    whole, listed = paths.split([str(lib)], [str(lib / "site-packages" / "pgcourse")])
    assert set(whole) == {str(lib / "other"), str(lib / "site-packages" / "numpy")}
    assert set(listed) == {str(lib), str(lib / "site-packages")}
    assert paths.split([str(lib)], []) == ([str(lib)], [])


def test_packages_below_a_hidden_checkout_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: Warm
) -> None:
    site = tmp_path / ".venv" / "lib" / "site-packages"
    site.mkdir(parents=True)
    (site / "of_the_checkout.py").write_text("HERE = 'here'", encoding="utf-8")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    monkeypatch.syspath_prepend(site)
    checkouts = [*paths.hidden(), str(tmp_path)]
    monkeypatch.setattr(paths, "hidden", lambda: checkouts)
    with Warm(omit={"preload"}) as warm:
        assert attacked(warm, "from of_the_checkout import HERE; return HERE") == "here"
        assert isinstance(attacked(warm, "open(secret)", secret=str(tmp_path / "secret")), Raised)
    roots = [str(tmp_path.parent), str(site)]
    for hidden, told in ((checkouts, [True, True]), ([], [True, False])):
        found = paths.readable(roots, hidden)
        assert [root in found for root in roots] == told


@pytest.mark.skipif(os.getuid() != 0, reason="only root's workers become another user")
def test_a_python_that_another_user_cannot_reach_keeps_root_without_its_rights(
    tmp_path: Path, warms: dict[str, Warm]
) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "site").mkdir()
    for root, kept in ((str(tmp_path / "site"), True), ("/usr/lib", False)):
        plan = msgspec.structs.replace(get(warms, "basic").plan, roots=[root])
        user = next(x for x in isolation.probe(plan) if x.name == "user")
        assert user.in_force != kept
        assert (f"Permission denied: '{root}'" in user.why_not) == kept


def test_a_worker_without_namespaces_imports_what_is_not_preloaded(warms: dict[str, Warm]) -> None:
    with get(warms, "basic").worker([f"{GIVEN}import fileinput\nimport wave"], "start") as worker:
        worker.answer(Request("none", []))
        assert worker.notes == []


# --- limits, and what is left ------------------------------------------------------------------

GREEDY = {
    "memory": "import mmap; return str(len(mmap.mmap(-1, 600 * 2**20)))",
    "memory of numpy": "import numpy; return str(len(numpy.empty(10**8)))",
    "a large file": "open('x', 'wb').write(bytes(2**21)); return 'wrote'",
    "open files": "f = [os.dup(0) for _ in range(400)]; return 'opened'",
    "threads": (
        "import threading as t\n"
        "for i in range(40): t.Thread(target=time.sleep, args=(.2,), daemon=True).start()\n"
        "return 'started'"
    ),
}


@pytest.mark.parametrize("what", GREEDY)
def test_a_worker_has_limits(what: str, full: Warm, warms: dict[str, Warm]) -> None:
    assert isinstance(attacked(full, GREEDY[what]), Raised)
    assert isinstance(attacked(warms["plain"], GREEDY[what]), str)


def test_memory_of_all_processes_together_has_a_limit(full: Warm) -> None:
    cell = """
import os, time
for _ in range({}):
    if os.fork() == 0:
        kept = bytearray(b"x") * (200 * 2**20)
        time.sleep(60)
def wait():
    time.sleep(0.3)
    return "waited"
"""
    with full.worker([cell.format(1)], "mdp") as worker:
        assert {ask(worker, "wait") for _ in range(4)} == {"waited"}
    with full.worker([cell.format(3)], "mdp") as worker:
        assert any(ask(worker, "wait") != "waited" for _ in range(40))


NAME = f"pgt{os.getpid()}"
DAEMON = f"""
import ctypes, os, time
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    ctypes.CDLL(None).prctl(15, b"{NAME}")
    time.sleep(60)
    os._exit(0)
time.sleep(0.1)
"""


def named_processes() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += [int(path.parent.name)] * (path.read_text().strip() == NAME)
        except OSError:
            continue
    return found


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("mode", ["full", "plain"])
def test_nothing_survives_its_worker(mode: str, warms: dict[str, Warm]) -> None:
    with get(warms, mode).worker([DAEMON, "def f(): return 'here'"], "mdp") as worker:
        assert ask(worker, "f") == "here"
        assert named_processes()
    assert eventually(lambda: not named_processes())


def test_a_daemon_survives_a_plain_process() -> None:
    subprocess.run([sys.executable, "-c", DAEMON], check=True)
    assert eventually(lambda: bool(named_processes()))
    for pid in named_processes():
        os.kill(pid, signal.SIGKILL)


def test_no_process_can_be_started_where_nothing_would_end_it(warms: dict[str, Warm]) -> None:
    answer = attacked(get(warms, "basic"), "os.fork(); return 'forked'")
    assert isinstance(answer, Raised)
    assert answer.type == "PermissionError"


@pytest.mark.parametrize("mode", MODES)
def test_no_file_reaches_the_next_worker(mode: str, warms: dict[str, Warm]) -> None:
    write = """
        os.makedirs("deep/" * 20)
        open("left", "w").close()
        os.symlink(secret, "link")
        return str(len(os.listdir(".")))
    """
    warm = get(warms, mode)
    assert attacked(warm, write, secret=SECRET) == "3"
    assert attacked(warm, "return str(os.listdir('.'))") == "[]"
    assert Path(SECRET).exists()


def test_killing_the_grader_leaves_nothing(tmp_path: Path) -> None:
    script = f"""
from pgcourse.grading.sandbox import *
from pgcourse.checks.wire import Request
warm = Warm(omit={{"preload"}})
worker = warm.worker([{DAEMON!r}, "def f(): return 'here'"], "mdp")
worker.answer(Request("f", []))
print(warm.process.pid, flush=True)
input()
"""
    command = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdin=-1, stdout=-1, env=environment, text=True) as grader:
        assert grader.stdout is not None
        warm = int(grader.stdout.readline())
        there = bool(named_processes())
        grader.kill()
    assert eventually(lambda: not named_processes() and not Path(f"/proc/{warm}/root").exists())
    assert there
    assert eventually(lambda: list(tmp_path.iterdir()) == [])


def test_folders_of_dead_graders_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    made = [folders.make() for _ in range(3)]
    dead, young, alive = (folder for folder, _ in made)
    link, other = tmp_path / f"{folders.PREFIX}link", tmp_path / "pgcourse-other"
    link.symlink_to(tmp_path / "elsewhere")
    other.mkdir()
    (dead / "file").touch()
    for _, lock in made[:2]:
        os.close(lock)  # as a kill does
    for path in (dead, alive, other, tmp_path / "elsewhere"):
        os.utime(path, (0, 0))
    folders.remove_left()
    assert not dead.exists()
    assert all(path.exists() for path in (young, alive, other, link, link / "kept"))
    os.close(made[2][1])
    folders.remove_left()
    assert not alive.exists()


# --- what costs an honest student nothing ------------------------------------------------------

HONEST = """
import numpy as np
def softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    print("working", flush=True)
    return weights / weights.sum(axis=-1, keepdims=True)
"""
HARMLESS = {
    "warnings": "import sys, warnings; warnings.warn('x'); print('e', file=sys.stderr)",
    "warnings as errors": "import warnings; warnings.simplefilter('error')",
    "another folder": "import os; os.mkdir('d'); os.chdir('d')",
    "a folder that is gone": "import os; os.mkdir('d'); os.chdir('d'); os.rmdir('../d')",
    "default dtype": "import torch; torch.set_default_dtype(torch.float16)",
    "errors of numpy": "import numpy as np; np.seterr(all='raise')",
    "seeds": "import numpy as np, torch; np.random.seed(0); torch.manual_seed(1)",
    "no gradients": "import torch; torch.set_grad_enabled(False)",
    "closed streams": "import sys; sys.stdout.close(); sys.stderr.close()",
    "closed files": "import os\nfor i in range(3): os.close(i)",
    "no streams": "import sys; sys.stdout = sys.stderr = sys.stdin = None",
    "another print": "import builtins; builtins.print = None",
    "no builtins": "for n in [*vars(__builtins__)]: n == 'vars' or vars(__builtins__).pop(n)",
    "no recursion": "import sys; sys.setrecursionlimit(60)",
    "no collector": "import gc; gc.disable()",
    "an alarm": "import signal; signal.alarm(1)",
    "deaf to signals": "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)",
    "magics": "%matplotlib inline\n%timeit 1+1\n!ls\n?print\nfiles = !ls\nfiles[:3]\n%autoreload 2",
    "a timed cell": "%%time\ny = 1",
    "a shell cell": "%%bash\nls",
    "the screen": "input('?'); display(3); get_ipython().run_line_magic('pylab', '')",
    "a plot": "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
    "await": "import asyncio\nawait asyncio.sleep(0)",
    "threads": "import threading, time; threading.Thread(target=time.sleep, args=(9,)).start()",
    "many threads": "import torch; torch.set_num_threads(4)",
    "fork": "import os; os.fork()",
    "a check": "from pgcourse.checks import check\ncheck(print, seed=3)",
    "half a letter": "x = '\ud800'",
    "a dataclass": (
        "from __future__ import annotations\nimport dataclasses, pickle, typing\n"
        "@dataclasses.dataclass\nclass A:\n  x: A | None = None\n"
        "typing.get_type_hints(A)\npickle.loads(pickle.dumps(A(A())))"
    ),
    "a future": "from __future__ import annotations\n# %%\ndef later(x: Later): pass",
    "a module of one's own": "%%writefile own.py\nx = 1\n# %%\nimport own\nassert own.x == 1",
    "two modules in a hurry": (
        "try:\n  import two\nexcept ImportError:\n  open('one.py', 'w').write('y = 2')\n# %%\n"
        "import one\nopen('two.py', 'w').write('y = 3')\n# %%\nimport two\nassert two.y == 3"
    ),
    "a module written in parts": (
        "%%file own.py\nx = 1\n# %%\n%%writefile -a own.py\nx += 1\n# %%\n"
        "from own import x\nassert x == 2"
    ),
    "a name of the library": "%%writefile json.py\nx = 1\n# %%\nimport json\njson.dumps(1)",
    "a function below a magic": "%%time\ndef own(): pass\n# %%\nown()",
    "a flood": "for _ in range(2000): print('x' * 1000)",
}
FAILING = {
    "an error": "1 / 0",
    "no Python": "def f(:\n",
    "exit": "exit()",
    "os._exit": "import os; os._exit(0)",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
    "a loop": "while True: pass",
    "a loop that catches": "while 1:\n  try:\n    while 1: pass\n  except BaseException: pass",
    "memory": "x = []\nwhile True: x.append(bytearray(10**7))",
    "an endless flood": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "a forged frame": "import os; os.write(3, bytes(100))",
    "an endless frame": "import os\nwhile True: os.write(3, b'\\xff' * 65536)",
    "a closed line": "import os; os.closerange(0, 100)",
    "NUL": "x = '\\0'\n\0",
    "its own error": "class E(BaseException):\n  def __str__(self): raise self\nraise E",
}


@pytest.mark.parametrize("what", HARMLESS)
def test_costs_nothing(what: str, full: Warm) -> None:
    cells = HARMLESS[what].split("\n# %%\n")
    with full.worker([*cells, HONEST], "policies") as worker:
        assert core.examine(core.exercises()["softmax"], worker).right
        assert worker.notes == []


@pytest.mark.parametrize("what", FAILING)
def test_a_failing_cell_costs_only_itself(what: str, full: Warm) -> None:
    with full.worker(["y = 1", FAILING[what], HONEST], "policies") as worker:
        assert core.examine(core.exercises()["softmax"], worker).right
        assert [note.number for note in worker.notes] == [1]


BREAKING = {
    "os._exit": "import os; os._exit(0)",
    "exit": "raise SystemExit",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "a loop": "while True: pass",
    "a loop that catches": FAILING["a loop that catches"],
    "memory": "x = globals().setdefault('x', [])\nwhile True: x.append(bytearray(10**7))",
    "a forged frame": "import os; os.write(3, bytes(100))",
    "a closed line": "import os; os.closerange(0, 100)",
    "too much": "return bytes(2 * 10**7).decode()",
    "too deep": "x = []\nfor _ in range(10**5): x = [x]\nreturn x",
}


@pytest.mark.parametrize("what", BREAKING)
def test_a_call_that_breaks_costs_only_its_question(what: str, full: Warm) -> None:
    breaking = "def log_softmax(logits):\n" + textwrap.indent(BREAKING[what], "    ")
    exercises = core.exercises()
    with full.worker([HONEST, breaking], "policies") as worker:
        assert core.examine(exercises["softmax"], worker).right
        assert not core.examine(exercises["log_softmax"], worker).right
        assert core.examine(exercises["softmax"], worker).right


def test_a_function_that_breaks_late_is_reported_with_its_own_input(full: Warm) -> None:
    source = "def f(x):\n  if x == 3:\n    import os; os._exit(0)\n  return x"
    requests = [Request("f", [encode(float(x))]) for x in range(5)]
    with full.worker([source], "policies") as worker:
        answers = list(worker.answers(requests))
    assert [isinstance(a, Returned) for a in answers] == [True, True, True, False, True]


def test_too_many_breaking_cells_are_cut(full: Warm) -> None:
    cells = ["def f(): return 'first'", *["import os; os._exit(0)"] * 12, "x = 1"]
    with full.worker(cells, "mdp") as worker:
        assert ask(worker, "f") == "first"
        assert [note.number for note in worker.notes] == list(range(1, 14))
        assert "not run" in worker.notes[-1].text


def test_thousands_of_failing_cells_cost_no_point_and_little_time(full: Warm) -> None:
    cells = ["def f(): return 'here'", *["x"] * 5000]
    start = time.process_time()
    with full.worker(cells, "mdp") as worker:
        assert ask(worker, "f") == "here"
        assert [n.number for n in worker.notes] == list(range(1, sandbox.MOST_NOTES + 1))
    assert time.process_time() - start < 1


# --- frames ------------------------------------------------------------------------------------


class Liar:
    """Stands in for a warm process; what its workers answer is made up here.

    Args:
        say: batch -> bytes that go over the line.
    """

    def __init__(self, say: Callable[[Batch], bytes], limits: Limits = LIMITS) -> None:
        self.say, self.limits, self.made = say, limits, 0

    def spawn(self, chapter: str) -> Line:
        self.made += 1
        ours, theirs = socket.socketpair()
        threading.Thread(target=self.lie, args=[Line(theirs)], daemon=True).start()
        return Line(ours)

    def lie(self, line: Line) -> None:
        with line.end, contextlib.suppress(OSError, EOFError):
            line.receive(2**20)
            while True:
                said = self.say(msgspec.msgpack.decode(line.receive(2**20), type=Batch))
                line.end.setblocking(True)
                line.end.sendall(said)
                line.end.setblocking(False)

    def end_worker(self) -> None:
        """Have nothing to end."""


def frame(content: Any) -> bytes:
    data = msgspec.msgpack.encode(content)
    return LENGTH.pack(len(data)) + data


def said(batch: Batch, *answers: Any) -> bytes:
    return frame(Answers(batch.number, [msgspec.msgpack.encode(a) for a in answers]))


ONE = Returned(encode(1.0))
GRADIENTS = Request("f", [encode(np.ones(3))], [0], encode(1.0))
SQUARE = Array("float64", (3, 3), bytes(72))
NESTED: Any = Items([])
for _ in range(50):
    NESTED = Items([NESTED])
LIES: dict[str, Callable[[Batch], bytes]] = {
    "an answer to another batch": lambda b: frame(Answers(b.number ^ 1, [b""])),
    "no answer": lambda b: said(b),
    "another frame": lambda b: frame({"right": True}),
    "a pickle": lambda b: frame(Answers(b.number, [pickle.dumps(print)])),
    "no frame": lambda b: b"right" * 100,
    "a frame without end": lambda b: LENGTH.pack(2**62) + bytes(2**16),
    "half a frame": lambda b: said(b, ONE)[:-3],
    "an array that is none": lambda b: said(b, Returned(Array("float64", (9,), b""))),
    "an array of no type": lambda b: said(b, Returned(Array("nonsense", (1,), bytes(8)))),
    "an array of many axes": lambda b: said(b, Returned(Array("int8", (2**62,) * 20_000, b""))),
    "an array of objects": lambda b: said(b, Returned(Array("object", (1,), bytes(8)))),
    "a list in a list in a list": lambda b: said(b, Returned(NESTED)),
    "no gradient": lambda b: said(b, ONE),
    "a gradient too many": lambda b: said(b, Returned(encode(1.0), [encode(1.0)] * 2)),
    "a gradient of another shape": lambda b: said(b, Returned(encode(1.0), [SQUARE])),
    "a gradient of text": lambda b: said(b, Returned(encode(1.0), [encode("x")])),
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_no_answer(what: str) -> None:
    quick = Limits(call_seconds=0.01)
    with Worker(Liar(LIES[what], quick), [], "mdp") as worker:  # type: ignore[arg-type]
        answer = worker.answer(GRADIENTS)
    assert isinstance(answer, Raised)
    assert answer.type in {"EOFError", "TimeoutError"}


def test_an_answer_is_one() -> None:
    gradients = [encode(np.ones(3))]
    liar = Liar(lambda b: said(b, Returned(encode(1.0), gradients)))
    with Worker(liar, [], "mdp") as worker:  # type: ignore[arg-type]
        assert worker.answer(GRADIENTS) == Returned(encode(1.0), gradients)
        assert liar.made == 1


def test_what_nobody_asked_for_is_never_an_answer() -> None:
    liar = Liar(lambda b: said(b, ONE) + said(b, Returned(encode(2.0))))
    with Worker(liar, [], "mdp") as worker:  # type: ignore[arg-type]
        for made in (1, 2, 3):
            assert worker.answer(Request("f", [])) == ONE
            assert liar.made == made
            assert eventually(worker.line.speaks)  # type: ignore[union-attr]


def test_long_texts_of_a_worker_are_cut() -> None:
    liar = Liar(lambda b: said(b, Raised("E" * 10**6, "m" * 10**6, "l" * 10**6)))
    with Worker(liar, [], "mdp") as worker:  # type: ignore[arg-type]
        assert len(str(worker.answer(Request("f", [])))) < 1000


def test_what_is_ready_after_the_deadline_is_too_late() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = Line(ours)
        theirs.sendall(frame("first") + frame("second"))
        with pytest.raises(TimeoutError):
            line.receive(100, time.monotonic() - 1)
        assert msgspec.msgpack.decode(line.receive(100, time.monotonic() + 1)) == "first"
        with pytest.raises(TimeoutError):  # the second is heard already
            line.receive(100, time.monotonic() - 1)
        assert msgspec.msgpack.decode(line.receive(100)) == "second"


def test_a_submission_has_a_time_to_end() -> None:
    liar = Liar(lambda b: b"", Limits(submission_seconds=0.05))
    start = time.monotonic()
    with Worker(liar, [], "mdp") as worker:  # type: ignore[arg-type]
        answers = [worker.answer(Request(name, [])) for name in "abc"]
    assert time.monotonic() - start < 1
    assert {a.type for a in answers} == {"TimeoutError"}  # type: ignore[union-attr]
    assert "used up its 0.05 s" in answers[0].message  # type: ignore[union-attr]


# --- what is asked for -------------------------------------------------------------------------


def test_layers_that_are_required_and_missing_are_an_error(tmp_path: Path) -> None:
    layers = [sandbox.Layer("limits", True), sandbox.Layer("landlock", False, "too old")]
    sandbox._demand(None, layers)
    sandbox._demand("basic", layers[:1])
    for require in ("basic", "full"):
        with pytest.raises(IsolationError, match=r"landlock: too old"):
            sandbox._demand(require, layers)


def test_a_warm_process_that_may_not_start_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(IsolationError, match="landlock: left out"):
        Warm(require="basic", omit={"landlock"})
    with pytest.raises(ValueError, match="require must be 'full', 'basic' or None, got 'some'"):
        Warm(require="some")
    assert list(tmp_path.iterdir()) == []


def test_a_warm_process_ends_in_silence_when_nobody_hears_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Warm(omit={"preload"}) as warm:
        for _ in range(3):
            assert warm._tell("", [])
        assert eventually(warm.control.speaks)  # an acknowledgement that is never read
    assert warm.process is None
    assert capfd.readouterr().err == ""


def test_without_forks_every_worker_is_a_process_of_its_own() -> None:
    with Warm(omit={*LAYERS, "fork", "preload"}) as warm:
        assert [x for x in warm.layers if x.in_force] == []
        assert attacked(warm, "return 'here'") == "here"
