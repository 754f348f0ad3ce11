"""From an exception to an exit status: a user's error is one line, a bug its traceback."""

import os
import sys
import traceback

from serving.errors import UserError
from zoo.errors import ConfigError

USER_ERROR, BUG = 2, 1
"""Exit statuses: of what the message says how to correct, and of a bug. Exceptions that name their own
(`exit_status`): 1 of data that can't be used, 3 of a training that diverged, 128 + n of signal n."""

REPORT = "this is a bug of gan-zoo's, not a mistake of yours: please report it with the lines above"


def exit_status(error: Exception) -> int:
    """Print an error, and return the exit status of the command that it ended.

    Errors that the user can correct, the file system's own among them, are one line; set GANZOO_TRACEBACK to
    see where they were raised. Everything else is a bug, and printed with its traceback.
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
    """Recognise torch's two ways of running out of memory, on a GPU and on the CPU."""
    return isinstance(error, RuntimeError) and "allocate" in str(error)
