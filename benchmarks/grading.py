"""Submissions a minute: this grader, otter-grader and nbgrader, side by side in one run.

    python -m benchmarks.grading [--ours 1000] [--theirs 8] [--otter VENV] [--nbgrader VENV]
    python -m benchmarks.grading --memory 1000 10000

Each grades the same notebooks, with four right answers of chapter 03 and an import of torch, in its
own native form, two at a time: ours by `pgcourse grade -j 2` with every layer of isolation, otter
by `otter run` with exception-based tests, nbgrader by `nbgrader autograde` with cells of tests.
Whoever does not give full points to all of them is not timed. Peers live in environments of their
own, which are made below _build/peers unless named.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parents[1]
SOLUTION = ROOT / "solutions/03_score_function.ipynb"
PEERS = {"otter": "otter-grader==7.0.0", "nbgrader": "nbgrader==0.9.6"}
TESTS = {  # what the peers compare: closed forms, on random inputs
    "softmax_score": """rng = np.random.default_rng(3)
for n in range(12):
    x, a = rng.normal(size=2 + n % 4), n % 2
    p = np.exp(x) / np.exp(x).sum()
    assert np.allclose(softmax_score(x, a), np.eye(len(x))[a] - p, rtol=1e-9)""",
    "gaussian_score": """rng = np.random.default_rng(3)
for n in range(12):
    x, m, s = rng.normal(), rng.normal(), rng.uniform(0.3, 3)
    want = [(x - m) / s**2, (x - m) ** 2 / s**3 - 1 / s]
    assert np.allclose(gaussian_score(x, m, s), want, rtol=1e-9)""",
    "score_function_gradient": """rng = np.random.default_rng(3)
for n in range(1, 13):
    f, g = rng.normal(size=n), rng.normal(size=(n, 3))
    assert np.allclose(score_function_gradient(f, g), f @ g / n, rtol=1e-9)""",
    "exact_variance": """rng = np.random.default_rng(3)
for n in range(2, 14):
    p, f, g = rng.dirichlet(np.ones(n)), rng.normal(size=n), rng.normal(size=(n, 3))
    want = p @ (f**2 * (g**2).sum(1)) - ((p * f) @ g) @ ((p * f) @ g)
    assert np.allclose(exact_variance(p, f, g), want, rtol=1e-9)""",
}


def cells(student: int) -> list[str]:
    """Return the cells of one submission: those of the solution's functions, and torch."""
    notebook = nbformat.read(SOLUTION, as_version=4)
    sources = [c.source for c in notebook.cells if c.cell_type == "code"]
    functions = [s for s in sources if s.startswith("def ")]
    first = "import numpy as np\nimport torch\nfrom pgcourse.policies import softmax"
    return [f"student = {student}", first, *functions]


def write(
    path: Path, sources: list[str], extra: Callable[[int], dict[str, Any]] | None = None
) -> None:
    """Write a notebook; `extra` gives the metadata of a cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [new_code_cell(s, metadata=extra(i) if extra else {}) for i, s in enumerate(sources)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=made, metadata=kernel), path)


def environment(name: str, given: Path | None) -> Path:
    """Return the folder of programs of a peer's environment, made if there is none."""
    folder = given or ROOT / "_build/peers" / name
    if not (folder / "bin" / name).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q"]
        index = os.environ.get("TORCH_INDEX")
        subprocess.run(
            [*pip, "torch==2.13.0", *(["--index-url", index] if index else [])], check=True
        )
        subprocess.run(
            [*pip, PEERS[name], "numpy", "msgspec", "gymnasium", "matplotlib"], check=True
        )
    return folder / "bin"


def quiet(command: list[str], folder: Path, programs: Path) -> None:
    """Run a peer's command with the package importable and its own programs first."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]


def ours(count: int, folder: Path, jobs: int = 2) -> float:
    """Return the seconds that this grader takes, start included."""
    for i in range(count):
        write(folder / f"in/s{i:05d}.ipynb", cells(i))
    command = [sys.executable, "-m", "pgcourse.cli", "grade", "in", "--out", "out", "-j", str(jobs)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    told = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
    spent = time.perf_counter() - start
    with (folder / "out/grades.csv").open(encoding="utf-8") as lines:
        assert [row["points"] for row in csv.DictReader(lines)] == ["4"] * count
    isolation = json.loads((folder / "out/statistics.json").read_text(encoding="utf-8"))
    print(f"isolation in force: {isolation['isolation']}, not: {isolation['without']}")
    return spent


def otter(count: int, folder: Path, programs: Path) -> float:
    """Return the seconds that otter takes for `count` notebooks, two at a time."""
    for name, code in TESTS.items():
        body = code.replace("\n", "\n    ")
        text = f"""from otter.test_files import test_case
