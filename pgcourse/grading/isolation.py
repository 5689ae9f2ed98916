"""The layers that keep a worker in: which there are, how each is put on, and whether it holds.

Every layer is tried before it is used: a child process puts it on and attempts what it forbids.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from pgcourse.grading import landlock, namespaces, seccomp
from pgcourse.grading.processes import Processes, open_proc

MIB = 2**20
LINUX = sys.platform == "linux"
BASIC = ("limits", "seccomp", "landlock")
FULL = (*BASIC, "user", "namespaces")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class Layer(NamedTuple):
    """One layer of isolation: its name, whether it is in force, and if not, why."""

    name: str
    in_force: bool
    why_not: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission may use; the one place where limits are set.

    Args:
        memory: bytes that a submission may add to what the warm process holds.
        cpu: seconds of processor time of one process.
        cell_seconds: of one cell, by the clock.
        call_seconds: of one call of a function; of one that trains, six times as many.
        submission_seconds: of all cells and calls together, with every restart.
        processes: processes and threads at a time.
        open_files: descriptors of one process.
        file_size: bytes of one file.
        scratch: bytes of all files.
        output: bytes of one answer.
        restarts: how often cells are run again without one that broke the worker.
    """

    memory: int = 2048 * MIB
    cpu: int = 300
    cell_seconds: float = 60.0
    call_seconds: float = 10.0
    submission_seconds: float = 600.0
    processes: int = 64
    open_files: int = 256
    file_size: int = 64 * MIB
    scratch: int = 256 * MIB
    output: int = 16 * MIB
    restarts: int = 8


class Plan(msgspec.Struct, frozen=True):
    """What the trusted side decides before the warm process starts.

    Args:
        folder: holds `inside`, what a worker may see of it, and `root`, which is empty.
        path: where modules are imported from.
        roots: folders and files that may be read.
        hidden: folders below them that may not.
        whole: `roots` without `hidden`, split into parts.
        listed: the folders that were split.
        user: an ordinary user id for workers, where root started the grader.
        limits: of a submission.
        grader: process id of the trusted side.
        secret: a file that no worker may read.
        omit: layers not to use; `preload`, to start at once and be slow later.
        forks: whether one process serves many workers, or becomes the first.
    """

    folder: str
    path: list[str]
    roots: list[str]
    hidden: list[str]
    whole: list[str]
    listed: list[str]
    user: int
    limits: Limits
    grader: int
    secret: str
    omit: list[str]
    forks: bool

    def inside(self, *parts: str) -> str:
        """Return a path in the folder that workers see."""
        return os.path.join(self.folder, "inside", *parts)

    @property
    def scratch(self) -> str:
        """The folder in which a worker may write."""
        return self.inside("scratch", "run")


# --- putting layers on -------------------------------------------------------------------------


def set_limits(limits: Limits, tasks: int, held: int) -> None:
    """Bound what this process uses; `tasks` and `held` are what its user and it have already."""
    wanted = {
        "AS": held + limits.memory,
        "CPU": limits.cpu,
        "NPROC": tasks + limits.processes,
        "NOFILE": limits.open_files,
        "FSIZE": limits.file_size,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }
    for name, value in wanted.items():
        if (kind := getattr(resource, f"RLIMIT_{name}", None)) is not None:
            with contextlib.suppress(ValueError, OSError):  # macOS refuses some of them
                most = resource.getrlimit(kind)[1]
                value = value if most == resource.RLIM_INFINITY else min(value, most)
                resource.setrlimit(kind, (value, value))


def drop_user(user: int) -> None:
    """Become an ordinary user, for good, if root started this process and there is another."""
    if os.geteuid() == 0 and user != 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def rules(plan: Plan, chapter: str, apart: bool) -> int:
    """Return Landlock's rules for a worker of `chapter`; `apart` says that its mounts are its own.

    A rule holds for what is mounted *below* a folder: for `scratch/run` and `/dev/shm`.
    """
    shown = [plan.inside(x) for x in ("base", "chapter", f"chapters/{chapter}")]
    writable = [plan.inside("scratch"), "/dev" if apart else "/dev/null"]
    return landlock.ruleset([*plan.whole, *DEVICES, *shown], plan.listed, writable)


# --- trying them -------------------------------------------------------------------------------


