"""Authentication of requests by API keys."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers

from serving.errors import APIError


class APIKeyAuth:
    """Authentication by API keys; without keys, every request is allowed.

    Args:
        keys: the valid keys, as clients send them.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def check(self, headers: Headers) -> None:
        """Check a request's key: `Authorization: Bearer KEY` or `X-API-Key: KEY`.

        The key is compared with every valid key in constant time, so that response times reveal nothing.

        Raises:
            APIError: `unauthorized` (401), the key is missing or not valid.
        """
        if not self._digests:
            return
        digest = _digest(self.key_in(headers).encode("latin-1"))  # as Starlette decodes headers
        if not sum(hmac.compare_digest(digest, each) for each in self._digests):
            raise APIError(401, "unauthorized", "a valid API key is required; send Authorization: Bearer KEY")

    @property
    def is_on(self) -> bool:
        """Whether a key is required."""
        return bool(self._digests)

    @staticmethod
    def key_in(headers: Headers) -> str:
        """Return the key that a request gives, valid or not."""
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer if kind.lower() == "bearer" else headers.get("x-api-key", "")
        return given.strip(" \t")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
