"""The access log: one line of JSON per request."""

import asyncio
from json.encoder import encode_basestring_ascii as quoted

from serving.system.output import Output

FLUSH = 0.2
"""Seconds that lines are buffered, so that many are written at once."""

LONGEST = 500
"""Maximum characters of a path that are written."""


class AccessLog:
    """Writes one line of JSON per request.

    A request can't add lines of its own, because JSON escapes line breaks. Lines are buffered for FLUSH
    seconds; if the process is killed, the buffered lines are lost.

    Args:
        output: where the lines are written.
    """

    def __init__(self, output: Output) -> None:
        self._output, self._lines = output, list[str]()

    def __call__(self, *, path: str, **fields: str | float) -> None:
        """Add a line to the buffer."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH, self.flush)
        fields["path"] = path[:LONGEST]
        # The encoder of the standard library takes five times as long.
        parts = [f'"{name}": {quoted(it) if isinstance(it, str) else it}' for name, it in fields.items()]
        self._lines.append(f"{{{', '.join(parts)}}}")

    def flush(self) -> None:
        """Pass the buffered lines to the output."""
        lines, self._lines = self._lines, []
        self._output.write(lines)
