"""Family — correct: honest answers in many styles; none may lose a point."""

# ruff: noqa: E501 (a case stands on a line)

from __future__ import annotations

import base64
import json

from tests.corpus import BOTH, HELLO, ONE, SOFTMAX, Case, code, notebook, script, scripts

# Each defines `softmax` in its own way; `hello_grader` stands in a cell of its own.
STYLES = {
    "pure_python": """import math
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    logits = [float(x) for x in logits]
    m = max(logits)
    e = [math.exp(x - m) for x in logits]
    return [x / sum(e) for x in e]""",
    "torch_double": """import torch
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    return torch.softmax(torch.as_tensor(logits, dtype=torch.float64), dim=0)""",
    "torch_with_graph": """import torch
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    return torch.exp(x - torch.logsumexp(x, 0))""",
    "scipy": "from scipy.special import softmax as s\ndef softmax(logits):\n    return s(logits, axis=-1)",
    "tuple_result": """import numpy as np
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    e = np.exp(np.asarray(logits) - np.max(logits, -1, keepdims=True))
    return tuple(float(x) for x in e / e.sum(-1, keepdims=True))""",
    "lambda_bound": """import numpy as np
softmax = lambda logits: np.exp(logits - np.logaddexp.reduce(logits, -1, keepdims=True))""",
    "class_with_call": """import numpy as np
class Softmax:
    def __call__(self, logits):
        e = np.exp(logits - np.max(logits, -1, keepdims=True))
        return e / e.sum(-1, keepdims=True)
softmax = Softmax()""",
    "class_that_is_the_function": """import numpy as np
class softmax:
    def __new__(cls, logits):
        e = np.exp(logits - np.max(logits, -1, keepdims=True))
        return e / e.sum(-1, keepdims=True)""",
    "partial_bound": """import functools, numpy as np
def tempered(temperature, logits):
    e = np.exp((logits - np.max(logits, -1, keepdims=True)) / temperature)
    return e / e.sum(-1, keepdims=True)
softmax = functools.partial(tempered, 1.0)""",
    "method_bound": """import numpy as np
class Policy:
    def probabilities(self, logits):
        e = np.exp(logits - np.max(logits, -1, keepdims=True))
        return e / np.sum(e, -1, keepdims=True)
softmax = Policy().probabilities""",
    "decorated_and_cached": """import functools, numpy as np
def on_tuples(f):
    cached = functools.lru_cache(maxsize=None)(f)
    @functools.wraps(f)
    def wrapped(logits):
        if logits.ndim > 1:
            return [wrapped(x) for x in logits]
        return np.array(cached(tuple(float(x) for x in logits)))
    return wrapped
@on_tuples
def softmax(logits):
    e = np.exp(np.array(logits) - max(logits))
    return tuple(e / e.sum())""",
    "recursive": """import math
def total(xs, m):
    return math.exp(xs[0] - m) + total(xs[1:], m) if xs else 0.0
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    xs = [float(x) for x in logits]
    return [math.exp(x - max(xs)) / total(xs, max(xs)) for x in xs]""",
    "generator_inside": """import math
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    def each(m, z):
        yield from (math.exp(x - m) / z for x in logits)
    m = max(logits)
    return list(each(m, math.fsum(math.exp(x - m) for x in logits)))""",
    "numpy_matrix_of_objects": """import numpy as np
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    e = np.exp(np.asarray(logits, dtype=float) - np.max(logits, -1, keepdims=True))
    return np.array([float(x) for x in e / e.sum(-1, keepdims=True)], dtype=object)""",
    "non_contiguous_result": """import numpy as np
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return np.stack([e / e.sum(-1, keepdims=True), e], axis=1)[:, 0]""",
    "big_endian_result": """import numpy as np
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype('>f8')""",
    "fractions": """from fractions import Fraction
import math
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    e = [Fraction(math.exp(x - max(logits))) for x in logits]
    return [x / sum(e) for x in e]""",
    "float32_result": """import numpy as np
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)""",
    "works_in_place_on_a_copy": """import numpy as np
def softmax(logits):
    if hasattr(logits[0], '__len__'):
        return [softmax(x) for x in logits]
    x = np.array(logits, dtype=float)
    x -= x.max(-1, keepdims=True); np.exp(x, out=x); x /= x.sum(-1, keepdims=True)
    return x""",
    "default_and_extra_arguments": """import numpy as np
def softmax(logits, axis=-1, *rest, **options):
    e = np.exp(logits - np.max(logits, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)""",
}

