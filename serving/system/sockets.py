"""What a socket still holds of what was written to it."""

import sys
from typing import Any


def bytes_held(socket: Any) -> int:
    """Return how many bytes the system holds that the peer has not confirmed; 0 where it does not say."""
    if sys.platform == "win32":
        return 0
    import fcntl
    import termios

    try:
        return int.from_bytes(fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # ValueError: the socket is closed
        return 0
