"""Files: reads that never block, and atomic writes: after a crash, a file or folder is complete or absent."""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from serving.errors import UserError
from serving.system.locks import LOCK_FILES, InUseError, locked

PARTIAL, OLD = ".partial", ".old"
"""Suffixes of files and folders that are being written, and of folders that are being replaced."""


def read_regular(path: Path, most: int = -1) -> bytes:
    """Read a regular file; a FIFO, a socket or a device could block for ever, or never end.

    Args:
        path: the file.
        most: maximum number of bytes to read; -1 for all.

    Raises:
        OSError: the file can't be read, or is not a regular file.
    """
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with os.fdopen(opened, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(opened)


def write_file(path: Path, data: bytes) -> None:
    """Write a file atomically.

    The data are written under another name and synced to the disk. Then the file is renamed into place, and
    its folder is synced.

    Raises:
        OSError: the file can't be written; an existing file is unchanged.
    """
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path, suffix: str = PARTIAL) -> Iterator[BinaryIO]:
    """Yield a file to fill; if the block succeeds, move it to the path, as `write_file` does.

    Args:
        path: destination.
        suffix: suffix of the other name; concurrent writers of the same path must use different ones.
    """
    partial = path.with_name(path.name + suffix)
    try:
        with naming(path):
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; if the block succeeds, it replaces the folder at the path.

    Partial folders that killed processes left for that path are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.with_name(path.name + OLD)
    if old.exists() and not path.exists():  # the process was killed between the two renames below
        old.rename(path)
    _sweep_folders(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    partial.mkdir()
    try:
        with naming(path), locked(partial):
            yield partial
            for name in LOCK_FILES:
                (partial / name).unlink(missing_ok=True)
            for file in partial.iterdir():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
            sync_folder(partial)
            _exchange(partial, path, old)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(fresh: Path, path: Path, old: Path) -> None:
    """Rename a folder into place; an existing folder is renamed first, and restored if that fails."""
    shutil.rmtree(old, ignore_errors=True)
    if not path.exists():
        fresh.rename(path)
        return
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


def _sweep_folders(path: Path) -> None:
    """Remove the partial folders of a path that killed processes left, but not those in use."""
    name = re.compile(re.escape(path.name) + r"\.\d+" + re.escape(PARTIAL))
    for partial in path.parent.iterdir():
        if name.fullmatch(partial.name):
            with suppress(FileNotFoundError, InUseError), locked(partial):
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to errors of the operating system that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sweep(*folders: Path) -> None:
    """Remove the partial files that a killed process left directly in these folders."""
    for folder in folders:
        for partial in folder.glob("*" + PARTIAL):
            partial.unlink(missing_ok=True)


def must_hold_nothing_else(folder: Path, file: str, kind: str) -> None:
    """Check that a folder without `file` is empty, except for lock files and a partial `file`.

    Args:
        folder: the folder.
        file: name of the file that marks the folder as one of its kind.
        kind: content of such a folder, for the message.

    Raises:
        UserError: the folder holds something else; it is named.
    """
    if others := {path.name for path in folder.iterdir()} - LOCK_FILES - {file + PARTIAL}:
        raise UserError(
            f"{folder} must be empty or contain the same {kind}; it contains {min(others)}; "
            "choose another --out"
        )