OK_FORMAT = False
name = "{name}"
points = 1
@test_case(points=1, hidden=False)
def test_it(env):
    import numpy as np
    {name} = env["{name}"]
    {body}
"""
        (folder / "tests").mkdir(parents=True, exist_ok=True)
        (folder / f"tests/{name}.py").write_text(text, encoding="utf-8")
    program = str(programs / "otter")
    make = [program, "generate", "-t", "tests", "-o", "autograder.zip", "--no-environment"]
    quiet(make, folder, programs)

    def one(i: int) -> None:
        place = folder / f"s{i}"
        write(place / "submission.ipynb", cells(i))
        command = [program, "run", "submission.ipynb", "-a", "../autograder.zip"]
        quiet([*command, "-o", ".", "--no-logo"], place, programs)
        told = json.loads((place / "results.json").read_text(encoding="utf-8"))
        assert sum(t.get("score", 0) for t in told["tests"]) == 4, told

    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(count)))
    return time.perf_counter() - start


def nbgrader(count: int, folder: Path, programs: Path) -> float:
    """Return the seconds that nbgrader takes for `count` notebooks, in two courses at a time."""
    tests = list(TESTS.values())

    def extra(i: int) -> dict[str, Any]:
        graded = i >= len(cells(0))
        kind = {"grade": graded, "locked": graded, "solution": not graded, "task": False}
        points = {"points": 1} if graded else {}
        return {"nbgrader": {"schema_version": 3, "grade_id": f"cell{i}", **kind, **points}}

    def prepare(half: int) -> Path:
        course = folder / f"course{half}"
        write(course / "source/ps/ps.ipynb", [*cells(0), *tests], extra)
        for i in range(half, count, 2):
            write(course / f"submitted/s{i}/ps/ps.ipynb", [*cells(i), *tests], extra)
        quiet([str(programs / "nbgrader"), "generate_assignment", "ps"], course, programs)
        return course

    def grade(course: Path) -> None:
        quiet([str(programs / "nbgrader"), "autograde", "ps"], course, programs)

    courses = [prepare(half) for half in range(2)]
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(grade, courses))
    spent = time.perf_counter() - start
    for course in courses:
        quiet([str(programs / "nbgrader"), "export"], course, programs)
        with (course / "grades.csv").open(encoding="utf-8") as lines:
            scores = [float(row["score"]) for row in csv.DictReader(lines) if row["score"]]
        assert scores == [4.0] * len(list((course / "submitted").iterdir())), scores
    return spent


def peak_memory(count: int, folder: Path) -> dict[str, float]:
    """Return the peak resident memory, in MiB, of the processes of a run over small notebooks."""
    source = "def hello_grader(name):\n    return f'Hello, {name}!'"
    for i in range(count):
        path = folder / f"in/s{i:05d}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{source}  # {i}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pgcourse.cli", "grade", "in", "--out", "out", "-j", "2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL)
    peaks: dict[str, float] = {}
    while process.poll() is None:
        for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children()):
            try:
                kind = "parent" if one.pid == process.pid else "grader"
                peaks[kind] = max(peaks.get(kind, 0), one.memory_info().rss / 2**20)
            except psutil.Error:
                continue  # it has ended
        time.sleep(0.2)
    assert process.returncode == 0
    return peaks


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--ours", type=int, default=1000)
    parser.add_argument("--theirs", type=int, default=8)
    parser.add_argument("--otter", type=Path)
    parser.add_argument("--nbgrader", type=Path)
    parser.add_argument("--memory", type=int, nargs="+")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.memory:
            for count in args.memory:
                print(
                    count, {k: round(v) for k, v in peak_memory(count, folder / str(count)).items()}
                )
            return
        rates = {"pgcourse": 60 * args.ours / ours(args.ours, folder / "ours")}
        for peer, run in (("otter", otter), ("nbgrader", nbgrader)):
            programs = environment(peer, getattr(args, peer))
            spent = run(args.theirs, folder / peer, programs)
            rates[PEERS[peer]] = 60 * args.theirs / spent
        for grader, rate in rates.items():
            print(f"{grader:22} {rate:8.1f} submissions a minute")
        fastest = max(rate for grader, rate in rates.items() if grader != "pgcourse")
        print(f"{rates['pgcourse'] / fastest:.0f} times the faster peer")


if __name__ == "__main__":
    main()
