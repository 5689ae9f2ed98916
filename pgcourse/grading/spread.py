"""Where the work is done: in this process, in several, or on a Dask cluster.

Data flow: chunks of tasks -> `grade_chunk` in some process -> (chunk, lines), as they are done.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.connection import wait as wait_for

from pgcourse.grading.grade import Grader, Task
from pgcourse.grading.results import Line
from pgcourse.grading.specification import Specification

Chunk = tuple[Task, ...]
Done = tuple[Chunk, list[Line | None]]

_own: dict[str, Grader] = {}  # the one grader of this process, by what it was made for
_turn = threading.Lock()  # a Dask worker may have several threads, a grader serves one


def grade_chunk(specification: Specification, require: str | None, chunk: Chunk) -> Done:
    """Grade some files, with a grader that this process keeps."""
    with _turn:
        made_for = f"{require} {specification!r}"
        if made_for not in _own:
            dismiss()
            _own[made_for] = Grader(specification, require)
        return chunk, [_own[made_for].grade(task) for task in chunk]


@atexit.register
def dismiss() -> None:
    """End the grader of this process."""
    while _own:
        _own.popitem()[1].close()


def here(work: Callable[[Chunk], Done], chunks: Sequence[Chunk]) -> Iterator[Done]:
    """Work in this process."""
    try:
        yield from map(work, chunks)
    finally:
        dismiss()


def in_processes(
    jobs: int, work: Callable[[Chunk], Done], chunks: Sequence[Chunk]
) -> Iterator[Done]:
    """Work in several processes; a few chunks are under way at a time, whatever their number."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin)
    waiting: set[Future[Done]] = set()
    try:
        for chunk in chunks:
            waiting.add(pool.submit(work, chunk))
            if len(waiting) > 2 * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise


def _begin() -> None:
    """Have this process of the pool end cleanly when it is told to, or when its parent is gone."""

    def end(*_: object) -> None:
        dismiss()
        os._exit(1)

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            wait_for([parent.sentinel])
            end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and tells this one
    threading.Thread(target=watch, daemon=True).start()


def on_cluster(
    address: str, work: Callable[[Chunk], Done], chunks: Sequence[Chunk]
) -> Iterator[Done]:
    """Work on the cluster behind a Dask scheduler; its workers must see the same files.

    Raises:
        ImportError: Dask is not installed.
        OSError: no scheduler answers.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise ImportError("--scheduler needs more: pip install '.[dask]'") from None

    with Client(address) as client:
        futures = client.map(work, chunks, pure=False)
        for future in as_completed(futures):
            yield future.result()
            future.release()


def spread(
    jobs: int,
    scheduler: str | None,
    specification: Specification,
    require: str | None,
    chunks: Sequence[Chunk],
) -> Iterator[Done]:
    """Yield each chunk with its lines, in the order in which they are done."""
    work = functools.partial(grade_chunk, specification, require)
    if scheduler:
        return on_cluster(scheduler, work, chunks)
    if jobs == 1 or len(chunks) < 2:
        return here(work, chunks)
    return in_processes(min(jobs, len(chunks)), work, chunks)
