"""What students choose (names of files, messages, values) made harmless where it is shown."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from html import escape

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, marks of direction, no characters
FORMULA = "=+-@|%"  # a cell that begins so may be computed by a spreadsheet


def plain(text: str, longest: int = 500) -> str:
    """Return text without what turns, hides or moves characters, cut to a length."""
    cut = text[:longest] + (" ..." if len(text) > longest else "")
    return "".join(
        c if c == "\n" or unicodedata.category(c) not in HIDDEN else "\ufffd" for c in cut
    )


def html(text: str, longest: int = 500) -> str:
    """Return text for a page."""
    return escape(plain(text, longest))


def markdown(text: str, longest: int = 500) -> str:
    """Return text for a line of Markdown."""
    line = plain(text, longest).replace("\n", " ")
    return re.sub(r"([\\`*_{}\[\]<>#!|~&]|:(?=//))", r"\\\1", line)


def fenced(text: str, longest: int = 500) -> str:
    """Return text as a block of code, in a fence that it cannot close."""
    shown = plain(text, longest)
    fence = "`" * (1 + max([2, *(len(run) for run in re.findall("`+", shown))]))
    return f"{fence}text\n{shown}\n{fence}"


def cell(text: str) -> str:
    """Return text for a cell of a spreadsheet, never a formula.

    A character counts as what it looks like: a full-width equals sign is an equals sign.
    """
    line = plain(text).replace("\n", " ")
    looks = unicodedata.normalize("NFKC", line).lstrip(" \ufffd'\"")
    return f"'{line}" if looks[:1] and looks[0] in FORMULA else line


def file_name(text: str) -> str:
    """Return a name for a file: the text itself if it is plain, else what is left and a hash."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}(?<![.])(?<!-[0-9a-f]{10})", text):
        return text
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_.-")[:40]
    return f"{kept or 'student'}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
