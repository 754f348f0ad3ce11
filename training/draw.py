"""What generators make of what they are fed, as arrays: of a run in torch, of an artifact in ONNX Runtime."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from serving import images, manifest
from serving.engine import Array, Engine
from serving.images import Pixels
from serving.latents import draw_inputs
from serving.settings import ProviderName
from training.pixels import as_fed, as_served
from training.shards import Samples
from zoo.entry import Entry, Inputs

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
        padded = images.pad(pixels, *self.inputs[direction]["image"].grid)
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
        return images.picture(side_by_side, limits, columns * len(seen))


def graphs_of_engine(engine: Engine) -> Graphs:
    """Take an artifact's graphs."""
    label = engine.manifest
    inputs = {name: graph.inputs for name, graph in label.graphs.items()}
    return Graphs(inputs, engine.run, label.labels, label.version, engine.provider)


def graphs_of_generators(
    entry: Entry, generators: nn.ModuleDict, probe: Inputs, labels: Sequence[str] = ()
) -> Graphs:
    """Take generators in evaluation mode for graphs, on whatever device the probe is on.

    Args:
        entry: whose they are.
        generators: by name.
        probe: an example of what each is fed.
        labels: names of the data's classes.
    """
    (device,) = {value.device for fed in probe.values() for value in fed.values()}
    inputs = {name: describe_inputs(entry, fed) for name, fed in probe.items()}
    return Graphs(inputs, partial(_run, generators, device), labels if entry.classes else ())


@torch.no_grad()
def _run(generators: nn.ModuleDict, device: torch.device, name: str, inputs: Mapping[str, Array]) -> Array:
    fed = {key: as_fed(torch.from_numpy(value).to(device)) for key, value in inputs.items()}
    return as_served(generators[name](**fed))


def describe_inputs(entry: Entry, example: dict[str, Tensor]) -> dict[str, manifest.Tensor]:
    """Describe what a generator is fed, for the manifest and for whoever draws it.

    Raises:
        ValueError: an input is not a `latent`, a `label` or an `image`, or one is beside an image.
    """
    if "image" in example and len(example) > 1:
        raise ValueError(f"a generator that is fed an image is fed nothing else; got {', '.join(example)}")
    return {name: _describe(entry, name, value) for name, value in example.items()}


def _describe(entry: Entry, name: str, example: Tensor) -> manifest.Tensor:
    shape: list[int | str] = ["batch", *example.shape[1:]]
    match name:
        case "latent":
            return manifest.Tensor(
                dtype="float32", shape=shape, meaning="latent", distribution=entry.latent_distribution
            )
        case "label":
            last = entry.classes - 1
            return manifest.Tensor(dtype="int64", shape=shape, meaning="label", range=(0, last))
        case "image":
            return manifest.Tensor(
                dtype="uint8",
                shape=["batch", "height", "width", example.shape[1]],
                meaning="image",
                range=(0, 255),
                multiple=entry.multiple,
                least=entry.least,
                trained_size=(example.shape[2], example.shape[3]),
            )
        case _:
            raise ValueError(f"a generator's input must be named latent, label or image; got {name}")
