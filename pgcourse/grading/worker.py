"""The worker: runs a student's cells, then answers requests. What it says is data, and untrusted.

Data flow: frame of cells -> a frame a cell -> (frame of a request -> frame of an answer) ...

Nothing here keeps a student from forging frames: whoever forges one only answers for himself.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
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
from pgcourse.checks.wire import Request

ID_SIZE = 8  # of the number that an answer repeats from its request


class Session(msgspec.Struct, frozen=True):
    """The first frame: numbered cells, and how long one cell and one call may take."""

    cells: list[tuple[int, str]]
    cell_seconds: float
    call_seconds: float


class Ran(msgspec.Struct, frozen=True):
    """What became of a cell: a problem, or nothing."""

    number: int
    problem: str


class Stream:
    """A socket as the frames' functions want it."""

    def __init__(self, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.fileno, self.write = self.socket.fileno, self.socket.sendall

    def flush(self) -> None:
        """Have nothing to flush."""


def serve(fd: int) -> None:
    """Run the cells of the first frame, then answer requests until the other side closes."""
    stream, state = Stream(fd), State()
    session = msgspec.msgpack.decode(read_frame(stream), type=Session)
    namespace = notebook_namespace()
    for number, source in session.cells:
        with contextlib.suppress(TimeoutError), time_limit(session.cell_seconds):
            problem = run_cell(source, number, namespace)
        state.restore()
        write_frame(stream, msgspec.msgpack.encode(Ran(number, problem)))
    holder, state = Holder(namespace, session.call_seconds), State()
    while True:
        frame = read_frame(stream)
        request = msgspec.msgpack.decode(frame[ID_SIZE:], type=Request)
        answer = holder.answer(request)
        state.restore()
        write_frame(stream, frame[:ID_SIZE] + msgspec.msgpack.encode(answer))


class State:
    """What of the process a cell or a call may change without cost to what follows."""

    def __init__(self) -> None:
        self.builtins = dict(vars(builtins))
        self.recursion = sys.getrecursionlimit()

    def restore(self) -> None:
        """Put everything back that the frames and the next call rely on."""
        vars(builtins).update(self.builtins)
        sys.setrecursionlimit(self.recursion)
