"""The commands `serve` and `demo`."""

import os
from pathlib import Path

from serving.settings import Settings


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve all artifacts of a folder; equivalent to `bentoml serve serving.service:GANZoo`.

    Args:
        settings: Settings, also read from environment variables: GANZOO_ARTIFACTS for --artifacts, etc.
        host: Address to listen on; 0.0.0.0 for all addresses of this machine.
        port: TCP port to listen on.
    """
    from serving.launcher import serve_command, serve_environment

    command = serve_command(host, port)
    os.execve(command[0], command, serve_environment(settings))


def demo(*, out: Path = Path("runs/demo"), steps: int = 2000) -> None:
    """Train a small DCGAN on drawn digits, export it, serve it and request images from the server.

    Args:
        out: Folder for all files of the demo.
        steps: Training steps; 2000 take about two minutes on two CPU cores.
    """
    from training.cli.demo import demo

    demo(out, steps)
