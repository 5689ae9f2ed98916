"""Finding: which files a folder of submissions holds, whose they are, what they are asked for.

Data flow: folder -> Found ...; cells -> names of questions.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.grading.reading import UnreadableError, kind_of_file

SUFFIXES = (".ipynb", ".py")
DEEPEST = 12  # folders below a student's
STEMS = "|".join(f"{i:02d}_{stem}" for i, stem in enumerate(CHAPTERS))
BINDS = re.compile(  # where a statement can begin: def, class, or what stands left of an =
    r"(?:^|(?<=[;:=]))[ \t(]*+(?:(?:async +)?(?:def|class) +(\w+)"
    r"|([\w, \t*]++\)?[ \t]*+(?::[^=\n]{1,200}+)?)=(?!=))",
    re.M,
)


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
    told = Found(str(path), name, student, info.st_mtime, refused=kind_of_file(info.st_mode))
    parts = name.split("/")
    if any(p.startswith(".") or p in {"__pycache__", "__MACOSX"} for p in parts):
        return Found(str(path), name, student, ignored="a hidden file, or a copy made by a tool")
    if not told.refused and not name.lower().endswith(SUFFIXES):
        return Found(str(path), name, student, ignored=f"neither {' nor '.join(SUFFIXES)}")
    return told


def printable(name: str) -> str:
    """Return a file's name with bytes that are no text written out; no two names become one."""
    return os.fsencode(name).replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def student_of(name: str) -> str:
    """Return the student of a file that lies in a flat folder: `alice_01_mdp.ipynb` is alice's."""
    stem = re.sub(r"( ?\(\d+\)|-Copy\d+)$", "", name.rpartition(".")[0] or name)
    rest = re.sub(rf"[\s_.-]*({STEMS})[\s_.-]*", "", stem)
    return rest if re.search(r"\w", rest) else stem


def _named(text: str) -> set[str]:
    """Return the functions of exercises whose names occur as words."""
    return core.exercises().keys() & set(re.findall(r"\w+", text))


def questions_of(cells: list[str], questions: Sequence[str] = ()) -> list[str]:
    """Return the functions that a notebook is asked for, in the book's order.

    Those are all functions of each chapter that it is about, and among `questions` those that it
    defines. A notebook is about the chapters of which it defines at least half of the functions,
    or else about the one of which it defines the largest share. Where nothing seems to be defined,
    it may be in a way that only Python understands: then each name that occurs counts.

    Raises:
        UnreadableError: it defines none.
    """
    text = "\n".join(cells)
    defined = " ".join(name for match in BINDS.finditer(text) for name in match.groups(""))
    bound = _named(defined) or _named(text)
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
