"""The side that holds a student's functions: it calls them and says what happened, as data.

`Holder` serves the check inside one process. Run as a module, it executes the cells of a notebook
and serves its functions to another process, over pipes. It knows no reference, no right answer.
"""

from __future__ import annotations
import __future__

import ast
import asyncio
import builtins
import contextlib
import importlib
import inspect
import linecache
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np

from pgcourse.checks.wire import (
    Answer,
    Blank,
    Raised,
    Request,
    Returned,
    Unusable,
    Value,
    decode,
    encode,
)

LENGTH = struct.Struct("<Q")
LARGEST_FRAME = 256 * 2**20
FUTURE = sum({getattr(__future__, name).compiler_flag for name in __future__.all_feature_names})
_BUILTINS = dict(vars(builtins))


class Callee(Protocol):
    """Whatever answers requests: a function here, or one in another process."""

    def answer(self, request: Request) -> Answer:
        """Call the function that `request` names."""
        ...

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answer one request after the other, which may be faster than each by itself."""
        return map(self.answer, requests)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the code inside after `seconds`, where signals can do that."""
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Holder(Callee):
    """Answer requests by calling functions of this process, each within `seconds`."""

    def __init__(self, functions: Mapping[str, Any], seconds: float = 10.0) -> None:
        self.functions, self.seconds = functions, seconds
        self.kept: tuple[Any, Value] = (None, Blank("None"))  # the last result, and its picture

    def answer(self, request: Request) -> Answer:
        """Call the named function on fresh copies of the arguments."""
        function = self.functions.get(request.name)
        if not callable(function):
            return Unusable(f"there is no function called {request.name}")
        args = [decode(a) for a in request.args]
        if reason := _cannot_take(function, args):
            return Unusable(reason)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return self._call(function, request, args)
        except (Exception, SystemExit) as error:
            return Raised(type(error).__name__, _said(error), _line_of(error))

    def _call(self, function: Callable[..., Any], request: Request, args: list[Any]) -> Answer:
        if request.gradient_of:
            args = _as_leaves(args, request.gradient_of)
        recording = _recording() if request.gradient_of else contextlib.nullcontext()
        with time_limit(self.seconds * request.patience), recording:
            result = function(*args)
        value = encode(result)
        changed = [i for i, a in enumerate(args) if encode(a) != encode(decode(request.args[i]))]
        stale = encode(self.kept[0]) != self.kept[1]
        self.kept = (result, value)
        gradients = _gradients(result, args, request) if request.gradient_of else []
        return Returned(value, gradients, changed, stale, request.fresh and _follows(result, args))


def _said(error: BaseException) -> str:
    """Return the text of an error, which the student's code may have made."""
    try:
        return str(error)[:300]
    except BaseException:
        return ""


def _follows(result: Any, args: list[Any]) -> bool:
    """Overwrite the arguments and see whether the result changes with them."""
    before = encode(result)
    for a in args:
        if isinstance(a, np.ndarray):
            a += 1
    return encode(result) != before


def _cannot_take(function: Callable[..., Any], args: list[Any]) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*args)
    except TypeError:
        name = getattr(function, "__name__", "the function")
        return f"{name}{signature} cannot be called with {len(args)} arguments"
    return ""


def _line_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    here = [f for f in frames if not f.filename.startswith(os.path.dirname(__file__))]
    return (here[0].line or "").strip() if here else ""


def _as_leaves(args: list[Any], gradient_of: list[int]) -> list[Any]:
    import torch

    leaves = [torch.as_tensor(a) if isinstance(a, np.ndarray) else a for a in args]
    for i in gradient_of:
        leaves[i].requires_grad_()
    return leaves


@contextlib.contextmanager
def _recording() -> Iterator[None]:
    """Have torch record a graph, whatever a cell has switched off."""
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        yield


def _gradients(result: Any, args: list[Any], request: Request) -> list[Value]:
    """Pull the cotangent back; `Blank` where no graph leads to an argument."""
    import torch

    cotangent = torch.as_tensor(decode(request.cotangent)) if request.cotangent else None
    nothing = not (isinstance(result, torch.Tensor) and result.requires_grad)
    if nothing or (cotangent is not None and cotangent.numel() != result.numel()):
        return [Blank("None") for _ in request.gradient_of]
    leaves = [args[i] for i in request.gradient_of]
    if cotangent is not None:
        cotangent = cotangent.to(result.dtype).reshape(result.shape)
    found = torch.autograd.grad(result, leaves, cotangent, allow_unused=True)
    return [encode(g) for g in found]


