"""The adversarial corpus: what may be handed in, and what it must be given.

Each module is a family of cases. A case says its file, its points by question (what is not named
has none), and words that its line must hold. Attacks are written with the grader's source open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HELLO = 'def hello_grader(name):\n    return f"Hello, {name}!"\n'
SOFTMAX = """import numpy as np
def softmax(logits):
    e = np.exp(logits - np.max(logits, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
"""
WRONG_SOFTMAX = "def softmax(logits):\n    return [0.0] * len(logits)\n"
ONE = {"hello_grader": 1.0}
BOTH = {"hello_grader": 1.0, "softmax": 2.0}


@dataclass(frozen=True)
class Case:
    """A file that is handed in, alone in a student's name, and its due.

    Args:
        name: of the file without suffix, and of the student.
        data: the bytes of the file.
        points: by question.
        says: words that its line must hold, one of them if there are several.
        suffix: of the file.
        make: makes what is no plain file, instead of `data`.
        slow: takes more than a moment, and is graded in one order only.
    """

    name: str
    data: bytes = b""
    points: Mapping[str, float] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    suffix: str = ".py"
    make: Callable[[Path], None] | None = None
    slow: bool = False

    @property
    def file(self) -> str:
        return self.name + self.suffix


def script(*cells: str) -> bytes:
    """Return a percent script."""
    return "".join(f"# %%\n{cell}\n" for cell in cells).encode()


def notebook(*cells: str, **more: Any) -> bytes:
    """Return a notebook of version 4."""
    made = [code(source) for source in cells]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "cells": made} | more).encode()


def code(source: Any, **more: Any) -> dict[str, Any]:
    """Return a code cell."""
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": []} | more


def scripts(
    table: Mapping[str, str | Iterable[str]],
    points: Mapping[str, float],
    says: tuple[str, ...] = (),
    slow: bool = False,
) -> list[Case]:
    """Return a case for each entry: name -> a cell, or several."""
    return [
        Case(name, script(*([c] if isinstance(c, str) else c)), points, says, slow=slow)
        for name, c in table.items()
    ]
