"""A small disk that can be filled: a file system in memory, or else a limit on a server's files."""

import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.reliability.servers import tree

SIZE = 2**20
"""Size of the disk in bytes."""


@dataclass(frozen=True)
class Disk:
    """A folder on a small disk.

    Where nothing may be mounted, the disk is an ordinary folder. It is then filled by a limit on the size of
    the files that the server's processes write.
    """

    folder: Path
    is_mounted: bool

    @property
    def kind(self) -> str:
        """What makes the disk small, in words."""
        return f"a tmpfs of {SIZE >> 20} MiB" if self.is_mounted else "a limit on files (RLIMIT_FSIZE)"

    def fill(self, server: psutil.Process | None) -> None:
        """Leave no space; without a server that runs, only a mounted disk is filled."""
        if not self.is_mounted:
            if server is not None:
                self._limit(server, 0)
            return
        try:
            with (self.folder / "filling").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def free(self, server: psutil.Process) -> None:
        """Leave space again."""
        if not self.is_mounted:
            self._limit(server, resource.RLIM_INFINITY)
        (self.folder / "filling").unlink(missing_ok=True)

    def _limit(self, server: psutil.Process, size: int) -> None:
        for each in tree(server):
            _, most = resource.prlimit(each.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(each.pid, resource.RLIMIT_FSIZE, (size, most))


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Make a folder on a small disk while the block runs."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield Disk(folder, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
