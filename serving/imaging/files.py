"""Image files of common formats: listing those below a folder, and reading one."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from serving.arrays import Pixels
from serving.errors import APIError, UserError
from serving.imaging.codec import FORMATS, decode
from serving.system.files import read_regular

FOLDER_FORMATS = (*FORMATS, "BMP", "GIF", "PPM", "TIFF")

FOLDER_PIXELS = 2**27

FOLDER_SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff"),
}
"""Suffixes of the files of these formats, in lower case."""

SYSTEM_NAMES = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Names that operating systems and file servers give to folders of their own."""


def is_hidden(path: PurePath) -> bool:
    """Return whether a part of a relative path starts with a dot, or is a name of the system."""
    return any(part.startswith(".") or part in SYSTEM_NAMES for part in path.parts)


def files_below(root: Path, skipped: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the regular files below a folder, relative to it and without the hidden ones.

    Links are followed, but no folder is visited twice.

    Args:
        root: the folder.
        skipped: receiver of the number of hidden files and folders, and of others that are not files.
    """
    skipped = Counter() if skipped is None else skipped
    seen = set[tuple[int, int]]()
    for place, folders, files in os.walk(root, followlinks=True):
        here = Path(place).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        hidden = {name for name in (*folders, *files) if is_hidden(PurePath(name))}
        skipped["hidden"] += len(hidden)
        folders[:] = sorted(set(folders) - hidden)
        for file in set(files) - hidden:
            path = Path(place, file)
            if path.is_file():
                yield path.relative_to(root)
            else:
                skipped["not a file"] += 1


def image_files(root: Path) -> list[Path]:
    """List the image files below a folder, except hidden ones.

    Raises:
        UserError: there is no such folder, or it has none.
    """
    if not root.exists():
        raise UserError(f"{root} must be an existing path; there is nothing")
    files = sorted(root / file for file in files_below(root) if file.suffix.lower() in FOLDER_SUFFIXES)
    if not files:
        raise no_images(root)
    return files


def no_images(place: object) -> UserError:
    """Return the error of a place without images."""
    suffixes = ", ".join(sorted(FOLDER_SUFFIXES))
    return UserError(f"there are no images in {place} or its subfolders; images end in {suffixes}")


def read_image(file: Path, channels: int) -> Pixels:
    """Read an image of any size and mode as pixels (H, W, channels).

    Raises:
        UserError: the file can't be decoded; the message names it.
        OSError: the file can't be read.
    """
    return decode_file(read_regular(file), channels, file)


def decode_file(data: bytes, channels: int, name: object) -> Pixels:
    """Decode the content of a file, an image of any size and mode, to pixels (H, W, channels).

    Raises:
        UserError: the content can't be decoded; the message has the name.
    """
    try:
        return decode(data, channels, FOLDER_FORMATS, FOLDER_PIXELS)
    except APIError as error:
        raise UserError(f"{name}: {error}") from error
