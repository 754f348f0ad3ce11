"""The verbs about trainings: `train`, `compare` and `validate-data`."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

if TYPE_CHECKING:
    from training.run.config import RunConfig


def train(entry: Positional[str]) -> None:
    """Train an entry; `ganzoo train ENTRY --help` tells its flags.

    The same command again resumes; SIGINT and SIGTERM save first.

    Args:
        entry: A name of `ganzoo list`, or an import path such as my_lab.wgan:WGAN.
    """
    run_train(entry, [])


def run_train(name: str, arguments: list[str]) -> None:
    """Train an entry by name; its own fields are flags beside the run's."""
    from training.loop.train import train

    config, dry_run = parse(name, arguments)
    if dry_run:
        print(config.to_json())
        return
    if folder := train(config):
        print(folder)


def parse(name: str, arguments: list[str]) -> "tuple[RunConfig, bool]":
    """Read a training's flags: what to train, and whether only to print it.

    Raises:
        UserError: there is no such entry, or a field refuses its value.
        SystemExit: a flag is unknown or its value is not of its type (status 2), or help was asked for (0).
    """
    from training.run.config import RunConfig, TrainConfig, make_entry
    from zoo import registry

    kind = registry.load(name)
    any_run, any_entry = _unchecked(TrainConfig), _unchecked(kind)

    def flags(run: any_run, entry: any_entry, *, dry_run: bool = False) -> tuple[Any, Any, bool]:  # type: ignore[valid-type]
        """Gather the flags.

        Args:
            run: What the lab decides.
            entry: What the paper says.
            dry_run: Print what would be trained, and do nothing.
        """
        return run, entry, dry_run

    run, entry, dry_run = tyro.cli(
        flags,
        prog=f"ganzoo train {name}",
        args=arguments,
        description=kind.__doc__,
        config=(OmitArgPrefixes,),
    )
    return RunConfig(name=name, train=TrainConfig(**vars(run)), entry=make_entry(kind, vars(entry))), dry_run


def _unchecked(kind: type) -> Any:
    """Make a dataclass's twin that takes any values, so that the parser leaves it to us to refuse them."""
    return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "__post_init__": lambda self: None})


def compare(runs: Positional[list[Path]], *, as_json: Annotated[bool, arg(name="json")] = False) -> None:
    """Compare finished runs that were scored as they went (`--score-every`), a row for each method.

    Args:
        runs: The runs' folders; those that differ by nothing but their seeds share a row, and the first says
            what the others are measured by.
        as_json: Print JSON instead of a table.
    """
    from training.evaluation.compare import compare, table

    rows = compare(runs)
    print(json.dumps([dataclasses.asdict(row) for row in rows], indent=2) if as_json else table(rows))


def validate_data(
    data: Positional[str],
    *,
    image_size: int | None = None,
    as_json: Annotated[bool, arg(name="json")] = False,
) -> None:
    """Look through data: count what they hold, name every file that can't be used, warn of what is doubtful.

    Args:
        data: What to look through, as for a run.
        image_size: Side of the images to train with, to which smaller ones are upscaled; by default 64, or
            256 where they are translated.
        as_json: Print JSON instead of a table.
    """
    from training.data.validate import table, validate

    findings = validate(data, image_size)
    print(json.dumps(dataclasses.asdict(findings), indent=2) if as_json else table(findings))
    findings.must_be_usable()
