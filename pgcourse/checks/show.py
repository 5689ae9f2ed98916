"""How a verdict is told: plain text in a terminal, rich text in Jupyter."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from pgcourse import CHAPTERS
from pgcourse.checks.core import Verdict, chapter_of

BOOK = Path(__file__).parents[2] / "_build/html/book"
SIGNS = {"right": "✓", "wrong": "✗", "not attempted": "○"}
COLOURS = {"right": "#1a7f37", "wrong": "#b35900", "not attempted": "#6e7781"}


@dataclass(frozen=True)
class Shown:
    """A verdict that displays itself."""

    verdict: Verdict

    def __repr__(self) -> str:
        return as_text(self.verdict)

    def _repr_html_(self) -> str:
        return as_html(self.verdict)


def page_of(verdict: Verdict) -> str:
    """Return where the book explains the mistake: below `PGCOURSE_BOOK`, a folder or an address.

    By default that is the built book of this checkout, seen from the current folder.
    """
    number = chapter_of(verdict.exercise)
    page = f"{number:02d}_{CHAPTERS[number]}.html"
    book = os.environ.get("PGCOURSE_BOOK") or os.path.relpath(BOOK)
    return f"{book}/{page}#{verdict.see}"


def unbuilt() -> str:
    """Return what to do first where the page would be in this checkout and is not built."""
    missing = not os.environ.get("PGCOURSE_BOOK") and not BOOK.is_dir()
    return " (`make book` first)" if missing else ""


def headline(verdict: Verdict) -> str:
    """Return one line: sign, function, and the name of the mistake or the verdict."""
    said = verdict.mistake or ("not right yet" if verdict.status == "wrong" else verdict.says)
    return f"{SIGNS[verdict.status]} {verdict.exercise}: {said}"


def facts(verdict: Verdict) -> list[str]:
    """Return what was seen: the difference, and the input on which it was seen."""
    lines = [verdict.difference.text] if verdict.difference else []
    if verdict.inputs:
        lines.append("on this input:")
        lines += [brief(name, value) for name, value in verdict.inputs]
    return lines


def as_text(verdict: Verdict) -> str:
    """Return the verdict as plain text."""
    lines = []
    if verdict.status == "wrong":
        lines += textwrap.wrap(verdict.says, 90)
        lines += facts(verdict)
        lines += [f"read: {page_of(verdict)}{unbuilt()}"] if verdict.see else []
    return "\n".join([headline(verdict), *(textwrap.indent(line, "  ") for line in lines)])


def as_html(verdict: Verdict) -> str:
    """Return the verdict as a small framed box."""
    colour = COLOURS[verdict.status]
    parts = [f"<strong>{escape(headline(verdict))}</strong>"]
    if verdict.status == "wrong":
        parts += [f"<p style='margin:.3em 0'>{inline(verdict.says)}</p>"] if verdict.says else []
        seen = escape("\n".join(facts(verdict)))
        parts += [f"<pre style='margin:.3em 0'>{seen}</pre>"] if seen else []
        if verdict.see:
            link = f"<a href='{page_of(verdict)}'>Read the paragraph</a>"
            parts.append(link + inline(unbuilt()))
    style = f"border-left:4px solid {colour};padding:.3em .8em;margin:.3em 0"
    return f"<div style='{style}'>{''.join(parts)}</div>"


def inline(text: str) -> str:
    """Escape text and set what stands between back-quotes as code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def brief(name: str, value: Any, longest: int = 60) -> str:
    """Show an argument in a few lines, as one could type it; a long array without its middle."""
    if isinstance(value, np.ndarray):
        start = f"  {name} = np.array("
        shown = np.array2string(value, precision=4, separator=", ", threshold=longest, prefix=start)
        return start + shown.replace("\n\n", "\n") + ")"
    shown = repr(value)
    return f"  {name} = {shown[:300]}" + (" ..." if len(shown) > 300 else "")
