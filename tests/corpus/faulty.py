"""Family — faulty: what breaks costs its own question only, and never the grader."""

# ruff: noqa: E501 (a case stands on a line)

from __future__ import annotations

from tests.corpus import BOTH, HELLO, ONE, SOFTMAX, WRONG_SOFTMAX, Case, script, scripts

# Cells that fail beside two right answers.
CELLS = {
    "syntax_error": "def broken(:\n    pass",
    "indentation_error": "if True:\nx = 1",
    "exception": "raise ValueError('an honest mistake')",
    "exception_without_text": "class Odd(Exception):\n    def __str__(self):\n        raise self\nraise Odd",
    "base_exception": "class Own(BaseException): pass\nraise Own('x')",
    "missing_package": "import a_package_that_nobody_has",
    "sys_exit": "import sys\nsys.exit(3)",
    "keyboard_interrupt": "raise KeyboardInterrupt",
    "os_exit": "import os\nos._exit(0)",
    "segfault": "import ctypes\nctypes.string_at(1)",
    "abort": "import os\nos.abort()",
    "killed_by_itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "recursion": "def f(x):\n    return f(x)\nf(1)",
    "recursion_in_c": "x = None\nfor _ in range(10**5):\n    x = [x]\nimport sys\nsys.setrecursionlimit(10**6)\nrepr(x)",
    "memory_at_once": "x = bytearray(2**33)",
    "memory_in_parts": "x = []\nwhile True:\n    x.append(bytearray(2**24))",
    "memory_of_arrays": "import numpy as np\nx = np.ones((2**16, 2**16))",
    "closed_descriptors": "import os\nos.closerange(0, 200)",
    "output_on_all_descriptors": (
        "import os\nfor fd in (1, 2):\n    for _ in range(300):\n        os.write(fd, b'x' * 65536)"
    ),
    "a_flood_of_warnings": "import warnings\nfor i in range(5000):\n    warnings.warn(str(i))",
    "too_many_files": "kept = [open('f', 'w') for _ in range(5000)]",
    "disk_filled": "f = open('big', 'wb')\nwhile True:\n    f.write(b'x' * 2**20)",
    "disk_filled_by_names": "for i in range(10**5):\n    open(str(i), 'w').close()",
    "folders_in_folders": "import os\nfor i in range(2000):\n    os.mkdir('d'); os.chdir('d')",
    "ten_to_the_million": "print(10 ** 10 ** 6)",
}  # fmt: skip

SLOW = {
    "infinite_loop": "while True:\n    pass",
    "infinite_loop_that_catches": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "sleep": "import time\ntime.sleep(1000)",
    "lock_never_given": "import threading\nl = threading.Lock(); l.acquire(); l.acquire()",
    "fork_bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "thread_bomb": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,)).start()",
    "forked_notebook": "import os, time\nif os.fork():\n    time.sleep(99)",
}  # fmt: skip

# Functions `softmax` that fail when they are called; `hello_grader` stands after them.
CALLS = {
    "call_exits": ("import sys; sys.exit(0)", "SystemExit"),
    "call_ends_the_process": ("import os; os._exit(0)", "broke off"),
    "call_segfaults": ("import ctypes; ctypes.string_at(1)", "broke off"),
    "call_recurses": ("return softmax(logits)", "RecursionError"),
    "call_takes_memory": ("return bytearray(2**33)", "MemoryError"),
    "call_returns_gigabytes": ("import numpy as np; return np.zeros(2**21)", "has more than"),
    "call_returns_a_long_text": ("return 'x' * 10**7", '"wrong"'),
    "call_returns_a_list_without_end": ("x = []; x.append(x); return x", "RecursionError"),
    "call_returns_a_deep_list": ("x = [1.0]\n    for _ in range(900): x = [x]\n    return x", '"wrong"'),
    "call_returns_a_module": ("import numpy; return numpy", '"type"'),
    "call_returns_itself": ("return softmax", '"type"'),
    "call_returns_a_class": ("return float", '"type"'),
    "call_returns_a_giant_number": ("return 10 ** 5000", '"wrong"'),
    "call_returns_a_sparse_tensor": ("import torch; return torch.eye(3).to_sparse()", '"wrong"'),
    "call_returns_a_masked_array": ("import numpy as np; return np.ma.masked_all(len(logits))", '"wrong"'),
    "call_returns_dates": ("import numpy as np; return np.zeros(len(logits), 'M8[s]')", '"type"'),
    "call_returns_a_record": ("import numpy as np; return np.zeros(3, 'f8,i4')", '"type"'),
    "call_returns_a_lying_array": (
        "class Odd:\n        def __array__(self, *a, **k):\n            raise SystemExit('no')\n    return Odd()",
        "SystemExit"),
    "call_raises_what_cannot_be_told": (
        "class Odd(Exception):\n        def __str__(self):\n            raise SystemExit\n    raise Odd", '"wrong"'),
    "call_raises_a_novel": ("raise ValueError('x' * 10**6)", "ValueError"),
    "call_stops_the_iteration": ("raise StopIteration", "StopIteration"),
    "call_closes_everything": ("import os; os.closerange(0, 300); return logits", '"wrong"'),
}  # fmt: skip

SLOW_CALLS = {
    "call_loops": "while True: pass",
    "call_loops_and_catches": "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "call_sleeps_with_alarms_off": (
        "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM}); time.sleep(99)"
    ),
    "call_iterates_for_ever": "return list(iter(int, 1))",
}  # fmt: skip


def _call(body: str) -> str:
    return f"def softmax(logits):\n    {body}"


DELETING = "for name in list(globals()):\n    if name[0] != '_':\n        del globals()[name]"
CASES = [
    *scripts({name: [HELLO, cell, SOFTMAX] for name, cell in CELLS.items()}, BOTH),
    *(Case(name, script(_call(body), HELLO), ONE, (says,)) for name, (body, says) in CALLS.items()),
    *scripts({name: [HELLO, cell] for name, cell in SLOW.items()}, ONE, slow=True),
    *scripts({n: [_call(b), HELLO] for n, b in SLOW_CALLS.items()}, ONE, ("too slow",), slow=True),
    Case("names_deleted_after", script(HELLO, WRONG_SOFTMAX, DELETING), {}, ("edit outside",)),
]
