"""Which files a worker may read: what it imports from, and never the course's own package.

The list is made from `sys.path`, entry by entry, because a course can be installed in many ways:
as a wheel among other packages, editable, or found through PYTHONPATH.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection, Iterable
from pathlib import Path

import pgcourse

SYSTEM = (
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/lib", "/lib32", "/lib64"),
    *("/usr/share", "/usr/local/share/fonts", "/nix/store"),
    *("/etc/fonts", "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf"),
)
SITES = ("site-packages", "dist-packages")
NEEDED = ("numpy", "torch", "gymnasium", "matplotlib", "msgspec", "IPython")


def search_path() -> list[str]:
    """Return what of `sys.path` a worker imports from: the library, and installed packages."""
    library = {os.path.realpath(p) for p in sysconfig.get_paths().values()}
    found = []
    for entry in filter(os.path.exists, dict.fromkeys(filter(os.path.isabs, sys.path))):
        real = os.path.realpath(entry)
        inside = any(real == p or real.startswith(p + os.sep) for p in library)
        holds = os.path.isdir(real) and not set(NEEDED).isdisjoint(os.listdir(real))
        if inside or holds or os.path.basename(real) in SITES or real.endswith(".zip"):
            found.append(entry)
    return found


def readable(path: Iterable[str], hidden: Collection[str] = ()) -> list[str]:
    """Return the roots below which a worker may read, `hidden` ones excepted.

    A root below a hidden folder is one of its own: a virtual environment inside the checkout.
    """
    prefixes = {sys.base_prefix, sys.base_exec_prefix, sys.prefix} - {"/", "/usr"}
    libraries = [os.path.join(p, "lib") for p in prefixes]
    further = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    roots = {os.path.realpath(p) for p in (*SYSTEM, *libraries, *further, *path)}
    roots = {r for r in roots if os.path.exists(r) and r != "/"}

    def covered(root: str, by: str) -> bool:
        between = (h for h in hidden if _below(h, by) and _below(root, h))
        return root != by and _below(root, by) and not any(between)

    return sorted(r for r in roots if not any(covered(r, s) for s in roots))


def hidden() -> list[str]:
    """Return every folder that holds the course: the package, its records, its checkout."""
    package = Path(pgcourse.__file__).resolve().parent
    found = {package}
    for entry in map(Path, sys.path):
        for pattern in (
            "pgcourse",
            "pgcourse-*.*-info",
            "pgcourse.egg-*",
            "__editable__*pgcourse*",
        ):
            found |= {p.resolve() for p in entry.glob(pattern)}
    if package.parent.name not in SITES:
        found.add(package.parent)
    return sorted(map(str, found))


def split(roots: Iterable[str], hidden: Collection[str]) -> tuple[list[str], list[str]]:
    """Cover `roots` by paths that hold nothing of `hidden`.

    Returns:
        Paths to read, and the folders that were split, of which only the names may be listed.
    """
    whole, listed = [], []
    for root in roots:
        if not any(_below(h, root) for h in hidden):
            whole.append(root)
        elif root not in hidden:
            listed.append(root)
            with os.scandir(root) as entries:
                parts = split([e.path for e in entries if not e.is_symlink()], hidden)
            whole, listed = whole + parts[0], listed + parts[1]
    return whole, listed


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)
