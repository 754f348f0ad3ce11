"""Image files of common formats: listing those below a folder, and reading one."""

from pathlib import Path

from serving.arrays import Pixels
from serving.errors import APIError, UserError
from serving.imaging.codec import FORMATS, decode

FOLDER_FORMATS = (*FORMATS, "BMP", "GIF", "PPM", "TIFF")


FOLDER_PIXELS = 2**27


FOLDER_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"}


def image_files(root: Path) -> list[Path]:
    """List the image files below a folder.

    Raises:
        UserError: there are none.
    """
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in FOLDER_SUFFIXES)
    if not files:
        suffixes = ", ".join(sorted(FOLDER_SUFFIXES))
        raise UserError(f"there are no images in {root} or its subfolders; images end in {suffixes}")
    return files


def read_image(file: Path, channels: int) -> Pixels:
    """Read an image of any size and mode as pixels (H, W, channels).

    Raises:
        UserError: the file can't be decoded; the message names it.
        OSError: the file can't be read.
    """
    try:
        return decode(file.read_bytes(), channels, FOLDER_FORMATS, FOLDER_PIXELS)
    except APIError as error:
        raise UserError(f"{file}: {error}") from error
