"""The trusted side's door to the sandbox: a warm process, and a worker for each submission.

Data flow: cells, chapter -> Worker -> (Request -> Answer) ..., notes.

A worker may say anything, at any time, or nothing: what it says is decoded as a typed frame of a
limited size, and every wait has a deadline of this side's clock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pgcourse.checks.core import exercises
from pgcourse.checks.wire import (
    Answer,
    Array,
    Blank,
    Items,
    Other,
    Raised,
    Request,
    Unusable,
    Value,
    decode,
)
from pgcourse.grading import folders, isolation, namespaces, paths, stub
from pgcourse.grading.isolation import Layer, Limits, Plan
from pgcourse.grading.line import CHUNK, Line
from pgcourse.grading.warm import COMMAND
from pgcourse.grading.worker import Answers, Batch, Ran, Session, plain

__all__ = ["CellNote", "IsolationError", "Layer", "Limits", "Warm", "Worker"]

START_SECONDS = 120.0
OBEY_SECONDS = 30.0
ORDINARY_USERS = range(61184, 65520)  # systemd's range for users that exist for a while
PROGRAM = "import sys; sys.path[:] = {path!r}; from pgcourse.grading.warm import main; main()"
NOBODY = 65534
KEPT_VARIABLES = {"LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"}
MOST_NOTES = 100
DEEPEST = 8  # list in a list in a list ...: no answer that can be right goes deeper


class IsolationError(RuntimeError):
    """The sandbox cannot be had as it was asked for."""


class BrokenError(Exception):
    """A worker said what it should not have said."""


@dataclass(frozen=True)
class CellNote:
    """A cell that failed, hung, crashed or was cut, and what happened."""

    number: int
    text: str


# --- the warm process --------------------------------------------------------------------------


class Warm:
    """One warm process, and at most one worker of it; a context manager.

    Args:
        limits: of each submission.
        require: "full" or "basic" isolation, or None to take what this machine offers.
        omit: layers to do without, as if this machine did not have them.

    Raises:
        IsolationError: the process does not start, or a layer that is required does not hold.
    """

    layers: tuple[Layer, ...] = ()

    def __init__(
        self,
        limits: Limits | None = None,
        require: str | None = None,
        omit: Collection[str] = (),
    ) -> None:
        if require not in DEMANDS:
            raise ValueError(f"require must be 'full', 'basic' or None, got {require!r}")
        self.limits, self.require, self.omit = limits or Limits(), require, omit
        folders.remove_left()
        self.folder, self.lock = folders.make()
        self.process: subprocess.Popen[bytes] | None = None
        try:
            stub.build(self.folder / "inside", exercises().keys())
            self.plan = self._plan()
            self._start()
        except BaseException:
            self.close(patience=0)
            raise

    def _plan(self) -> Plan:
        path, hidden = paths.search_path(), paths.hidden()
        roots = paths.readable(path, hidden)
        whole, listed = paths.split(roots, hidden)
        return Plan(
            folder=str(self.folder),
            path=[str(self.folder / "inside" / "base"), *path],
            roots=roots,
            hidden=hidden,
            whole=whole,
            listed=listed,
            user=os.geteuid() or _ordinary_user(),
            limits=self.limits,
            grader=os.getpid(),
            secret=str(stub.PACKAGE / "checks" / "core.py"),
            omit=sorted(self.omit),
            forks=isolation.LINUX and "fork" not in self.omit,
        )

    def _start(self) -> None:
        """Start the process and hear which layers hold."""
        ours, theirs = socket.socketpair()
        self.control, self.owed = Line(ours), 0
        with theirs:
            program = PROGRAM.format(path=self.plan.path)
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(self.folder),
                cwd=self.folder,
                start_new_session=True,
            )
        self._greet(time.monotonic() + START_SECONDS)
        if not {x.name for x in self.layers if x.in_force} & {"landlock", "namespaces"}:
            namespaces.hide_memory()  # the last line: one user's processes may read each other

    def _greet(self, deadline: float) -> None:
        """Say what is planned, hear which layers hold, and wait until it is warm."""
        try:
            self.control.send(msgspec.msgpack.encode(self.plan), deadline)
            frame = self.control.receive(CHUNK, deadline)
            self.layers = tuple(msgspec.msgpack.decode(frame, type=list[Layer]))
            _demand(self.require, self.layers)
            self.control.receive(0, deadline)
        except (OSError, EOFError):
            raise IsolationError("the warm process must start, but it broke off") from None

    def worker(self, cells: Sequence[str], chapter: str, until: float | None = None) -> Worker:
        """Return a worker for one notebook of `chapter`; the worker before it ends."""
        return Worker(self, cells, chapter, until)

    def spawn(self, chapter: str) -> Line:
        """Have a worker made, and return our end of its line; the one before it is gone then.

        Raises:
            IsolationError: not even a new warm process makes one.
        """
        for _ in range(2):
            if self.process is None:
                self._start()
            ours, theirs = socket.socketpair()
            with theirs:
                if self._tell(chapter, [theirs.fileno()]) and self._obeyed():
                    return Line(ours)
            ours.close()
            self._stop()
        raise IsolationError("the warm process must make a worker, but it broke off")

    def end_worker(self) -> None:
        """Have the worker ended, with everything that it started; do not wait for it."""
        if not self.plan.forks or (self.process is not None and not self._tell("", [])):
            self._stop()

    def _tell(self, chapter: str, lines: list[int]) -> bool:
        self.owed += 1
        command = chapter.encode().ljust(COMMAND)
        try:
            return socket.send_fds(self.control.end, [command], lines) == COMMAND
        except OSError:
            return False

    def _obeyed(self) -> bool:
        """Hear that every command so far was obeyed."""
        deadline = time.monotonic() + OBEY_SECONDS
        try:
            while self.owed:
                self.control.receive(0, deadline)
                self.owed -= 1
        except (OSError, EOFError):
            return False
        return True

    def _stop(self, patience: float = OBEY_SECONDS) -> None:
        """End the process, which ends its worker first if it has the time."""
        if self.process is None:
            return
        self.control.close()
        try:
            self.process.wait(patience if self.plan.forks else 0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def close(self, patience: float = OBEY_SECONDS) -> None:
        """End the warm process and remove its folder."""
        self._stop(patience)
        if self.lock >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self.lock)
            self.lock = -1

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


DEMANDS: dict[str | None, tuple[str, ...]] = {
    None: (),
    "basic": isolation.BASIC,
    "full": isolation.FULL,
}


def _demand(require: str | None, layers: Sequence[Layer]) -> None:
    missing = [x for x in layers if x.name in DEMANDS[require] and not x.in_force]
    if missing:
        reasons = "; ".join(f"{x.name}: {x.why_not}" for x in missing)
        raise IsolationError(
            f"isolation must be {require}, but some layers do not hold ({reasons})"
        )


def _ordinary_user() -> int:
    """Return a user id that workers of root can take: their own, or nobody's, or none but root's.

    In a container not every number exists.
    """
    own = ORDINARY_USERS[os.getpid() % len(ORDINARY_USERS)]
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            maps = [[int(x) for x in line.split()] for line in file]
    except OSError:
        return own
    there = (user for user in (own, NOBODY) if any(a <= user < a + n for a, _, n in maps))
    return next(there, 0)


def _environment(folder: Path) -> dict[str, str]:
    """Return the variables that the warm process gets: no secret of the grader's."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT_VARIABLES}
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    home = os.path.expanduser("~")  # for the list of fonts that matplotlib keeps there
    kept["HOME"] = home if os.access(home, os.W_OK) else str(folder)
    return kept | dict.fromkeys(threads, "1") | {"MPLBACKEND": "Agg"}


