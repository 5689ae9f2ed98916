"""The sandbox: what a student's code can reach, and what it cannot cost the next call.

Each attack is also made where it must succeed, so that the test can fail: in a worker without the
layer, or in a plain process.
"""

from __future__ import annotations

import os
import socket
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgcourse.checks import core
from pgcourse.checks.wire import Raised, Request, Returned, Text, encode
from pgcourse.grading import isolation, paths, sandbox, stub
from pgcourse.grading.sandbox import Limits, Warm, Worker

LAYERS = ("limits", "user", "seccomp", "landlock", "namespaces")
LIMITS = Limits(
    memory=512 * 2**20, cell_seconds=2, call_seconds=1, processes=16, file_size=2**20, scratch=2**22
)
MODES = {
    "user": ("namespaces", "landlock", "seccomp", "limits"),
    "swept": ("namespaces", "seccomp", "landlock"),
    "full": (),
    "basic": ("namespaces",),
    "plain": LAYERS,
}


@pytest.fixture(scope="module")
def warms() -> Iterator[dict[str, Warm]]:
    with Warm(LIMITS) as full, Warm(LIMITS, omit=MODES["basic"]) as basic:
        with Warm(LIMITS, omit=MODES["plain"]) as plain:
            yield {"full": full, "basic": basic, "plain": plain}


def cell(source: str, **values: Any) -> str:
    """Return a cell that defines `attack()`, which returns what it could get hold of."""
    lines = textwrap.indent(textwrap.dedent(source).strip(), "    ")
    given = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    return f"import os, sys, socket, time\n{given}\ndef attack():\n{lines}\n"


def ask(worker: Worker, name: str = "attack", *args: Any) -> Any:
    """Return the text that a function returned, or the name of what it raised."""
    answer = worker.answer(Request(name, [encode(a) for a in args]))
    if isinstance(answer, Returned):
        return answer.value.text if isinstance(answer.value, Text) else answer.value
    return answer.type if isinstance(answer, Raised) else answer.reason


def attacked(warm: Warm, source: str, chapter: str = "mdp", **values: Any) -> Any:
    with warm.worker([cell(source, **values)], chapter) as worker:
        return ask(worker)
