"""Errors that users can correct: `UserError` at a terminal and from Python, `APIError` over HTTP."""

from collections.abc import Iterable, Mapping


class UserError(ValueError):
    """An error that the user can correct.

    The message says what was wrong, what was given and what is valid. The command line prints it as one line
    and exits with status 2. Every other exception is a bug.
    """

    exit_status = 2


class OutOfMemory(MemoryError):
    """The memory does not suffice for a batch."""

    exit_status = UserError.exit_status


class APIError(ValueError):
    """An error response to an HTTP request.

    Attributes:
        status: HTTP status: 4xx for errors in the request, 5xx for errors of the server.
        code: stable code for programs, in lower case, such as `body_too_large`.
        field: the invalid field of the request, if there is one.
        headers: additional headers of the response.
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
    """Return the error of a server that is at its limits: `busy` (429)."""
    return APIError(429, "busy", "the server is at its limit of concurrent work; try again after 1 s")


def shutting_down() -> APIError:
    """Return the error of a server that is shutting down: `leaving` (503)."""
    return APIError(503, "leaving", "the server is shutting down; send the request again")


def out_of_memory() -> APIError:
    """Return the error of a request for which there is no memory or no thread: `out_of_memory` (503)."""
    text = "there is not enough memory for this request; try again later, or send less"
    return APIError(503, "out_of_memory", text)


NO_MEMORY = (
    *("failed to allocate", "can't allocate", "cannot allocate", "tried to allocate", "out of memory"),
    *("alloc_failed", "bad_alloc", "calculation overflowed", "can't start new thread"),
    *("without setting an exception", "return without exception set"),
)
"""Parts of messages, in lower case, of ONNX Runtime, torch, CUDA, cuBLAS, C++, Pillow and Python.

The last two are Python's, when NumPy finds no memory and does not say so.
"""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that there was no memory or no thread."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in NO_MEMORY)


def unknown_model(given: str, models: Iterable[str]) -> APIError:
    """Return the error of a request for a model that is not served: `unknown_model` (404)."""
    names = ", ".join(models) or "none"
    return APIError(404, "unknown_model", f"there is no model {shown(given)}; the server has {names}")


def unknown_version(given: str, model: str, version: str) -> APIError:
    """Return the error of a request for another version of a model: `unknown_version` (404)."""
    text = f"there is no version {shown(given)} of {model}; the current version is {version}"
    return APIError(404, "unknown_version", text, "version")


class EngineError(UserError):
    """An artifact can't be run: its files do not match its manifest, or the provider is not available."""


def shown(value: object) -> str:
    """Return an untrusted value for a message: its repr, at most 100 characters."""
    return repr(value[:100] if isinstance(value, str) else value)[:100]
