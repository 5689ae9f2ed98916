"""Layer — namespaces: a worker sees no process, no network and no file but its own.

The warm process enters once: its own users (unless root started it), processes, network, queues
and files, of which only the readable ones are there, and none to write. Each worker gets a new
process namespace, whose first process it is: when it ends, the kernel ends all the others.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Collection

NEW_MOUNTS, NEW_NAMES, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USERS, NEW_PIDS, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEVICES, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
SHARED_MEMORY = "/dev/shm"
DETACH, CURRENT_FOLDER = 2, -100
PARENT_DIES, DUMPABLE, SUBREAPER = 1, 4, 36
MOUNT_ATTRIBUTES, PIVOT_ROOT, ATTRIBUTES_BELOW = (
    442,
    {"x86_64": 155}.get(os.uname().machine, 41),
    0x8000,
)
SET_CAPABILITIES = {"x86_64": 126}.get(os.uname().machine, 91)

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(what: str, result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _unshare(flags: int) -> None:
    _checked("unshare", _libc.unshare(ctypes.c_int(flags)))


def _mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    texts = [os.fsencode(x) or None for x in (source, target, kind)]
    result = _libc.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options) or None)
    _checked(f"mount {target}", result)


def _freeze(target: str) -> None:
    """Make the mounts at and below `target` read-only, without set-user-id."""
    attributes = struct.pack("=QQQQ", READ_ONLY | NO_SUID, 0, 0, 0)
    arguments = (ctypes.c_int(CURRENT_FOLDER), os.fsencode(target), ctypes.c_uint(ATTRIBUTES_BELOW))
    size = ctypes.c_size_t(len(attributes))
    call = ctypes.c_long(MOUNT_ATTRIBUTES)
    _checked(f"read-only {target}", _libc.syscall(call, *arguments, attributes, size))


def enter(
    roots: Collection[str], hidden: Collection[str], new_root: str, afterwards: Callable[[], None]
) -> None:
    """Move this process into its own namespaces; it goes on as a child, and its parent waits.

    Args:
        roots: folders and files that stay readable.
        hidden: folders of which nothing stays, but for roots below them.
        new_root: an empty folder to build on.
        afterwards: called outside, when everything inside has ended.

    Raises:
        OSError: the kernel, or who runs this machine, does not allow it.
    """
    user, group, root = os.geteuid(), os.getegid(), os.geteuid() == 0
    separate = NEW_NETWORK | NEW_IPC | NEW_NAMES | NEW_PIDS
    _unshare(separate if root else separate | NEW_USERS)
    if not root:
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    go_on_as_first_process(afterwards)
    _unshare(NEW_MOUNTS)  # now, so that the parent keeps its files
    _change_root(roots, hidden, new_root)


def go_on_as_first_process(afterwards: Callable[[], None]) -> None:
    """Fork; the parent only waits, holding no file open, and ends with the child."""
    if (child := os.fork()) != 0:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        status = os.waitpid(child, 0)[1]
        afterwards()
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    end_with_parent()


def _control(option: int, value: int) -> None:
    if os.uname().sysname != "Linux":
        return
    zero = ctypes.c_ulong(0)
    _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies."""
    _control(PARENT_DIES, signal.SIGKILL)


def hide_memory() -> None:
    """Let no process of the same user look into this one."""
    _control(DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, to be able to end it."""
    _control(SUBREAPER, 1)


def _change_root(roots: Collection[str], hidden: Collection[str], new_root: str) -> None:
    """Leave only `roots`, less `hidden`, all of it read-only."""
    _mount("none", "/", flags=RECURSIVE | PRIVATE)
    _mount("tmpfs", new_root, "tmpfs", NO_SUID | NO_DEVICES, "size=1m,mode=755")
    for path in sorted({*roots, *hidden}):  # from outside inwards: one can lie below the other
        if path in roots and os.path.exists(path):
            _mount(path, _mount_point(path, new_root), flags=BIND | RECURSIVE)
        if path in hidden and os.path.isdir(new_root + path):
            _mount("tmpfs", new_root + path, "tmpfs", options="size=4k,mode=755")
    os.makedirs(new_root + SHARED_MEMORY, exist_ok=True)
    _freeze(new_root)
    os.chdir(new_root)
    _checked("pivot_root", _libc.syscall(ctypes.c_long(PIVOT_ROOT), b".", b"."))
    _checked("umount", _libc.umount2(b".", DETACH))
    os.chdir("/")


def _mount_point(path: str, new_root: str) -> str:
    target = new_root + path
    if os.path.isdir(path):
        os.makedirs(target, mode=0o755, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT, 0o644))
    return target


def fresh_pids(own: int) -> None:
    """Have the next child be the first process of a new namespace; `own` is our pidfd."""
    _checked("setns", _libc.setns(ctypes.c_int(own), ctypes.c_int(NEW_PIDS)))
    _unshare(NEW_PIDS)


def own_files(scratch: str, size: int, chapter: str, shown: str, user: int) -> None:
    """Give a worker its own mounts: an empty scratch folder in memory, and its chapter's modules.

    Args:
        scratch: where to mount it.
        size: bytes it holds.
        chapter: the folder of modules, of which the siblings disappear.
        shown: where it is found afterwards.
        user: owns the scratch folder.
    """
    _unshare(NEW_MOUNTS | NEW_IPC)
    owned = f"size={size},nr_inodes=20000,mode=700,uid={user}"
    _mount("tmpfs", scratch, "tmpfs", NO_SUID | NO_DEVICES, owned)
    _mount(scratch, SHARED_MEMORY, flags=BIND)
    _mount(chapter, shown, flags=BIND)
    _mount("tmpfs", os.path.dirname(chapter), "tmpfs", READ_ONLY, "size=4k,mode=755")


def drop_capabilities() -> None:
    """Give up every privilege that the own user namespace granted."""
    header, none = struct.pack("=II", 0x20080522, 0), struct.pack("=6I", *[0] * 6)
    _checked("capset", _libc.syscall(ctypes.c_long(SET_CAPABILITIES), header, none))
