"""The verbs `serve` and `demo`."""

import os
from pathlib import Path

from serving.settings import Settings


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve every artifact of a folder; `bentoml serve serving.service:GANZoo` is the same.

    Args:
        settings: Each is also an environment variable, GANZOO_ARTIFACTS for --artifacts and so on.
        host: Address to listen on; 0.0.0.0 is every one of this machine.
        port: TCP port to listen on.
    """
    from serving.launcher import serve_command, serve_environment

    command = serve_command(host, port)
    os.execve(command[0], command, serve_environment(settings))


def demo(*, out: Path = Path("runs/demo"), steps: int = 2000) -> None:
    """Train a small DCGAN on drawn digits, export it, serve it, and ask the server for pictures.

    Args:
        out: Where everything lands.
        steps: Rounds of updates; 2000 take about two minutes on two CPU cores.
    """
    from training.cli.demo import demo

    demo(out, steps)
