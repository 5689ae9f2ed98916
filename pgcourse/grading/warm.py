"""The warm process: it imports once what students import, and forks a worker a submission.

It knows no reference, runs no student's code and has one thread. `sandbox.Warm` starts it and
tells it what to do: data flow Plan -> layers; then commands. A command is the chapter of the next
worker, with its line, or blank; either way the worker before it ends.
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
import subprocess
import sys
import traceback

import msgspec

import pgcourse
from pgcourse.grading import isolation, landlock, namespaces, seccomp, worker
from pgcourse.grading.isolation import Layer, Plan
from pgcourse.grading.line import Line
from pgcourse.grading.processes import Processes, bytes_below, open_proc, use_large_pages

COMMAND = 64  # bytes of a command: a chapter, filled up with blanks
TICK = 0.25  # seconds between two looks at a worker's memory

PRELOADED = """
    torch torch.func torch.utils.data gymnasium matplotlib.pyplot tqdm.auto
    IPython.display IPython.core.inputtransformer2
    asyncio concurrent.futures csv decimal fractions json multiprocessing pprint statistics
    tempfile timeit unittest.mock
"""


def preload() -> None:
    """Import what students import, and do once what loads more at its first use."""
    import matplotlib as mpl

    mpl.use("Agg")
    for name in PRELOADED.split():
        with contextlib.suppress(ImportError):  # not every package is installed everywhere
            importlib.import_module(name)
    rehearse()


def rehearse() -> None:
    """Train, sample, step and draw once: a first step of Adam alone imports for three seconds."""
    import gymnasium
    import matplotlib.pyplot as plt
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Tanh())
    adam = torch.optim.Adam(net.parameters())
    policy = torch.distributions.Categorical(logits=net(torch.ones(3, 4)))
    policy.log_prob(policy.sample()).sum().backward()
    adam.step()
    torch.func.vmap(torch.func.grad(torch.sum))(torch.ones(2, 2))
    torch.linalg.solve(torch.eye(2), torch.ones(2))
    gymnasium.make_vec("CartPole-v1", 2).reset(seed=0)
    figure, axes = plt.subplots()
    axes.plot([0, 1], label="$x^2$")
    axes.legend()
    figure.canvas.draw()
    plt.close(figure)
    torch.manual_seed(int.from_bytes(os.urandom(4)))


class Nursery:
    """The warm process's state: the layers in force, and at most one worker."""

    def __init__(self, control: Line, plan: Plan, layers: list[Layer]) -> None:
        self.control, self.plan, self.pid = control, plan, 0
        self.layers = {layer.name for layer in layers if layer.in_force}
        self.apart = "namespaces" in self.layers
        self.rules: dict[str, int] = {}  # Landlock's, by chapter
        proc = open_proc()
        if self.apart:
            isolation.enter(plan)
            self.own = os.pidfd_open(os.getpid())
        elif isolation.LINUX:
            namespaces.adopt_orphans()
        namespaces.hide_memory()
        self.processes = Processes(proc)

    def obey(self) -> None:
        """Obey until the trusted side closes; look after the worker in between."""
        while True:
            while not select.select([self.control.end], [], [], TICK if self.pid else None)[0]:
                self.look()
            message, lines = b"", list[int]()
            with contextlib.suppress(ConnectionError):  # closed before it read what we said
                message, lines, _, _ = socket.recv_fds(self.control.end, COMMAND, 1)
            self.end()
            if not message:
                return
            with contextlib.suppress(OSError):  # nobody may be there to hear it
                self.control.send(b"")
            if chapter := message.strip(b" ").decode():
                self.begin(chapter, lines[0])

    def look(self) -> None:
        """End a worker that grew too large, and what one left that is gone."""
        limits, ended = self.plan.limits, os.waitpid(self.pid, os.WNOHANG)[0]
        if ended:
            self.pid = 0
            self.clear()
        elif self.processes.grown() > limits.memory or (
            not self.apart and bytes_below(self.plan.scratch, limits.scratch) > limits.scratch
        ):
            self.end()

    def begin(self, chapter: str, line: int) -> None:
        """Fork a worker that talks over `line`."""
        if "landlock" in self.layers and chapter not in self.rules:
            self.rules[chapter] = isolation.rules(self.plan, chapter, self.apart)
        if self.apart:
            namespaces.fresh_pids(self.own)
        self.pid = os.fork() if self.plan.forks else 0
        if self.pid == 0:
            try:
                self.become(chapter, line)
            except BaseException:
                traceback.print_exc()  # leads nowhere once students' code has run
            os._exit(1)
        os.close(line)

    def become(self, chapter: str, line: int) -> None:
        """Give up, layer by layer, what a student must not have, and serve."""
        if self.plan.forks:
            os.setsid()
        plan, layers = self.plan, self.layers
        if self.apart:
            isolation.own_files(plan, chapter)
        if "limits" in layers:
            isolation.set_limits(plan.limits, self.processes.tasks, self.processes.held)
        if "user" in layers:
            isolation.drop_user(plan.user)
        if self.apart or ("landlock" in layers and "user" not in layers):
            namespaces.drop_capabilities()
        if isolation.LINUX and not self.apart:
            namespaces.end_with_parent()
        if "landlock" in layers:
            landlock.restrict(self.rules[chapter])
        line = keep_only(line)
        if "seccomp" in layers:
            seccomp.restrict(alone=not self.apart)
        settle(plan, chapter, self.apart)
        worker.serve(line)

    def end(self) -> None:
        """End the worker, and all that it left."""
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.pid = 0
            self.clear()

    def clear(self) -> None:
        """End the processes and remove the files of a worker that is gone."""
        if not self.apart:  # else both are gone with its namespaces
            self.processes.sweep()
            empty(self.plan.scratch)


def empty(folder: str) -> None:
    """Remove everything in a folder that a student could write to."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(RecursionError):
            shutil.rmtree(path, ignore_errors=True)
        if os.path.lexists(path):  # a file, or folders too deep for Python
            subprocess.run(["rm", "-rf", "--", path], check=False, stderr=subprocess.DEVNULL)


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
    sys.path.append("")  # where a notebook runs, its own modules are found; they shadow nothing


def main() -> None:
    """Try the layers, say which hold, warm up, and obey."""
    control = Line(socket.socket(fileno=int(sys.argv[1])))
    plan = msgspec.msgpack.decode(control.receive(worker.LARGEST), type=Plan)
    with contextlib.suppress(OSError):  # a root without this right stays who it is
        os.chown(plan.scratch, plan.user, -1)
    layers = isolation.probe(plan)
    empty(plan.scratch)
    if not any(layer.in_force for layer in layers if layer.name == "user"):
        os.chown(plan.scratch, os.geteuid(), -1)
    control.send(msgspec.msgpack.encode(layers))
    if "preload" not in plan.omit:
        preload()
        gc.collect()
        gc.freeze()
    if isolation.LINUX and "preload" not in plan.omit:
        use_large_pages()
    nursery = Nursery(control, plan, layers)
    control.send(b"")  # warm
    nursery.obey()
    isolation.tidy(plan)


if __name__ == "__main__":
    main()
