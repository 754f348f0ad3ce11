"""The server's configuration: environment variables with one prefix, checked when it starts."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from serving.runtime.manifest import Precision, ProviderName

PREFIX = "GANZOO_"

BOOLEANS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


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

    batches: int = 0
    """Batches of a model that run at once on the CPU, each on its part of the threads; 0 is one for each
    thread where it samples, and one at a time, on all threads, where it translates."""

    workers: int = 1
    """Processes that serve, each with all models; one is best for a GPU, and for cores that run batches."""

    keys: str = dataclasses.field(default="", repr=False)
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

    patience: float = 1.0
    """Seconds of work that may wait for a model, by how long its last full batches took; beyond: 429."""

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
        for name in (field.name for field in dataclasses.fields(self)):
            value, least = getattr(self, name), 1 if name == "workers" or name.startswith("max_") else 0
            if isinstance(value, int | float) and not least <= value < math.inf:
                raise ValueError(f"{PREFIX}{name.upper()} must be at least {least}; got {value}")
        if self.provider not in ("auto", "cpu", "cuda"):
            raise ValueError(f"{PREFIX}PROVIDER must be auto, cpu or cuda; got {self.provider}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"{PREFIX}PRECISION must be fp32, fp16 or int8; got {self.precision}")
        if self.max_queue < self.max_images:
            raise ValueError(f"{PREFIX}MAX_QUEUE must hold a request of {PREFIX}MAX_IMAGES pictures")

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings that are set.

        Raises:
            ValueError: a value is not of its field's type or range; the variable is named.
        """
        given: dict[str, object] = {}
        beside = Path(__file__).parents[1] / "artifacts"
        if not Settings.artifacts.is_dir() and beside.is_dir():  # within a Bento
            given["artifacts"] = beside
        for field in dataclasses.fields(Settings):
            variable = PREFIX + field.name.upper()
            if variable not in environment:
                continue
            given[field.name] = _read(variable, environment[variable], field.default)
        return Settings(**given)  # type: ignore[arg-type]

    @property
    def all_keys(self) -> list[str]:
        """The API keys, one by one."""
        return [key.strip() for key in self.keys.split(",") if key.strip()]

    def to_environment(self) -> dict[str, str]:
        """Write the settings as the environment variables that give them."""
        said = {field.name: str(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {PREFIX + name.upper(): text for name, text in said.items() if text}


def _read(variable: str, text: str, default: object) -> object:
    """Read a variable's text as what its default is."""
    match default:
        case bool():
            if text not in BOOLEANS:
                raise ValueError(f"{variable} must be true or false; got {text!r}")
            return BOOLEANS[text]
        case Path():
            return Path(text)
        case int() | float():
            try:
                return type(default)(text)
            except ValueError:
                kind = "whole number" if isinstance(default, int) else "number"
                raise ValueError(f"{variable} must be a {kind}; got {text!r}") from None
    if not text.strip(" ,"):  # a secret that was not filled in must not leave the server open
        raise ValueError(f"{variable} is set and holds nothing")
    return text
