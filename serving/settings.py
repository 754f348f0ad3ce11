"""Settings of the server: environment variables with the prefix GANZOO_, checked at startup."""

import dataclasses
import math
import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from serving.errors import UserError
from serving.runtime.manifest import Precision, ProviderName
from serving.runtime.pretrained import ARTIFACTS, pretrained_folder
from serving.validation import validation_message

PREFIX = "GANZOO_"

RENAMED = {"patience": "max_queue_seconds", "keys": "api_keys", "batches": "concurrent_batches"}
"""Former names of settings, which still work for one version."""


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

    access_log: bool = True
    """Whether each request is logged on standard output as a line of JSON."""

    reload: float = 2.0
    """Seconds between checks for new, changed and removed artifacts; 0 turns reloading off."""

    drain: float = 0.0
    """Seconds from SIGTERM until the server stops accepting requests, while /readyz returns 503; accepted
    requests are completed."""

    max_images: int = 64
    """Maximum number of images in one request."""

    max_batch: int = 64
    """Maximum number of images in one batch."""

    max_queue_seconds: float = 1.0
    """Maximum estimated queueing time in seconds; requests that would wait longer get 429."""

    max_queue: int = 2048
    """Maximum number of images waiting for a model; further requests get 429."""

    max_body: int = 4 * 2**20
    """Maximum size of a JSON request body in bytes."""

    max_upload: int = 8 * 2**20
    """Maximum size of a request body with an image in bytes."""

    max_uploads: int = 64
    """Maximum number of images being read, decoded and translated; further requests get 429."""

    max_pixels: int = 2**21
    """Maximum number of pixels of an image to translate, after padding; full HD by default."""

    max_batch_pixels: int = 2**18
    """Maximum number of pixels in a batch of several images; 16 times as many may wait for a model."""

    def __post_init__(self) -> None:
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

    @staticmethod
    def from_environment(environment: MutableMapping[str, str] = os.environ) -> "Settings":
        """Read the settings from environment variables; former names are renamed, with a warning.

        Raises:
            UserError: a value has the wrong type or is out of range; the message names the variable.
        """
        _rename(environment)
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
        return [key.strip() for key in self.api_keys.split(",") if key.strip()]

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


def warn_renamed(before: str, now: str) -> None:
    """Warn of a former name of a variable or a flag."""
    print(f"warning: {before} is deprecated; use {now}", file=sys.stderr)


def _read(variable: str, text: str, kind: Any) -> object:
    """Parse a variable's text as a field's type."""
    if not text.strip(" ,"):  # an empty list of API keys must not disable authentication
        raise UserError(f"{variable} must not be empty; set it to a value or unset it")
    try:
        return TypeAdapter(kind).validate_strings(text)
    except ValidationError as error:
        raise UserError(validation_message(error.errors(include_url=False), variable)) from None
