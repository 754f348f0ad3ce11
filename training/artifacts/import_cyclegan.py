"""Import of CycleGAN weights that were trained elsewhere."""

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from serving.errors import UserError
from serving.runtime.manifest import Manifest
from serving.runtime.origin import Imported
from training.artifacts.state_dicts import read_tensors
from training.artifacts.writer import Exportable, example_images, must_be_replaceable, write_artifact
from training.run.software import software
from zoo.models.translate.cyclegan import CycleGAN
from zoo.translators import ResNet, TranslatorName

LAYOUT = "pytorch-CycleGAN"
LAYER = re.compile(r"(?:module\.)?model\.(\d+)\.(?:conv_block\.(\d+)\.)?(\w+)")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors that older versions of instance normalisation saved without using them."""

_NAMES: dict[int, TranslatorName] = {9: "resnet-9", 6: "resnet-6"}

Place = tuple[int, int | None]
"""Position of a convolution: index in the network, and index in its residual block or None."""

SIZE = 256
"""Height and width in pixels of the original's training images."""


def import_cyclegan(weights: tuple[Path, ...], artifact: Path) -> Manifest:
    """Import generators in the layout of the original PyTorch CycleGAN as an artifact.

    Args:
        weights: one or two files, `.pth` or `.safetensors`: the generator from a to b, and optionally the one
            from b to a. Each is a state dict of resnet_9blocks or resnet_6blocks with instance normalisation.
        artifact: folder of the artifact.

    Raises:
        UserError: a file has other contents. The message names the file, and no code in it was run.
        OSError: a file can't be read.
    """
    if not 1 <= len(weights) <= 2:
        raise UserError(f"weights must be one file, a2b, or two files, a2b and b2a; got {len(weights)}")
    artifact = artifact.resolve()
    must_be_replaceable(artifact)
    files = dict(zip(("a2b", "b2a"), weights, strict=False))
    read = {name: _read(file) for name, file in files.items()}
    entry = _entry_of(read)
    return write_artifact(
        artifact,
        Exportable(
            name="cyclegan",
            entry=entry,
            data="unknown",
            generators=nn.ModuleDict({name: each.network for name, each in read.items()}).eval(),
            preview={name: {"image": example_images(each.channels[0], SIZE)} for name, each in read.items()},
            columns=1,
        ),
        {
            "training": Imported(
                layout=LAYOUT,
                files={name: each.sha256 for name, each in read.items()},
                software=software(),
            ),
            "licence": "unknown",
        },
    )


class Found(NamedTuple):
    """A generator read from a file."""

    network: ResNet
    channels: tuple[int, int]
    """Channels of the images and of their translations."""

    width: int
    blocks: int
    sha256: str

    def __str__(self) -> str:
        before, after = self.channels
        return f"{before} to {after} channels, width {self.width} and {self.blocks} blocks"


def _entry_of(read: dict[str, Found]) -> CycleGAN:
    """Return the entry of these generators; it describes their architecture, as nothing is trained.

    Raises:
        UserError: the generators do not fit each other.
    """
    # The generator from b to a has the channels of the other one in the opposite order.
    kinds = {
        (*found.channels[:: 1 if name == "a2b" else -1], found.width, found.blocks)
        for name, found in read.items()
    }
    if len(kinds) > 1:
        raise UserError(
            "both files must have the same width and blocks, and the channels of opposite directions; got "
            f"{', '.join(f'{name} of {found}' for name, found in read.items())}"
        )
    ((channels_a, channels_b, width, blocks),) = kinds
    return CycleGAN(
        channels_a=channels_a,
        channels_b=channels_b,
        width=width,
        translator=_NAMES[blocks],
        image_size=(SIZE, SIZE),
    )


def _read(file: Path) -> Found:
    tensors, sha256 = read_tensors(file)
    layers = _layers(file, tensors)
    blocks = len({outer for outer, inner in layers if inner is not None})
    if blocks not in _NAMES or list(layers) not in (_places(blocks, 5), _places(blocks, 6)):
        raise UserError(
            f"{file} must contain a resnet_9blocks or resnet_6blocks generator with reflection padding; got "
            f"convolutions at {', '.join(map(_named, layers)) or 'no layer'}"
        )
    first, *_, last = layers.values()
    width, channels = first["weight"].shape[:2]
    translated = len(last["weight"])
    with torch.device("meta"):
        # Checks shapes without allocating memory.
        _load(file, ResNet(channels, translated, width, blocks), layers)
    network = ResNet(channels, translated, width, blocks)
    _load(file, network, layers)
    return Found(network, (channels, translated), width, blocks, sha256)


def _places(blocks: int, second: int) -> list[Place]:
    """Return the places of the original's convolutions; a block's second is at 5, or 6 after a dropout."""
    inside: list[Place] = [(10 + block, inner) for block in range(blocks) for inner in (1, second)]
    ends = (10 + blocks, 13 + blocks, 17 + blocks)
    return [(1, None), (4, None), (7, None), *inside, *((end, None) for end in ends)]


def _load(file: Path, network: ResNet, layers: dict[Place, dict[str, Tensor]]) -> None:
    """Load tensors into a network's convolutions, in order.

    Raises:
        UserError: a shape does not match.
    """
    mine = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    for module, (place, tensors) in zip(mine, layers.items(), strict=True):
        wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        given = {name: tuple(value.shape) for name, value in tensors.items()}
        if wanted != given:
            raise UserError(f"{file}: {_named(place)} must have the shapes {wanted}; got {given}")
        if not module.weight.is_meta:
            module.load_state_dict(tensors)


def _layers(file: Path, tensors: dict[str, Tensor]) -> dict[Place, dict[str, Tensor]]:
    """Group the convolutions' tensors by place, in order.

    Raises:
        UserError: a tensor is not part of the layout, or a convolution is incomplete.
    """
    layers: dict[Place, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        match = LAYER.fullmatch(name)
        if match is None:
            raise UserError(f"{file}: {name} is not a tensor of a ResNet generator of {LAYOUT}")
        outer, inner, key = match.groups()
        if key in STATISTICS:
            continue
        if key == "weight" and value.ndim == 1:
            raise UserError(
                f"{file}: normalisation must be instance normalisation; got batch normalisation at {name}"
            )
        found = layers.setdefault((int(outer), int(inner) if inner else None), {})
        if key in found:
            raise UserError(f"{file} must contain {name} once; got it with and without the prefix module")
        found[key] = value.float()
    for place, found in layers.items():
        if found.keys() != {"weight", "bias"} or found["weight"].ndim != 4:
            shapes = {name: tuple(value.shape) for name, value in found.items()}
            raise UserError(f"{file}: {_named(place)} must be a convolution with a bias; got {shapes}")
    return dict(sorted(layers.items(), key=lambda item: (item[0][0], item[0][1] or 0)))


def _named(place: Place) -> str:
    outer, inner = place
    return f"model.{outer}" if inner is None else f"model.{outer}.conv_block.{inner}"
