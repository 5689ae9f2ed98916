"""Correct answers that no check may reject: independent ones, and each in several types."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from pgcourse import CHAPTERS
from pgcourse.checks import core

Function = Callable[..., Any]


def independent() -> dict[str, list[Function]]:
    """Return the hand-written variants of every chapter by exercise."""
    found: dict[str, list[Function]] = {}
    for number, stem in enumerate(CHAPTERS):
        found |= importlib.import_module(f"tests.variants_{number:02d}_{stem}").VARIANTS
    return found


def every_part(convert: Callable[[Any], Any], result: Any) -> Any:
    """Convert the arrays and numbers of a result, through lists and tuples."""
    if isinstance(result, (list, tuple)):
        return type(result)(every_part(convert, part) for part in result)
    return result if isinstance(result, (str, set, frozenset)) else convert(result)


def as_lists(x: Any) -> Any:
    return x.tolist() if hasattr(x, "tolist") else x


def as_array(x: Any) -> Any:
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def as_float32(x: Any) -> Any:
    return as_array(x).astype(np.float32)


def as_tensor(x: Any) -> Any:
    import torch

    return torch.as_tensor(as_array(x))


def as_float32_tensor(x: Any) -> Any:
    import torch

    return torch.as_tensor(as_float32(x))


TYPES = {
    "as it is": lambda x: x,
    "lists": as_lists,
    "float32": as_float32,
    "tensor": as_tensor,
    "float32 tensor": as_float32_tensor,
}
GRAPHS = {"as it is": lambda x: x, "float32": lambda x: x.float()}  # what keeps a graph


def correct(exercise: core.Exercise) -> list[tuple[str, Function]]:
    """Return (name, function) of the reference and each variant, in each type of result."""
    functions = [("reference", exercise.reference)]
    functions += [(f"variant {i}", f) for i, f in enumerate(independent().get(exercise.name, []))]
    return [
        (f"{name}, {kind}", _converted(function, convert))
        for name, function in functions
        for kind, convert in (GRAPHS if exercise.gradient_of else TYPES).items()
    ]


def _converted(function: Function, convert: Callable[[Any], Any]) -> Function:
    return lambda *args: every_part(convert, function(*args))
