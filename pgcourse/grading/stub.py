"""What a worker may import as `pgcourse`: a folder of copies in which no answer is.

Data flow: the installed package, answers -> folder/base (for all), folder/chapters/<stem>.

`base` holds a `check` that does nothing, the frames, and what runs students' code. The folder of a
chapter adds the wings and the modules of *earlier* chapters. A wing needs data types of later
ones, as `environments` needs `MDP`; of those modules only the types are copied.
"""

from __future__ import annotations

import ast
import compileall
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

import pgcourse
from pgcourse import CHAPTERS

PACKAGE = Path(pgcourse.__file__).parent
WINGS = ("environments", "plotting")
SHARED = (
    "__init__.py",
    "arguments.py",
    "checks/wire.py",
    "checks/holder.py",
    "grading/__init__.py",
    "grading/isolation.py",
    "grading/landlock.py",
    "grading/line.py",
    "grading/namespaces.py",
    "grading/processes.py",
    "grading/seccomp.py",
    "grading/warm.py",
    "grading/worker.py",
)
CHECK = '''"""While a notebook is graded, its own calls of `check` do nothing."""


def check(*args, **kwargs):
    """Do nothing."""
'''


def build(folder: Path, answers: Collection[str]) -> None:
    """Write the copies under `folder`, compiled.

    Args:
        folder: exists and is empty.
        answers: names of the functions that students write.

    Raises:
        ValueError: a data type that a wing needs would carry an answer along.
    """
    for name in SHARED:
        target = folder / "base" / "pgcourse" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACKAGE / name, target)
    (folder / "base" / "pgcourse" / "checks" / "__init__.py").write_text(CHECK, encoding="utf-8")
    for stem in CHAPTERS:
        _build_chapter(folder / "chapters" / stem, stem, answers)
    compileall.compile_dir(folder, quiet=1)
    for name in ("chapter", "scratch/run", "../root"):
        (folder / name).mkdir(parents=True)
    for path in (folder.parent, folder.parent / "root", folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _build_chapter(folder: Path, stem: str, answers: Collection[str]) -> None:
    folder.mkdir(parents=True)
    earlier = {s for s in CHAPTERS[: CHAPTERS.index(stem)] if (PACKAGE / f"{s}.py").exists()}
    for name in (*WINGS, *earlier):
        shutil.copyfile(PACKAGE / f"{name}.py", folder / f"{name}.py")
    for module, wanted in types_needed(set(CHAPTERS) - earlier).items():
        text = slice_of((PACKAGE / f"{module}.py").read_text(encoding="utf-8"), wanted)
        if found := _defined(ast.parse(text)) & set(answers):
            raise ValueError(f"{module} must share no answer, got {', '.join(sorted(found))}")
        (folder / f"{module}.py").write_text(text, encoding="utf-8")


def types_needed(withheld: Collection[str]) -> dict[str, set[str]]:
    """Return which names of each withheld module the wings import, directly or through a type."""
    needed: dict[str, set[str]] = {}
    texts = [(PACKAGE / f"{wing}.py").read_text(encoding="utf-8") for wing in WINGS]
    while texts:
        for module, name in _imported(ast.parse(texts.pop())):
            if module in withheld and name not in needed.setdefault(module, set()):
                needed[module].add(name)
                source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
                texts.append(slice_of(source, needed[module]))
    return needed


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (module of the package, name) for each `from pgcourse.module import name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pgcourse."):
            yield from (((node.module or "").split(".")[1], alias.name) for alias in node.names)


def slice_of(source: str, wanted: Collection[str]) -> str:
    """Return the part of a module that defines the names `wanted`, with what that part uses."""
    body = ast.parse(source).body
    names, before = set(wanted), set[str]()
    while names != before:
        before = set(names)
        for node in body:
            if _binds(node) & names and not isinstance(node, (ast.Import, ast.ImportFrom)):
                names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    kept = [k for node in body if (k := _reduced(node, names)) is not None]
    return ast.unparse(ast.Module(kept, type_ignores=[])) + "\n"


def _reduced(node: ast.stmt, names: set[str]) -> ast.stmt | None:
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return node
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        node.names = [a for a in node.names if (a.asname or a.name).split(".")[0] in names]
        return node if node.names else None
    return node if _binds(node) & names else None


def _binds(node: ast.stmt) -> set[str]:
    """Return the names that a statement of a module binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).split(".")[0] for a in node.names}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
    return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def _defined(tree: ast.Module) -> set[str]:
    return {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
