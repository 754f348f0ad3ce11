"""Refusals: the one shape of everything that a user's request can get wrong."""


class Refusal(ValueError):
    """What was asked can't be done: an HTTP status, a code for programs and a sentence for people.

    Attributes:
        status: HTTP status, 4xx where the request is at fault and 503 where the server is.
        code: one lower-case word or two, stable, such as `too_large`.
        field: the part of the request at fault, where there is one.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field
