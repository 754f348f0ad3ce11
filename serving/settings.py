"""Settings of the server: environment variables with the prefix GANZOO_, checked at startup."""

import dataclasses
import difflib
import math
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from serving.addresses import is_host_pattern, is_origin, is_path_prefix
from serving.errors import UserError, shown
from serving.imaging.credentials import CERTIFICATE, KEY, Credentials, credentials_from
from serving.runtime.manifest import Precision, ProviderName
from serving.runtime.pretrained import ARTIFACTS, pretrained_folder
from serving.validation import validation_message

PREFIX = "GANZOO_"

RENAMED = {"patience": "max_queue_seconds", "keys": "api_keys", "batches": "concurrent_batches"}
"""Former names of settings, which still work for one version."""

OTHERS = ("TRACEBACK", "CACHE", "DATA_MEMORY")
"""Other variables with the prefix, of the command line and of training; those of tests start with TEST_."""

SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_[A-Z]+(_PROTO|_PORT|_ADDR)?)=.*|(\w+_)?PORT=\w+://.*"
)
"""Variables that Kubernetes sets in every container for a Service named ganzoo, or ganzoo-something."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the server; each field is also the environment variable GANZOO_<FIELD>."""

    artifacts: Path = ARTIFACTS
    """Folder whose subfolders are the artifacts to serve; without ./artifacts, the pretrained artifacts."""

    provider: ProviderName = "auto"
    """Where graphs run: auto, cpu or cuda; with cuda the server starts only if CUDA can be used."""

    precision: Precision = "fp32"
    """Precision of the graphs: fp32, fp16 or int8; fp32 for artifacts without such a graph."""

    threads: int = 0
    """CPU threads for each model; 0 means one per core."""

    concurrent_batches: int = 0
    """Batches of a model that run at once on the CPU, each on its share of the threads; 0 means one per
    thread for models that sample, and one on all threads for models that translate."""

    workers: int = 1
    """Worker processes, each with all models; 1 is best with a GPU, or if batches use all cores."""

    api_keys: str = dataclasses.field(default="", repr=False)
    """API keys, separated by commas; without any, no key is required."""

    hosts: str = ""
    """Accepted Host headers, separated by commas: names and addresses without a port; a leading `*.` accepts
    every subdomain. By default any host is accepted."""

    cors_origins: str = ""
    """Origins whose web pages may call the API, separated by commas, such as https://example.org, or `*` for
    all; by default none."""

    prefix: str = ""
    """Path below which a reverse proxy serves the API, such as /tools/gan."""

    access_log: bool = True
    """Whether each request is logged on standard output as a line of JSON."""

    provenance: bool = True
    """Whether images say that a model made them, and which, in metadata that programs read."""

    c2pa_certificate: str = ""
    """PEM file of a certificate with which images are signed as Content Credentials; by default they are
    not."""

    c2pa_private_key: str = ""
    """PEM file of the certificate's private key."""

    reload: float = 2.0
    """Seconds between checks for new, changed and removed artifacts; 0 turns reloading off."""

    drain: float = 0.0
    """Seconds from SIGTERM until the server stops accepting requests, while /readyz returns 503; accepted
    requests are completed."""

    max_images: int = 64
    """Maximum number of images in one request."""

    max_batch: int = 64
    """Maximum number of images in one batch."""

    max_queue_seconds: float = 0.0
    """Maximum estimated queueing time in seconds; requests that would wait longer get 429. 0 means 4 times
    the request's own duration, at least 0.2 s, or 20 ms while others are refused."""

    max_queue: int = 2048
    """Maximum number of images waiting for a model; further requests get 429."""

    max_body: int = 4 * 2**20
    """Maximum size of a JSON request body in bytes."""

    max_upload: int = 8 * 2**20
    """Maximum size of a request body with an image in bytes."""

    max_bodies: int = 2**28
    """Maximum size of all request bodies together while they are read, in bytes; further requests get 429."""

    max_uploads: int = 64
    """Maximum number of images being decoded and translated; further requests get 429."""

    max_pixels: int = 2**21
    """Maximum number of pixels of an image to translate, after padding, or of its enlarged translation; full
    HD by default."""

    max_batch_pixels: int = 2**18
    """Maximum number of pixels in a batch of several images; 16 times as many may wait for a model."""

    cache_bytes: int = 2**25
    """Maximum size in bytes of the answers that a worker keeps in memory; 0 keeps none."""

    def __post_init__(self) -> None:
        self._must_be_in_range()
        self._must_be_addresses()

    def _must_be_in_range(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                least = 1 if name == "workers" or (name.startswith("max_") and isinstance(value, int)) else 0
                if not least <= value < math.inf:
                    least_of = (
                        f"at least {least}" if isinstance(value, int) else f"finite and at least {least}"
                    )
                    raise UserError(f"{PREFIX}{name.upper()} must be {least_of}; got {value}")
        if self.max_queue < self.max_images:
            raise UserError(
                f"{PREFIX}MAX_QUEUE must be at least {PREFIX}MAX_IMAGES, {self.max_images}; "
                f"got {self.max_queue}"
            )

    def _must_be_addresses(self) -> None:
        lists = {"api_keys": self.all_keys, "hosts": self.all_hosts, "cors_origins": self.all_origins}
        for name, items in lists.items():
            if getattr(self, name) and not items:
                raise _empty(PREFIX + name.upper())
        if wrong := [host for host in self.all_hosts if not is_host_pattern(host)]:
            raise UserError(
                f"{PREFIX}HOSTS must be hosts such as gan.example.org, *.example.org or 10.0.0.1, without "
                f"scheme, port and path; got {shown(wrong[0])}"
            )
        if wrong := [each for each in self.all_origins if not is_origin(each) and self.all_origins != ["*"]]:
            raise UserError(
                f"{PREFIX}CORS_ORIGINS must be * or origins such as https://example.org, without a path; "
                f"got {shown(wrong[0])}"
            )
        if self.prefix and not is_path_prefix(self.prefix):
            raise UserError(
                f"{PREFIX}PREFIX must be a path such as /tools/gan, without a slash at its end; "
                f"got {shown(self.prefix)}"
            )

    @staticmethod
    def from_environment(environment: MutableMapping[str, str] = os.environ) -> "Settings":
        """Read the settings from environment variables; former names are renamed, with a warning.

        Raises:
            UserError: a variable is not a setting, or its value has the wrong type or is out of range; the
                message names the variable.
        """
        _rename(environment)
        _must_be_known(environment)
        given: dict[str, object] = {}
        if not Settings.artifacts.is_dir():
            given["artifacts"] = pretrained_folder()
        for field in dataclasses.fields(Settings):
            variable = PREFIX + field.name.upper()
            if variable in environment:
                given[field.name] = _read(variable, environment[variable], field.type)
        return Settings(**given)  # type: ignore[arg-type]

    @property
    def all_keys(self) -> list[str]:
        """The API keys as a list."""
        return _items(self.api_keys)

    @property
    def all_hosts(self) -> list[str]:
        """The accepted hosts as a list, in lower case; empty if any host is accepted."""
        return _items(self.hosts.lower())

    @property
    def all_origins(self) -> list[str]:
        """The origins whose web pages may call the API as a list, in lower case; `["*"]` for all."""
        return _items(self.cors_origins.lower())

    @property
    def credentials(self) -> Credentials | None:
        """What images are signed with; None if they are not.

        Raises:
            UserError: they can't be signed.
        """
        return credentials_from({CERTIFICATE: self.c2pa_certificate, KEY: self.c2pa_private_key})

    def to_environment(self) -> dict[str, str]:
        """Return the settings as environment variables."""
        values = {name: str(value) for name, value in vars(self).items()}
        return {PREFIX + name.upper(): text for name, text in values.items() if text}


def _rename(environment: MutableMapping[str, str]) -> None:
    """Rename variables with former names in place, so that child processes do not warn again."""
    for old, new in RENAMED.items():
        before, now = PREFIX + old.upper(), PREFIX + new.upper()
        if before in environment:
            value = environment.pop(before)
            environment.setdefault(now, value)
            warn_renamed(before, now)


def _must_be_known(environment: Mapping[str, str]) -> None:
    """Check that every variable with the prefix has a use; a misspelt one would be ignored.

    Raises:
        UserError: a variable is unknown; the message has the most similar setting.
    """
    names = [*(field.name.upper() for field in dataclasses.fields(Settings)), *OTHERS]
    known = {PREFIX + name for name in names}
    for variable, value in sorted(environment.items()):
        if not variable.upper().startswith(PREFIX) or variable in known:
            continue
        name = variable.upper().removeprefix(PREFIX)
        if not name.startswith("TEST_") and not SERVICE_LINK.fullmatch(f"{name}={value}"):
            similar = difflib.get_close_matches(name, names, 1, cutoff=0.5)
            hint = f"did you mean {PREFIX}{similar[0]}?" if similar else "see `ganzoo serve --help`"
            raise UserError(f"{variable} is not a setting; {hint}")


def warn_renamed(before: str, now: str) -> None:
    """Warn of a former name of a variable or a flag."""
    print(f"warning: {before} is deprecated; use {now}", file=sys.stderr)


def _read(variable: str, text: str, kind: Any) -> object:
    """Parse a variable's text as a field's type."""
    if not text.strip():
        raise _empty(variable)
    try:
        return TypeAdapter(kind).validate_strings(text)
    except ValidationError as error:
        raise UserError(validation_message(error.errors(include_url=False), variable)) from None


def _empty(variable: str) -> UserError:
    """Return the error of an empty value; an empty list of API keys must not disable authentication."""
    return UserError(f"{variable} must not be empty; set it to a value or unset it")


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
