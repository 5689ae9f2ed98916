"""Generate exercises/ from solutions/: each marked function body becomes `return ...`.

python tools/exercises.py            write exercises/
python tools/exercises.py --check    fail if exercises/ is not what solutions/ generates
python tools/exercises.py --run      execute solutions/ and store their text outputs
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
REGION = re.compile(rf"^( +){BEGIN}\n.*?^\1{END}$", re.M | re.S)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class MarkerError(ValueError):
    """A solution's markers are unbalanced, nested, or enclose less than a function body."""


def blank(source: str) -> str:
    """Return a cell with every marked body replaced by `return ...`.

    Raises:
        MarkerError: a marker without its partner, or a region that is not a whole body.
    """
    stripped = REGION.sub(r"\1return ...", source)
    if BEGIN in stripped or END in stripped or stripped.count("return ...") != source.count(BEGIN):
        raise MarkerError(f"markers must be balanced and indented alike, in:\n{source}")
    for function in ast.walk(ast.parse(stripped)):
        if isinstance(function, ast.FunctionDef) and "return ..." in ast.unparse(function):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            if [ast.unparse(statement) for statement in body] != ["return ..."]:
                raise MarkerError(f"{function.name}: the markers must enclose the whole body")
    return stripped


def exercise_of(solution: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the exercise that a solution generates: bodies blank, outputs and counts gone."""
    cells = []
    for cell in solution.cells:
        kept = {"cell_type": cell.cell_type, "id": cell.id, "metadata": cell.metadata}
        if cell.cell_type == "code":
            kept |= {"outputs": [], "execution_count": None}
        source = blank(cell.source) if cell.cell_type == "code" else cell.source
        cells.append(nbformat.NotebookNode(kept | {"source": source}))
    return nbformat.NotebookNode(nbformat=4, nbformat_minor=5, metadata=METADATA, cells=cells)


def as_text(notebook: nbformat.NotebookNode) -> str:
    """Return the notebook as it is stored."""
    nbformat.validate(notebook)
    return str(nbformat.writes(notebook)) + "\n"


def generated(root: Path = ROOT) -> dict[Path, str]:
    """Return the text of every exercise notebook by its path."""
    return {
        root / "exercises" / path.name: as_text(exercise_of(nbformat.read(path, as_version=4)))
        for path in sorted((root / "solutions").glob("*.ipynb"))
    }


def drift(root: Path = ROOT) -> list[str]:
    """Return what differs between exercises/ and what solutions/ generates."""
    wanted = generated(root)
    there = set((root / "exercises").glob("*.ipynb"))
    problems = [f"{path.name}: no solution generates it" for path in sorted(there - wanted.keys())]
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            problems.append(f"{path.name}: differs from its solution; run `make exercises`")
    return problems


def run(path: Path) -> None:
    """Execute a solution and store its text outputs."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    notebook.metadata = nbformat.NotebookNode(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            for kind in [k for k in output.get("data", {}) if not k.startswith("text/")]:
                del output["data"][kind]
    path.write_text(as_text(notebook), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the command line."""
    if arguments == ["--check"]:
        problems = drift()
        print("\n".join(problems) or "exercises: as generated")
        return int(bool(problems))
    if arguments == ["--run"]:
        for path in sorted((ROOT / "solutions").glob("*.ipynb")):
            print(f"running {path.name}")
            run(path)
    elif arguments:
        print(__doc__)
        return 2
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
