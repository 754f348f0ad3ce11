"""Export of a run as an artifact: graphs checked against the trained weights, and a manifest."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from serving.errors import UserError
from serving.runtime.manifest import Manifest
from serving.runtime.origin import RunScore, Training
from training.artifacts.writer import Exportable, must_be_replaceable, write_artifact
from training.data.dataset import Dataset, generator, open_data
from training.data.transforms import Conversion
from training.graphs.variants import EXAMPLES, Smaller, SmallPrecision
from training.loop.averaged import Averaged, open_averaged
from training.loop.schedule import factor_at, length_of
from training.loop.state import preview_columns
from training.run import checkpoint
from training.run.scores import read_scores


def export(
    run: Path,
    artifact: Path,
    precisions: Sequence[SmallPrecision] = (),
    which: str | int = "newest",
    licence: str | None = None,
    credit: str = "",
) -> Manifest:
    """Export the averaged generators of a run's checkpoint as an artifact.

    The artifact is written to a temporary folder and opened with the serving engine. Only then does it
    replace the target folder, so a failed export leaves the target unchanged.

    Args:
        run: folder of the run.
        artifact: folder of the artifact.
        precisions: additional smaller precisions of the graphs. The run's data are then opened to calibrate
            and measure them.
        which: the checkpoint: `newest`, `best` or a step.
        licence: licence of the training data; by default the one that the data state.
        credit: who made the training data, for the model card.

    Raises:
        UserError: there is no run or no such checkpoint, a generator can't be exported (`GraphError`), or a
            graph differs from it by more than its bound (`ParityError`).
        OSError: the data are needed and can't be read.
    """
    artifact = artifact.resolve()
    must_be_replaceable(artifact)
    averaged = open_averaged(run, which)
    config = averaged.config
    source = Exportable(
        config.name,
        config.entry,
        config.data_name,
        averaged.generators,
        averaged.preview,
        preview_columns(config.entry),
        config.value_range,
        _smaller(averaged, tuple(dict.fromkeys(precisions))),
    )
    stated = {
        "labels": list(config.labels) if config.entry.classes else [],
        "training": _origin(run, averaged),
        "licence": config.licence if licence is None else licence,
        "credit": credit,
    }
    return write_artifact(artifact, source, stated)


def _smaller(averaged: Averaged, precisions: tuple[SmallPrecision, ...]) -> Smaller | None:
    return Smaller(precisions, partial(_inputs, averaged, _open(averaged))) if precisions else None


def _origin(run: Path, averaged: Averaged) -> Training:
    config = averaged.config
    return Training(
        data=config.data_name,
        steps=averaged.steps,
        seed=config.train.seed,
        ema=config.train.ema,
        fit=config.train.fit,
        value_range=config.value_range,
        lineage=config.lineage,
        software=config.software,
        score=_score(run, averaged.steps),
        schedule_steps=_schedule(averaged),
        trained_against=config.trained_against,
    )


def _score(run: Path, step: int) -> RunScore | None:
    """Return the score of a run at a step, or None if it was not scored there."""
    scores = read_scores(run, latest=max(checkpoint.steps(run / "checkpoints")))
    value = dict(scores.history).get(step) if scores else None
    if scores is None or value is None:
        return None
    return RunScore(name=scores.name, value=value, best=scores.best.step == step)


def _schedule(averaged: Averaged) -> int | None:
    """Return the length of the schedule if the rates change and it is not that of the steps, else None."""
    length = length_of(averaged.config)
    changes = factor_at(averaged.config, length) != factor_at(averaged.config, 0)
    return length if changes and length != averaged.steps else None


def _open(averaged: Averaged) -> Dataset:
    """Open a run's data to draw batches of the preview's size without repetition.

    Raises:
        UserError: there are too few images.
    """
    config = averaged.config
    conversion = Conversion(config.train.fit, config.value_range)
    data = open_data(config.train.data, config.entry.sample_shape, config.train.seed, conversion)
    images = max((len(fed["image"]) for fed in averaged.preview.values() if "image" in fed), default=0)
    if data.size < 2 * EXAMPLES * images:
        raise UserError(
            f"smaller precisions need at least {2 * EXAMPLES * images} images of {data.name} for calibration "
            f"and measurement; got {data.size:.0f}"
        )
    return data


def _inputs(averaged: Averaged, data: Dataset, name: str, number: int) -> dict[str, Tensor]:
    """Draw inputs of a generator, as many as in the preview, determined by the run's seed and the number."""
    rows = len(next(iter(averaged.preview[name].values())))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(averaged.config.train.seed, number).initial_seed())
        return averaged.inputs(data.batch(number, rows))[name]
