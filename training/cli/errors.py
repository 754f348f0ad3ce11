"""What went wrong, told in one line and an exit status."""

import os
import sys
import traceback

MISTAKE = 2
"""Exit status of what the message tells how to mend; 1 is of data that can't be used, 3 of a training that
diverged, 128 + n of signal n."""


def status(error: Exception) -> int:
    """Say what went wrong, and with which exit status; what is nobody's mistake keeps its traceback.

    Set GANZOO_TRACEBACK to see where a mistake was found.
    """
    number: int | None = getattr(error, "exit_status", None)
    if number is None and (isinstance(error, ValueError | OSError) or _out_of_memory(error)):
        number = MISTAKE
    if number is None:
        raise error
    if os.environ.get("GANZOO_TRACEBACK"):
        traceback.print_exception(error)
    print(f"ganzoo: {' '.join(str(error).split())}", file=sys.stderr)
    return number


def _out_of_memory(error: Exception) -> bool:
    """Tell torch's two ways of running out of memory, on a GPU and on the CPU."""
    return isinstance(error, RuntimeError) and "allocate" in str(error)
