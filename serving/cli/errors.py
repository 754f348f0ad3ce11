"""Mapping from exceptions to exit statuses: user errors print one line, bugs print a traceback."""

import os
import signal
import sys
import traceback
from collections.abc import Callable

from serving.errors import is_out_of_memory
from serving.exports import extra_of
from serving.system.memory import SMALLER, available, in_units

USER_ERROR, BUG = 2, 1
"""Exit statuses of errors that the user can correct, and of bugs. Some exceptions define an `exit_status` of
their own: 1 for invalid data, 3 for training that diverged, 128 + n for signal n."""

REPORT = "this is a bug in gan-zoo: please report it with the lines above"


def status_of(command: Callable[[], None]) -> int:
    """Call a command and return its exit status; user errors print one line on standard error."""
    try:
        command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Python would flush into it once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return exit_status(error)
    return 0


def exit_status(error: Exception) -> int:
    """Print an error and return the command's exit status.

    Errors that the user can correct, including OSError, print one line. Set GANZOO_TRACEBACK to print their
    traceback too. All other exceptions are bugs and print a traceback.
    """
    status: int | None = getattr(error, "exit_status", None)
    missing = extra_of(error)
    said = missing or str(error)
    if status is None and (missing or isinstance(error, OSError)):
        status = USER_ERROR
    if status is None and is_out_of_memory(error):
        status, said = USER_ERROR, _shortage(error)
    if status is None:
        traceback.print_exception(error)
        print(f"ganzoo: {REPORT}", file=sys.stderr)
        return BUG
    if os.environ.get("GANZOO_TRACEBACK"):
        traceback.print_exception(error)
    print(f"ganzoo: {' '.join(said.split())}", file=sys.stderr)
    return status


def _shortage(error: Exception) -> str:
    """Return the message of an error for lack of memory, with what is available; torch says it for a GPU."""
    free = None if "CUDA" in str(error) else available()
    there = f"{in_units(free)} are available" if free is not None else ""
    return f"not enough memory: {'; '.join(filter(None, [str(error), there, SMALLER]))}"
