"""Reading: from a file that was handed in to the source of its cells.

Data flow: path -> bytes -> cells.

Only the source of code cells is taken from a file. Outputs, metadata, tags and identifiers are
never even built; nothing here runs, imports or follows what a student wrote.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat

import msgspec

LARGEST = 20 * 2**20  # bytes; a larger file is refused before it is parsed
MOST_CODE = 5 * 2**20  # characters of code in one file, outputs and text not counted
MARKER = re.compile(r"^#[ \t]*(?:%%(?P<kind>.*)|In ?\[[\d ]*\]:?[ \t]*)$", re.M)


class UnreadableError(ValueError):
    """A file cannot be read as a notebook; the message says why."""


def kind_of_file(mode: int) -> str:
    """Return why a file of this mode is not read, if so."""
    if stat.S_ISREG(mode):
        return ""
    return "a link, which is not followed" if stat.S_ISLNK(mode) else "not a regular file"


def read(path: str, largest: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        UnreadableError: it is none, cannot be opened, is empty or larger than `largest`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            if reason := kind_of_file(os.fstat(file.fileno()).st_mode):
                raise UnreadableError(reason)
            data = file.read(largest + 1)
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from None
    if len(data) > largest:
        raise UnreadableError(f"must have at most {largest} bytes, got more")
    if not data.strip(b"\0 \t\r\n"):
        raise UnreadableError("is empty")
    return data


def cells_of(data: bytes, name: str) -> list[str]:
    """Return the source of each code cell of a notebook or percent script.

    Raises:
        UnreadableError: the bytes are no notebook.
    """
    text = _text(data)
    sources = _notebook(text) if name.lower().endswith(".ipynb") else _script(text)
    if sum(map(len, sources)) > MOST_CODE:
        raise UnreadableError(f"must have at most {MOST_CODE} characters of code, got more")
    return [s for source in sources if (s := _clean(source)).strip()]


def _text(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.replace(b"\0", b"").decode("utf-8-sig", "replace")


def _clean(source: str) -> str:
    """Drop what no program contains: NUL, half of a surrogate pair, a carriage return."""
    whole = source.encode("utf-8", "replace").decode().replace("\0", "").lstrip("\ufeff")
    return whole.replace("\r\n", "\n").replace("\r", "\n")


class Cell(msgspec.Struct):
    """What is read of a cell; `input` is the source in notebooks of version 3."""

    cell_type: str
    source: str | list[str] = ""
    input: str | list[str] = ""


class Sheet(msgspec.Struct):
    """Where notebooks of version 3 have their cells."""

    cells: list[Cell]


class Notebook(msgspec.Struct):
    """What is read of a notebook."""

    cells: list[Cell] | None = None
    worksheets: list[Sheet] | None = None


def _notebook(text: str) -> list[str]:
    try:
        notebook = _decode(text)
    except RecursionError:
        raise UnreadableError("must be a notebook, got JSON nested too deep") from None
    except ValueError as error:
        raise UnreadableError(f"must be a notebook, got: {str(error)[:200]}") from None
    if notebook.cells is None and notebook.worksheets is None:
        raise UnreadableError("must be a notebook, got JSON without cells")
    sheets = [cell for sheet in notebook.worksheets or [] for cell in sheet.cells]
    cells = [c for c in [*(notebook.cells or []), *sheets] if c.cell_type == "code"]
    return ["".join(c.source or c.input) for c in cells]


def _decode(text: str) -> Notebook:
    """Decode strictly; then as Python writes JSON, with NaN and halves of surrogate pairs."""
    try:
        return msgspec.json.decode(text.encode(), type=Notebook)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text, parse_int=len), Notebook)


def _script(text: str) -> list[str]:
    """Split a percent script, or one that nbconvert wrote, at its markers."""
    text = _clean(text)
    marks = list(MARKER.finditer(text))
    stops = [m.start() for m in marks] + [len(text)]
    cells = [text[: stops[0]]]
    for mark, stop in zip(marks, stops[1:], strict=True):
        if not re.search(r"\[(markdown|md|raw)\]", mark["kind"] or ""):
            cells.append(text[mark.end() : stop])
    return cells
