"""Layer — Landlock: the kernel opens only files of a list, whoever the process belongs to.

Everything that Landlock can refuse is refused: reading, writing, running programs, network,
signals and abstract sockets outside. Then folders are added, to read or to write. The three
system calls have no function in the C library and have the same numbers on every machine.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

CREATE, ADD, RESTRICT = 444, 445, 446
VERSION, PATH_BENEATH, SET_NO_NEW_PRIVS = 1, 1, 38
READ_FILE, READ_DIR = 1 << 2, 1 << 3
EXECUTE, DEVICE_CONTROL = 1 << 0, 1 << 15
OF_FILES = 1 << 0 | 1 << 1 | READ_FILE | 1 << 14 | DEVICE_CONTROL  # run, write, read, cut, control
MAKE_DEVICES = 1 << 6 | 1 << 9 | 1 << 11  # character device, socket, block device
RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # number of rights over files by version; 16 from 5 on

_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock: {os.strerror(error)}")
    return int(result)


def version() -> int:
    """Return the version of the kernel's Landlock.

    Raises:
        OSError: it has none, or does not use it.
    """
    return _call(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(VERSION))


def ruleset(readable: Iterable[str], listed: Iterable[str], writable: Iterable[str]) -> int:
    """Return a descriptor of rules: read below some paths, list others, also write below others.

    Paths that do not exist are left out.

    Raises:
        OSError: the kernel has no Landlock.
    """
    abi = version()
    everything = (1 << RIGHTS.get(abi, 16)) - 1
    network, scope = (3 if abi >= 4 else 0), (3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attribute = struct.pack("=QQQ", everything, network, scope)[:size]
    rules = _call(CREATE, attribute, ctypes.c_size_t(size), ctypes.c_uint(0))
    for path in readable:
        _allow(rules, path, READ_FILE | READ_DIR)
    for path in listed:
        _allow(rules, path, READ_DIR)
    for path in writable:
        _allow(rules, path, everything & ~EXECUTE & ~DEVICE_CONTROL & ~MAKE_DEVICES)
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights &= -1 if os.path.isdir(path) else OF_FILES
        rule = struct.pack("=Qi", rights, target)
        _call(ADD, ctypes.c_int(rules), ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint(0))
    finally:
        os.close(target)


def restrict(rules: int) -> None:
    """Put the rules on this process, for good.

    Raises:
        OSError: the kernel refused.
    """
    zero = ctypes.c_ulong(0)
    _libc.prctl(ctypes.c_ulong(SET_NO_NEW_PRIVS), ctypes.c_ulong(1), zero, zero, zero)
    _call(RESTRICT, ctypes.c_int(rules), ctypes.c_uint(0))
