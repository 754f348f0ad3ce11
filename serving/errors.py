"""What people get wrong: at a terminal and from Python (`UserError`), over HTTP (`APIError`)."""

from collections.abc import Mapping


class UserError(ValueError):
    """Something that the user can correct: the message says what was wrong, what was given and what would do.

    Command lines print it as one line and exit with status 2; every other exception is a bug.
    """


class APIError(ValueError):
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


def busy() -> APIError:
    """Make the refusal of what is too much at once."""
    return APIError(429, "busy", "there is more work than the server will hold; try again shortly")


class EngineError(UserError):
    """An artifact can't be run: its files are not what its manifest says, or the provider is not there."""
