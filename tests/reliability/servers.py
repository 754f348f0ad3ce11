"""Start the servers of the trials: ours and the naive one."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.launcher import free_port, running, serve_command, serve_environment
from serving.settings import Settings

Tree = list[psutil.Process]


@contextmanager
def ours(settings: Settings, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run our server in a context; yield its URL and its process."""
    port = free_port()
    url, environment = f"http://127.0.0.1:{port}", serve_environment(settings)
    with running(serve_command("127.0.0.1", port), url, log, environment) as server:
        yield url, psutil.Process(server.pid)


@contextmanager
def naive(settings: Settings, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run the naive server in a context; yield its URL and its process."""
    port = free_port()
    url, options = f"http://127.0.0.1:{port}", ["--log-level", "critical", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", "tests.reliability.naive:app", "--port", str(port), *options]
    with running(command, url, log, serve_environment(settings)) as server:
        yield url, psutil.Process(server.pid)


def tree(process: psutil.Process) -> Tree:
    """List a process and all its descendants."""
    return [process, *process.children(recursive=True)]
