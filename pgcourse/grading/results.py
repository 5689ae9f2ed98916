"""Results: one line a file, written by the trusted side; what is written survives any kill.

Data flow: Line -> results.jsonl (append, flush to disk) -> Lines, the last of each file.

A line that replaces another is appended like any; `Store.settle` then drops what was replaced, in
one step of the file system. A torn last line counts as not written.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec


class Shown(msgspec.Struct, frozen=True):
    """What was seen on a public input, which the student may see: the difference and the input."""

    difference: str
    inputs: list[tuple[str, str]] = []


class Result(msgspec.Struct, frozen=True):
    """The verdict on one function.

    Args:
        question: name of the function.
        status: right, wrong or not attempted.
        share: of the hidden inputs answered rightly.
        mistake: its name, if it has one.
        says: the diagnosis.
        see: anchor of the paragraph in the chapter's page.
        stage: where the hidden answer differed: blank, type, shape, finite, value or raised.
        seen: the difference on the hidden input, for the instructor only.
        shown: the difference on a public one; None if there the answer is right, or was not asked.
    """

    question: str
    status: str
    share: float = 0.0
    mistake: str = ""
    says: str = ""
    see: str = ""
    stage: str = ""
    seen: str = ""
    shown: Shown | None = None
    broke: bool = False


class Line(msgspec.Struct, frozen=True):
    """What became of one file.

    Args:
        file: its path below the folder of submissions.
        student: whose it is.
        key: hash of file, specification and version.
        status: graded, unreadable or ignored.
        why: the reason, unless graded.
        asked: questions that the file concerns.
        results: verdicts, in the order of the questions.
        notes: cells that failed, and how.
        layers: isolation in force.
        without: isolation that could not be had, and why.
        seconds: that grading took.
    """

    file: str
    student: str
    key: str
    status: str
    why: str = ""
    asked: list[str] = []
    results: list[Result] = []
    notes: list[str] = []
    layers: list[str] = []
    without: list[str] = []
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether each question was judged."""
        return {r.question for r in self.results} >= set(self.asked)

    @property
    def failed(self) -> bool:
        """Whether another try might end better: not readable, or a process broke or hung."""
        return self.status == "unreadable" or any(r.broke for r in self.results)


class BusyError(Exception):
    """Another grader writes to this folder."""


class Store:
    """The results below a folder; a context manager that holds the folder's lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "results.jsonl"
        self.lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.close()
            raise BusyError(f"another grader writes to {folder}") from None
        self.file: BinaryIO = self.path.open("a+b")
        self.places = self._places()

    def _places(self) -> dict[str, tuple[int, int]]:
        """Return where the line of each file lies, and cut off a torn end."""
        places, offset = {}, 0
        self.file.seek(0)
        for raw in self.file:
            if not raw.endswith(b"\n"):
                self.file.truncate(offset)
                break
            # A line damaged from outside does not count: its file is graded again.
            with contextlib.suppress(msgspec.MsgspecError):
                places[_NAME.decode(raw).file] = (offset, len(raw))
            offset += len(raw)
        return places

    def get(self, name: str) -> Line | None:
        """Return the line of a file."""
        if name not in self.places:
            return None
        offset, size = self.places[name]
        try:
            return _LINE.decode(os.pread(self.file.fileno(), size, offset))
        except msgspec.MsgspecError:
            return None

    def add(self, lines: Iterable[Line]) -> None:
        """Append lines; they are on the disk when this returns."""
        offset = self.file.seek(0, os.SEEK_END)
        for line in lines:
            raw = msgspec.json.encode(line) + b"\n"
            self.file.write(raw)
            self.places[line.file] = (offset, len(raw))
            offset += len(raw)
        self.file.flush()
        os.fsync(self.file.fileno())

    def settle(self) -> None:
        """Drop replaced lines: afterwards each file has one, in the order of names."""
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            for name in sorted(self.places):
                offset, size = self.places[name]
                file.write(os.pread(self.file.fileno(), size, offset))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path)
        self.file.close()
        self.file = self.path.open("a+b")
        self.places = self._places()

    def seed(self) -> int:
        """Return the secret seed that this folder's first run drew."""
        path = self.folder / "seed"
        if not path.exists():
            fresh = path.with_suffix(".new")
            fresh.write_text(f"{secrets.randbelow(2**63)}\n", encoding="utf-8")
            os.replace(fresh, path)
        return int(path.read_text(encoding="utf-8"))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        self.lock.close()


class _Name(msgspec.Struct):
    file: str


_NAME = msgspec.json.Decoder(_Name)
_LINE = msgspec.json.Decoder(Line)
