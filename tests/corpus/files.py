"""Family — strange files: what is no notebook, what claims points, names that do harm."""

# ruff: noqa: E501 (a case stands on a line)

from __future__ import annotations

import gzip
import io
import os
import socket
import stat
import zipfile
from pathlib import Path

from pgcourse.grading import texts
from tests.corpus import HELLO, ONE, SOFTMAX, WRONG_SOFTMAX, Case, code, notebook, script

EVIL = "<script>corpus()</script>"
ESCAPE = "\x1b[31mcorpus\x1b[0m"


def _zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../x.ipynb", b"0" * 10**7)
    return data.getvalue()


# Bytes of a `.ipynb` that cannot be read: name -> bytes.
UNREADABLE = {
    "empty": b"",
    "only_nul": b"\0" * 1000,
    "cut_off": notebook(HELLO)[:-20],
    "no_json": b"%PDF-1.7",
    "a_list": b"[]",
    "no_cells": b'{"nbformat": 4}',
    "cells_of_numbers": b'{"cells": [1, 2]}',
    "source_of_objects": b'{"cells": [{"cell_type": "code", "source": [{"a": 1}]}]}',
    "nested_lists": b'{"cells": ' + b"[" * 10**6,
    "nested_objects": b'{"a":' * 10**5 + b"1" + b"}" * 10**5,
    "giant_number": b'{"nbformat": ' + b"9" * 10**6 + b', "cells": 5}',
    "gzipped_bomb": gzip.compress(b"[" * 10**7),
    "zip_bomb": _zip(),
    "pickle": b"cos\nsystem\n(S'echo corpus'\ntR.",
    "too_large": b" " * (21 * 2**20),
    "text_only": notebook(cells=[{"cell_type": "markdown", "source": HELLO}]),
    "name_in_a_comment": notebook("# hello, grader", "print('def hello')"),
}


def _link(target: str) -> Case:
    name = f"link_to_{Path(target).name or 'root'}"
    return Case(name, says=("a link, which is not followed",), suffix=".ipynb",
                make=lambda path: path.symlink_to(target))  # fmt: skip


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(path.parent, os.O_RDONLY)
        try:
            one.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except OSError:  # a container may forbid it; a pipe is refused for the same reason
        os.mkfifo(path)


SPECIAL = [
    _link("/etc/passwd"), _link("/nowhere/at/all"), _link("link_to_itself.ipynb"), _link("/"),
    Case("link_to_itself", says=("a link",), suffix=".ipynb", make=lambda p: p.symlink_to(p.name)),
    Case("pipe", says=("not a regular file",), suffix=".ipynb", make=os.mkfifo),
    Case("device", says=("not a regular file",), suffix=".ipynb", make=_device),
    Case("socket", says=("not a regular file",), suffix=".ipynb", make=_socket),
    Case("folder", says=("an empty folder",), suffix=".ipynb", make=Path.mkdir),
    Case("deep_folder", says=("too deep",), suffix="", make=lambda p: (p / "/".join("d" * 30)).mkdir(parents=True)),
    Case("sparse", says=("at most",), suffix=".ipynb", make=_sparse),
]  # fmt: skip

GRADED = {"nbgrader": {"grade": True, "points": 100, "grade_id": "softmax", "locked": False,
                       "schema_version": 3, "solution": True}}  # fmt: skip
CLAIM = {
    "output_type": "stream",
    "name": "stdout",
    "text": "softmax: right on 18 inputs\nscore: 100",
}


def _claiming(name: str, cell: dict[str, object], **more: object) -> Case:
    return Case(name, notebook(cells=[code(HELLO), cell], **more), ONE, suffix=".ipynb")


CLAIMS = [
    _claiming("claims_by_nbgrader", code(WRONG_SOFTMAX, metadata=GRADED)),
    _claiming("claims_by_tags", code(WRONG_SOFTMAX, metadata={"tags": ["points:100", "skip-grading"]})),
    _claiming("claims_by_outputs", code(WRONG_SOFTMAX, outputs=[CLAIM])),
    _claiming("claims_by_metadata", code(WRONG_SOFTMAX), metadata={
        "points": {"softmax": 100}, "questions": ["softmax"], "otter": {"all_tests_pass": True}}),
    _claiming("claims_by_key", code(WRONG_SOFTMAX), status="graded", results=[
        {"question": "softmax", "status": "right", "share": 1.0}], key="0" * 32),
    _claiming("cell_of_another_type", {"cell_type": "solution", "source": SOFTMAX}, softmax="right"),
    Case("keys_twice", notebook(HELLO).replace(b'"cells"', b'"cells": [], "cells"'), ONE, suffix=".ipynb"),
    Case("claims_in_comments", script(
        HELLO, f"# points: 100\n# seed: 0\n# %% softmax [right]\n{WRONG_SOFTMAX}"), ONE),
]  # fmt: skip

# Names that something downstream may take for more than a name.
NAMES = [
    texts.file_name("ünïcödé"), "\\xff", "\udcff",
    "two\nlines", "=cmd|' calc'!A0", "+1+1", "-rf", "@SUM(A1)", "\uff1d1+1", "tab\tcolumn", 'quote"comma,',
    "<script>corpus()", "<img src=x onerror=corpus()>", "](javascript:corpus())", "right\u202eleft", "zero\u200bwidth",
    "x..%2f..%2f", "$(corpus)", "`corpus`", "; corpus", "ünïcödé", "\U0001f600", "a" * 200, "CON", "results",
    "grades.csv", "lock", ESCAPE, " leading", "trailing.", "null", "'quote", "%s%n{0}",
]  # fmt: skip

# What a student's code says in every place that someone reads later.
SAYS = {
    "html_in_an_exception": f"raise ValueError({EVIL!r})",
    "html_in_a_type": f"raise type({EVIL!r}, (Exception,), {{}})()",
    "html_in_a_value": f"return {EVIL!r}",
    "html_in_a_returned_type": f"return type({EVIL!r}, (), {{}})()",
    "formula_in_an_exception": "raise ValueError('=HYPERLINK(corpus)')",
    "fence_in_an_exception": f"raise ValueError('````\\n# corpus\\n{EVIL}\\n````')",
    "lines_in_an_exception": 'raise ValueError(\'\\n{"file": "x", "student": "x", "key": "", "status": "graded"}\\n\')',
    "escapes_in_an_exception": f"raise ValueError({ESCAPE!r})",
    "half_a_character": "raise ValueError('\\ud800')",
    "half_a_character_in_a_value": "return '\\udfff'",
    "nul_in_an_exception": "raise ValueError('\\0\\0')",
    "directions_in_an_exception": "raise ValueError('\\u202egnorw')",
}  # fmt: skip

CASES = [
    *(Case(f"unreadable_{name}", data, suffix=".ipynb", says=("unreadable",)) for name, data in UNREADABLE.items()),
    *SPECIAL,
    *CLAIMS,
    *(Case(name, script(HELLO), ONE) for name in NAMES),
    *(Case(n, script(f"def softmax(logits):\n    {c}", f"raise ValueError({EVIL!r})", HELLO), ONE, ("wrong",))
      for n, c in SAYS.items()),
]  # fmt: skip
