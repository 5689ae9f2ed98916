"""Chapter 0: what the page says about checks is what checks do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_importing_the_package_is_quick_and_brings_no_torch() -> None:
    code = "import sys, pgcourse, pgcourse.checks; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_the_page_shows_a_check_for_each_verdict() -> None:
    page = (ROOT / "book/00_start.md").read_text(encoding="utf-8")
    cells = re.findall(r"```\{code-cell\} python\n(?::[^\n]*\n)?(.*?)```", page, re.S)
    code = "\n".join(cells)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = [line for line in out.stdout.splitlines() if line[:1] in "✓✗○"]
    assert told == [
        "✗ hello_grader: same answer for everyone",
        "✗ hello_grader: returns nothing",
        "✓ hello_grader: right on 8 inputs",
        "○ hello_grader: not attempted",
        "✗ hello: edit outside the blank",
    ]
