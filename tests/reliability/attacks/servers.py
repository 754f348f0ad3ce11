"""Start the control of the typed calls."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from serving.launcher import free_port, running, serve_environment
from serving.settings import Settings


@contextmanager
def by_bentoml(service: str, settings: Settings, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run a service by BentoML in a context; yield its URL and its process.

    The root of the project comes first on Python's path, because other packages install a module `tests` too.
    """
    port, root = free_port(), str(Path(__file__).parents[3])
    command = [sys.executable, "-m", "bentoml", "serve", service, "--working-dir", root]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = serve_environment(settings) | {"PYTHONPATH": root}
    with running(command, url := f"http://127.0.0.1:{port}", log, environment) as server:
        yield url, psutil.Process(server.pid)
