"""What the lab decides: the run's data, length, place and bookkeeping."""

import dataclasses
import json
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from serving.errors import UserError
from serving.runtime.latents import MAX_SEED
from serving.system.files import write_file
from zoo import registry
from zoo.entry import Entry
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training and its folder."""

    data: str = "glyphs"
    """What to learn from: glyphs[:CHARACTERS], mnist[:ROOT], fashion-mnist[:ROOT], cifar10[:ROOT],
    folder:PATH, gaussian2d, ring8, grid25 or mixture16; to translate, unpaired:PATH, paired:PATH,
    glyphs-style or glyphs-pairs."""

    steps: int = 5000
    """Rounds of updates in all; a run that has them already does nothing."""

    out: Path | None = None
    """The run's folder; by default runs/ENTRY-DATA. The same command again resumes what is there."""

    device: str = "auto"
    """Where to train: auto (CUDA if there is one, else the CPU), cpu, cuda, cuda:1, ..."""

    seed: int = 0
    """Seed of the weights, the latents, the data and their order."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """What the players' products are computed in: fp32, or bf16, faster where a GPU or the processor has it
    (AMX or AVX-512 BF16); weights, losses and what is exported stay float32."""

    compile: bool = False
    """Compile the players by torch.compile, which takes minutes before the first step and a C++ compiler."""

    sync_batch_norm: bool = False
    """Where several processes share a batch, normalise over all of it and not over each one's part."""

    workers: int | None = None
    """Threads that make batches ahead of their steps where data are read or drawn as they go; by default as
    many as there are cores, 8 at most, for a GPU, and none for the CPU, whose cores the steps want."""

    ema: float = 0.999
    """Decay of the moving average of the generators' weights, which is what is exported; 0 turns it off."""

    log_every: int = 50
    """Steps between two lines of metrics."""

    sheet_every: int = 1000
    """Steps between two contact sheets of the probe."""

    checkpoint_every: int = 1000
    """Steps between two checkpoints."""

    score_every: int = 0
    """Steps between two scores of the averaged generators against the data, as `ganzoo evaluate` has them:
    the Frechet distance of images, the truth's headline for points, the distance of translations from their
    truth where it is known; 0: never."""

    score_samples: int = 2000
    """Samples in a score."""

    on_collapse: Literal["warn", "rollback"] = "warn"
    """What to do when the discriminator saturates, diversity is lost or the score doubles: warn, once, or go
    back to the last good checkpoint at half the learning rates, three times at most."""

    keep_checkpoints: int = 2
    """Checkpoints to keep, the newest ones."""

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
        must_be_at_least(self, 0, "score_every", *(["workers"] if self.workers is not None else []))
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema must be at least 0 and below 1; got {self.ema}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed must be from 0 to {MAX_SEED}; got {self.seed}")


RUN_FILE = "run.json"

RENAMED = {"keep": "keep_checkpoints"}
"""Former names of fields, in the files and on the command lines of before."""

LASTING = ("data", "seed", "precision", "ema")
"""Fields of a run that a resumed one must share; the others may change."""


def software() -> dict[str, str]:
    """Name the versions at work, and the commit where the code is a checkout."""
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
    """Ask git for the commit of the checkout that this file is in, if it is one of ours."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked[1] if Path(asked[0]) == root else None


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What `run.json` remembers of a run, so that nothing else has to be told again."""

    name: str
    """The entry's name in the zoo, or its import path."""

    entry: Entry
    train: TrainConfig

    data_name: str = ""
    """What the data call themselves, without a path."""

    labels: tuple[str, ...] = ()
    """Names of the data's classes; empty where they have none."""

    licence: str = "unknown"
    """Terms of the data."""

    software: dict[str, str] = field(default_factory=software)
    """Versions that train it."""

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        default = f"{self.name}-{self.train.data.partition(':')[0]}".replace(":", "-")
        return self.train.out or Path("runs") / default

    def to_json(self) -> str:
        """Give the content of `run.json`."""
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
        """Read a run's card.

        Raises:
            ValueError: the folder holds no run.
        """
        try:
            content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"{folder} holds no run: it has no {RUN_FILE}") from None
        except ValueError as error:  # no JSON, or no text
            raise UserError(f"{folder / RUN_FILE} is damaged: {error}") from error
        try:
            entry = make_entry(registry.load(content["entry"]), _tuples(content["hyperparameters"]))
            fields = {RENAMED.get(name, name): value for name, value in content["run"].items()}
            train = TrainConfig(**fields | {"out": folder})
            rest = _tuples({key: content[key] for key in ("data_name", "labels", "licence", "software")})
            return RunConfig(name=content["entry"], entry=entry, train=train, **rest)
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / RUN_FILE} is of another version: {error}") from error

    def differences(self, other: "RunConfig") -> list[str]:
        """Name what keeps another card's run from being continued as this one."""
        mine, theirs = (
            {"entry": config.name}
            | dataclasses.asdict(config.entry)
            | {field: getattr(config.train, field) for field in LASTING}
            for config in (self, other)
        )
        return [
            f"{field}: {theirs.get(field)} there, {mine.get(field)} here"
            for field in sorted(mine.keys() | theirs.keys())
            if mine.get(field) != theirs.get(field)
        ]


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def make_entry(kind: type[Entry], fields: dict[str, Any]) -> Entry:
    """Make an entry of hyperparameters.

    Raises:
        UserError: the entry, which may be anyone's, refuses them.
        TypeError: a field is unknown or missing.
    """
    try:
        return kind(**fields)
    except ValueError as error:
        raise UserError(str(error)) from error
