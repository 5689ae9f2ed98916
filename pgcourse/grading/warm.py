"""The warm process: it imports once what students import, and forks a worker a submission.

It knows no reference, runs no student's code and has one thread. `sandbox.Warm` starts it and
tells it what to do: data flow Plan -> layers; then Spawn -> a worker, or the end of one.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import time

import msgspec

import pgcourse
from pgcourse.checks.holder import read_frame, write_frame
from pgcourse.grading import isolation, landlock, namespaces, seccomp, worker
from pgcourse.grading.isolation import Layer, Plan

TICK = 0.25  # seconds between two looks at a worker's memory
SUBREAPER, DUMPABLE = 36, 4

PRELOADED = (
    "numpy numpy.random numpy.linalg numpy.fft numpy.polynomial torch torch.nn.functional "
    "torch.optim torch.distributions torch.func torch.utils.data gymnasium matplotlib.pyplot "
    "IPython.display IPython.core.inputtransformer2 tqdm.auto scipy.stats scipy.special "
    "scipy.linalg pandas asyncio dataclasses typing collections itertools functools math random "
    "statistics copy time json re csv pathlib tempfile timeit pprint warnings logging "
    "concurrent.futures multiprocessing fractions decimal"
).split()


class Spawn(msgspec.Struct, frozen=True):
    """End the worker there is; then fork one for a notebook of `chapter`, if that is given."""

    chapter: str


def preload() -> None:
    """Import what students import, and touch what is otherwise loaded at first use."""
    import matplotlib as mpl

    mpl.use("Agg")
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # not every package is installed everywhere
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    (torch.ones(2, requires_grad=True) ** 2).sum().backward()


class Nursery:
    """The warm process's state: the layers in force, and at most one worker."""

    def __init__(self, control: worker.Stream, plan: Plan, layers: list[Layer]) -> None:
        self.control, self.plan = control, plan
        self.layers = {layer.name for layer in layers if layer.in_force}
        self.pid = 0
        self.rules: dict[str, int] = {}
        self.own = os.pidfd_open(os.getpid()) if "namespaces" in self.layers else -1
        self.tasks, self.held = isolation.tasks_of(plan.user), isolation.memory_held()

    def serve(self) -> None:
        """Obey until the trusted side closes."""
        while True:
            message, fds, _, _ = socket.recv_fds(self.control.socket, 4096, 1)
            if message:
                spawn = msgspec.msgpack.decode(message, type=Spawn)
            self.end()
            if not message:
                return
            if spawn.chapter:
                self.begin(spawn.chapter, fds[0])
            self.control.write(b"k")

    def begin(self, chapter: str, line: int) -> None:
        """Fork a worker that talks over `line`."""
        if "landlock" in self.layers and chapter not in self.rules:
            self.rules[chapter] = isolation.rules(self.plan, chapter)
        if "namespaces" in self.layers:
            namespaces.fresh_pids(self.own)
        else:
            make_scratch(self.plan)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.become_worker(chapter, line)
            finally:
                os._exit(1)
        os.close(line)

    def become_worker(self, chapter: str, line: int) -> None:
        """Give up, layer by layer, what a student must not have, and serve."""
        os.setsid()
        plan, layers = self.plan, self.layers
        if "namespaces" in layers:
            isolation.own_files(plan, chapter)
        if "limits" in layers:
            isolation.set_limits(plan.limits, self.tasks, self.held)
        if "user" in layers:
            isolation.drop_user(plan.user)
        if "namespaces" in layers:
            namespaces.drop_capabilities()
        if "landlock" in layers:
            landlock.restrict(self.rules[chapter])
        line = keep_only(line)
        if "seccomp" in layers:
            seccomp.restrict(alone="namespaces" not in layers)
        settle(plan, chapter, "namespaces" in layers)
        worker.serve(line)

    def end(self) -> None:
        """End the worker and all that it left."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0


def make_scratch(plan: Plan) -> None:
    """Make an empty scratch folder on disk, where none can be mounted."""
    shutil.rmtree(plan.scratch, ignore_errors=True)
    os.makedirs(plan.scratch, mode=0o700, exist_ok=True)
    os.chown(plan.scratch, plan.user, -1)


def keep_only(line: int) -> int:
    """Close every file but `line`, which becomes 3; standard streams lead nowhere."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    if line != 3:
        os.dup2(line, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return 3


def settle(plan: Plan, chapter: str, mounted: bool) -> None:
    """Feel at home in the scratch folder, with the modules of the chapter."""
    os.chdir(plan.scratch)
    os.environ |= {"HOME": plan.scratch, "TMPDIR": plan.scratch, "MPLCONFIGDIR": plan.scratch}
    folder = plan.inside("chapter") if mounted else plan.inside("chapters", chapter)
    pgcourse.__path__.append(folder)


def main() -> None:
    """Warm up, try the layers, say which hold, and obey."""
    control = worker.Stream(int(sys.argv[1]))
    plan = msgspec.msgpack.decode(read_frame(control), type=Plan)
    preload()
    make_scratch(plan)
    layers = isolation.probe(plan)
    if layers[-1].in_force:
        isolation.enter(plan)
    gc.collect()
    gc.freeze()
    nursery = Nursery(control, plan, layers)
    write_frame(control, msgspec.msgpack.encode(layers))
    nursery.serve()


if __name__ == "__main__":
    main()
