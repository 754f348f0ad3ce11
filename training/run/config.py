"""`RunConfig`: everything decided for a run, stored as `run.json`."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from serving.errors import UserError
from serving.imaging.provenance import Maker, Provenance, is_wanted
from serving.imaging.values import ValueRange
from serving.runtime.origin import Ancestor
from serving.runtime.pretrained import RUN_FILE
from serving.system.files import read_regular, write_file
from serving.validation import validation_message
from training.run.software import software
from training.run.train_config import LASTING, RENAMED, MemoryFormat, PrecisionName, TrainConfig
from zoo import registry
from zoo.entry import Entry
from zoo.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Complete configuration of a run, stored as `run.json` in its folder."""

    name: str
    """The entry's name in the zoo, or its import path."""

    entry: Entry
    train: TrainConfig

    data_name: str = ""
    """Name of the data, without a local path."""

    labels: tuple[str, ...] = ()
    """Names of the data's classes; empty for data without labels."""

    licence: str = "unknown"
    """Licence of the data."""

    value_range: ValueRange | None = None
    """Values that become 0 and 255, for images with more than 8 bits per channel; None for the default."""

    fingerprint: str | None = None
    """Number of the data's images and a hash of their names and sizes; None for data that are not files."""

    lineage: tuple[Ancestor, ...] = ()
    """The run that this one started from, the run that that one started from, and so on."""

    average_steps: int = 0
    """Steps of the run that this one started from whose moving average it continues."""

    software: dict[str, str] = field(default_factory=software)
    """Versions of the software that trains the run."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        default = f"{self.name}-{self.train.data.partition(':')[0]}".replace(":", "-")
        return self.train.out or Path("runs") / default

    def computed(self, precision: PrecisionName, memory_format: MemoryFormat) -> "RunConfig":
        """Return the configuration with this precision and memory format, each in the place of `auto`."""
        run = self.train
        chosen = dataclasses.replace(
            run,
            precision=precision if run.precision == "auto" else run.precision,
            memory_format=memory_format if run.memory_format == "auto" else run.memory_format,
        )
        return dataclasses.replace(self, train=chosen)

    @property
    def trained_against(self) -> tuple[str, ...]:
        """Features whose networks were in the discriminators of this run or of those it started from."""
        names = (self.entry.pretrained, *(each.trained_against for each in self.lineage))
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def provenance(self, version: str) -> Provenance | None:
        """Return what images of the run's generators say of themselves; None if they shall say nothing.

        Args:
            version: version of the weights.
        """
        return Provenance(Maker.of(self.name, version, self.entry.task)) if is_wanted() else None

    def to_json(self) -> str:
        """Return the content of `run.json`."""
        content = {
            "entry": self.name,
            "hyperparameters": dataclasses.asdict(self.entry),
            "run": dataclasses.asdict(self.train) | {"out": str(self.folder)},
            "data_name": self.data_name,
            "labels": self.labels,
            "licence": self.licence,
            "value_range": self.value_range,
            "fingerprint": self.fingerprint,
            "average_steps": self.average_steps,
            "lineage": [each.model_dump() for each in self.lineage],
            "software": self.software,
        }
        return json.dumps(content, indent=2)

    def write(self) -> None:
        """Write `run.json`."""
        write_file(self.folder / RUN_FILE, self.to_json().encode() + b"\n")

    @staticmethod
    def read(folder: Path) -> "RunConfig":
        """Read the configuration of the run in a folder.

        Raises:
            UserError: the folder holds no run, or its `run.json` is damaged or of another version.
            OSError: the file can't be read.
        """
        path = folder / RUN_FILE
        try:
            return parse(read_regular(path), folder)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"the folder {folder} holds no run: {RUN_FILE} is missing") from None
        except ConfigError as error:
            raise UserError(f"{path}: {error}") from error
        except ValidationError as error:
            message = validation_message(error.errors(include_url=False), "the content")
            raise UserError(f"{path} is damaged or of an incompatible version: {message}") from error

    @property
    def _known_data(self) -> str:
        """Kind and fingerprint of the data, or their spec if they are not files."""
        kind = self.train.data.partition(":")[0]
        return f"{kind}: {self.fingerprint}" if self.fingerprint else self.train.data

    def differences(self, other: "RunConfig") -> list[str]:
        """Return the differences to another configuration that prevent resuming its run with this one.

        Data with a fingerprint are known by it, wherever they are. The run to start from is known by the name
        of its folder. What is `auto` is that of the other configuration.
        """
        mine, theirs = (
            {"entry": config.name}
            | dataclasses.asdict(
                config.entry.for_data(classes=len(other.labels), channels=other.entry.sample_shape[0])
            )
            | {field: getattr(config.train, field) for field in LASTING if field != "start_from"}
            | ({"data": config._known_data} if other.fingerprint else {})
            | {"from": config.train.start_from and Path(config.train.start_from).name}
            for config in (self.computed(other.train.precision, other.train.memory_format), other)
        )
        return [
            f"{field} is {theirs.get(field)} in its {RUN_FILE}; got {mine.get(field)}"
            for field in sorted(mine.keys() | theirs.keys())
            if mine.get(field) != theirs.get(field)
        ]


class _Stored(BaseModel):
    """Content of `run.json`."""

    model_config = ConfigDict(strict=True)

    entry: str
    hyperparameters: dict[str, Any]
    run: dict[str, Any]
    data_name: str
    labels: tuple[str, ...]
    licence: str
    value_range: ValueRange | None = None
    fingerprint: str | None = None
    lineage: tuple[Ancestor, ...] = ()
    average_steps: int = 0
    software: dict[str, str]


def parse(data: bytes, folder: Path) -> RunConfig:
    """Parse `run.json`.

    Raises:
        ConfigError: there is no such entry.
        ValidationError: the data are not JSON, or a field is missing, unknown or not valid.
    """
    stored = _Stored.model_validate_json(data)
    kind = registry.load(stored.entry)
    # The entry's own field types and checks apply; for its class, pydantic knows them only now.
    known = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    fields = create_model("Fields", __config__=known, hyperparameters=(kind, ...), run=(TrainConfig, ...))
    run = {RENAMED.get(name, name): value for name, value in stored.run.items() if name != "out"}
    run = {"precision": "fp32", "memory_format": "contiguous"} | run  # before `auto`
    content = json.dumps({"hyperparameters": kind.present(stored.hyperparameters), "run": run})
    made: Any = fields.model_validate_json(content)
    return RunConfig(
        name=stored.entry,
        entry=made.hyperparameters,
        train=dataclasses.replace(made.run, out=folder),
        data_name=stored.data_name,
        labels=stored.labels,
        licence=stored.licence,
        value_range=stored.value_range,
        fingerprint=stored.fingerprint,
        lineage=stored.lineage,
        average_steps=stored.average_steps,
        software=stored.software,
    )


def make_entry(kind: type[Entry], fields: dict[str, Any]) -> Entry:
    """Create an entry from its hyperparameters.

    Raises:
        UserError: the entry raises ValueError for a value.
        TypeError: a field is unknown or missing.
    """
    try:
        return kind(**fields)
    except ValueError as error:
        raise UserError(str(error)) from error
