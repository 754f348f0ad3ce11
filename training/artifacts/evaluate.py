"""Evaluation of an artifact's outputs against data; the scores are stored in its manifest."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from serving.arrays import Array
from serving.errors import UserError
from serving.imaging.codec import encode_png
from serving.imaging.sheets import sheet
from serving.runtime.artifact import read_manifest
from serving.runtime.latents import draw_inputs
from serving.runtime.load import load
from serving.runtime.manifest import MANIFEST_FILE, Evaluation, Graph, Precision
from serving.runtime.origin import Training
from serving.runtime.pipeline import Pipeline
from serving.system.files import write_file
from serving.system.folders import must_be_writable
from serving.system.progress import progress
from training.artifacts.model_card import NEAREST_FILE, describe, rows
from training.data.transforms import Conversion
from training.evaluation.samples import Pairs, Scorer, open_scorer
from training.evaluation.translation.translations import TranslationScorer, open_translation_scorer
from training.loop.compute import device_named
from zoo.entry import DomainShapes, SampleShape


def evaluate(
    artifact: Path,
    data: str,
    n: int = 10_000,
    seed: int = 0,
    features: str = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
) -> Evaluation:
    """Score an artifact's outputs with the serving engine and write the scores into its manifest.

    Args:
        artifact: folder of the artifact.
        data: spec of the data to compare with.
        n: number of samples and of real examples, or of images to translate from each domain. It is limited
            by the number of real examples.
        seed: seed of the first sample.
        features: features to compare images by: efficientnet, classifier, inception or auto. auto is
            classifier for glyphs, MNIST and Fashion-MNIST, and efficientnet for others.
        device: device of the feature extractor. The engine chooses the provider of the samples.
        precision: precision of the graphs to score.

    Raises:
        UserError: there is no artifact, it has no graphs of the precision, the data don't fit it, it was
            trained against the network of these features, or it was exported again during the evaluation.
        OSError: the data can't be read, or the artifact can't be written.
    """
    if n < 1:
        raise UserError(f"n must be at least 1; got {n}")
    manifest = read_manifest(artifact)
    must_be_writable(artifact)
    shape = _scored_shape(manifest.graphs)
    pipeline = load(artifact, precision=precision)
    match manifest.training:
        case Training(fit=fit, value_range=value_range, trained_against=against):
            conversion = Conversion(fit, value_range)
        case _:
            conversion, against = Conversion(), ()
    options = (data, shape, n, features, device_named(device), conversion, against)
    sheet = None
    match manifest.task:
        case "sample":
            evaluation, sheet = _score_samples(pipeline, open_scorer(*options), seed)
        case "translate":
            (scale,) = {graph.scale for graph in manifest.graphs.values()}
            evaluation = _score_translations(pipeline, open_translation_scorer(*options, scale))
    evaluation = evaluation.model_copy(update={"precision": precision})
    _warn_of_few(evaluation)
    _keep(evaluation, artifact, manifest.version, sheet)
    return evaluation


def _score_samples(pipeline: Pipeline, scorer: Scorer, seed: int) -> tuple[Evaluation, bytes | None]:
    seeds, told = range(seed, seed + scorer.samples), None
    if pipeline.labels and tuple(pipeline.labels) == scorer.labels:
        ((_, inputs),) = pipeline.inputs.items()
        told = draw_inputs({"label": inputs["label"]}, list(seeds))["label"]
    scores, nearest = scorer.score(_draw(pipeline, seeds), told)
    evaluation = Evaluation(
        data=scorer.data,
        samples=scorer.samples,
        seed=seed,
        features=scorer.describe(),
        scores=scores,
        controls={"real": scorer.reference},
    )
    return evaluation, nearest and _sheet(pipeline, seed, nearest)


def _sheet(pipeline: Pipeline, seed: int, nearest: Pairs) -> bytes:
    """Return the PNG of a sheet of samples, each above its nearest training image."""
    seeds = (seed + place for place in nearest.samples)
    samples = [part.values for each in seeds for part in pipeline.samples(range(each, each + 1))]
    pixels = sheet(np.concatenate([*samples, nearest.training]), columns=len(samples))
    return encode_png(pixels, pipeline.provenance)


def _score_translations(pipeline: Pipeline, scorer: TranslationScorer) -> Evaluation:
    return Evaluation(
        data=scorer.data,
        samples=scorer.samples,
        seed=0,
        features=scorer.describe(),
        scores=scorer.score(pipeline),
        controls=scorer.controls,
    )


def _warn_of_few(evaluation: Evaluation) -> None:
    size = int((evaluation.features or {}).get("size", 0))
    if evaluation.samples < size:
        print(
            f"warning: the Fréchet distance needs at least {size} samples, as many as there are features; "
            f"got {evaluation.samples}, with which it is too large; use more samples or more data",
            file=sys.stderr,
        )


def _keep(evaluation: Evaluation, artifact: Path, version: str, nearest: bytes | None = None) -> None:
    """Write an evaluation into the current manifest and model card; it replaces an older one of its kind.

    An evaluation of fewer samples than an older one of its kind is not written.
    """
    manifest = read_manifest(artifact)
    if manifest.version != version:
        raise UserError(f"{artifact} was exported again during the evaluation; evaluate it again")
    if better := [other.samples for other in manifest.metrics if evaluation.yields_to(other)]:
        print(
            f"the scores of {evaluation.samples} samples are not written: {artifact} has scores of "
            f"{max(better)} samples",
            file=sys.stderr,
        )
        return
    others = [other for other in manifest.metrics if not evaluation.replaces(other)]
    manifest = manifest.model_copy(update={"metrics": [*others, evaluation]})
    card = describe(manifest)
    if nearest is not None:
        write_file(artifact / NEAREST_FILE, nearest)
    write_file(artifact / MANIFEST_FILE, manifest.to_json())
    write_file(artifact / "README.md", card.encode())


def _scored_shape(graphs: Mapping[str, Graph]) -> SampleShape:
    """Return the shape that the data are fitted to: (C, H, W) for images, (D,) for vectors.

    Translations have the shapes of both domains.
    """
    direction, graph = next(iter(graphs.items()))
    match graph.output.shape[1:]:
        case [int(height), int(width), int(channels)]:
            return (channels, height, width)
        case [int(size)]:
            return (size,)
        case [_, _, int(channels)] if (sides := graph.inputs["image"].trained_size) is not None:
            if graph.scale > 1:
                return (channels, *(graph.scale * side for side in sides))
            shapes = DomainShapes((graph.inputs["image"].size, *sides), (channels, *sides))
            return DomainShapes(*reversed(shapes)) if direction == "b2a" else shapes
        case shape:
            raise UserError(f"outputs to score must be images or vectors of a known size; got {shape}")


def _draw(pipeline: Pipeline, seeds: range) -> Iterator[Array]:
    with progress(len(seeds), "generating", "samples") as advance:
        for samples in pipeline.samples(seeds):
            yield samples.values
            for _ in samples.seeds:
                advance()


def table(evaluation: Evaluation) -> str:
    """Format scores as text, one line a score, with a column for each control."""
    lines = [f"{'':20}" + "".join(f" {name:>12}" for name in ("artifact", *evaluation.controls))]
    lines += [
        f"{name:20}" + "".join(f" {value:>12}" for value in values) for name, *values in rows(evaluation)
    ]
    return "\n".join(lines)
