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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from pgcourse.checks.holder import LENGTH, read_frame
from pgcourse.checks.wire import Answer, Raised, Request
from pgcourse.grading import stub
from pgcourse.grading.isolation import Layer
from pgcourse.grading.warm import Setup, Spawn
from pgcourse.grading.worker import ID_SIZE, Ran, Session

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a submission may use; the one place where limits are set.

    Args:
        memory: bytes that a process may add to what the warm process holds.
        cpu: seconds of processor time of one process.
        cell_seconds: of one cell, by the clock.
        call_seconds: of one call of a function.
        submission_seconds: of all cells and calls together, with every restart.
        processes: processes and threads at a time.
        open_files: descriptors of one process.
        file_size: bytes of one file.
        scratch: bytes of all files, where a layer can count them.
        output: bytes of one answer.
        restarts: how often cells are run again without one that broke the worker.
    """

    memory: int = 2048 * MIB
    cpu: float = 300.0
    cell_seconds: float = 60.0
    call_seconds: float = 10.0
    submission_seconds: float = 600.0
    processes: int = 64
    open_files: int = 256
    file_size: int = 64 * MIB
    scratch: int = 256 * MIB
    output: int = 64 * MIB
    restarts: int = 8


@dataclass(frozen=True)
class CellNote:
    """A cell that failed, hung, crashed or was cut, and what happened."""

    number: int
    text: str


class BrokenError(Exception):
    """A worker broke off, or said what is no frame."""


class Warm:
    """One warm process; a context manager."""

    def __init__(self, limits: Limits | None = None, require: str | None = None) -> None:
        self.limits = limits or Limits()
        self.folder = Path(tempfile.mkdtemp(prefix="pgcourse-"))
        from pgcourse.checks.core import exercises

        stub.build(self.folder, exercises().keys())
        self.layers: tuple[Layer, ...] = (Layer("process", True),)
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        base = str(self.folder / "base")
        setup = Setup(str(self.folder), [base], {k: float(v) for k, v in asdict(self.limits).items()})
        program = (
            f"import sys; sys.path.insert(0, {base!r}); sys.argv[1] = '{theirs.fileno()}'; "
            "from pgcourse.grading.warm import main; main()"
        )
        environment = os.environ | {f"{x}_NUM_THREADS": "1" for x in ("OMP", "OPENBLAS", "MKL")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd=base,
        )
        theirs.close()
        ours.sendall(msgspec.msgpack.encode(setup))
        if ours.recv(1) != b"w":
            raise RuntimeError("the warm process must start, got an early end")
        self.control = ours

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


def _send(line: socket.socket, frame: bytes, deadline: float) -> None:
    line.settimeout(max(deadline - time.monotonic(), 0.001))
    try:
        line.sendall(LENGTH.pack(len(frame)) + frame)
    finally:
        line.settimeout(None)
