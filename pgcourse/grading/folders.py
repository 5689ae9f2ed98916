"""Folders for the time of a grader, which the next one removes where a kill left them behind.

A grader holds a lock on its folder. The kernel frees it when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "pgcourse-grader-"
SETTLED = 60.0  # seconds after which a folder is surely locked, if its grader lives


def make() -> tuple[Path, int]:
    """Return a new folder, and the descriptor that holds its lock."""
    folder = tempfile.mkdtemp(prefix=PREFIX)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return Path(folder), lock


def remove_left() -> None:
    """Remove every folder of this user whose grader is gone."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                info = os.fstat(lock)
                if info.st_uid == os.geteuid() and info.st_mtime < time.time() - SETTLED:
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
