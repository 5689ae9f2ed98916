"""What the warm process sees of its workers from outside: memory, files, who is left.

`/proc` is opened once, before the warm process leaves the file system that has it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Iterator

SWEEP_SECONDS = 5.0
MIB = 2**20
COLLAPSE = 25


def open_proc() -> int:
    """Return a descriptor of `/proc`, or -1 where there is none."""
    try:
        return os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return -1


class Processes:
    """The processes of this machine.

    Args:
        proc: descriptor of `/proc`, or -1.

    Attributes:
        held: bytes of address space of this process when it was made.
        tasks: threads that its user has.
    """

    def __init__(self, proc: int) -> None:
        self.proc = proc
        self.held = int((self._read("self/statm") or "0").split()[0]) * resource.getpagesize()
        self.own = int((self._read("self/stat") or "0").split()[0])  # our number, seen from there
        self.tasks = sum(int(s["Threads"]) for s in self._all() if s["Uid"] == str(os.getuid()))
        self.base = self._memory(self._status(str(self.own)))

    def grown(self) -> int:
        """Return the bytes that all descendants together hold beyond what they inherited."""
        family = self._descendants()
        return sum(max(0, self._memory(s) - self.base) for s in family)

    def sweep(self) -> None:
        """Kill every child, and what falls to us when it is dead, until there is none."""
        until = time.monotonic() + SWEEP_SECONDS
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < until:
                for status in self._descendants():
                    with contextlib.suppress(OSError):
                        os.kill(int(status["Pid"]), signal.SIGKILL)
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

    def _descendants(self) -> list[dict[str, str]]:
        children: dict[str, list[dict[str, str]]] = {}
        for status in self._all():
            children.setdefault(status["PPid"], []).append(status)
        found = list(children.get(str(self.own), []))
        for status in found:  # grows on the way
            found += children.get(status["Pid"], [])
        return found

    def _all(self) -> Iterator[dict[str, str]]:
        for name in filter(str.isdecimal, os.listdir(self.proc) if self.proc >= 0 else []):
            if "PPid" in (status := self._status(name)):
                yield status

    def _status(self, pid: str) -> dict[str, str]:
        """Return the first word of each line of a process's status."""
        lines = (line.split() for line in self._read(f"{pid}/status").splitlines())
        return {words[0].rstrip(":"): words[1] for words in lines if len(words) > 1}

    @staticmethod
    def _memory(status: dict[str, str]) -> int:
        return sum(int(status.get(x, "0")) for x in ("RssAnon", "RssShmem")) * 1024

    def _read(self, name: str) -> str:
        if self.proc < 0:
            return ""
        try:
            with open(os.open(name, os.O_RDONLY, dir_fd=self.proc), encoding="utf-8") as file:
                return file.read()
        except (OSError, ValueError):
            return ""


def use_large_pages() -> None:
    """Gather this process's memory in pages of 2 MiB, where the kernel can.

    A fork copies the table of pages, and an exit takes it apart; with large ones both take a
    millisecond instead of eight.
    """
    large = 2 * MIB
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    with open("/proc/self/maps", encoding="utf-8") as file:
        maps = [line.split() for line in file]
    for span, access, *_, name in ([*m, ""] if len(m) == 5 else m for m in maps):
        if access.startswith("rw") and name in {"", "[heap]"}:
            start, end = (int(x, 16) for x in span.split("-"))
            start, end = -(-start // large) * large, end // large * large
            if end > start:
                libc.madvise(start, end - start, COLLAPSE)


def bytes_below(folder: str, most: int) -> int:
    """Add up what is below `folder` on disk, until it is more than `most`."""
    total, folders = 0, [folder]
    try:
        while folders and total <= most:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    total += 4096 + entry.stat(follow_symlinks=False).st_blocks * 512
                    folders += [entry.path] if entry.is_dir(follow_symlinks=False) else []
    except FileNotFoundError:
        return total  # removed while we looked
    except OSError:
        return most + 1  # a path too long to follow, or a folder closed to us
    return total
