"""An artifact scored as it is served: its own samples against real data; the manifest keeps the scores."""

from collections.abc import Iterator
from pathlib import Path

from serving import manifest
from serving.engine import Array, draw_inputs
from training.config import find_device
from training.draw import Sampler
from training.durable import write_file
from training.export import describe
from training.progress import progress
from training.sample import open_sampler
from training.score import open_scorer


def evaluate(
    artifact: Path, data: str, n: int = 10_000, seed: int = 0, features: str = "auto", device: str = "auto"
) -> manifest.Evaluation:
    """Score an artifact's samples, drawn by the serving engine, and write the scores into its manifest.

    Args:
        artifact: its folder.
        data: the spec of what to compare with.
        n: how many samples, and real ones beside them; fewer where there are fewer real ones.
        seed: of the first sample.
        features: what images are compared by: classifier, inception, or auto, the first where there are
            labels.
        device: where features are extracted; the samples' provider is the engine's own choice.

    Raises:
        ValueError: there is no artifact, it does not sample, the data don't suit it, or it was exported anew
            meanwhile.
        OSError: the data can't be read.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    label = manifest.read(artifact)
    sampler, _ = open_sampler(artifact)
    ((_, graph),) = label.graphs.items()
    scorer = open_scorer(data, _sample_shape(graph.output), n, features, find_device(device))
    seeds = range(seed, seed + scorer.samples)
    told = None
    if label.labels and tuple(label.labels) == scorer.labels:
        told = draw_inputs({"label": graph.inputs["label"]}, list(seeds))["label"]
    evaluation = manifest.Evaluation(
        data=scorer.data,
        samples=scorer.samples,
        seed=seed,
        features=scorer.describe(),
        scores=scorer.score(_draw(sampler, seeds), told),
        floor=scorer.floor,
    )
    _keep(evaluation, artifact, label.version)
    return evaluation


def _keep(evaluation: manifest.Evaluation, artifact: Path, version: str) -> None:
    """Write an evaluation into the manifest as it is now, in place of an older one of the same."""
    label = manifest.read(artifact)
    if label.version != version:
        raise ValueError(f"{artifact} was exported anew while it was scored; score it again")
    others = [other for other in label.metrics if not evaluation.replaces(other)]
    label = label.model_copy(update={"metrics": [*others, evaluation]})
    card = describe(label)
    write_file(artifact / manifest.FILE, label.to_json())
    write_file(artifact / "README.md", card.encode())


def _sample_shape(output: manifest.Tensor) -> tuple[int, ...]:
    """Give the shape that the data are fitted to: (C, H, W) of an image, (D,) of a vector."""
    match output.shape[1:]:
        case [int(height), int(width), int(channels)]:
            return (channels, height, width)
        case [int(size)]:
            return (size,)
        case shape:
            raise ValueError(f"samples of the shape {shape} can't be scored")


def _draw(sampler: Sampler, seeds: range) -> Iterator[Array]:
    with progress(len(seeds), "drawing", "samples") as advance:
        for samples in sampler.draw(seeds):
            yield samples
            for _ in samples:
                advance()


def table(evaluation: manifest.Evaluation) -> str:
    """Lay scores out beside the floor's, a line each."""
    lines = [f"{'':20} {'artifact':>10} {'real data':>10}"]
    lines += [
        f"{name:20} {value:10.4g} {evaluation.floor[name]:10.4g}" for name, value in evaluation.scores.items()
    ]
    return "\n".join(lines)
