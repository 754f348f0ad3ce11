"""The command `serve`."""

import os
import sys

from serving.settings import Settings


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve all artifacts of a folder over HTTP; the playground is at /.

    Args:
        settings: Settings, also read from environment variables: GANZOO_ARTIFACTS for --artifacts, etc.
        host: Address to listen on; 0.0.0.0 for all addresses of this machine.
        port: TCP port to listen on.
    """
    from serving.launcher import serve_command, serve_environment

    command = serve_command(host, port)
    print(
        f"serving the artifacts of {settings.artifacts} at http://{host}:{port}/", file=sys.stderr, flush=True
    )
    os.execve(command[0], command, serve_environment(settings))
