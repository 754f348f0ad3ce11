"""JSON that may be damaged: parsed with errors that can be reported, read from files that are named."""

import json
from pathlib import Path
from typing import Any

from serving.errors import UserError
from serving.system.files import read_regular


def parse(text: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: the text is not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it must be nested less deeply") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        UserError: the file holds something else; the message names it.
        OSError: the file can't be read, or is not a regular file.
    """
    try:
        content = parse(read_regular(path))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: the content must be an object; got {type(content).__name__}")
    return content
