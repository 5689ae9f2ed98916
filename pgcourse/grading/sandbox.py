"""The trusted side's door to the sandbox: a warm process, and a worker for each submission.

Data flow: cells, chapter -> Worker -> (Request -> Answer) ..., notes.

A worker may say anything, at any time, or nothing: what it says is decoded as a typed frame of a
limited size, and every wait has a deadline of this side's clock.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pgcourse.checks.holder import LENGTH, read_frame
from pgcourse.checks.wire import Answer, Raised, Request
from pgcourse.checks.core import exercises
from pgcourse.grading import isolation, paths, stub
from pgcourse.grading.isolation import Layer, Limits, Plan
from pgcourse.grading.warm import Spawn
from pgcourse.grading.worker import ID_SIZE, Ran, Session

__all__ = ["CellNote", "IsolationError", "Layer", "Limits", "Warm", "Worker"]

START_SECONDS = 120.0
ORDINARY_USERS = range(61184, 65520)  # systemd's range for users that exist for a while
PROGRAM = "import sys; sys.path[:] = {path!r}; from pgcourse.grading.warm import main; main()"
KEPT_VARIABLES = {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT"}


class IsolationError(RuntimeError):
    """The sandbox cannot be had as it was asked for."""

@dataclass(frozen=True)
class CellNote:
    """A cell that failed, hung, crashed or was cut, and what happened."""

    number: int
    text: str


class BrokenError(Exception):
    """A worker broke off, or said what is no frame."""


class Warm:
    """One warm process; a context manager."""

    def __init__(
        self,
        limits: Limits | None = None,
        require: str | None = None,
        omit: Collection[str] = (),
    ) -> None:
        self.limits, self.require, self.omit = limits or Limits(), require, omit
        self.folder = Path(tempfile.mkdtemp(prefix="pgcourse-"))
        try:
            stub.build(self.folder / "inside", exercises().keys())
            self._start()
            self._demand()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Start the process and hear which layers hold."""
        self.control, theirs = socket.socketpair()
        plan = self._plan()
        program = PROGRAM.format(path=plan.path)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                cwd=self.folder,
            )
        deadline = time.monotonic() + START_SECONDS
        try:
            _send(self.control, msgspec.msgpack.encode(plan), deadline)
            frame = read_frame(self.control, deadline)
        except (OSError, EOFError):
            raise IsolationError("the warm process must start, got an early end") from None
        self.layers = tuple(msgspec.msgpack.decode(frame, type=list[Layer]))

    def _plan(self) -> Plan:
        path, hidden = paths.search_path(), paths.hidden()
        roots = paths.readable(path)
        user = os.geteuid() or ORDINARY_USERS[os.getpid() % len(ORDINARY_USERS)]
        return Plan(
            folder=str(self.folder),
            path=[str(self.folder / "inside" / "base"), *path],
            roots=roots,
            hidden=hidden,
            whole=(parts := paths.split(roots, hidden))[0],
            listed=parts[1],
            user=user,
            limits=self.limits,
            grader=os.getpid(),
            secret=str(stub.PACKAGE / "checks" / "core.py"),
            omit=sorted(self.omit),
        )

    def _demand(self) -> None:
        """Refuse to go on without the layers that were asked for."""
        wanted = {None: (), "basic": isolation.BASIC, "full": isolation.FULL}
        if self.require not in wanted:
            raise ValueError(f"require must be full, basic or None, got {self.require!r}")
        missing = [x for x in self.layers if x.name in wanted[self.require] and not x.in_force]
        if missing:
            reasons = "; ".join(f"{x.name} ({x.why_not})" for x in missing)
            raise IsolationError(f"isolation must be {self.require}, but there is no {reasons}")

    def worker(self, cells: Sequence[str], chapter: str) -> Worker:
        """Return a worker for one notebook of `chapter`; the worker before it ends."""
        return Worker(self, cells, chapter)

    def spawn(self, chapter: str) -> socket.socket:
        """Have a worker forked, and return our end of its line."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._command(Spawn(chapter), [theirs.fileno()])
        return ours

    def end_worker(self) -> None:
        """Have the worker ended, and everything that it started."""
        self._command(Spawn(""), [])

    def _command(self, spawn: Spawn, fds: list[int]) -> None:
        socket.send_fds(self.control, [msgspec.msgpack.encode(spawn)], fds)
        if self.control.recv(1) != b"k":
            raise RuntimeError("the warm process must obey, got an early end")

    def close(self) -> None:
        """End the warm process and remove its folder."""
        if hasattr(self, "process"):
            self.control.close()
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


class Worker:
    """Answers requests with the functions of one notebook; a context manager.

    What a student does never raises here: a crash, silence or nonsense comes back as `Raised`.
    """

    def __init__(self, warm: Warm, cells: Sequence[str], chapter: str) -> None:
        self.warm, self.chapter = warm, chapter
        self.cells = list(enumerate(cells))
        self.notes: list[CellNote] = []
        self.until = time.monotonic() + warm.limits.submission_seconds
        self.line: socket.socket | None = None
        self.asked: set[str] = set()  # which functions this process was asked for

    def answer(self, request: Request) -> Answer:
        """Ask the worker; a failure after another function was called is asked again, afresh."""
        used = bool(self.asked - {request.name}) and self.line is not None
        answer = self._ask(request)
        if used and isinstance(answer, Raised) and answer.type in {"TimeoutError", "EOFError"}:
            self._drop()
            return self._ask(request)
        return answer

    def _ask(self, request: Request) -> Answer:
        try:
            return self._exchange(request)
        except TimeoutError:
            self._drop()
            return Raised("TimeoutError", "no answer in time")
        except (OSError, EOFError, BrokenError, msgspec.MsgspecError, ValueError):
            self._drop()
            return Raised("EOFError", "the process that ran the function broke off")

    def _exchange(self, request: Request) -> Answer:
        if self.line is not None and self._spoke_unasked(self.line):
            self._drop()
        line = self.line or self._begin()
        self.asked.add(request.name)
        number = secrets.token_bytes(ID_SIZE)
        limits = self.warm.limits
        deadline = min(self.until, time.monotonic() + 1.25 * limits.call_seconds + 1)
        _send(line, number + msgspec.msgpack.encode(request), deadline)
        frame = read_frame(line, deadline, limits.output)
        if frame[:ID_SIZE] != number:
            raise BrokenError
        answer: Answer = msgspec.msgpack.decode(frame[ID_SIZE:], type=Answer)
        return answer

    def _begin(self) -> socket.socket:
        """Start a process and run the cells, again without each that breaks it."""
        for _ in range(self.warm.limits.restarts + 1):
            self.line = self.warm.spawn(self.chapter)
            if (broken := self._run_cells(self.line)) is None:
                self.asked = set()
                return self.line
            self._drop()
            self.cells = [c for c in self.cells if c[0] != broken.number]
            self._note(broken)
        raise BrokenError

    def _run_cells(self, line: socket.socket) -> CellNote | None:
        """Have the cells run; return the one that broke the process."""
        limits = self.warm.limits
        session = Session(self.cells, limits.cell_seconds, limits.call_seconds)
        waiting = iter([number for number, _ in self.cells])
        number = next(waiting, None)
        try:
            deadline = min(self.until, time.monotonic() + 1.25 * limits.cell_seconds + 1)
            _send(line, msgspec.msgpack.encode(session), deadline)
            while number is not None:
                deadline = min(self.until, time.monotonic() + 1.25 * limits.cell_seconds + 1)
                ran = msgspec.msgpack.decode(read_frame(line, deadline, 2**16), type=Ran)
                if ran.number != number:
                    raise BrokenError
                if ran.problem:
                    self._note(CellNote(number, ran.problem[:300]))
                number = next(waiting, None)
        except TimeoutError:
            return CellNote(number or 0, "did not end in time")
        except (OSError, EOFError, BrokenError, msgspec.MsgspecError):
            return CellNote(number or 0, "ended the process")
        return None

    def _note(self, note: CellNote) -> None:
        if note.number not in {n.number for n in self.notes}:
            self.notes.append(note)

    def _spoke_unasked(self, line: socket.socket) -> bool:
        line.setblocking(False)
        try:
            line.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            line.setblocking(True)
        return True

    def _drop(self) -> None:
        """End the process, if there is one."""
        if self.line is not None:
            self.line.close()
            self.line = None
            self.warm.end_worker()

    def close(self) -> None:
        """End the worker and everything that it started."""
        self._drop()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _environment() -> dict[str, str]:
    """Return the variables that the warm process gets: no secret of the grader's."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT_VARIABLES}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return kept | dict.fromkeys(threads, "1") | {"MPLBACKEND": "Agg"}


def _send(line: socket.socket, frame: bytes, deadline: float) -> None:
    line.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        line.sendall(LENGTH.pack(len(frame)) + frame)
    finally:
        line.settimeout(None)
