"""Refusals: the one shape of everything that a user's request can get wrong."""

from collections.abc import Mapping


class Refusal(ValueError):
    """What was asked can't be done: an HTTP status, a code for programs and a sentence for people.

    Attributes:
        status: HTTP status, 4xx where the request is at fault and 503 where the server is.
        code: one lower-case word or two, stable, such as `too_large`.
        field: the part of the request at fault, where there is one.
        headers: that the answer has.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.field, self.headers = status, code, field, headers or {}


def busy() -> Refusal:
    """Make the refusal of what is too much at once."""
    return Refusal(429, "busy", "there is more work than the server will hold; try again shortly")