# Cells before, between and after two plain right answers: habits that must cost nothing.
HABITS: dict[str, list[str]] = {
    "warnings_on_stderr": [
        "import warnings, sys, logging\nwarnings.warn('careful')\nprint('x' * 1000, file=sys.stderr)\n"
        "logging.error('an error that is none')",
        HELLO, "import warnings, sys\nimport numpy as np\ndef softmax(logits):\n"
        "    warnings.warn('overflow?', RuntimeWarning); print('deb', logits, file=sys.stderr)\n"
        "    np.log(0.0)\n    e = np.exp(logits - np.max(logits, -1, keepdims=True))\n    return e / e.sum(-1, keepdims=True)",
    ],
    "warnings_made_errors": [
        "import warnings\nwarnings.simplefilter('error')\nimport numpy as np\n"
        "np.seterr(all='raise')", HELLO, SOFTMAX,
    ],
    "changed_directory": [
        "import os, tempfile\nos.chdir(tempfile.mkdtemp())\nopen('mine.txt', 'w').write('3')",
        HELLO, SOFTMAX, "assert open('mine.txt').read() == '3'",
    ],
    "directory_removed_below": [
        "import os, tempfile\nd = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)", HELLO, SOFTMAX,
    ],
    "default_dtype_and_print_options": [
        "import torch, numpy as np\ntorch.set_default_dtype(torch.float32)\n"
        "np.set_printoptions(precision=2, suppress=True)", HELLO, SOFTMAX,
    ],
    "no_grad_for_good": [
        "import torch\ntorch.set_grad_enabled(False)\ntorch.autograd.set_detect_anomaly(True)",
        HELLO, SOFTMAX,
    ],
    "seeds_and_global_random_state": [
        "import random, torch, numpy as np\nrandom.seed(0); np.random.seed(0); torch.manual_seed(0)\n"
        "count = 0", HELLO,
        "def softmax(logits):\n    global count\n    count += 1; np.random.rand(); random.random()\n"
        "    e = np.exp(logits - np.max(logits, -1, keepdims=True))\n    return e / e.sum(-1, keepdims=True)",
    ],
    "magics": [
        "%matplotlib inline\n%load_ext autoreload\n%autoreload 2\n!ls\n!pip install numpy\nfiles = !ls",
        f"%%time\n{HELLO}", f"%%capture out\n{SOFTMAX}", "?softmax\nsoftmax?\n%timeit -n1 1 + 1",
        "%%bash\necho $HOME", "%%html\n<b>x</b>",
    ],
    "plots": [
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as plt\n"
        "plt.plot([1, 2]); plt.show()\nplt.savefig('figure.png')",
        HELLO, SOFTMAX, "fig, ax = plt.subplots()\nax.plot(softmax(np.arange(3.0)))\nfig",
    ],
    "other_matplotlib_backend": [
        "import matplotlib\ntry:\n    matplotlib.use('TkAgg')\nexcept ImportError:\n    pass\n"
        "%matplotlib notebook", HELLO, SOFTMAX,
    ],
    "helper_cells_and_late_imports": [
        HELLO, "def softmax(logits):\n    return normal(np.exp(shifted(logits)))",
        "def shifted(x):\n    return x - np.max(x, -1, keepdims=True)", "def normal(x):\n    return x / x.sum(-1, keepdims=True)",
        "import numpy as np",
    ],
    "used_before_it_is_defined": ["print(softmax([1.0]))", SOFTMAX, HELLO],
    "defined_twice_last_counts": [
        "def softmax(logits):\n    return ...", "def hello_grader(n):\n    return 'Hello'", SOFTMAX, HELLO,
    ],
    "own_tests_that_fail": [
        HELLO, SOFTMAX, "assert hello_grader('x') == 'y'", "raise SystemExit('stop here')",
    ],
    "calls_of_check": [
        "from pgcourse.checks import check\nimport pgcourse.checks", HELLO, "check(hello_grader)",
        SOFTMAX, "check(softmax)\ncheck(softmax, seed=3)\npgcourse.checks.check(softmax)",
    ],
    "wings_of_the_course": [
        "import pgcourse.environments, pgcourse.plotting\nfrom pgcourse import CHAPTERS", HELLO, SOFTMAX,
    ],
    "threads_left_running": [
        "import threading, time\ndef tick():\n    while True:\n        time.sleep(0.01)\n"
        "for _ in range(3):\n    threading.Thread(target=tick, daemon=True).start()\n"
        "threading.Timer(60, tick).start()", HELLO, SOFTMAX,
    ],
    "asyncio_at_top_level": [
        "import asyncio\nawait asyncio.sleep(0)\nasync def f():\n    return 1\nx = await f()",
        HELLO, SOFTMAX, "assert x == 1",
    ],
    "builtins_hidden_by_names": [
        "list = [1]; max = 3; print = None; type = 'x'; len = 5", HELLO, SOFTMAX,
    ],
    "builtins_deleted": ["import builtins\ndel builtins.isinstance, builtins.len", HELLO, SOFTMAX],
    "standard_streams_closed": [
        "import sys\nsys.stdout.close(); sys.stderr = None", HELLO, SOFTMAX, "print('x')",
    ],
    "own_alarm_handler": [
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nsignal.alarm(0)", HELLO, SOFTMAX,
    ],
    "recursion_limit_lowered": ["import sys\nsys.setrecursionlimit(60)", HELLO, SOFTMAX],
    "much_output": ["for i in range(2000):\n    print('line' * 50)", HELLO, SOFTMAX],
    "non_ascii_names": [
        "π = 3.14\ndef größe(λ):\n    return λ", HELLO,
        "import numpy as np\ndef softmax(logits):\n    ε = np.exp(logits - np.max(logits, -1, keepdims=True))\n"
        "    Σ = ε.sum(-1, keepdims=True)\n    return ε / Σ  # ∇ log π 政策梯度 \U0001f600",
    ],
    "indented_definitions": [
        "if True:\n    " + HELLO.replace("\n", "\n    "), "try:\n    import numpy as np\nexcept ImportError:\n"
        "    raise\nelse:\n    def softmax(logits):\n        e = np.exp(logits - np.max(logits, -1, keepdims=True))\n"
        "        return e / e.sum(-1, keepdims=True)",
    ],
    "left_over_debugger_and_input": [
        "name = input('who? ')\nquit_later = exit", HELLO, SOFTMAX, "display(softmax([1.0]))\nexit()",
    ],
    "multiprocessing_of_builtins": [
        "import multiprocessing as mp\ntry:\n    with mp.get_context('fork').Pool(2) as pool:\n"
        "        print(pool.map(abs, range(-3, 0)))\nexcept OSError:\n    pass", HELLO, SOFTMAX,
    ],
    "files_written_and_read": [
        "import pickle, numpy as np\nnp.save('a.npy', np.arange(3)); np.load('a.npy')\n"
        "pickle.dump({1: 2}, open('b.pkl', 'wb'))", HELLO, SOFTMAX,
    ],
    "a_hundred_threads_of_history": [
        "import threading\nfor _ in range(100):\n    t = threading.Thread(target=abs, args=(1,))\n"
        "    t.start(); t.join()", HELLO, SOFTMAX,
    ],
}  # fmt: skip

