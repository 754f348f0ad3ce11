"""From a run to an artifact: graphs proven equal to the weights they came from, with their label."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from serving.runtime import manifest
from training.artifacts.writer import Exportable, must_be_replaceable, write_artifact
from training.data.dataset import Data, generator, open_data
from training.graphs.variants import EXAMPLES, Smaller, SmallPrecision
from training.loop.state import Training, restore


def export(run: Path, artifact: Path, precisions: Sequence[SmallPrecision] = ()) -> manifest.Manifest:
    """Export the averaged generators of a run's newest checkpoint as an artifact.

    Everything is written beside the artifact's place, accepted by the server's own engine, and renamed, so
    that a refusal leaves what is there alone.

    Args:
        run: its folder.
        artifact: where to.
        precisions: smaller types that the graphs are to be there in too; the run's data are then opened
            again, to calibrate and measure them.

    Raises:
        ValueError: there is no run or no checkpoint (ValueError itself), a generator can't become a graph
            (`GraphError`), or a graph is not equal to it, or not near enough (`ParityError`).
        OSError: the data are wanted and can't be read.
    """
    artifact = artifact.resolve()
    must_be_replaceable(artifact)
    training = restore(run)
    card = training.card
    provenance = manifest.Training(
        data=card.data_name,
        steps=training.done,
        seed=card.run.seed,
        ema=card.run.ema,
        software=card.software,
    )
    return write_artifact(
        artifact,
        Exportable(
            card.name,
            card.entry,
            card.data_name,
            training.average.generators,
            training.probe,
            training.columns,
            Smaller(tuple(dict.fromkeys(precisions)), partial(_inputs, training, _open(training)))
            if precisions
            else None,
        ),
        {
            "labels": list(card.labels) if card.entry.classes else [],
            "training": provenance,
            "licence": card.licence,
        },
    )


def _open(training: Training) -> Data:
    """Open a run's data again, to draw as many as in the probe, each time others.

    Raises:
        ValueError: there are too few images.
    """
    card = training.card
    data = open_data(card.run.data, card.entry.sample_shape, card.run.seed)
    images = max((len(fed["image"]) for fed in training.probe.values() if "image" in fed), default=0)
    if data.size < 2 * EXAMPLES * images:
        raise ValueError(
            f"smaller types are calibrated and measured with {2 * EXAMPLES * images} images of {data.name}; "
            f"there are {data.size:.0f}"
        )
    return data


def _inputs(training: Training, data: Data, name: str, number: int) -> dict[str, Tensor]:
    """Draw what a generator is fed, as many as in the probe: others for each number, the same each time."""
    rows = len(next(iter(training.probe[name].values())))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(training.card.run.seed, number).initial_seed())
        return training.trainer.inputs(data.batch(number, rows))[name]
