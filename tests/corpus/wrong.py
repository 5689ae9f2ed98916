"""Family — wrong: half done, not attempted, mistakes by hand and by name from every chapter."""

# ruff: noqa: E501 (a case stands on a line)

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator

import cloudpickle

from pgcourse import CHAPTERS
from pgcourse.checks import core
from tests.corpus import HELLO, ONE, SOFTMAX, Case, notebook, script, scripts

RESULT = "e / e.sum(-1, keepdims=True)"

# Wrong answers to `softmax`: cell, and words of the verdict.
SAID = {
    "zeros": ("def softmax(logits):\n    return [0.0] * len(logits)", '"wrong"'),
    "not_a_number": ("def softmax(logits):\n    return [float('nan')] * len(logits)", "finite"),
    "infinite": ("import numpy as np\ndef softmax(logits):\n    return np.full(len(logits), np.inf)", "finite"),
    "printed_not_returned": (SOFTMAX.replace(f"return {RESULT}", f"print({RESULT})"), "returns nothing"),
    "untouched": ("def softmax(logits):\n    return ...", "not attempted"),
    "only_a_docstring": ("def softmax(logits):\n    '''Return the probabilities.'''", "returns nothing"),
    "other_arguments": ("def softmax():\n    return 1", "edit outside the blank"),
    "no_function": ("softmax = 3", "edit outside the blank"),
    "a_column": (SOFTMAX.replace(RESULT, f"({RESULT})[:, None]"), '"shape"'),
    "one_number": ("def softmax(logits):\n    return 1.0", '"shape"'),
    "text": ("def softmax(logits):\n    return str(list(logits))", '"type"'),
    "truth_values": ("def softmax(logits):\n    return [True] * len(logits)", '"type"'),
    "a_generator": ("def softmax(logits):\n    yield from logits", "generator"),
    "a_dictionary": ("def softmax(logits):\n    return dict(enumerate(logits))", '"type"'),
    "ragged": ("def softmax(logits):\n    return [list(logits), [1.0]]", '"wrong"'),
    "complex": (SOFTMAX.replace(RESULT, f"({RESULT}).astype(complex)"), '"type"'),
    "half_precision": (SOFTMAX.replace(RESULT, f"({RESULT}).astype('f2')"), '"value"'),
    "changes_its_input": (
        "import numpy as np\ndef softmax(logits):\n    logits -= logits.max(-1, keepdims=True)\n"
        "    e = np.exp(logits)\n    return e / e.sum(-1, keepdims=True)", "changes its input"),
    "one_buffer_for_all": (
        "import numpy as np\nbuffer = np.zeros(1000)\ndef softmax(logits):\n    n = len(logits)\n"
        "    e = np.exp(logits - np.max(logits, -1, keepdims=True))\n    buffer[:n] = 0.0\n    out = buffer[:e.size].reshape(e.shape)\n    out[...] = e / e.sum(-1, keepdims=True)\n    return out",
        "overwrites an earlier result"),
    "remembers": (
        "import numpy as np\nseen = {}\ndef softmax(logits):\n    e = np.exp(logits - np.max(logits, -1, keepdims=True))\n"
        "    key = (logits.tobytes(), logits.shape)\n    seen[key] = seen.get(key, 0) + 1\n    return e / e.sum(-1, keepdims=True) * seen[key]",
        "remembers earlier calls"),
    "raises": ("def softmax(logits):\n    return undefined", "NameError"),
    "right_on_small_inputs": (
        "import numpy as np\ndef softmax(logits):\n    e = np.exp(logits)\n    return e / e.sum(-1, keepdims=True)", '"wrong"'),
    "right_but_not_at_the_end": (SOFTMAX + "del softmax", "edit outside the blank"),
    "overwritten_at_the_end": (f"{SOFTMAX}softmax = softmax([1.0])", "edit outside the blank"),
}  # fmt: skip


def carrying(function: object, name: str) -> str:
    """Return a cell that binds a function of this process."""
    data = base64.b64encode(cloudpickle.dumps(function)).decode()
    return f"import base64, cloudpickle\n{name} = cloudpickle.loads(base64.b64decode('{data}'))"


def by_name() -> Iterator[Case]:
    """Yield notebooks in which each function of a chapter makes its first, or last, mistake."""
    for stem, place in itertools.product(CHAPTERS, (0, -1)):
        exercises = core.chapter_exercises(stem)[:3]  # the fourth may take seconds to judge
        cells = [carrying(e.mistakes[place].wrong[0], e.name) for e in exercises]
        says = tuple(e.mistakes[place].name for e in exercises)
        yield Case(f"{stem}_mistakes_{place % 7}", notebook(*cells), {}, says, ".ipynb")


CASES = [
    *(Case(name, script(HELLO, cell), ONE, (says,)) for name, (cell, says) in SAID.items()),
    *scripts({"half_done": [HELLO], "half_done_twice": [HELLO, HELLO]}, ONE),
    Case(
        "nothing_but_questions",
        script("def hello_grader(name):\n    return ..."),
        {},
        ("not attempted",),
    ),
]
