"""The data of a run: looked at, told of, and opened."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from serving.errors import UserError
from serving.imaging.values import ValueRange
from serving.runtime.pretrained import RUN_FILE
from training.data.dataset import OF_FILES, Dataset, open_data
from training.data.files.domains import Parts, parts_of
from training.data.files.image_folder import find_place
from training.data.files.image_source import ImageSource, open_source
from training.data.files.splits import Part
from training.data.files.survey import survey
from training.data.transforms import Conversion
from training.loop.distributed import World
from training.run.config import RunConfig, parse
from training.run.train_config import TrainConfig
from zoo.entry import DomainShapes, SampleShape

CHANNELS = {"glyphs": 1, "mnist": 1, "fashion-mnist": 1, "cifar10": 3}
"""Channels of the images of built-in data; other built-in data have vectors, or images for translation."""


def with_fingerprint(config: RunConfig) -> RunConfig:
    """Return the configuration with the fingerprint of its data, if they are image files.

    Raises:
        UserError: the data are not there.
        OSError: the data can't be read.
    """
    kind, _, path = config.train.data.partition(":")
    if kind not in OF_FILES:
        return config
    return dataclasses.replace(config, fingerprint=open_source(find_place(kind, path)).fingerprint())


def open_run_data(config: RunConfig, world: World, folder: Path) -> tuple[RunConfig, Dataset]:
    """Open the data of a run, and complete its configuration with what they are.

    What the configuration leaves to the data is taken from the earlier run in the folder, if there is one, or
    else from a look at the data, which is told on standard error.

    Raises:
        UserError: the data are not there, or can't be used as asked.
        OSError: the data can't be read.
    """
    config = _earlier(config, world, folder) or _after_a_look(config, world)
    run, conversion = config.train, Conversion(config.train.fit, config.value_range)
    data = open_data(run.data, config.entry.sample_shape, run.seed, conversion)
    if run.balance_classes:
        data = data.balanced()
    entry = config.entry.for_data(classes=len(data.labels))
    config = dataclasses.replace(
        config, entry=entry, data_name=data.name, labels=data.labels, licence=data.licence
    )
    return config, data


def _earlier(config: RunConfig, world: World, folder: Path) -> RunConfig | None:
    """Return the configuration with the numbers of an earlier run in the folder; None if there is none."""
    path = folder / RUN_FILE
    found = world.on_main(lambda: (0, {"run": path.read_text()}) if path.exists() else None)
    sent = world.broadcast(found)
    if sent is None:
        return None
    known = parse(sent[1]["run"].encode(), folder)
    return dataclasses.replace(
        config.computed(known.train.precision, known.train.memory_format),
        entry=known.entry,
        value_range=known.value_range,
        lineage=known.lineage,
        average_steps=known.average_steps,
    )


def _after_a_look(config: RunConfig, world: World) -> RunConfig:
    facts = facts_of(config.train, config.entry.sample_shape)
    if world.is_main:
        for text in facts.told:
            print(text, file=sys.stderr)
    entry = config.entry.for_data(channels=facts.channels)
    return dataclasses.replace(config, entry=entry, value_range=facts.value_range)


class Facts(NamedTuple):
    """What a run must know of its data before it opens them, and what it tells of them."""

    channels: int
    """Channels of the images; 0 if they are told otherwise, or for vectors."""

    value_range: ValueRange | None = None
    told: tuple[str, ...] = ()


def facts_of(run: TrainConfig, shape: SampleShape) -> Facts:
    """Look at the data of a run.

    Args:
        run: settings of the run.
        shape: shape of an example, whose channels may be 0.

    Raises:
        UserError: the data are not there, or their values can't be mapped as asked.
        OSError: the data can't be read.
    """
    kind, _, path = run.data.partition(":")
    if kind not in OF_FILES:
        if run.fit != "crop" or run.value_range is not None:
            raise UserError(
                f"--fit and --value-range need data of image files, such as folder:PATH; got {run.data}"
            )
        return Facts(CHANNELS.get(kind, 0))
    place = find_place(kind, path)
    source, name = open_source(place), f"{kind}:{place.resolve().name}"
    parts = parts_of(OF_FILES[kind], source)
    found = survey(source, parts.train, parts.abreast)
    value_range = found.value_range(run.value_range, name)
    told = [_told(name, source, parts)]
    told += [found.clipped(value_range)] if value_range else []
    for height, width in {each[1:] for each in DomainShapes.of(shape)} if run.fit == "crop" else ():
        told += [f"warning: {text}" for text in found.lost(height, width)]
    return Facts(found.channels, value_range, tuple(told))


def _told(name: str, source: ImageSource, parts: Parts) -> str:
    """Format the numbers of images that are trained on, held out, not used and skipped, in one line."""
    unused = len(source.images) - sum(len(part.images) for part in (*parts.train, *parts.held_out))
    texts = [
        f"{_counts(parts.train)} to train on",
        f"{_counts(parts.held_out)} held out" if parts.held_out else "none held out",
    ]
    texts += [f"{unused} in other folders not used"] if unused else []
    texts += [f"skipped {_list(source.skipped)}"] if source.skipped else []
    return f"{name}: images: {'; '.join(texts)}"


def _counts(some: Sequence[Part]) -> str:
    return ", ".join(f"{len(part.images)}{f' in {part.name}' if part.name else ''}" for part in some)


def _list(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in skipped.most_common())
