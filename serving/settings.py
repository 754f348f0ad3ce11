"""The server's configuration: environment variables with one prefix, checked when it starts."""

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

PREFIX = "GANZOO_"

RENAMED = {"patience": "max_queue_seconds", "keys": "api_keys", "batches": "concurrent_batches"}
"""Former names of settings, which go on working for a version."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator decides; each field is also the environment variable GANZOO_FIELD."""

    artifacts: Path = Path("artifacts")
    """Folder whose subfolders are the artifacts to serve; where there is none here, the package's own."""

    provider: ProviderName = "auto"
    """Where graphs run: auto, cpu or cuda; cuda refuses to start where it can't be used."""

    precision: Precision = "fp32"
    """Of the arithmetic: fp32, fp16 or int8; where an artifact has none such, it is fp32."""

    threads: int = 0
    """Threads that run a model on the CPU; 0 is one for each core."""

    concurrent_batches: int = 0
    """Batches of a model that run at once on the CPU, each on its share of the threads; 0 is one a thread for
    models that sample, and one on all threads for models that translate."""

    workers: int = 1
    """Processes that serve, each with all models; one is best for a GPU, and for cores that run batches."""

    api_keys: str = dataclasses.field(default="", repr=False)
    """API keys that open the server, parted by commas; without any it is open to all."""

    access_log: bool = True
    """Whether each request has a line of JSON on standard output."""

    reload: float = 2.0
    """Seconds between two looks for artifacts that came, changed or went; 0 never looks."""

    drain: float = 0.0
    """Seconds from SIGTERM, when /readyz begins to say 503, until no more is taken; what was, is answered."""

    max_images: int = 64
    """Pictures in one request at most."""

    max_batch: int = 64
    """Pictures in one batch of the engine at most."""

    max_queue_seconds: float = 1.0
    """Maximum estimated queueing time in seconds; requests that would wait longer get 429."""

    max_queue: int = 2048
    """Pictures that may wait for a model; beyond them requests get 429."""

    max_body: int = 4 * 2**20
    """Bytes in a request's body at most, where it is JSON."""

    max_upload: int = 8 * 2**20
    """Bytes in a request's body at most, where it has an image."""

    max_uploads: int = 64
    """Images that may be read, decoded and translated at once; beyond them requests get 429."""

    max_pixels: int = 2**21
    """Pixels in an image to translate at most, mirrored to what the graph takes: full HD by default."""

    max_batch_pixels: int = 2**18
    """Pixels in one batch of images at most, an image alone apart; 16 times as many may wait for a model."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float):
                least = 1 if name == "workers" or (name.startswith("max_") and isinstance(value, int)) else 0
                if not least <= value < math.inf:
                    raise UserError(f"{PREFIX}{name.upper()} must be at least {least}; got {value}")
        if self.max_queue < self.max_images:
            raise UserError(
                f"{PREFIX}MAX_QUEUE must be at least {PREFIX}MAX_IMAGES, which is {self.max_images}; "
                f"got {self.max_queue}"
            )

    @staticmethod
    def from_environment(environment: MutableMapping[str, str] = os.environ) -> "Settings":
        """Read the settings that are set; variables with former names are renamed, with a warning.

        Raises:
            UserError: a value is not of its field's type or range; the variable is named.
        """
        _rename(environment)
        given: dict[str, object] = {}
        beside = Path(__file__).parents[1] / "artifacts"
        if not Settings.artifacts.is_dir() and beside.is_dir():  # within a Bento
            given["artifacts"] = beside
        for field in dataclasses.fields(Settings):
            variable = PREFIX + field.name.upper()
            if variable in environment:
                given[field.name] = _read(variable, environment[variable], field.type)
        return Settings(**given)  # type: ignore[arg-type]

    @property
    def all_keys(self) -> list[str]:
        """The API keys, one by one."""
        return [key.strip() for key in self.api_keys.split(",") if key.strip()]

    def to_environment(self) -> dict[str, str]:
        """Return the settings as the environment variables that give them."""
        values = {name: str(value) for name, value in vars(self).items()}
        return {PREFIX + name.upper(): text for name, text in values.items() if text}


def _rename(environment: MutableMapping[str, str]) -> None:
    """Give variables their present names; processes that are started later inherit them, and do not warn."""
    for old, new in RENAMED.items():
        before, now = PREFIX + old.upper(), PREFIX + new.upper()
        if before in environment:
            value = environment.pop(before)
            environment.setdefault(now, value)
            print(f"warning: {before} is now called {now}; the old name will go", file=sys.stderr)


def _read(variable: str, text: str, kind: Any) -> object:
    """Read a variable's text as a field's type."""
    if not text.strip(" ,"):  # a secret that was not filled in must not leave the server open
        raise UserError(f"{variable} is set and empty; unset it or give it a value")
    try:
        return TypeAdapter(kind).validate_strings(text)
    except ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].replace("Input should be", "must be")
        raise UserError(f"{variable} {said}; got {text!r}") from None
