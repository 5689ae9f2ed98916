"""Layer — seccomp: system calls that no exercise needs are refused by the kernel.

A filter is a short program of the kernel's packet filter; we write it with `ctypes`, because the
library that would do so needs a C library which not every machine has. What is listed is refused,
the rest allowed, calls newer than this list do not exist. The numbers are those of x86-64 and of
the table that newer machines (aarch64, riscv64) share.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
NEWEST = 462  # mseal, Linux 6.10; from 424 on all machines share the numbers

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant
Numbers = tuple[int | None, int | None]  # of a call, on x86-64 and in the shared table

# Each name is followed by its number on x86-64 and in the shared table; None: not there.
REFUSED: dict[str, Numbers] = {
    # talking to anything outside, starting another program
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "execve": (59, 221), "execveat": (322, 281),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # what outlives a process, or lies outside the limits of memory and files
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "fallocate": (285, 47),
    # names of files
    "mount": (165, 40), "umount2": (166, 39), "move_mount": (429, 429), "open_tree": (428, 428),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "quotactl": (179, 60), "fanotify_init": (300, 262),
    # the machine
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "perf_event_open": (298, 241), "bpf": (321, 280),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "acct": (163, 89),
    "syslog": (103, 116), "vhangup": (153, 58), "personality": (135, 92),
}  # fmt: skip

# These would reach files outside the scratch folder, where Landlock does not look; honest code
# that copies a file calls them and may go on.
PRETENDED: dict[str, Numbers] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip

# Allowed for the caller itself only: the position of the argument that names a process.
OWN = {
    "prlimit64": (302, 261, 0), "sched_setaffinity": (203, 122, 0),
    "sched_setscheduler": (144, 119, 0), "sched_setparam": (142, 118, 0),
    "sched_setattr": (314, 274, 0), "setpriority": (141, 140, 1), "ioprio_set": (251, 30, 1),
}  # fmt: skip
SIGNALS = {"kill": (62, 129, 0), "tgkill": (234, 131, 0), "tkill": (200, 130, 0)}
FORK, VFORK = (57, None), (58, None)
CLONE, CLONE3, SOCKETPAIR = (56, 220), (435, 435), (53, 199)
NEW_NAMESPACE, THREAD, STREAM, TYPE = 0x7E020000, 0x00010000, 1, 0xF

LOAD, EQUAL, ABOVE, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in what the filter sees of a call
SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2


def program(machine: str, alone: bool) -> list[Instruction]:
    """Return the filter for a machine.

    Args:
        machine: its name, one of `ARCHITECTURES`.
        alone: also refuse further processes, and signals to any but the own one.
    """
    column = 0 if machine == "x86_64" else 1
    lines = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURES[machine])]
    lines += [(RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    lines += [(ABOVE, 0, 1, NEWEST), (RETURN, 0, 0, REFUSE | errno.ENOSYS)]
    for numbers in [*REFUSED.values(), *((FORK, VFORK) if alone else ())]:
        lines += _answer(numbers[column], REFUSE | errno.EPERM)
    for numbers in PRETENDED.values():
        lines += _answer(numbers[column], REFUSE)
    for *pair, position in [*OWN.values(), *(SIGNALS.values() if alone else ())]:
        lines += _only_own(pair[column], position)
    lines += _answer(CLONE3[column], REFUSE | errno.ENOSYS)  # its flags cannot be seen: use clone
    lines += _clone(CLONE[column], alone)
    lines += _stream_pairs(SOCKETPAIR[column])
    return [*lines, (RETURN, 0, 0, ALLOW)]


def _answer(number: int | None, verdict: int) -> list[Instruction]:
    return [] if number is None else [(EQUAL, 0, 1, number), (RETURN, 0, 0, verdict)]


def _when(number: int | None, body: list[Instruction]) -> list[Instruction]:
    """Run `body`, which returns, for one call; else skip it."""
    return [(EQUAL, 0, len(body), number or 0), *body]


def _only_own(number: int | None, position: int) -> list[Instruction]:
    body = [
        (LOAD, 0, 0, ARGUMENTS + 8 * position),
        (EQUAL, 1, 0, 0),
        (EQUAL, 0, 1, os.getpid()),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
    ]
    return _when(number, body)


def _clone(number: int | None, alone: bool) -> list[Instruction]:
    body = [
        (LOAD, 0, 0, ARGUMENTS),
        (ANY_BIT, 0, 1, NEW_NAMESPACE),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (ANY_BIT, 1, 0, THREAD if alone else 0xFFFFFFFF),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    return _when(number, body)


def _stream_pairs(number: int | None) -> list[Instruction]:
    """Allow connected pairs only: a datagram socket can still be sent anywhere."""
    body = [
        (LOAD, 0, 0, ARGUMENTS + 8),
        (AND, 0, 0, TYPE),
        (EQUAL, 0, 1, STREAM),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | errno.EPERM),
    ]
    return _when(number, body)


def restrict(alone: bool) -> None:
    """Put the filter on this process, for good.

    Args:
        alone: refuse further processes and signals to others, where no namespace contains them.

    Raises:
        OSError: the kernel has no such filter. KeyError: its machine is not known here.
    """
    lines = program(platform.machine(), alone)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((SET_NO_NEW_PRIVS, 1), (SET_SECCOMP, FILTER)):
        last = pointer if arguments[0] == SET_SECCOMP else ctypes.c_ulong(0)
        if libc.prctl(*map(ctypes.c_ulong, arguments), last, ctypes.c_ulong(0), ctypes.c_ulong(0)):
            raise OSError(ctypes.get_errno(), "prctl refused the filter")
