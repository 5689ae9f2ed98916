"""The worker: runs a student's cells, then answers requests. What it says is data, and untrusted.

Data flow: Session -> Ran a cell, for each; then Batch of requests -> Answers; and so on.

Nothing here keeps a student from forging frames: whoever forges one only answers for himself. What
is here keeps an honest student from harm: a cell or a call may leave the process in any state.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec

from pgcourse.checks.holder import Holder, Notebook, time_limit
from pgcourse.checks.wire import Answer, Raised, Request
from pgcourse.grading.line import Line

LARGEST = 256 * 2**20  # bytes of a frame from the trusted side
PATIENCE = 0.02  # seconds that answers wait for more, to go in one frame
BUILTINS = dict(vars(builtins))


class Session(msgspec.Struct, frozen=True):
    """The first frame: numbered cells, and how long a cell and a call may take."""

    cells: list[tuple[int, str]]
    cell_seconds: float
    call_seconds: float


class Ran(msgspec.Struct, frozen=True):
    """What became of a cell: a problem, or nothing."""

    number: int
    problem: str


class Batch(msgspec.Struct, frozen=True):
    """Requests to be answered in order, up to the first that takes too long.

    `number` comes back with the answers; one of them may have `output` bytes.
    """

    number: int
    output: int
    requests: list[Request]


class Answers(msgspec.Struct, frozen=True):
    """The next answers to a batch, each encoded."""

    number: int
    answers: list[bytes]


def serve(fd: int) -> None:
    """Run the cells of the first frame, then answer requests until the other side closes."""
    line, own = Line(socket.socket(fileno=fd)), os.getpid()
    session = msgspec.msgpack.decode(line.receive(LARGEST), type=Session)
    main = sys.modules["__main__"] = ModuleType("__main__")
    notebook = Notebook(vars(main))
    for number, source in session.cells:
        problem = "TimeoutError: the cell did not end in time"
        with contextlib.suppress(TimeoutError), time_limit(session.cell_seconds):
            problem = notebook.run(source, number)
        steady(own)
        line.send(msgspec.msgpack.encode(Ran(number, plain(problem))))
    holder, state = Holder(notebook.namespace, session.call_seconds), State()
    while True:
        batch = msgspec.msgpack.decode(line.receive(LARGEST), type=Batch)
        for answers in _answer_all(holder, state, batch):
            line.send(answers)


def _answer_all(holder: Holder, state: State, batch: Batch) -> Iterator[bytes]:
    """Yield frames of answers: all in one if they are quick, so that no time goes into waiting."""
    ready, since, own = [], time.monotonic(), os.getpid()
    for request in batch.requests:
        answer = _answer(holder, request)
        steady(own)
        state.restore()
        ready.append(_encoded(answer, batch.output))
        slow = isinstance(answer, Raised) and answer.type == "TimeoutError"
        if slow or time.monotonic() - since > PATIENCE:
            yield msgspec.msgpack.encode(Answers(batch.number, ready))
            ready, since = [], time.monotonic()
        if slow:
            return
    if ready:
        yield msgspec.msgpack.encode(Answers(batch.number, ready))


def _answer(holder: Holder, request: Request) -> Answer:
    try:
        return holder.answer(request)
    except BaseException as error:  # an exception whose own text raises, say
        return Raised(type(error).__name__, "")


def _encoded(answer: Answer, most: int) -> bytes:
    try:
        frame = msgspec.msgpack.encode(answer)
    except (ValueError, TypeError, RecursionError) as error:
        return msgspec.msgpack.encode(Raised(type(error).__name__, "the result cannot be sent"))
    if len(frame) <= most:
        return frame
    return msgspec.msgpack.encode(Raised("ValueError", f"the result has more than {most} bytes"))


def plain(text: str) -> str:
    """Return text that can be sent: half of a surrogate pair becomes a question mark."""
    return text.encode(errors="replace").decode()


def steady(own: int) -> None:
    """Mend what the frames rely on: builtins, recursion, timers, standard streams.

    A process that student's code forked, and that came back, ends: only `own` may speak.
    """
    builtins.__dict__.update(BUILTINS)
    if os.getpid() != own:
        os._exit(0)
    sys.setrecursionlimit(max(1000, sys.getrecursionlimit()))
    signal.setitimer(signal.ITIMER_REAL, 0)
    for standard, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(standard)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), standard)
        if getattr(getattr(sys, name), "closed", True):
            mode = "w" if standard else "r"
            setattr(sys, name, os.fdopen(standard, mode, closefd=False))


class State:
    """What the cells left, and no call shall change for the next: folder, default type."""

    def __init__(self) -> None:
        self.torch: Any = sys.modules.get("torch")
        self.dtype = self.torch and self.torch.get_default_dtype()
        self.recursion = sys.getrecursionlimit()
        with contextlib.suppress(OSError):
            self.folder = os.getcwd()

    def restore(self) -> None:
        """Put it back."""
        if self.torch:
            self.torch.set_default_dtype(self.dtype)
        sys.setrecursionlimit(self.recursion)
        with contextlib.suppress(OSError, AttributeError):
            os.chdir(self.folder)