# --- a worker ----------------------------------------------------------------------------------


class Worker:
    """Answers requests with the functions of one notebook; a context manager.

    What a student does never raises here: a crash, silence or nonsense comes back as `Raised`.
    A process that broke is replaced, and the cells run again, without those that break it.

    Args:
        warm: makes the processes.
        cells: sources of the code cells.
        chapter: stem; decides which modules of the course the cells can import.
        until: deadline of the submission, which may have several workers.
    """

    def __init__(
        self, warm: Warm, cells: Sequence[str], chapter: str, until: float | None = None
    ) -> None:
        self.warm, self.chapter, self.limits = warm, chapter, warm.limits
        self.cells = [(i, plain(source)) for i, source in enumerate(cells)]
        self.noted: dict[int, CellNote] = {}
        self.until = until or time.monotonic() + self.limits.submission_seconds
        self.line: Line | None = None
        self.asked: set[str] = set()  # functions that this process was asked for
        self.spent = False  # whether it ran out of memory

    @property
    def notes(self) -> list[CellNote]:
        """What went wrong with cells, in their order; of many, some."""
        return [self.noted[number] for number in sorted(self.noted)]

    def answer(self, request: Request) -> Answer:
        """Ask for one call.

        What another function left behind must cost this one nothing: if it breaks a process that
        served others, it is asked again in a new one.
        """
        others = bool(self.asked - {request.name})
        if others and self.spent:
            self._drop()
        answer = self._ask([request])[0]
        return self._ask([request])[0] if others and self.line is None else answer

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Ask for many calls of one function at once, then one by one from where that broke."""
        if self.spent and self.asked - {requests[0].name}:
            self._drop()
        answers = self._ask(requests)
        if self.line is None:
            answers.pop()
        yield from answers
        for request in requests[len(answers) :]:
            yield self.answer(request)

    def _ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Return answers, at least one; where it broke the process, the last one says so."""
        answers: list[Answer] = []
        try:
            self._exchange(requests, answers)
        except TimeoutError:
            self._drop()
            answers.append(Raised("TimeoutError", self._too_slow_text(requests)))
        except (OSError, EOFError, BrokenError, ValueError, RecursionError):
            self._drop()
            answers.append(Raised("EOFError", "the process that ran the function broke off"))
        last = answers[-1]
        self.spent |= isinstance(last, Raised) and "memory" in f"{last.type} {last.message}".lower()
        return answers

    def _too_slow_text(self, requests: Sequence[Request]) -> str:
        if time.monotonic() > self.until:
            return f"the notebook used up its {self.limits.submission_seconds:g} s"
        return f"no answer within {self._call_seconds(requests):g} s"

    def _call_seconds(self, requests: Sequence[Request]) -> float:
        return self.limits.call_seconds * max(r.patience for r in requests)

    def _exchange(self, requests: Sequence[Request], answers: list[Answer]) -> None:
        """Send requests and append the answers, up to the first that took too long."""
        if self.line is not None and self.line.speaks():
            self._drop()  # nobody asked: whatever it says, it is no answer
        line = self.line or self._begin()
        self.asked |= {r.name for r in requests}
        batch = Batch(secrets.randbits(63), self.limits.output, list(requests))
        seconds = self._call_seconds(requests)
        line.send(msgspec.msgpack.encode(batch), self._deadline(seconds))
        left = batch.output + CHUNK
        while len(answers) < len(requests) and not _too_slow(answers):
            frame = line.receive(left, self._deadline(seconds))
            left -= len(frame)
            said = msgspec.msgpack.decode(frame, type=Answers)
            if said.number != batch.number or not said.answers:
                raise BrokenError
            for request, text in zip(requests[len(answers) :], said.answers, strict=False):
                answers.append(_sound(request, msgspec.msgpack.decode(text, type=Answer)))

    def _deadline(self, seconds: float) -> float:
        """Return when to give up; the worker's own clock strikes first if it still works."""
        return min(self.until, time.monotonic() + 1.25 * seconds + 1)

    # --- running the cells

    def _begin(self) -> Line:
        """Make a process that has run the cells, again without each one that breaks it."""
        for attempt in range(self.limits.restarts + 2):
            if time.monotonic() > self.until:
                raise TimeoutError
            self.asked, self.spent = set(), False
            self.line = self.warm.spawn(self.chapter)
            if (broken := self._run_cells(self.line)) is None:
                return self.line
            self._drop()
            self._leave_out(broken, cut=attempt >= self.limits.restarts)
        raise BrokenError

    def _leave_out(self, broken: CellNote, cut: bool) -> None:
        """Do without a cell; if that happened too often, without all that follow it."""
        self._note(broken)
        if cut:
            for number, _ in self.cells:
                if number > broken.number:
                    self._note(CellNote(number, "not run: too many cells before it broke off"))
            self.cells = [c for c in self.cells if c[0] < broken.number]
        self.cells = [c for c in self.cells if c[0] != broken.number]

    def _run_cells(self, line: Line) -> CellNote | None:
        """Have the cells run; return the one that broke the process."""
        limits, number = self.limits, self.cells[0][0] if self.cells else 0
        session = Session(self.cells, limits.cell_seconds, limits.call_seconds)
        try:
            deadline = self._deadline(limits.cell_seconds)
            line.send(msgspec.msgpack.encode(session), deadline)
            for number, _ in self.cells:
                deadline = self._deadline(limits.cell_seconds)
                ran = msgspec.msgpack.decode(line.receive(CHUNK, deadline), type=Ran)
                if ran.number != number:
                    raise BrokenError
                if ran.problem:
                    self._note(CellNote(number, ran.problem[:300]))
        except TimeoutError:
            return CellNote(number, f"did not end within {limits.cell_seconds:g} s")
        except (OSError, EOFError, BrokenError, ValueError):
            return CellNote(number, "ended the process that ran it")
        return None

    def _note(self, note: CellNote) -> None:
        if len(self.noted) < MOST_NOTES or note.number in self.noted:
            self.noted[note.number] = note

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


