"""The pipeline: a loaded artifact, or networks in memory, as functions from arrays to arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from serving.arrays import Array, Pixels
from serving.errors import UserError
from serving.imaging import codec, sheets
from serving.runtime.engine import Engine
from serving.runtime.latents import draw_inputs
from serving.runtime.manifest import Precision, ProviderName, Tensor
from serving.runtime.sessions import Options

CHUNK = 64
"""Samples per batch."""

BACK = {"a2b": "b2a", "b2a": "a2b"}
"""The inverse of each direction."""


class Samples(NamedTuple):
    """A batch of samples with their seeds."""

    seeds: range
    values: Array
    """uint8 (N, H, W, C) or float32 vectors (N, D)."""

    classes: Sequence[int]
    """The class of each sample; empty if the graph takes no label."""


class Pipeline(NamedTuple):
    """A loaded model: arrays in, arrays out."""

    inputs: Mapping[str, Mapping[str, Tensor]]
    """Inputs of each graph, by the graph's name."""

    run: Callable[[str, Mapping[str, Array]], Array]
    """Function that runs a graph by name, and returns uint8 (N, H, W, C) or float32 vectors (N, D)."""

    labels: Sequence[str] = ()
    """Names of the classes, in the order of the labels; empty if the graphs take no label."""

    version: str = ""
    """Hash of the graphs' files, or of the networks' weights."""

    provider: ProviderName = "auto"
    """Where the graphs run; the samples of a seed may differ slightly between providers."""

    artifact: Path | None = None
    """The artifact's folder, from which other processes can load it; None for networks in memory."""

    def draw(self, seeds: range, label: int | None = None) -> Iterator[Array]:
        """Yield the samples of some seeds in batches; without a label, the classes cycle with the seeds."""
        return (samples.values for samples in self.samples(seeds, label))

    def samples(self, seeds: range, label: int | None = None) -> Iterator[Samples]:
        """Yield samples as `draw` does, with their seeds and classes."""
        ((graph, specs),) = self.inputs.items()
        for first in range(0, len(seeds), CHUNK):
            some = seeds[first : first + CHUNK]
            inputs = draw_inputs(specs, list(some), label)
            classes = inputs["label"].tolist() if "label" in inputs else []
            yield Samples(some, self.run(graph, inputs), classes)

    def translate(self, direction: str, pixels: Pixels) -> Pixels:
        """Translate images of one size, uint8 (N, H, W, C), to the same shape."""
        height, width = pixels.shape[1:3]
        padded = codec.pad(pixels, *self.inputs[direction]["image"].grid)
        return self.run(direction, {"image": padded})[:, :height, :width]

    def look(self, graph: str, inputs: Mapping[str, Array]) -> list[Array]:
        """Return a graph's samples; or the images, their translations, and those translated back."""
        if "image" not in inputs:
            return [self.run(graph, inputs)]
        real = inputs["image"]
        seen = [real, self.translate(graph, real)]
        if (back := BACK.get(graph, "")) in self.inputs:
            seen.append(self.translate(back, seen[-1]))
        return seen

    def picture(
        self,
        graph: str,
        inputs: Mapping[str, Array],
        columns: int,
        limits: tuple[float, float] | None = None,
    ) -> Pixels:
        """Draw the arrays of `look` as one sheet, each image beside its translations.

        Args:
            graph: the graph's name.
            inputs: the graph's inputs.
            columns: examples per row.
            limits: for vectors, the values at the edges of the plot.
        """
        seen = self.look(graph, inputs)
        side_by_side = np.stack(seen, 1).reshape(-1, *seen[0].shape[1:])
        return sheets.picture(side_by_side, limits, columns * len(seen))

    def must_do(self, task: Literal["sample", "translate"]) -> None:
        """Check that the model does a task.

        Raises:
            UserError: the model does the other task.
        """
        graphs = self.inputs.values()
        found = "translate" if any("image" in inputs for inputs in graphs) else "sample"
        if found != task:
            does = {"sample": "samples from latents", "translate": "translates images"}
            raise UserError(f"this model {does[found]}: use `ganzoo {found}`")


def pipeline_of(engine: Engine, artifact: Path | None = None) -> Pipeline:
    """Return a pipeline of an engine's graphs."""
    manifest = engine.manifest
    inputs = {name: graph.inputs for name, graph in manifest.graphs.items()}
    return Pipeline(inputs, engine.run, manifest.labels, manifest.version, engine.provider, artifact)


def open_pipeline(
    artifact: Path,
    precision: Precision = "fp32",
    provider: ProviderName = "auto",
    threads: int = 0,
) -> Pipeline:
    """Load an artifact as a pipeline.

    Args:
        artifact: the artifact's folder.
        precision: precision of the graphs.
        provider: where the graphs run.
        threads: CPU threads; 0 means one per core.

    Raises:
        UserError: the folder is not an artifact (`ManifestError`), the artifact has no graph of this
            precision, or it can't be run (`EngineError`).
    """
    engine = Engine(artifact, provider, precision, Options(threads=threads))
    for name, variant in engine.variants.items():
        if variant.precision != precision:
            raise UserError(f"{artifact} has no {name} of {precision} for the {engine.provider} provider")
    return pipeline_of(engine, artifact)
