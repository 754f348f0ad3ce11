"""Configuration of a run: `TrainConfig` and `RunConfig`, which is stored as `run.json`."""

import dataclasses
import json
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from serving.errors import UserError
from serving.runtime.latents import MAX_SEED
from serving.runtime.pretrained import RUN_FILE
from serving.system.files import read_regular, write_file
from serving.validation import validation_message
from zoo import registry
from zoo.entry import Entry
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run that do not depend on the entry."""

    data: str = "glyphs"
    """Training data: glyphs[:CHARACTERS], mnist[:ROOT], fashion-mnist[:ROOT], cifar10[:ROOT], folder:PATH,
    gaussian2d, ring8, grid25 or mixture16; for translation, unpaired:PATH, paired:PATH, glyphs-style or
    glyphs-pairs."""

    balance_classes: bool = False
    """Draw all classes equally often, however many examples each of them has."""

    steps: int = 5000
    """Total number of training steps, including those before a resume."""

    out: Path | None = None
    """Folder of the run; by default runs/ENTRY-DATA. Running the same command again resumes the run."""

    device: str = "auto"
    """Device to train on: auto (CUDA if available, else the CPU), cpu, cuda, cuda:1, ..."""

    seed: int = 0
    """Seed of the initial weights, the latents, and the data and their order."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Compute precision of the networks: fp32, or bf16 autocast, which is faster on GPUs and CPUs with bf16
    instructions (AMX, AVX-512 BF16). Weights, losses and exported graphs stay float32."""

    compile: bool = False
    """Compile the networks with torch.compile. Needs a C++ compiler and minutes before the first step."""

    sync_batch_norm: bool = False
    """In distributed training, compute batch normalisation over the batch of all processes."""

    workers: int | None = None
    """Prefetch threads for data that are not held in memory; by default one per core, at most 8, when
    training on a GPU, and none when training on the CPU."""

    ema: float = 0.999
    """Decay of the moving average of the generators' weights, which is exported; 0 turns averaging off."""

    log_every: int = 50
    """Steps between two lines of metrics."""

    sheet_every: int = 1000
    """Steps between two contact sheets of the preview."""

    checkpoint_every: int = 1000
    """Steps between two checkpoints."""

    score_every: int = 0
    """Steps between two scores of the averaged generators, computed as by `ganzoo evaluate`; 0 turns scoring
    off. The score is the Frechet distance for images, the main score of the true distribution for vectors,
    and the L1 distance to the target for translations with known targets."""

    score_samples: int = 2000
    """Number of samples that a score is computed from."""

    on_collapse: Literal["warn", "rollback"] = "warn"
    """Reaction to a saturated discriminator, lost diversity or a doubled score: warn prints a warning once;
    rollback returns to the last good checkpoint with halved learning rates, at most three times."""

    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep."""

    keep_best: bool = False
    """Also keep the checkpoint of the best score, saved at the step of that score. Needs --score-every. It is
    exported by `ganzoo export RUN --checkpoint best`."""

    patience: int = 0
    """Stop when so many scores in a row were not better than the best one before them; 0 turns this off.
    Needs --score-every."""

    schedule_steps: int = 0
    """Number of steps of the entry's schedule of the learning rates; 0 is as many as --steps. A fixed number
    lets a run that is resumed with more steps go on with its schedule."""

    def __post_init__(self) -> None:
        must_be_choices(self)
        counts = (
            "steps",
            "log_every",
            "sheet_every",
            "checkpoint_every",
            "score_samples",
            "keep_checkpoints",
        )
        must_be_at_least(self, 1, *counts)
        optional = ["workers"] if self.workers is not None else []
        must_be_at_least(self, 0, "score_every", "patience", "schedule_steps", *optional)
        for name in ("keep_best", "patience"):
            if getattr(self, name) and not self.score_every:
                raise ConfigError(
                    f"{name} needs scores during the run; got score_every 0; use --score-every, such as "
                    f"--score-every {self.checkpoint_every}"
                )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema must be at least 0 and below 1; got {self.ema}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed must be from 0 to {MAX_SEED}; got {self.seed}")


RENAMED = {"keep": "keep_checkpoints"}
"""Former to present names of fields, to read older `run.json` files."""

LASTING = ("data", "balance_classes", "seed", "precision", "ema")
"""Fields of `TrainConfig` that must be the same when a run is resumed; the others may change."""


def software() -> dict[str, str]:
    """Return the versions of gan-zoo, torch and Python, and the git commit if the code is a checkout."""
    try:
        package = version("gan-zoo")
    except PackageNotFoundError:
        package = "unknown"
    return {
        "gan-zoo": package,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit() or "unknown",
    }


def _commit() -> str | None:
    """Return the commit of the git checkout that this file belongs to, or None if there is none."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked[1] if Path(asked[0]) == root else None


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

    software: dict[str, str] = field(default_factory=software)
    """Versions of the software that trains the run."""

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        default = f"{self.name}-{self.train.data.partition(':')[0]}".replace(":", "-")
        return self.train.out or Path("runs") / default

    def to_json(self) -> str:
        """Return the content of `run.json`."""
        content = {
            "entry": self.name,
            "hyperparameters": dataclasses.asdict(self.entry),
            "run": dataclasses.asdict(self.train) | {"out": str(self.folder)},
            "data_name": self.data_name,
            "labels": self.labels,
            "licence": self.licence,
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
            return _parse(read_regular(path), folder)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"the folder {folder} holds no run: {RUN_FILE} is missing") from None
        except ConfigError as error:
            raise UserError(f"{path}: {error}") from error
        except ValidationError as error:
            message = validation_message(error.errors(include_url=False), "the content")
            raise UserError(f"{path} is damaged or of an incompatible version: {message}") from error

    def differences(self, other: "RunConfig") -> list[str]:
        """Return the differences to another configuration that prevent resuming its run with this one."""
        mine, theirs = (
            {"entry": config.name}
            | dataclasses.asdict(config.entry.for_classes(len(other.labels)))
            | {field: getattr(config.train, field) for field in LASTING}
            for config in (self, other)
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
    software: dict[str, str]


def _parse(data: bytes, folder: Path) -> RunConfig:
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
    content = json.dumps({"hyperparameters": kind.present(stored.hyperparameters), "run": run})
    made: Any = fields.model_validate_json(content)
    return RunConfig(
        name=stored.entry,
        entry=made.hyperparameters,
        train=dataclasses.replace(made.run, out=folder),
        data_name=stored.data_name,
        labels=stored.labels,
        licence=stored.licence,
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
