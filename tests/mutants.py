"""Mutation of the reference answers: small changes that a check must notice.

The mutation tools of the registry run a test suite per mutant, in a process each, and know neither
dropped factors nor changed axes; here a mutant is one call of a check, in milliseconds.
"""

from __future__ import annotations

import ast
import copy
import inspect
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.holder import Holder

ROOT = Path(__file__).parents[1]
SWAPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {
    "sum": "mean",
    "mean": "sum",
    "prod": "sum",
    "max": "min",
    "min": "max",
    "log": "exp",
    "exp": "log",
    "zeros": "ones",
    "cumsum": "cumprod",
    "argmax": "argmin",
}


@dataclass(frozen=True)
class Mutant:
    """A changed reference function: `change` says what became what."""

    function: str
    change: str
    source: str
    namespace: dict[str, Any]


def variants_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield small changes of one node: signs, factors, indices, axes, arguments, comparisons."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in SWAPPED:
            yield ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)
        if isinstance(node.op, (ast.Mult, ast.Div, ast.Pow)):
            yield node.left
        if isinstance(node.op, (ast.Mult, ast.Add, ast.Sub, ast.MatMult)):
            yield node.right
        if isinstance(node.op, ast.MatMult):
            yield ast.BinOp(node.right, node.op, node.left)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield ast.Compare(node.left, [SWAPPED[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(SWAPPED[type(node.op)](), node.values)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        swapped = [node.args[1], node.args[0], *node.args[2:]]
        yield ast.Call(node.func, swapped, node.keywords)
    if isinstance(node, ast.Call):
        for i in range(len(node.keywords)):
            yield ast.Call(node.func, node.args, node.keywords[:i] + node.keywords[i + 1 :])
    if isinstance(node, ast.Attribute):
        if node.attr in NAMES:
            yield ast.Attribute(node.value, NAMES[node.attr], node.ctx)
        if node.attr == "T":
            yield node.value


def computation(tree: ast.Module) -> list[ast.AST]:
    """Return what computes: not defaults or annotations, nor guards against bad input."""
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    guards = [
        s for s in function.body if isinstance(s, ast.If) and isinstance(s.body[0], ast.Raise)
    ]
    return [n for s in function.body if s not in guards for n in ast.walk(s)]


def mutate(function: str, source: str, namespace: dict[str, Any]) -> Iterator[Mutant]:
    """Yield every mutant of a function's source, one change each."""
    tree = ast.parse(source)
    for number, node in enumerate(computation(tree)):
        for replacement in variants_of(node):
            changed = copy.deepcopy(tree)
            twin = computation(changed)[number]
            _Replace(twin, replacement).visit(changed)
            new = ast.unparse(ast.fix_missing_locations(changed))
            change = f"{ast.unparse(node)} -> {ast.unparse(replacement)}"
            yield Mutant(function, change, new, namespace)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def sources() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (name, source, namespace) of each solution, and of each reference in a chapter."""
    for number, stem in enumerate(CHAPTERS):
        notebook = nbformat.read(ROOT / f"solutions/{number:02d}_{stem}.ipynb", as_version=4)
        namespace: dict[str, Any] = {}
        code = [c.source for c in notebook.cells if c.cell_type == "code"]
        definitions = [c for c in code if "### BEGIN SOLUTION" in c]
        exec("\n".join([c for c in code if "import" in c] + definitions), namespace)
        for cell in definitions:
            for function in ast.parse(cell).body:
                if isinstance(function, ast.FunctionDef) and _has_one_answer(function.name):
                    yield function.name, ast.unparse(function), namespace
        for exercise in core.chapter_exercises(stem):
            module = inspect.getmodule(exercise.reference)
            if module is not None and module.__name__ == f"pgcourse.{stem}":
                text = inspect.getsource(exercise.reference)
                yield exercise.name, text, dict(vars(module))


def _has_one_answer(name: str) -> bool:
    """Say whether a function is asked for whose mutants are wrong: not so where training is.

    A mutant that trains with another step size and arrives is right.
    """
    exercise = core.find_exercise(name)
    return exercise is not None and exercise.accepts is None


def all_mutants() -> list[Mutant]:
    """Return the mutants of all reference functions, each program once."""
    found = {
        (m.function, m.source): m
        for name, source, namespace in sources()
        for m in mutate(name, source, namespace)
    }
    return list(found.values())


def is_rejected(mutant: Mutant, seed: int = 0, seconds: float = 2.0) -> bool:
    """Say whether the check of its exercise rejects a mutant; endless loops are cut off."""
    namespace = dict(mutant.namespace)
    exercise = core.exercises()[mutant.function]

    def cut(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("the mutant runs for ever")

    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        exec(mutant.source, namespace)
        return not core.examine(exercise, Holder(namespace), seed).right
    except Exception:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
