"""The commands `train`, `compare` and `validate-data`."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

if TYPE_CHECKING:
    from training.run.config import RunConfig


def train(entry: Positional[str]) -> None:
    """Train an entry; `ganzoo train ENTRY --help` lists its flags.

    Running the same command again resumes the run. On SIGINT and SIGTERM a checkpoint is written first.

    Args:
        entry: Name from `ganzoo list`, or an import path such as my_lab.wgan:WGAN.
    """
    run_train(entry, [])


def run_train(name: str, arguments: list[str]) -> None:
    """Train an entry by name, with the fields of `TrainConfig` and of the entry as flags."""
    from training.loop.train import train

    config, switches = parse(name, arguments)
    if switches.dry_run:
        print(config.to_json())
        return
    if folder := train(config, switches.restart):
        print(folder)


class Switches(NamedTuple):
    """Flags of `train` that are not part of the run's configuration."""

    restart: bool
    dry_run: bool


def parse(name: str, arguments: list[str]) -> "tuple[RunConfig, Switches]":
    """Parse the flags of `train` and return the run's configuration and the other flags.

    Raises:
        ConfigError: there is no such entry, or a value of `TrainConfig` is invalid.
        UserError: a value of the entry is invalid.
        SystemExit: a flag is unknown or its value has the wrong type (status 2), or help was requested (0).
    """
    from training.run.config import RunConfig, make_entry
    from training.run.train_config import TrainConfig
    from zoo import registry

    kind = registry.load(name)
    any_run, any_entry = _unchecked(TrainConfig), _unchecked(kind)

    def flags(
        run: any_run,  # type: ignore[valid-type]
        entry: any_entry,  # type: ignore[valid-type]
        *,
        restart: bool = False,
        dry_run: bool = False,
    ) -> tuple[Any, Any, Switches]:
        """Gather the flags.

        Args:
            run: Settings of the run.
            entry: Hyperparameters of the entry.
            restart: Start again from step 0; the run's checkpoints, metrics and contact sheets are removed.
            dry_run: Print the run's configuration without training.
        """
        return run, entry, Switches(restart, dry_run)

    run, entry, switches = tyro.cli(
        flags,
        prog=f"ganzoo train {name}",
        args=arguments,
        description=kind.__doc__,
        config=(OmitArgPrefixes,),
    )
    config = RunConfig(name=name, train=TrainConfig(**vars(run)), entry=make_entry(kind, vars(entry)))
    return config, switches


def _unchecked(kind: type) -> Any:
    """Return a subclass of a dataclass without validation, so that errors are raised after parsing."""
    return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "__post_init__": lambda self: None})


def compare(runs: Positional[list[Path]], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """Compare finished runs that were trained with `--score-every`, one row per method.

    Args:
        runs: Folders of the runs. Runs that differ only in their seeds share a row. The first run is the
            baseline of the comparison.
        as_json: Print JSON instead of a table.
    """
    from training.evaluation.compare import compare, table

    rows = compare(runs)
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else table(rows))


def validate_data(
    data: Positional[str],
    *,
    image_size: int | None = None,
    fit: Literal["crop", "pad", "squash"] = "crop",
    value_range: tuple[float, float] | Literal["percentile"] | None = None,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Validate data before training: count examples, list files that can't be used and print warnings.

    Args:
        data: Data, as for training.
        image_size: Height and width of the training images; smaller images are reported because they would be
            upscaled. By default 64, or 256 for translation.
        fit: How images of another shape are fitted, as for training.
        value_range: Value range of images with more than 8 bits per channel, as for training.
        as_json: Print JSON instead of a table.
    """
    from training.data.validate import table, validate

    findings = validate(data, image_size, fit, value_range)
    print(json.dumps(dataclasses.asdict(findings), indent=2) if as_json else table(findings))
    findings.must_be_usable()
