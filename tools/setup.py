"""Make the environment of the course in .venv: `python3 tools/setup.py`.

Needs nothing but Python. Safe to repeat: it does what is missing, and nothing when nothing is.
This file must parse on old Pythons, to say what is wrong there; so no new syntax here.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
GB = 1024**3
DISK, TEMPORARY = 2.5, 0.5  # GB: a fresh environment with a CPU build of torch takes 1.4
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2"]

CAUSES = [  # what pip prints -> what it means
    (("No space left on device",), "the disk is full"),
    (
        (
            "NewConnectionError",
            "Failed to establish a new connection",
            "Temporary failure in name resolution",
            "NameResolutionError",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "ConnectionResetError",
            "ProxyError",
            "Network is unreachable",
        ),
        "the package index cannot be reached: no network? Run the same command again when there is",
    ),
]


def fail(line):
    sys.exit("setup: " + line)


def newer_python():
    """A newer Python beside the one that runs this, if there is one."""
    for minor in range(14, OLDEST[1] - 1, -1):
        path = hasattr(shutil, "which") and shutil.which("python3.%d" % minor)
        if path and subprocess.call([path, "-c", "import venv, ensurepip"]) == 0:
            return path
    return None


def check_python():
    if sys.version_info[:2] >= OLDEST:
        return
    other = newer_python()
    if other is None:
        fail(
            "Python >= %d.%d is needed, got %d.%d (%s)"
            % (OLDEST + tuple(sys.version_info[:2]) + (sys.executable,))
        )
    sys.exit(subprocess.call([other, os.path.abspath(__file__)] + sys.argv[1:]))


def check_venv_module():
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        fail(
            "this Python has no module %r (on Debian and Ubuntu: apt install python3-venv)"
            % error.name
        )


def free_gb(path):
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free / GB


def check_disk(venv):
    for path, need in ((venv, DISK), (tempfile.gettempdir(), TEMPORARY)):
        free = free_gb(path)
        if free < need:
            fail("%.1f GB of free disk are needed at %s, there are %.1f" % (need, path, free))


def read(name):
    with open(os.path.join(ROOT, name), "rb") as file:
        return file.read()


def stamp():
    """Changes with anything that the environment is made from."""
    parts = [read("requirements.txt"), read("pyproject.toml"), sys.version.encode(), ROOT.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def torch_pin():
    lines = read("requirements.txt").decode().splitlines()
    return [line for line in lines if line.startswith("torch==")][0]  # noqa: RUF015


def python_of(venv):
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return os.path.join(venv, folder, name)


def usable(venv):
    """Whether the environment runs this very Python and has pip: not so after an interruption."""
    code = "import sys, pip; print(sys.version)"
    try:
        out = subprocess.check_output([python_of(venv), "-c", code], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return out.decode().strip() == sys.version.strip()


def make_venv(venv):
    if usable(venv):
        return
    if os.path.isdir(venv):
        shutil.rmtree(venv)
    result = subprocess.run(
        [sys.executable, "-m", "venv", venv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode != 0 or not usable(venv):
        shutil.rmtree(venv, ignore_errors=True)
        text = result.stdout.decode(errors="replace").strip().splitlines()
        if any("No space left" in line for line in text):
            fail("the disk is full")
        fail("the virtual environment could not be made: " + (text or ["no reason given"])[-1])


def show(line, done=False):
    """One line that rewrites itself on a terminal; in a log, only what is done."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stdout.write("\r" + line[:width].ljust(width) + ("\n" if done else ""))
    elif done:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def pip(venv, title, arguments, packages=1):
    """Run pip quietly, with one line of progress; on failure, one clear line."""
    start, seen, tail = time.time(), 0, []
    if not sys.stdout.isatty():
        show(title + " ...", done=True)
    process = subprocess.Popen(
        [python_of(venv)] + PIP + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
        env=dict(os.environ, PYTHONUNBUFFERED="1", PIP_PROGRESS_BAR="off"),
    )
    for line in process.stdout:
        line = line.strip()
        tail.append(line)
        if line.startswith(("Collecting", "Requirement already")):
            seen += 1
            what = line.replace("Requirement already satisfied:", "have").split("==")[0]
            show("%s: %d of %d, %s" % (title, min(seen, packages), packages, what.lower()))
        elif line.startswith("Downloading") and "metadata" not in line:
            show("%s: %s" % (title, line.lower()))
        elif line.startswith("Installing collected"):
            show("%s: unpacking, about a minute" % title)
    if process.wait() != 0:
        show("", done=sys.stdout.isatty())
        text = "\n".join(tail)
        for signs, cause in CAUSES:
            if any(sign in text for sign in signs):
                fail(cause)
        errors = [line for line in tail if line.startswith("ERROR")]
        fail("pip failed: " + (errors or tail or ["no reason given"])[-1])
    show("%s: done in %.0f s" % (title, time.time() - start), done=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--venv", default=".venv", help="where (default: .venv)")
    venv = os.path.join(ROOT, parser.parse_args().venv)
    check_python()
    mark, now = os.path.join(venv, "pgcourse.stamp"), stamp()
    if os.path.exists(mark) and os.path.exists(python_of(venv)):
        with open(mark) as file:
            if file.read() == now:
                return
    check_venv_module()
    fresh = not usable(venv)
    if fresh:
        check_disk(venv)
        print("setup: making the environment, once; two to five minutes, 1.4 GB")
        if sys.platform == "linux" and not os.environ.get("TORCH_INDEX"):
            print("setup: TORCH_INDEX is not set, torch may bring several GB for GPUs (README.md)")
    make_venv(venv)
    index = os.environ.get("TORCH_INDEX", "").strip()
    source = ["--index-url", index] if index else []
    # Without its dependencies: those have their exact versions in requirements.txt.
    pip(venv, "setup 1/3 torch", ["install", "--no-deps", torch_pin()] + source)
    lines = read("requirements.txt").decode().splitlines()
    count = sum("==" in line and not line.startswith("#") for line in lines)
    packages = ["install", "-r", os.path.join(ROOT, "requirements.txt")]
    pip(venv, "setup 2/3 %d packages" % count, packages, count)
    pip(venv, "setup 3/3 pgcourse", ["install", "--no-deps", "--no-build-isolation", "-e", ROOT])
    with open(mark, "w") as file:
        file.write(now)
    print("setup: ready")


if __name__ == "__main__":
    main()
