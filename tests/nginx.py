"""nginx in front of a server, with the configuration that is shipped."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.launcher import free_port, running

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
"""The program; None where there is none."""

CONFIGURATION = Path(__file__).parents[1] / "deploy" / "nginx.conf"


@contextmanager
def proxying(url: str, place: Path, changes: Mapping[str, str]) -> Iterator[str]:
    """Run nginx in front of a server in a context, with some changes to its file; yield its URL."""
    port, text = free_port(), CONFIGURATION.read_text()
    own = {"listen 8080": f"listen 127.0.0.1:{port}", "127.0.0.1:3000": url.removeprefix("http://")}
    for said, meant in (own | changes).items():
        assert said in text
        text = text.replace(said, meant)
    if os.geteuid() == 0:  # the tests' folder is root's alone
        text = f"user root;\n{text}"
    (place / "nginx.conf").write_text(text)
    address = f"http://127.0.0.1:{port}"
    command = [str(NGINX), "-p", str(place), "-e", "stderr", "-c", str(place / "nginx.conf")]
    with running(command, address, place / "nginx.log", {}):
        yield address
