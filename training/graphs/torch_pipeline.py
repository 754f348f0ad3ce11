"""A pipeline that runs PyTorch generators instead of an artifact's graphs, on the same arrays."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from serving.arrays import Array
from serving.errors import UserError
from serving.imaging.provenance import Provenance
from serving.imaging.values import ValueRange
from serving.runtime.pipeline import Pipeline
from serving.runtime.tensor import Tensor as TensorSpec
from training.graphs.pixels import as_fed, as_served
from zoo.entry import Entry, Inputs


def pipeline_of_generators(
    entry: Entry,
    generators: nn.ModuleDict,
    preview: Inputs,
    labels: Sequence[str] = (),
    value_range: ValueRange | None = None,
    provenance: Provenance | None = None,
) -> Pipeline:
    """Return a pipeline that runs generators on the device of their preview inputs.

    Args:
        entry: the entry of the generators.
        generators: generators by name, in evaluation mode.
        preview: example inputs of each generator.
        labels: names of the data's classes.
        value_range: values that become 0 and 255, for images with more than 8 bits per channel.
        provenance: what the images say of themselves.
    """
    (device,) = {value.device for fed in preview.values() for value in fed.values()}
    inputs = {name: describe_inputs(entry, fed, value_range) for name, fed in preview.items()}
    run = partial(_run, generators, device)
    return Pipeline(inputs, run, labels if entry.classes else (), provenance=provenance)


@torch.no_grad()
def _run(generators: nn.ModuleDict, device: torch.device, name: str, inputs: Mapping[str, Array]) -> Array:
    fed = {key: as_fed(torch.tensor(value, device=device)) for key, value in inputs.items()}
    return as_served(generators[name](**fed))


def describe_inputs(
    entry: Entry, example: dict[str, Tensor], value_range: ValueRange | None = None
) -> dict[str, TensorSpec]:
    """Return the specifications of a generator's inputs, for the manifest and for sampling.

    Raises:
        UserError: an input is not a `latent`, a `label` or an `image`, or an image is not the only input.
    """
    if "image" in example and len(example) > 1:
        raise UserError(f"an image must be the only input of a generator; got {', '.join(example)}")
    return {name: _describe(entry, name, value, value_range) for name, value in example.items()}


def _describe(entry: Entry, name: str, example: Tensor, value_range: ValueRange | None) -> TensorSpec:
    shape: list[int | str] = ["batch", *example.shape[1:]]
    match name:
        case "latent":
            return TensorSpec(
                dtype="float32", shape=shape, meaning="latent", distribution=entry.latent_distribution
            )
        case "label":
            last = entry.classes - 1
            return TensorSpec(dtype="int64", shape=shape, meaning="label", range=(0, last))
        case "image":
            return TensorSpec(
                dtype="uint8",
                shape=["batch", "height", "width", example.shape[1]],
                meaning="image",
                range=(0, 255),
                multiple=entry.multiple,
                least=entry.least,
                trained_size=(example.shape[2], example.shape[3]),
                value_range=value_range,
            )
        case _:
            raise UserError(f"the input of a generator must be named latent, label or image; got {name}")
