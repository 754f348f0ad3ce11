"""Start the servers of the trials: ours and the naive one."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
def ours_apart(settings: Settings, log: Path) -> Iterator[str]:
    """Run our server in a context, on one half of the cores, and this process on the other; yield the URL."""
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, cores[half:])
        url, _ = stack.enter_context(ours(settings, log))
        os.sched_setaffinity(0, cores[:half] or cores)
        yield url


@contextmanager
def naive(
    settings: Settings, log: Path, *options: str, app: str = "tests.reliability.naive:app"
) -> Iterator[tuple[str, psutil.Process]]:
    """Run the naive server, or another app, by uvicorn in a context; yield its URL and its process."""
    port = free_port()
    url, quiet = f"http://127.0.0.1:{port}", ["--log-level", "critical", "--no-access-log"]
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), *quiet, *options]
    with running(command, url, log, serve_environment(settings)) as server:
        yield url, psutil.Process(server.pid)


def changed(settings: Settings) -> str:
    """List the settings that differ from the defaults, except the folder of the artifacts."""
    default = Settings(artifacts=settings.artifacts)
    pairs = vars(settings).items() - vars(default).items()
    return ", ".join(f"{name}={value}" for name, value in sorted(pairs))


def tree(process: psutil.Process) -> Tree:
    """List a process and all its descendants."""
    return [process, *process.children(recursive=True)]
