"""Processes that work for a command: a terminal's SIGINT is not for them, and they end when it does."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def crew(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Have so many processes while the block runs; if it fails, what they are at is given up."""
    # What runs ONNX Runtime or torch has threads, and can't be forked.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _watch_the_parent)
    before = set(multiprocessing.active_children())
    _start(pool, processes)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(pool: ProcessPoolExecutor, processes: int) -> None:
    """Start every process, deaf to SIGINT: a terminal sends it to all, and it is for the parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(processes):
            pool.submit(int)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_the_parent() -> None:
    """Have the process end when its parent has, even if that was killed."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
