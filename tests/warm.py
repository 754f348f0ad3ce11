"""A command `ganzoo` that starts at once: a process that has imported PyTorch forks for each.

Importing PyTorch takes seconds, and the commands of the pages are many. What they do is the same as by
themselves: each runs in a process of its own, with its own arguments, folder, environment and streams.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

COMMAND = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(asked).to_bytes(8)], [0, 1, 2])
    server.sendall(asked)
    sys.exit(int(server.recv(16) or b"1"))
"""


@contextlib.contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """Run the process while the block runs, and yield a folder with the command, for PATH."""
    address = str(folder / "warm.socket")
    command = folder / "bin" / "ganzoo"
    command.parent.mkdir()
    command.write_text(COMMAND.format(python=sys.executable, address=address))
    command.chmod(0o755)
    server = [sys.executable, "-m", "tests.warm", address]
    with subprocess.Popen(server, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield command.parent
        finally:
            process.terminate()


def _serve(address: str) -> None:
    import training.artifacts.evaluate
    import training.artifacts.export
    import training.loop.train
    from ganzoo import main

    assert training
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            with client:
                length, streams, _, _ = socket.recv_fds(client, 8, 3)
                asked = client.makefile("rb").read(int.from_bytes(length))
                if not (child := os.fork()):
                    arguments, place, environment = json.loads(asked)
                    for number, stream in enumerate(streams):
                        os.dup2(stream, number)
                    os.chdir(place)
                    os.environ.clear()
                    os.environ.update(environment)
                    sys.argv = ["ganzoo", *arguments]
                    status = main()
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(status)
                for stream in streams:
                    os.close(stream)
                _, ended = os.waitpid(child, 0)
                client.sendall(str(os.waitstatus_to_exitcode(ended)).encode())


if __name__ == "__main__":
    _serve(sys.argv[1])