# --- what comes over the line ------------------------------------------------------------------


def _too_slow(answers: Sequence[Answer]) -> bool:
    return bool(answers) and isinstance(answers[-1], Raised) and answers[-1].type == "TimeoutError"


def _sound(request: Request, answer: Answer) -> Answer:
    """Return an answer that a check can take apart without harm.

    Raises:
        BrokenError: too deep, or other gradients than were asked for.
        ValueError: an array that is none.
    """
    if isinstance(answer, Raised):
        return Raised(answer.type[:100], answer.message[:300], answer.line[:300])
    if isinstance(answer, Unusable):
        return Unusable(answer.reason[:300])
    _look_into(answer.value, DEEPEST)
    if len(answer.gradients) != len(request.gradient_of):
        raise BrokenError
    for position, gradient in zip(request.gradient_of, answer.gradients, strict=True):
        asked = request.args[position]
        if not isinstance(gradient, Blank):
            same = isinstance(gradient, Array) and isinstance(asked, Array)
            if not same or gradient.shape != asked.shape:  # type: ignore[union-attr]
                raise BrokenError
            decode(gradient)
    return answer


def _look_into(value: Value, deepest: int) -> None:
    if deepest == 0:
        raise BrokenError
    if isinstance(value, Array):
        decode(value)
    elif isinstance(value, (Items, Other)):
        for item in value.items:
            _look_into(item, deepest - 1)
