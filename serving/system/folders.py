"""Folders tried before the work whose results are written into them."""

import sys
import tempfile
from functools import cache
from pathlib import Path

from serving.system.files import naming


def must_be_writable(folder: Path) -> None:
    """Create a folder, and try whether files can be written into it.

    Raises:
        OSError: the folder can't be created or written; the message names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with naming(folder), tempfile.TemporaryFile(dir=folder):
        pass


@cache
def writable_or_temporary(folder: str) -> Path:
    """Create a folder and return its path, or the path of a temporary folder if it can't be written.

    A warning says that a temporary folder is used, once for each folder and process.

    Args:
        folder: the path; `~` is the home directory.

    Raises:
        OSError: there is no folder for temporary files either.
    """
    try:
        path = Path(folder).expanduser()
        must_be_writable(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        path = Path(tempfile.mkdtemp(prefix="gan-zoo-"))
        reason = getattr(error, "strerror", None) or error
        print(f"warning: {folder} can't be written ({reason}); {path} is used instead", file=sys.stderr)
    return path