class Remote(Callee):
    """Answer requests with the functions of code cells that run in a second process.

    Args:
        cells: source of each code cell.
        seconds: how long one call may take.
        run_seconds: how long running all cells may take.
    """

    def __init__(
        self, cells: Sequence[str], seconds: float = 60.0, run_seconds: float = 600.0
    ) -> None:
        self.cells, self.seconds, self.run_seconds = cells, seconds, run_seconds
        self.process: subprocess.Popen[bytes] | None = None

    def answer(self, request: Request) -> Answer:
        """Send the request; silence, a crash or nonsense comes back as `Raised`."""
        try:
            pipe_in, pipe_out = self._pipes()
            write_frame(pipe_in, msgspec.msgpack.encode(request))
            frame = read_frame(pipe_out, time.monotonic() + self.seconds * request.patience)
            answer: Answer = msgspec.msgpack.decode(frame, type=Answer)
        except TimeoutError as error:
            self.close()
            seconds = self.seconds * request.patience
            return Raised("TimeoutError", str(error) or f"no answer within {seconds:g} s")
        except (OSError, EOFError, msgspec.MsgspecError):
            self.close()
            return Raised("EOFError", "the process that ran the function broke off")
        return answer

    def _pipes(self) -> tuple[Any, Any]:
        """Return the pipes of a process that has run the cells, a new one where needed."""
        if self.process is None or self.process.poll() is not None:
            command = [sys.executable, "-m", "pgcourse.checks.holder"]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
            try:
                write_frame(self.process.stdin, msgspec.msgpack.encode(self.cells))
                read_frame(self.process.stdout, time.monotonic() + self.run_seconds)
            except TimeoutError:
                text = f"the notebook did not end within {self.run_seconds:g} s"
                raise TimeoutError(text) from None
        return self.process.stdin, self.process.stdout

    def close(self) -> None:
        """End the second process."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()


def write_frame(stream: BinaryIO | Any, frame: bytes) -> None:
    """Write one length-prefixed frame."""
    stream.write(LENGTH.pack(len(frame)) + frame)
    stream.flush()


def read_frame(stream: Any, deadline: float | None = None, largest: int = LARGEST_FRAME) -> bytes:
    """Read one frame, before `deadline` (seconds of the monotonic clock) if there is one.

    Raises:
        TimeoutError: the deadline passed. EOFError: the other side closed, or a frame too large.
    """
    length = LENGTH.unpack(_read_exactly(stream, LENGTH.size, deadline))[0]
    if length > largest:
        raise EOFError(f"frame must be at most {largest} bytes, got {length}")
    return _read_exactly(stream, length, deadline)


def _read_exactly(stream: Any, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(data) < size:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not selector.select(left):
                raise TimeoutError
            if not (part := os.read(stream.fileno(), min(size - len(data), 2**20))):
                raise EOFError("the other side closed the pipe")
            data += part
    return bytes(data)


def run_cells(cells: Sequence[str]) -> dict[str, Any]:
    """Execute code cells one by one; a failing cell is noted, the rest run."""
    notebook = Notebook({})
    for number, source in enumerate(cells):
        if problem := notebook.run(source, number):
            print(f"cell {number}: {problem}", file=sys.stderr)
    return notebook.namespace


class Notebook:
    """Runs cells one after the other in one namespace, as Jupyter does.

    Args:
        namespace: a dictionary that gets what a notebook finds before its first cell.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace, self.future = namespace, 0  # flags of `from __future__` so far
        magics = Magics(lambda source: exec(self._compiled(source, "<magic>"), namespace))
        namespace |= {"__name__": "__main__", "__builtins__": builtins}
        namespace |= {"get_ipython": lambda: magics, "display": _nothing, "input": lambda *_: ""}
        namespace |= {"exit": sys.exit, "quit": sys.exit}

    def run(self, source: str, number: int) -> str:
        """Execute one cell.

        Returns:
            What went wrong, or nothing.
        """
        try:
            importlib.invalidate_caches()  # for modules that the cell before wrote
            code = self._compiled(source, f"<cell {number}>")
            try:
                coroutine = eval(code, self.namespace)
                if code.co_flags & inspect.CO_COROUTINE:
                    asyncio.run(coroutine)
            finally:
                builtins.__dict__.update(_BUILTINS)  # before any is needed: a cell can delete them
        except BaseException as error:
            return f"{type(error).__name__}: {_said(error)}"
        return ""

    def _compiled(self, source: str, name: str) -> CodeType:
        """Compile a cell; only what is no Python goes through IPython, which takes a while."""
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | self.future
        try:
            code = compile(source, name, "exec", flags, dont_inherit=True)
        except SyntaxError:
            from IPython.core.inputtransformer2 import TransformerManager

            source = TransformerManager().transform_cell(source)
            code = compile(source, name, "exec", flags, dont_inherit=True)
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        assert isinstance(code, CodeType)
        self.future |= code.co_flags & FUTURE
        return code


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stand in for what only a screen needs."""


class Magics:
    """Stands in for the notebook's shell: magics run code or write a file, others do nothing."""

    wrappers = frozenset({"time", "capture", "prun"})

    def __init__(self, run: Callable[[str], None]) -> None:
        self.run = run

    def run_line_magic(self, name: str, line: str, *rest: Any, **options: Any) -> None:
        """Run the statement after `%time`."""
        if name in self.wrappers:
            self.run(line)

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """Run the cell below `%%time` or `%%capture`; write the one below `%%writefile`."""
        if name in self.wrappers:
            self.run(cell)
        if name in {"writefile", "file"}:
            _write(line.split(), cell)

    def getoutput(self, *args: Any, **kwargs: Any) -> list[str]:
        """Say what `!command` printed: nothing, for it was not run."""
        return []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def _write(words: list[str], text: str) -> None:
    """Write a file as `%%writefile -a NAME` does, if that is possible."""
    mode = "a" if {"-a", "--append"} & {*words} else "w"
    name = words[-1].strip("\"'") if words else "."
    with contextlib.suppress(OSError), open(name, mode, encoding="utf-8") as file:
        file.write(text)


def serve() -> None:
    """Run the cells of the first frame, then answer requests until standard input closes."""
    import pgcourse.checks

    frames_out = os.fdopen(os.dup(1), "wb")
    frames_in = os.fdopen(os.dup(0), "rb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what the notebook prints must not look like a frame
    pgcourse.checks.check = lambda *args, **kwargs: None
    cells = msgspec.msgpack.decode(read_frame(frames_in), type=list[str])
    holder = Holder(run_cells(cells))
    write_frame(frames_out, b"ready")
    while True:
        try:
            frame = read_frame(frames_in)
        except EOFError:
            return
        request = msgspec.msgpack.decode(frame, type=Request)
        write_frame(frames_out, msgspec.msgpack.encode(holder.answer(request)))


if __name__ == "__main__":
    serve()
