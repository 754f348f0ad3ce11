"""The Python API: train, export and evaluate, each by one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from serving.runtime.manifest import Evaluation, Precision
from serving.runtime.pretrained import ARTIFACTS, find_artifact
from training.artifacts import evaluate as evaluation
from training.artifacts import export as exporter
from training.graphs.variants import SmallPrecision
from training.loop import train as loop
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry
from zoo.entry import Entry


def train(entry: Entry | str, config: TrainConfig | None = None, *, restart: bool = False) -> Path:
    """Train or resume a run until all its steps are done or its patience is exhausted; return its folder.

    The folder holds `run.json`, checkpoints, metrics and contact sheets. A run that has a checkpoint is
    resumed, and a finished run is left as it is. In distributed training every rank calls this function.

    Args:
        entry: the entry with its hyperparameters, such as `DCGAN(image_size=32)`, or its name for the
            defaults.
        config: settings of the run; the fields are the flags of `ganzoo train`.
        restart: remove the checkpoints and logs of an earlier run of this configuration, and start again.

    Raises:
        ConfigError: there is no such entry.
        UserError: the folder holds another run or a damaged one, or the data or the device can't be used.
        Diverged: a number is NaN or infinite, or rollbacks did not help.
        Interrupted: SIGINT or SIGTERM was received and a checkpoint is written.
    """
    chosen = registry.load(entry)() if isinstance(entry, str) else entry
    name = entry if isinstance(entry, str) else registry.name_of(type(entry))
    run = RunConfig(name=name, entry=chosen, train=config or TrainConfig())
    loop.train(run, restart)
    return run.folder


def export(
    run: Path,
    artifact: Path | None = None,
    *,
    precision: Sequence[SmallPrecision] = (),
    checkpoint: str | int = "newest",
    licence: str | None = None,
    credit: str = "",
) -> Path:
    """Export a run as an artifact, checked against PyTorch, and return the artifact's folder.

    Args:
        run: folder of the run.
        artifact: folder of the artifact; by default artifacts/NAME, with the name of the run's folder.
        precision: additional smaller precisions of the graphs: `fp16` for CUDA; `int8` for the CPU,
            calibrated on the run's data.
        checkpoint: the checkpoint to export: `newest`; `best`, that of the best score, which a run with
            `keep_best` keeps; or a step.
        licence: licence of the training data, such as `CC-BY-4.0`; by default the one that the data state.
        credit: who made the training data, for the model card.

    Raises:
        UserError: there is no run or no such checkpoint, a generator can't be exported (`GraphError`), or a
            graph differs from it by more than its bound (`ParityError`).
        OSError: the data are needed and can't be read.
    """
    folder = Path(artifact) if artifact else ARTIFACTS / Path(run).resolve().name
    exporter.export(Path(run), folder, precision, checkpoint, licence, credit)
    return folder


def evaluate(
    artifact: str | Path,
    data: str,
    *,
    n: int = 10_000,
    seed: int = 0,
    features: Literal["auto", "efficientnet", "classifier", "inception"] = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
) -> Evaluation:
    """Score an artifact's outputs against data, write the scores into its manifest, and return them.

    Args:
        artifact: folder or name of the artifact.
        data: data to compare with, as for training; their held-out examples are scored as controls.
        n: number of samples and of real examples, or of images of each domain to translate.
        seed: seed of the first sample.
        features: feature extractor for images: `efficientnet`, trained on ImageNet; `classifier`, a small
            network trained on the labelled data; `inception`; or `auto`, the classifier for glyphs, MNIST
            and Fashion-MNIST, and `efficientnet` otherwise.
        device: device for feature extraction: auto, cpu, cuda, ...
        precision: precision of the graphs to score: fp32, or a smaller one that the artifact has.

    Raises:
        UserError: there is no artifact, it has no graphs of the precision, or the data do not suit it.
        OSError: the data can't be read.
    """
    return evaluation.evaluate(find_artifact(artifact), data, n, seed, features, device, precision)
