"""Mapping from exceptions to exit statuses: user errors print one line, bugs print a traceback."""

import os
import sys
import traceback

from serving.errors import UserError
from zoo.errors import ConfigError

USER_ERROR, BUG = 2, 1
"""Exit statuses of errors that the user can correct, and of bugs. Some exceptions define an `exit_status` of
their own: 1 for invalid data, 3 for training that diverged, 128 + n for signal n."""

REPORT = "this is a bug of gan-zoo's, not a mistake of yours: please report it with the lines above"


def exit_status(error: Exception) -> int:
    """Print an error and return the command's exit status.

    Errors that the user can correct, including OSError, print one line. Set GANZOO_TRACEBACK to print their
    traceback too. All other exceptions are bugs and print a traceback.
    """
    status: int | None = getattr(error, "exit_status", None)
    if status is None and (isinstance(error, UserError | ConfigError | OSError) or _is_out_of_memory(error)):
        status = USER_ERROR
    if status is None:
        traceback.print_exception(error)
        print(f"ganzoo: {REPORT}", file=sys.stderr)
        return BUG
    if os.environ.get("GANZOO_TRACEBACK"):
        traceback.print_exception(error)
    print(f"ganzoo: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether torch ran out of memory, on a GPU or on the CPU."""
    return isinstance(error, RuntimeError) and "allocate" in str(error)
