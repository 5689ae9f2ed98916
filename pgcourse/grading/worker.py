"""The worker: runs a student's cells, then answers requests. What it says is data, and untrusted.

Data flow: Session -> Ran a cell; then number, Request -> number, Answer; and so on.

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
from typing import Any

import msgspec

from pgcourse.checks.holder import (
    Holder,
    notebook_namespace,
    read_frame,
    run_cell,
    time_limit,
    write_frame,
)
from pgcourse.checks.wire import Answer, Raised, Request

ID_SIZE = 8  # of the number that an answer repeats from its request
BUILTINS = dict(vars(builtins))


class Session(msgspec.Struct, frozen=True):
    """The first frame: numbered cells, what a cell and a call may take, an answer's bytes."""

    cells: list[tuple[int, str]]
    cell_seconds: float
    call_seconds: float
    output: int


class Ran(msgspec.Struct, frozen=True):
    """What became of a cell: a problem, or nothing."""

    number: int
    problem: str


class Stream:
    """A socket as the functions of frames want it."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.fileno, self.write = self.socket.fileno, self.socket.sendall

    def flush(self) -> None:
        """Have nothing to flush."""


def serve(fd: int) -> None:
    """Run the cells of the first frame, then answer requests until the other side closes."""
    stream, own = Stream(fd), os.getpid()
    session = msgspec.msgpack.decode(read_frame(stream), type=Session)
    namespace = notebook_namespace()
    for number, source in session.cells:
        problem = "TimeoutError: the cell did not end in time"
        with contextlib.suppress(TimeoutError), time_limit(session.cell_seconds):
            problem = run_cell(source, number, namespace)
        steady(own)
        write_frame(stream, msgspec.msgpack.encode(Ran(number, _plain(problem))))
    holder, state = Holder(namespace, session.call_seconds), State()
    while True:
        frame = read_frame(stream)
        answer = _answer(holder, msgspec.msgpack.decode(frame[ID_SIZE:], type=Request))
        steady(own)
        state.restore()
        write_frame(stream, frame[:ID_SIZE] + _encoded(answer, session.output - ID_SIZE))


def _answer(holder: Holder, request: Request) -> Answer:
    try:
        return holder.answer(request)
    except BaseException as error:  # an exception whose own text raises, say
        return Raised(type(error).__name__, "")


def _encoded(answer: Answer, most: int) -> bytes:
    try:
        frame = msgspec.msgpack.encode(answer)
    except (ValueError, TypeError, RecursionError) as error:
        frame = msgspec.msgpack.encode(Raised(type(error).__name__, "the result cannot be sent"))
    if len(frame) <= most:
        return frame
    text = f"the result has more than {most} bytes"
    return msgspec.msgpack.encode(Raised("ValueError", text))


def _plain(text: str) -> str:
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
        self.torch: Any = sys.modules["torch"]
        self.dtype = self.torch.get_default_dtype()
        self.recursion = sys.getrecursionlimit()
        with contextlib.suppress(OSError):
            self.folder = os.getcwd()

    def restore(self) -> None:
        """Put it back."""
        self.torch.set_default_dtype(self.dtype)
        sys.setrecursionlimit(self.recursion)
        with contextlib.suppress(OSError, AttributeError):
            os.chdir(self.folder)