CARRIAGE = f"# %%\n{HELLO}\n# %%\n{SOFTMAX}".replace("\n", "\r\n").encode()
VERSION_3 = {
    "metadata": {"name": "old"}, "nbformat": 3, "nbformat_minor": 0,
    "worksheets": [{"cells": [
        {"cell_type": "code", "language": "python", "input": [HELLO], "outputs": []},
        {"cell_type": "heading", "level": 1, "source": ["x"]},
        {"cell_type": "code", "language": "python", "collapsed": False, "input": SOFTMAX.splitlines(True)},
    ]}],
}  # fmt: skip
IDENTIFIER = {"id": "same"}
PICTURE = {
    "output_type": "display_data", "data": {"image/png": base64.b64encode(b"x" * 600_000).decode()}
}  # fmt: skip


def _form(name: str, data: bytes, suffix: str = ".ipynb") -> Case:
    return Case(name, data, BOTH, suffix=suffix)


FORMS = [
    _form("plain_notebook", notebook(HELLO, SOFTMAX)),
    _form("version_3", json.dumps(VERSION_3).encode()),
    _form("no_metadata_no_outputs", json.dumps({"cells": [
        {"cell_type": "code", "source": HELLO}, {"cell_type": "code", "source": [SOFTMAX]}]}).encode()),
    _form("same_identifier_twice", notebook(
        cells=[code(HELLO, **IDENTIFIER), code(SOFTMAX, **IDENTIFIER)])),
    _form("another_kernel_named", notebook(
        HELLO, SOFTMAX, metadata={"kernelspec": {"name": "ir", "language": "R"}})),
    _form("huge_outputs", notebook(cells=[code(HELLO, outputs=[PICTURE] * 4), code(SOFTMAX)])),
    _form("thousands_of_cells", notebook(*["x = 1"] * 1500, HELLO, SOFTMAX)),
    _form("thousands_of_failing_cells", notebook(*["x"] * 1500, HELLO, SOFTMAX)),
    _form("marked_utf_8", b"\xef\xbb\xbf" + notebook(HELLO, SOFTMAX)),
    _form("utf_16", notebook(HELLO, SOFTMAX).decode().encode("utf-16")),
    _form("nul_bytes", notebook(HELLO, SOFTMAX) + b"\0" * 4096),
    _form("nan_in_outputs", notebook(HELLO, SOFTMAX)[:-1] + b', "metadata": {"x": NaN}}'),
    _form("capital_suffix", notebook(HELLO, SOFTMAX), ".IPYNB"),
    _form("carriage_returns", CARRIAGE, ".py"),
    _form("old_macintosh_returns", CARRIAGE.replace(b"\n", b""), ".py"),
    _form("no_cell_marks", (HELLO + SOFTMAX).encode(), ".py"),
    _form("exported_by_nbconvert", f"#!/usr/bin/env python\n# coding: utf-8\n# In[1]:\n\n{HELLO}\n# "
          f"In[ ]:\n\nget_ipython().run_line_magic('matplotlib', 'inline')\n{SOFTMAX}".encode(), ".py"),
    _form("latin_1_comment", script(HELLO, SOFTMAX) + b"# \xe9t\xe9\n", ".py"),
    _form("many_empty_and_text_cells", script(*[""] * 50, HELLO, "# %% [markdown]\n# text", SOFTMAX), ".py"),
    _form("attachments_and_raw_cells", notebook(cells=[
        {"cell_type": "markdown", "source": "x", "attachments": {"a.png": {"image/png": "AAAA"}}},
        {"cell_type": "raw", "source": "def softmax(logits): return 0"}, code(HELLO), code(SOFTMAX)])),
]  # fmt: skip

