"""The command `serve`."""

import os
import sys

from serving.settings import Settings


def serve(settings: Settings, *, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve all artifacts of a folder over HTTP; the playground is at /.

    Args:
        settings: Settings, also read from environment variables: GANZOO_ARTIFACTS for --artifacts, etc.
        host: Address or name of this machine to listen on; 0.0.0.0 for all its addresses.
        port: TCP port to listen on.
    """
    from serving.launcher import address_of, serve_command, serve_environment

    command = serve_command(address_of(host, port), port)
    environment = serve_environment(settings)
    shown = f"[{host}]" if ":" in host else host
    print(
        f"serving the artifacts of {settings.artifacts} at http://{shown}:{port}/",
        file=sys.stderr,
        flush=True,
    )
    os.execve(command[0], command, environment)
