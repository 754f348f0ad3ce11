"""The version of the installed package."""

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Return the version of gan-zoo; `unknown` for code that is not installed, such as that of a Bento."""
    try:
        return metadata.version("gan-zoo")
    except metadata.PackageNotFoundError:
        return "unknown"
