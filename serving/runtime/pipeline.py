"""What generators make of what they are fed, as arrays: of a run in torch, of an artifact in ONNX Runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from serving.imaging import codec
from serving.imaging.codec import Pixels
from serving.offline.shards import Samples
from serving.runtime import manifest
from serving.runtime.engine import Array, Engine
from serving.runtime.latents import draw_inputs
from serving.settings import ProviderName

CHUNK = 64

BACK = {"a2b": "b2a", "b2a": "a2b"}
"""What takes a translation back."""


class Graphs(NamedTuple):
    """The graphs of an artifact, or the generators that would become them: arrays in, arrays out."""

    inputs: Mapping[str, Mapping[str, manifest.Tensor]]
    """What each graph is fed, by its name."""

    run: Callable[[str, Mapping[str, Array]], Array]
    """Gives what a graph makes of some inputs: uint8 (N, H, W, C) or float32 vectors (N, D)."""

    labels: Sequence[str] = ()
    """Names of the classes that they are told."""

    version: str = ""
    """What tells them from others: a hash of their files, or of their weights."""

    provider: ProviderName = "auto"
    """What they run on, where that is settled; another may draw a seed's sample a little differently."""

    def draw(self, seeds: range, label: int | None = None) -> Iterator[Array]:
        """Draw the samples of some seeds, a few dozen at a time; without a label the classes take turns."""
        return (samples.values for samples in self.samples(seeds, label))

    def samples(self, seeds: range, label: int | None = None) -> Iterator[Samples]:
        """Draw as `draw` does, and give seeds and classes too."""
        ((graph, specs),) = self.inputs.items()
        for first in range(0, len(seeds), CHUNK):
            some = seeds[first : first + CHUNK]
            inputs = draw_inputs(specs, list(some), label)
            classes = inputs["label"].tolist() if "label" in inputs else []
            yield Samples(some, self.run(graph, inputs), classes)

    def translate(self, direction: str, pixels: Pixels) -> Pixels:
        """Translate images of any one size, uint8 (N, H, W, C): to the same shape."""
        height, width = pixels.shape[1:3]
        padded = codec.pad(pixels, *self.inputs[direction]["image"].grid)
        return self.run(direction, {"image": padded})[:, :height, :width]

    def look(self, graph: str, inputs: Mapping[str, Array]) -> list[Array]:
        """Give what there is to see of a graph: what it makes of latents; or images, translated, and back."""
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
        """Draw what there is to see of a graph as one picture; what belongs together stands side by side.

        Args:
            graph: its name.
            inputs: what it is fed.
            columns: examples in a row.
            limits: of vectors, what the picture's edges mean.
        """
        seen = self.look(graph, inputs)
        side_by_side = np.stack(seen, 1).reshape(-1, *seen[0].shape[1:])
        return codec.picture(side_by_side, limits, columns * len(seen))


def graphs_of_engine(engine: Engine) -> Graphs:
    """Take an artifact's graphs."""
    label = engine.manifest
    inputs = {name: graph.inputs for name, graph in label.graphs.items()}
    return Graphs(inputs, engine.run, label.labels, label.version, engine.provider)