def probe(plan: Plan) -> list[Layer]:
    """Try every layer by itself."""
    trials = {
        "limits": partial(_try_limits, plan),
        "user": partial(_try_user, plan),
        "seccomp": partial(_try_seccomp),
        "landlock": partial(_try_landlock, plan),
        "namespaces": partial(_try_namespaces, plan),
    }
    found = []
    for name, trial in trials.items():
        reason = "left out" if name in plan.omit else tried(trial) if LINUX else "not on Linux"
        found.append(Layer(name, not reason, reason))
    return _reconciled(plan, {layer.name: layer for layer in found})


def _reconciled(plan: Plan, layers: dict[str, Layer]) -> list[Layer]:
    """Do without another user where that one could not read Python, which lies in root's home, say.

    Namespaces would rebuild the folders above; Landlock must keep a worker from all others.
    """
    kept_apart = layers["namespaces"].in_force or not layers["landlock"].in_force
    if layers["user"].in_force and not kept_apart and (closed := tried(partial(_see_roots, plan))):
        reason = f"another user could not read Python ({closed}); root's name stays, its rights go"
        layers["user"] = Layer("user", False, reason)
    return list(layers.values())


def _see_roots(plan: Plan) -> None:
    """Find as an ordinary user what may be read."""
    drop_user(plan.user)
    for root in plan.roots:
        os.stat(root)


def tried(trial: Callable[[], None]) -> str:
    """Run `trial` in a child process; return why it failed, or nothing."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            trial()
            os.write(writing, b"+")
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}"[:500].encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return "" if said == b"+" else said.decode(errors="replace") or "the process died"


def _must_fail(what: str, attempt: Callable[[], object]) -> None:
    """Attempt what a layer forbids.

    Raises:
        PermissionError: it could be done.
    """
    try:
        attempt()
    except (OSError, MemoryError):
        return
    raise PermissionError(f"a worker could {what}")


def _try_limits(plan: Plan) -> None:
    have = Processes(open_proc())
    set_limits(plan.limits, have.tasks, have.held)
    _must_fail("take more memory", lambda: mmap.mmap(-1, plan.limits.memory + MIB))
    few = range(plan.limits.open_files + 1)
    _must_fail("open more files", lambda: [os.dup(0) for _ in few])


def _try_user(plan: Plan) -> None:
    drop_user(plan.user)
    _must_fail("become root", lambda: os.setuid(0))


def _try_seccomp() -> None:
    seccomp.restrict(alone=True)
    _must_fail("open a socket", socket.socket)
    _must_fail("start a process", _fork_once)
    _must_fail("signal its parent", lambda: os.kill(os.getppid(), 0))


def _fork_once() -> None:
    if os.fork() == 0:
        os._exit(0)


def _try_landlock(plan: Plan) -> None:
    landlock.restrict(rules(plan, "start", apart=False))
    _try_files(plan)


def _try_files(plan: Plan) -> None:
    _must_fail("read the checks", lambda: open(plan.secret, "rb").close())
    outside = plan.inside("base", "probe")
    _must_fail("write outside its folder", lambda: open(outside, "wb").close())
    open(os.path.join(plan.scratch, "probe"), "wb").close()


def _try_namespaces(plan: Plan) -> None:
    enter(plan)
    own = os.pidfd_open(os.getpid())
    for _ in range(2):  # for a second worker, too
        namespaces.fresh_pids(own)
        if reason := tried(partial(_namespaces_hold, plan)):
            raise PermissionError(reason)


def _namespaces_hold(plan: Plan) -> None:
    own_files(plan, "start")
    drop_user(plan.user)
    namespaces.drop_capabilities()
    _try_files(plan)
    _must_fail("signal the grader", lambda: os.kill(plan.grader, 0))
    if os.getpid() != 1 or {name for _, name in socket.if_nameindex()} != {"lo"}:
        raise PermissionError("a worker could see processes or networks")


def enter(plan: Plan) -> None:
    """Enter the namespaces with what may be read."""
    roots = [*plan.roots, *DEVICES, plan.inside()]
    namespaces.enter(roots, plan.hidden, os.path.join(plan.folder, "root"), partial(tidy, plan))


def tidy(plan: Plan) -> None:
    """Remove the folder if the grader is gone, which else does so itself."""
    try:
        os.kill(plan.grader, 0)
    except ProcessLookupError:
        shutil.rmtree(plan.folder, ignore_errors=True)


def own_files(plan: Plan, chapter: str) -> None:
    """Give a worker its own scratch folder and chapter."""
    source, shown = plan.inside("chapters", chapter), plan.inside("chapter")
    namespaces.own_files(plan.scratch, plan.limits.scratch, source, shown, plan.user)
