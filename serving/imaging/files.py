"""Image files of common formats: listing those below a folder, and reading one."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from PIL import features

from serving.arrays import Pixels
from serving.errors import APIError, UserError
from serving.imaging.codec import decode
from serving.imaging.values import ValueRange
from serving.system.files import read_regular

SUFFIXES = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    **({"AVIF": (".avif", ".avifs")} if features.check("avif") else {}),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    **({"JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c")} if features.check("jpg_2000") else {}),
    "PCX": (".pcx",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
    "QOI": (".qoi",),
    "TGA": (".tga",),
    "TIFF": (".tif", ".tiff"),
}
"""Formats of the files that are read, those that Pillow may lack only if it has them, with their suffixes."""

FOLDER_FORMATS = tuple(SUFFIXES)

FOLDER_PIXELS = 2**27

FOLDER_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
"""Suffixes of the files that are read, in lower case."""

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


def read_image(file: Path, channels: int, value_range: ValueRange | None = None) -> Pixels:
    """Read an image of any size and mode as pixels (H, W, channels).

    Raises:
        UserError: the file can't be decoded; the message names it.
        OSError: the file can't be read.
    """
    return decode_file(read_regular(file), channels, file, value_range)


def decode_file(data: bytes, channels: int, name: object, value_range: ValueRange | None = None) -> Pixels:
    """Decode the content of a file, an image of any size and mode, to pixels (H, W, channels).

    Args:
        data: the content.
        channels: 1 for grey, 3 for RGB.
        name: name of the file, for messages.
        value_range: values that become 0 and 255, for images with more than 8 bits per channel.

    Raises:
        UserError: the content can't be decoded; the message has the name.
    """
    try:
        return decode(data, channels, FOLDER_FORMATS, FOLDER_PIXELS, value_range=value_range)
    except APIError as error:
        raise UserError(f"{name}: {error}") from error
