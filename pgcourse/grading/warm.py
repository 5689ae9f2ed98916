"""The warm process: it imports once what students import, and forks a worker a submission.

It knows no reference, runs no student's code and has one thread. Started by `sandbox.Warm`.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import sys
from typing import Any

import msgspec

PRELOADED = (
    "numpy numpy.random numpy.linalg numpy.fft numpy.polynomial torch torch.nn.functional "
    "torch.optim torch.distributions torch.func torch.utils.data gymnasium matplotlib.pyplot "
    "IPython.display IPython.core.inputtransformer2 tqdm.auto scipy.stats scipy.special "
    "scipy.linalg pandas asyncio dataclasses typing collections itertools functools math random "
    "statistics copy time json re csv pathlib tempfile timeit pprint warnings logging "
    "concurrent.futures multiprocessing fractions decimal"
).split()


class Setup(msgspec.Struct, frozen=True):
    """What the trusted side tells the warm process when it starts."""

    stub: str
    path: list[str]
    limits: dict[str, float]


class Spawn(msgspec.Struct, frozen=True):
    """Fork a worker for a notebook of `chapter`; without chapter, only end the one there is."""

    chapter: str


def preload() -> None:
    """Import what students import, with one thread."""
    import matplotlib as mpl

    mpl.use("Agg")
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # not every package is installed everywhere
    import torch

    torch.set_num_threads(1)
    (torch.ones(2, requires_grad=True) ** 2).sum().backward()
    gc.collect()
    gc.freeze()


class Nursery:
    """The warm process's state: at most one worker at a time."""

    def __init__(self, control: socket.socket, setup: Setup) -> None:
        self.control, self.setup = control, setup
        self.pid = 0

    def serve(self) -> None:
        """Obey until the trusted side closes."""
        while True:
            message, fds, _, _ = socket.recv_fds(self.control, 4096, 1)
            if not message:
                return
            spawn = msgspec.msgpack.decode(message, type=Spawn)
            self.end()
            if spawn.chapter:
                self.begin(spawn.chapter, fds[0])
            self.control.sendall(b"k")

    def begin(self, chapter: str, fd: int) -> None:
        """Fork a worker that talks over `fd`."""
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.become_worker(chapter, fd)
            finally:
                os._exit(1)
        os.close(fd)

    def become_worker(self, chapter: str, fd: int) -> None:
        """Give up what a student must not have, and serve."""
        import pgcourse
        from pgcourse.grading import worker

        os.setsid()
        fd = _keep_only(fd)
        pgcourse.__path__.append(os.path.join(self.setup.stub, chapter))
        worker.serve(fd)

    def end(self) -> None:
        """End the worker and all that it left."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0


def _keep_only(fd: int) -> int:
    """Close every file but `fd`, which becomes 3; standard streams lead nowhere."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    if fd != 3:
        os.dup2(fd, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3


def main() -> None:
    """Warm up, say so, and obey."""
    control = socket.socket(fileno=int(sys.argv[1]))
    setup = msgspec.msgpack.decode(control.recv(65536), type=Setup)
    preload()
    control.sendall(b"w")
    Nursery(control, setup).serve()


if __name__ == "__main__":
    main()
