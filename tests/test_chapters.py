"""Every chapter ran to its end: the very execution that the book shows, read from its cache."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tools import execute

CHAPTERS = {path.stem: path for path in execute.chapters()}


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """What a reader must never see in an executed page."""
    found, expected = [], 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        expected += 1
        if cell.execution_count != expected:
            found.append(f"not executed in order: {cell.source[:60]!r}")
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{output.ename}: {output.evalue}")
            if output.get("name") == "stderr":
                found.append(f"on stderr: {output.text[:200]!r}")
    return found


@pytest.mark.parametrize("stem", CHAPTERS)
def test_chapter_ran_to_its_end_without_error(stem: str) -> None:
    notebook = execute.cached(CHAPTERS[stem])
    assert notebook is not None, "not executed as it stands: run `make chapters`"
    assert complaints(notebook) == []


def test_errors_warnings_and_cells_that_did_not_run_are_seen() -> None:
    new = nbformat.v4
    outputs = [
        new.new_output("error", ename="ValueError", evalue="no", traceback=[]),
        new.new_output("stream", name="stderr", text="UserWarning: old"),
    ]
    cells = [
        new.new_code_cell("1 / 0", execution_count=1, outputs=outputs),
        new.new_code_cell("print(1)"),
    ]
    assert len(complaints(new.new_notebook(cells=cells))) == 3


def test_progress_is_kept_in_its_last_state_only() -> None:
    new = nbformat.v4
    output = new.new_output("stream", name="stdout", text="a\n\r1 of 2\r2 of 2\nb\r\n")
    notebook = new.new_notebook(cells=[new.new_code_cell("run()", outputs=[output])])
    execute.as_a_terminal_shows(notebook)
    assert output.text == "a\n2 of 2\nb\r\n"


def test_a_change_of_the_package_or_of_a_cell_asks_for_a_new_execution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pgcourse").mkdir()
    (tmp_path / "requirements.txt").write_text("numpy\n")
    module = tmp_path / "pgcourse" / "mdp.py"
    module.write_text("x = 1\n")
    page = tmp_path / "page.md"
    text = "---\nkernelspec: {name: python3}\n---\n# Page\n\n```{code-cell}\n1 + 1\n```\n"
    page.write_text(text)
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    first = execute.stamp(page)
    page.write_text(text + "\nOnly prose was added.\n")
    assert execute.stamp(page) == first
    module.write_text("x = 2\n")
    second = execute.stamp(page)
    assert second != first
    page.write_text(text.replace("1 + 1", "1 + 2"))
    assert execute.stamp(page) not in (first, second)