# What the notebook of a thoughtful student does and a narrow grader forgets.
FURTHER = {
    "module_written_by_a_magic": [
        "%%writefile greetings.py\ndef greet(n):\n    return f'Hello, {n}!'",
        "from greetings import greet\ndef hello_grader(name):\n    return greet(name)",
    ],
    "module_written_by_hand": [
        "open('own.py', 'w').write('def greet(n):\\n    return f\"Hello, {n}!\"')",
        "from own import greet\ndef hello_grader(name):\n    return greet(name)",
    ],
    "annotations_of_the_future": [
        "from __future__ import annotations", "def hello_grader(name: Name) -> Text:\n"
        "    return f'Hello, {name}!'",
    ],
    "bound_with_another": ["hello_grader, other = (lambda name: f'Hello, {name}!'), None"],
    "bound_after_a_semicolon": ["x = 1; hello_grader = lambda name: f'Hello, {name}!'"],
    "bound_in_a_chain": ["greet = hello_grader = lambda name: f'Hello, {name}!'"],
    "bound_by_globals": ["globals()['hello_grader'] = lambda name: f'Hello, {name}!'"],
    "bound_by_exec": [f"exec({HELLO!r})"],
    "processes_of_own_functions": [
        "import multiprocessing as mp\ndef mark(x):\n    return '!'\n"
        "try:\n    with mp.get_context('fork').Pool(2) as pool:\n        marks = pool.map(mark, range(2))\n"
        "except OSError:\n    marks = ['!']",
        "def hello_grader(name):\n    return f'Hello, {name}{marks[0]}'",
    ],
    "own_class_pickled": [
        "import pickle\nfrom dataclasses import dataclass\n@dataclass\nclass Name:\n    text: str\n"
        "kept = pickle.dumps(Name('Hello'))",
        "def hello_grader(name):\n    return f'{pickle.loads(kept).text}, {name}!'",
    ],
}  # fmt: skip

CASES = [
    *scripts({name: [HELLO, cell] for name, cell in STYLES.items()}, BOTH),
    *scripts(HABITS, BOTH),
    *scripts(FURTHER, ONE),
    *FORMS,
]
