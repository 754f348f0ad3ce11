"""Sources of image files: folders, zip files and tar files, which are read without being unpacked."""

import hashlib
import os
import tarfile
import weakref
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from serving.errors import UserError
from serving.imaging.files import FOLDER_SUFFIXES, files_below, is_hidden, no_images
from serving.system.files import read_regular

MAX_FILE = 2**30
"""Maximum size in bytes of a file in an archive."""


class ImageSource(ABC):
    """Image files of one place, by names relative to it, with `/` between folders.

    Args:
        place: the folder, the archive or the folder of archives.
        names: the names of all files.

    Raises:
        UserError: there is no image.
    """

    def __init__(self, place: Path, names: Iterable[str]) -> None:
        self.place, self.images, self.others = place, list[str](), set[str]()
        self.skipped = Counter[str]()
        """Number of the other files, by suffix."""

        for name in sorted(names):
            suffix = PurePosixPath(name).suffix.lower()
            if is_hidden(PurePosixPath(name)):
                self.skipped["hidden"] += 1
            elif suffix in FOLDER_SUFFIXES:
                self.images.append(name)
            else:
                self.others.add(name)
                self.skipped[suffix or "without suffix"] += 1
        if not self.images:
            raise no_images(place)

    @abstractmethod
    def read(self, name: str, most: int = -1) -> bytes:
        """Return the content of a file, or its first `most` bytes if that is not -1.

        Raises:
            UserError: it is damaged.
            OSError: it can't be read.
        """

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""

    def fingerprint(self) -> str:
        """Return the number of images, and a hash of their names and sizes."""
        told = "".join(f"{name}\0{self.size(name)}\n" for name in self.images)
        return f"{len(self.images)} images, {hashlib.sha256(told.encode()).hexdigest()[:16]}"

    def path(self, name: str) -> Path:
        """Return the place and the name of a file, for messages."""
        return self.place / name


class Folder(ImageSource):
    """The files below a folder."""

    def __init__(self, place: Path) -> None:
        others = Counter[str]()
        super().__init__(place, [file.as_posix() for file in files_below(place, others)])
        self.skipped += others

    def read(self, name: str, most: int = -1) -> bytes:
        """Return the content of a file, or its first bytes."""
        return read_regular(self.place / name, most)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return (self.place / name).stat().st_size


class Zip(ImageSource):
    """The files of a zip file."""

    def __init__(self, place: Path) -> None:
        try:
            self._file = zipfile.ZipFile(place)
        except zipfile.BadZipFile as error:
            raise UserError(f"{place} must be a zip file; it is damaged or not one: {error}") from error
        members = [member for member in self._file.infolist() if not member.is_dir()]
        for member in members:
            _must_be_inside(place, member.filename)
            _must_be_small(place, member.filename, member.file_size)
        super().__init__(place, {member.filename for member in members})

    def read(self, name: str, most: int = -1) -> bytes:
        """Return the content of a file, or its first bytes."""
        try:
            with self._file.open(name) as file:
                return file.read(most)
        except Exception as error:  # of the formats of compression, each has errors of its own
            raise UserError(f"{self.path(name)} can't be read: {error}") from error

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self._file.getinfo(name).file_size


class Tar(ImageSource):
    """The files of tar files without compression, such as the shards that WebDataset reads."""

    def __init__(self, place: Path, archives: list[Path]) -> None:
        self._members = dict[str, tuple[int, int, int]]()
        self._opened = list[int]()
        weakref.finalize(self, _close, self._opened)
        self._opened += (os.open(archive, os.O_RDONLY) for archive in archives)
        for number, archive in enumerate(archives):
            prefix = f"{archive.name}/" if len(archives) > 1 else ""
            for member in _members(archive):
                _must_be_inside(archive, member.name)
                _must_be_small(archive, member.name, member.size)
                name = f"{prefix}{member.name.removeprefix('./')}"
                self._members[name] = number, member.offset_data, member.size
        super().__init__(place, self._members)

    def read(self, name: str, most: int = -1) -> bytes:
        """Return the content of a file, or its first bytes."""
        number, offset, size = self._members[name]
        size = size if most < 0 else min(size, most)
        data = os.pread(self._opened[number], size, offset)
        if len(data) < size:
            raise UserError(f"{self.path(name)} can't be read: the archive ends before it")
        return data

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self._members[name][2]


def open_source(path: Path) -> ImageSource:
    """Open a folder, a zip file, a tar file, or a folder of tar files.

    Raises:
        UserError: it is none of them, it is damaged, or there is no image in it.
        OSError: it can't be read.
    """
    if path.is_file():
        if path.suffix.lower() == ".tar":
            return Tar(path, [path])
        return Zip(path)
    archives = sorted(path.glob("*.tar"))
    return Tar(path, archives) if archives else Folder(path)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _members(archive: Path) -> Iterable[Any]:
    """Yield the regular files of a tar file.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with tarfile.open(archive, "r:") as file:
            yield from (member for member in file if member.isreg())
    except tarfile.TarError as error:
        text = f"{archive} must be a tar file without compression; it is damaged or not one: {error}"
        raise UserError(text) from error


def _must_be_inside(archive: Path, name: str) -> None:
    """Check that the name of an archive's member leads to no other place.

    Raises:
        UserError: it does.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{archive} must hold files below its root; got {name}")


def _must_be_small(archive: Path, name: str, size: int) -> None:
    if size > MAX_FILE:
        raise UserError(f"the files in {archive} must have at most {MAX_FILE} bytes; {name} has {size}")
