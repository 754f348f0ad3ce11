"""Messages of pydantic's validation errors, in the form of all messages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from serving.errors import shown

REWORDED = {
    r"^(Input|String|List|Dictionary|Tuple) should ": "must ",
    r"greater than or equal to": "at least",
    r"less than or equal to": "at most",
    r"greater than": "above",
    r", unable to .*": "",
    r"^Unable to parse input string as an integer.*": "must be a valid integer",
    r" after validation, not ": "; got ",
    r"^Field required": "is required",
    r"^(Extra inputs are not permitted|Unexpected keyword argument)": "is not a known field",
    r"^Invalid JSON: ": "must be valid JSON: ",
    r"^Value error, ": "is not valid: ",
}
"""Pydantic's texts, as patterns, and the texts that replace them."""

ALTERNATIVES = {"int", "float", "bool", "str", "constrained-str"}
"""Last parts of the locations of the errors of a union, which has one error for each of its types."""


def validation_message(errors: Sequence[Mapping[str, Any]], name: str = "the body") -> str:
    """Return the message of the first of pydantic's errors: what must be, and what was given.

    Args:
        errors: the result of `ValidationError.errors`, with inputs.
        name: name of the whole content, for errors that concern no single field.
    """
    first, place = errors[0], errors[0]["loc"]
    texts = [_reworded(first["msg"])]
    if place and place[-1] in ALTERNATIVES:
        place = place[:-1]
        same = [error["msg"] for error in errors[:8] if error["loc"][:-1] == place]
        texts = list(dict.fromkeys(map(_reworded, same)))
    text = " or ".join([texts[0], *(other.removeprefix("must be ") for other in texts[1:])])
    if text.startswith("must ") and "; got " not in text and first["type"] != "json_invalid":
        text = f"{text}; got {_given(first['input'])}"
    return f"{_place(place, first['type']) or name} {text}"


def _given(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            return shown(value)


def _reworded(text: str) -> str:
    for pattern, replacement in REWORDED.items():
        text = re.sub(pattern, replacement, text)
    return text


def _place(parts: tuple[str | int, ...], kind: str) -> str:
    """Return a location as text; names that a client may have chosen are shown as untrusted values."""
    if parts and kind != "extra_forbidden" and all(isinstance(part, int) for part in parts[1:]):
        return str(parts[0]) + "".join(f"[{part}]" for part in parts[1:])
    return shown(".".join(map(str, parts))) if parts else ""
