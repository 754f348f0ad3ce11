"""What a generator is fed and what it makes, by seed, as the server feeds it and as the server gives it."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from serving import manifest
from serving.engine import Array, draw_inputs
from training.record import as_served
from zoo.entry import Entry

CHUNK = 64


class Sampler(NamedTuple):
    """A generator with what it wants, in torch or in ONNX Runtime."""

    specs: Mapping[str, manifest.Tensor]
    """Its inputs."""

    run: Callable[[dict[str, Array]], Array]
    """Gives the samples of some inputs: uint8 (N, H, W, C) or float32 vectors (N, D)."""

    def draw(self, seeds: range, label: int | None = None) -> Iterator[Array]:
        """Draw the samples of some seeds, a few dozen at a time; without a label the classes take turns."""
        for first in range(0, len(seeds), CHUNK):
            yield self.run(draw_inputs(self.specs, list(seeds[first : first + CHUNK]), label))


def sampler_of(entry: Entry, generator: nn.Module, example: dict[str, Tensor]) -> Sampler:
    """Make a sampler of an entry's generator, in evaluation mode on whatever device the example is on."""
    (device,) = {value.device for value in example.values()}
    return Sampler(describe_inputs(entry, example), partial(_generate, generator, device))


@torch.no_grad()
def _generate(generator: nn.Module, device: torch.device, inputs: dict[str, Array]) -> Array:
    return as_served(
        generator(**{name: torch.from_numpy(value).to(device) for name, value in inputs.items()})
    )


def describe_inputs(entry: Entry, example: dict[str, Tensor]) -> dict[str, manifest.Tensor]:
    """Describe what a generator is fed, for the manifest and for whoever draws it.

    Raises:
        ValueError: an input is neither a `latent` nor a `label`.
    """
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
        case _:
            raise ValueError(f"a generator's input must be named latent or label; got {name}")
