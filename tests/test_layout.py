"""The house stands as planned: every chapter has its parts, and imports follow the book."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from pgcourse import CHAPTERS
from tests import equations

ROOT = Path(__file__).parents[1]
# A missing module is reported once, with all that its chapter misses.
MODULES = [stem for stem in CHAPTERS if (ROOT / f"pgcourse/{stem}.py").exists()]
WINGS = ["environments", "experiments", "plotting"]
WINGS += [f"checks.{name}" for name in ("core", "wire", "holder", "show")]
BASE = {"pgcourse", "pgcourse.arguments"}


def parts(number: int, stem: str) -> list[str]:
    always = ["book/{0}.md", "solutions/{0}.ipynb", "exercises/{0}.ipynb", "tests/test_{0}.py"]
    found = [part.format(f"{number:02d}_{stem}") for part in always]
    found += [f"pgcourse/checks/{stem}.py", f"tests/variants_{number:02d}_{stem}.py"]
    if stem != "start":
        found += [f"pgcourse/{stem}.py", f"tests/equations/eq_{number:02d}_{stem}.py"]
    return found


def imports(path: Path) -> set[str]:
    """Return every module of the package that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            deeper = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {m for m in deeper if _is_module(m)} or {node.module}
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "pgcourse"}


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize(("number", "stem"), list(enumerate(CHAPTERS)))
def test_every_chapter_has_all_its_parts(number: int, stem: str) -> None:
    missing = [part for part in parts(number, stem) if not (ROOT / part).exists()]
    assert not missing, f"chapter {number:02d} misses " + ", ".join(missing)


def test_no_part_belongs_to_an_unknown_chapter() -> None:
    names = {f"{i:02d}_{stem}" for i, stem in enumerate(CHAPTERS)}
    for folder in ("book", "exercises", "solutions"):
        there = {p.stem for p in (ROOT / folder).glob("[0-9][0-9]_*")}
        assert there <= names, folder


@pytest.mark.parametrize("stem", MODULES)
def test_a_chapter_imports_only_earlier_chapters(stem: str) -> None:
    earlier = {f"pgcourse.{s}" for s in CHAPTERS[: CHAPTERS.index(stem)]}
    assert imports(ROOT / f"pgcourse/{stem}.py") <= earlier | BASE


def test_a_later_import_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "mdp.py"
    path.write_text("def f():\n    from pgcourse import policies\n", encoding="utf-8")
    assert imports(path) == {"pgcourse.policies"}


def public(module: ModuleType) -> list[tuple[str, object]]:
    return [
        (name, thing)
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    ]


@pytest.mark.parametrize("name", [*MODULES, "arguments", *WINGS])
def test_public_names_are_documented(name: str) -> None:
    module = importlib.import_module(f"pgcourse.{name}")
    bare = [n for n, thing in public(module) if not (inspect.getdoc(thing) or "").strip()]
    assert bare == []


def test_docstrings_cite_labels_that_exist() -> None:
    known = equations.load().keys()
    for path in sorted((ROOT / "pgcourse").rglob("*.py")):
        cited = re.findall(r"\{eq\}`([^`]+)`", path.read_text(encoding="utf-8"))
        assert set(cited) <= known, path.name


def test_functions_are_short_and_take_few_arguments() -> None:
    lengths, arguments = [], []
    for stem in MODULES:
        tree = ast.parse((ROOT / f"pgcourse/{stem}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lengths.append(body[-1].end_lineno - body[0].lineno + 1 if body else 0)  # type: ignore[operator]
                arguments.append(len(node.args.args) - (node.args.args[:1] == ["self"]))
    lengths.sort()
    assert lengths[len(lengths) // 2] <= 6
    assert lengths[int(0.9 * len(lengths))] <= 15
    assert max(arguments) <= 5


@pytest.mark.parametrize("stem", MODULES)
def test_a_chapter_module_says_what_flows_through_it(stem: str) -> None:
    doc = importlib.import_module(f"pgcourse.{stem}").__doc__ or ""
    assert doc.startswith(f"Chapter {CHAPTERS.index(stem)} — {stem}")
    assert "Data flow:" in doc
