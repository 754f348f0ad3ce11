"""Files and folders that are whole or not there, whatever happens while they are written."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from serving.system.locks import LOCK_FILES, InUseError, locked

PARTIAL, OLD = ".partial", ".old"
"""Suffixes of what is still being written, and of what is just being replaced."""


def write_file(path: Path, data: bytes) -> None:
    """Write a file: under another name, to the disk, then renamed into place, then the folder to the disk.

    Raises:
        OSError: it can't be written; a file that was there before is as it was.
    """
    with new_file(path) as file:
        file.write(data)


@contextmanager
def new_file(path: Path, suffix: str = PARTIAL) -> Iterator[BinaryIO]:
    """Give a file to fill; if the block succeeds, put it at the path, as `write_file` does.

    Args:
        path: where to.
        suffix: of the other name; where several may write the same at once, each must have its own.
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
    """Give an empty folder to fill; if the block succeeds, put it at the path, in place of what is there.

    What killed processes left half filled for that path is swept first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.with_name(path.name + OLD)
    if old.exists() and not path.exists():  # killed between the two renames below
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
    """Rename a folder into place; one that is there steps aside, and back if that fails."""
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
    """Remove the folders that killed processes were filling for a path, and no living one's."""
    name = re.compile(re.escape(path.name) + r"\.\d+" + re.escape(PARTIAL))
    for partial in path.parent.iterdir():
        if name.fullmatch(partial.name):
            with suppress(FileNotFoundError, InUseError), locked(partial):
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have errors name the path where they name none, as that of a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Bring a folder's own entries to the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sweep(*folders: Path) -> None:
    """Remove the files that a killed process left half written in these folders, and not below them."""
    for folder in folders:
        for partial in folder.glob("*" + PARTIAL):
            partial.unlink()
