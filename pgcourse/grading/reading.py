"""Reading: from a folder of whatever students handed in to the cells of their notebooks.

Data flow: folder -> Found ... -> bytes -> cells.

Only the source of code cells is taken from a file. Outputs, metadata, tags and identifiers are
never even built; nothing here runs, imports or follows what a student wrote.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pgcourse import CHAPTERS
from pgcourse.checks import core

SUFFIXES = (".ipynb", ".py")
LARGEST = 20 * 2**20  # bytes; a larger file is refused before it is parsed
DEEPEST = 12  # folders below a student's
STEMS = "|".join(f"{i:02d}_{stem}" for i, stem in enumerate(CHAPTERS))
MARKER = re.compile(r"^#[ \t]*(?:%%(?P<kind>.*)|In ?\[[\d ]*\]:?[ \t]*)$", re.M)
BINDS = re.compile(
    r"^[ \t]*(?:async +)?(?:def +(\w+) *\(|class +(\w+)|(\w+) *(?::[^=\n]+)?=(?!=))", re.M
)


class UnreadableError(ValueError):
    """A file cannot be read as a notebook; the message says why."""


@dataclass(frozen=True)
class Found:
    """A file that was handed in.

    Args:
        path: where it is.
        name: its path below the folder of submissions, printable.
        student: whose it is: the first folder, or the name of the file without the chapter's.
        modified: seconds since 1970, as the file says.
        ignored: why it is no notebook, if so.
        refused: why it is not opened, if so.
    """

    path: str
    name: str
    student: str
    modified: float = 0.0
    ignored: str = ""
    refused: str = ""


def find(root: Path) -> Iterator[Found]:
    """Yield every file below a folder in the order of names, and each folder without any.

    Links are not followed: what one leads to was not handed in.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    if not root.is_dir():
        yield _found(root, root.name, student_of(root.name))
        return
    for entry in sorted(os.scandir(root), key=lambda e: os.fsencode(e.name)):
        name = printable(entry.name)
        if entry.is_dir(follow_symlinks=False):
            inside = list(_below(Path(entry.path), name, name, DEEPEST))
            yield from inside or [Found(entry.path, name, name, ignored="an empty folder")]
        else:
            yield _found(Path(entry.path), name, student_of(name))


def _below(folder: Path, name: str, student: str, depth: int) -> Iterator[Found]:
    try:
        entries = sorted(os.scandir(folder), key=lambda e: os.fsencode(e.name))
    except OSError as error:
        yield Found(str(folder), name, student, refused=f"a folder: {error.strerror}")
        return
    for entry in entries:
        inner = f"{name}/{printable(entry.name)}"
        if not entry.is_dir(follow_symlinks=False):
            yield _found(Path(entry.path), inner, student)
        elif depth:
            yield from _below(Path(entry.path), inner, student, depth - 1)
        else:
            yield Found(entry.path, inner, student, refused="a folder too deep")


def _found(path: Path, name: str, student: str) -> Found:
    try:
        info = path.lstat()
    except OSError as error:
        return Found(str(path), name, student, refused=str(error.strerror))
    told = Found(str(path), name, student, info.st_mtime, refused=_kind(info.st_mode))
    parts = name.split("/")
    if any(p.startswith(".") or p in {"__pycache__", "__MACOSX"} for p in parts):
        return Found(str(path), name, student, ignored="a hidden file, or a copy made by a tool")
    if not told.refused and not name.lower().endswith(SUFFIXES):
        return Found(str(path), name, student, ignored=f"neither {' nor '.join(SUFFIXES)}")
    return told


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    return "a link, which is not followed" if stat.S_ISLNK(mode) else "not a regular file"


def printable(name: str) -> str:
    """Return a file's name with bytes that are no text written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def student_of(name: str) -> str:
    """Return the student of a file that lies in a flat folder: `alice_01_mdp.ipynb` is alice's."""
    stem = re.sub(r"( ?\(\d+\)|-Copy\d+)$", "", name.rpartition(".")[0] or name)
    rest = re.sub(rf"[\s_.-]*({STEMS})[\s_.-]*", "", stem)
    return rest if re.search(r"\w", rest) else stem


def read(path: str, largest: int) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        UnreadableError: it is none, cannot be opened, is empty or larger than `largest`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            if reason := _kind(os.fstat(file.fileno()).st_mode):
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
    text = text.replace("\r\n", "\n")
    marks = list(MARKER.finditer(text))
    stops = [m.start() for m in marks] + [len(text)]
    cells = [text[: stops[0]]]
    for mark, stop in zip(marks, stops[1:], strict=True):
        if not re.search(r"\[(markdown|md|raw)\]", mark["kind"] or ""):
            cells.append(text[mark.end() : stop])
    return cells


def questions_of(cells: list[str], questions: Sequence[str] = ()) -> list[str]:
    """Return the functions that a notebook is asked for, in the book's order.

    Those are all functions of each chapter that it is about, and among `questions` those that it
    defines. A notebook is about the chapters of which it defines at least half of the functions,
    or else about the one of which it defines the largest share.

    Raises:
        UnreadableError: it defines none.
    """
    bound = {name for match in BINDS.findall("\n".join(cells)) for name in match if name}
    shares: dict[str, float] = {}
    for stem in CHAPTERS:
        names = [e.name for e in core.chapter_exercises(stem)]
        shares[stem] = len(bound.intersection(names)) / max(len(names), 1)
    enough = min(0.5, max(shares.values()))
    if not enough:
        raise UnreadableError("must define a function of an exercise, got none")
    about = {
        n for n, e in core.exercises().items() if shares[CHAPTERS[core.chapter_of(n)]] >= enough
    }
    asked = set(questions) & (about | bound) if questions else about
    return [name for name in core.exercises() if name in asked]
