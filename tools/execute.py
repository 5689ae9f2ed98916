"""Execute the chapters, two at a time, into the cache that the book reads.

A chapter is executed again when its cells change, and also when the package that they call does:
the cache itself sees only the cells. What ran is also written to `_build/executed/`, whose dates
tell the book which pages to make again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "_build" / ".jupyter_cache"
EXECUTED = ROOT / "_build" / "executed"
STAMPS = CACHE / "stamps.json"
NOT_CALLED_BY_CHAPTERS = {"grading", "cli.py", "pytest_plugin.py"}


def chapters() -> list[Path]:
    """The pages of the table of contents that have cells to execute, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            files.extend(value for key, value in node.items() if key in ("root", "file"))
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                walk(child)

    walk(toc)
    paths = [ROOT / f"{name}.md" for name in files if name.startswith("book/")]
    return [path for path in paths if path.exists() and "{code-cell}" in path.read_text()]


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook that the book sees in a page."""
    from myst_nb.core.read import myst_nb_reader_plugin

    return myst_nb_reader_plugin(str(path))


def cached(path: Path) -> nbformat.NotebookNode | None:
    """The executed notebook of a page, exactly as the book shows it, or None."""
    from jupyter_cache import get_cache

    try:
        _, merged = get_cache(str(CACHE)).merge_match_into_notebook(read(path))
    except KeyError:
        return None
    return merged


def stamp(path: Path) -> str:
    """Changes with anything that the outputs of a page depend on."""
    cells = "\n".join(c.source for c in read(path).cells if c.cell_type == "code")
    digest = hashlib.sha256(cells.encode())
    digest.update((ROOT / "requirements.txt").read_bytes())
    digest.update(sys.version.encode())
    if "reproductions/" in cells:
        for data in sorted((path.parent / "reproductions").glob("*.csv")):
            digest.update(data.read_bytes())
    for source in sorted((ROOT / "pgcourse").rglob("*.py")):
        part = source.relative_to(ROOT / "pgcourse").parts[0]
        if part not in NOT_CALLED_BY_CHAPTERS or "check" in cells:
            digest.update(str(source.relative_to(ROOT)).encode() + source.read_bytes())
    return digest.hexdigest()


def execute(path: Path, timeout: int) -> tuple[nbformat.NotebookNode, float, str | None]:
    from jupyter_cache.executors.utils import single_nb_execution

    notebook = read(path)
    result = single_nb_execution(
        notebook,
        cwd=str(path.parent),
        timeout=timeout,
        allow_errors=False,
        extra_arguments=["--IPKernelApp.log_level=40"],  # quiet about its local socket
    )
    error = None
    if result.err is not None:
        error = getattr(result.err, "traceback", None) or str(result.err)
    return notebook, result.time, error


def as_a_terminal_shows(notebook: nbformat.NotebookNode) -> None:
    """Of a line that was written over again and again, such as progress, keep the last state."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = re.sub(r"[^\r\n]*\r(?!\n)", "", output.text)


def store(path: Path, notebook: nbformat.NotebookNode, seconds: float) -> None:
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    as_a_terminal_shows(notebook)
    bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
    get_cache(str(CACHE)).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / f"{path.stem}.ipynb")


def main() -> int:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # A debugger's warning about frozen modules would be an output of the first cell.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    timeout = yaml.safe_load((ROOT / "_config.yml").read_text())["execute"]["timeout"]
    stamps = json.loads(STAMPS.read_text()) if STAMPS.exists() else {}
    now = {path: stamp(path) for path in chapters()}
    stale = [p for p in now if stamps.get(p.stem) != now[p] or cached(p) is None]
    if not stale:
        print(f"chapters: {len(now)} executed before, nothing changed")
        return 0
    print(f"chapters: executing {len(stale)} of {len(now)}, two at a time", flush=True)
    failed, start = 0, time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = {pool.submit(execute, path, timeout): path for path in stale}
        for future in as_completed(running):
            path = running[future]
            notebook, seconds, error = future.result()
            if error is None:
                store(path, notebook, seconds)
                stamps[path.stem] = now[path]
                STAMPS.write_text(json.dumps(stamps, indent=1))
            failed += error is not None
            state = "ok" if error is None else f"FAILED\n{error}"
            print(f"  {path.relative_to(ROOT)}  {seconds:.1f} s  {state}", flush=True)
    print(f"chapters: {len(stale) - failed} executed in {time.monotonic() - start:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
