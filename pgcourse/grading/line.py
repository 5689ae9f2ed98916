"""A socket between two processes that carries frames: a length, then bytes."""

from __future__ import annotations

import math
import select
import socket
import time

from pgcourse.checks.holder import LENGTH

CHUNK = 2**16


class Line:
    """One end of a connection; what the other end says is never trusted.

    Args:
        end: a connected socket.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.end, self.heard = end, bytearray()
        self.incoming, self.outgoing = select.poll(), select.poll()
        self.incoming.register(end, select.POLLIN)
        self.outgoing.register(end, select.POLLOUT)

    def send(self, frame: bytes, deadline: float = math.inf) -> None:
        """Send one frame.

        Raises:
            TimeoutError: the other end does not read. OSError: it is gone.
        """
        left = memoryview(LENGTH.pack(len(frame)) + frame)
        while left:
            _wait(self.outgoing, deadline)
            left = left[self.end.send(left) :]

    def receive(self, largest: int, deadline: float = math.inf) -> bytes:
        """Return the next frame.

        Raises:
            TimeoutError: it did not come in time. EOFError: the other end is gone, or announces
                more than `largest` bytes.
        """
        _left(deadline)
        self._hear(LENGTH.size, deadline)
        size = LENGTH.size + LENGTH.unpack_from(self.heard)[0]
        if size > largest + LENGTH.size:
            raise EOFError(f"frame must have at most {largest} bytes, got {size}")
        self._hear(size, deadline)
        frame = bytes(self.heard[LENGTH.size : size])
        del self.heard[:size]
        return frame

    def _hear(self, size: int, deadline: float) -> None:
        while len(self.heard) < size:
            _wait(self.incoming, deadline)
            part = self.end.recv(max(CHUNK, min(size - len(self.heard), 16 * CHUNK)))
            if not part:
                raise EOFError("the other end is gone")
            self.heard += part

    def speaks(self) -> bool:
        """Whether something lies on the line unread, or the other end is gone."""
        return bool(self.heard or self.incoming.poll(0))

    def close(self) -> None:
        """Close this end."""
        self.end.close()


def _wait(poll: select.poll, deadline: float) -> None:
    if not poll.poll(_left(deadline)):
        raise TimeoutError


def _left(deadline: float) -> float | None:
    """Return the milliseconds until a deadline; when it is past, ready data are too late."""
    if math.isinf(deadline):
        return None
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return 1000 * left
