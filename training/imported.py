"""Weights that were trained elsewhere, made an artifact: read as tensors and nothing else."""

import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serving import manifest
from training.export import Source, must_be_replaceable, write_artifact
from zoo.cyclegan import CycleGAN
from zoo.translation import ResNet, TranslatorName

LAYOUT = "pytorch-CycleGAN"
LAYER = re.compile(r"(?:module\.)?model\.(\d+)\.(?:conv_block\.(\d+)\.)?(\w+)")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""What instance normalisation once kept and never used."""

_NAMES: dict[int, TranslatorName] = {9: "resnet-9", 6: "resnet-6"}

SIZE = 256
"""Height and width that the original trains on."""


def import_cyclegan(weights: tuple[Path, ...], artifact: Path) -> manifest.Manifest:
    """Make an artifact of generators in the layout of the original PyTorch CycleGAN.

    Args:
        weights: state dicts of resnet_9blocks or resnet_6blocks with instance normalisation, `.pth` or
            `.safetensors`: the generator from a to b, and the one back where there is one.
        artifact: where to.

    Raises:
        ValueError: a file holds something else; it is named, and nothing of it was run.
        OSError: a file can't be read.
    """
    if not 1 <= len(weights) <= 2:
        raise ValueError(f"give one file of weights, or two: a2b and b2a; got {len(weights)}")
    artifact = artifact.resolve()
    must_be_replaceable(artifact)
    files = dict(zip(("a2b", "b2a"), weights, strict=False))
    read = {name: _read(file) for name, file in files.items()}
    kinds = {(each.channels, each.width, each.blocks) for each in read.values()}
    if len(kinds) > 1:
        raise ValueError(f"both must have the same channels, width and blocks; got {sorted(kinds)}")
    ((channels, width, blocks),) = kinds
    # Nothing is trained: the sizes only say what the weights are.
    entry = CycleGAN(channels=channels, width=width, translator=_NAMES[blocks], image_size=(SIZE, SIZE))
    example = _example(channels)
    return write_artifact(
        artifact,
        Source(
            name="cyclegan",
            entry=entry,
            data="unknown",
            generators=nn.ModuleDict({name: each.network for name, each in read.items()}).eval(),
            probe={name: {"image": example} for name in read},
            columns=1,
        ),
        {
            "training": manifest.Imported(
                layout=LAYOUT, files={name: each.sha256 for name, each in read.items()}
            ),
            "licence": "unknown",
        },
    )


class Found(NamedTuple):
    """A generator that a file holds."""

    network: ResNet
    channels: int
    width: int
    blocks: int
    sha256: str


def _read(file: Path) -> Found:
    data = file.read_bytes()
    layers = _layers(file, _tensors(file, data))
    first, *_, last = layers.values()
    blocks = len({outer for outer, inner in layers if inner is not None})
    width, channels = first["weight"].shape[:2]
    if blocks not in _NAMES or last["weight"].shape[0] != channels:
        raise ValueError(
            f"{file} must hold a generator of 6 or 9 blocks with as many channels out as in; it has {blocks} "
            f"blocks, {channels} channels in and {last['weight'].shape[0]} out"
        )
    network = ResNet(channels, width, blocks)
    mine = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    if len(mine) != len(layers):
        raise ValueError(f"{file} must hold {len(mine)} convolutions for {blocks} blocks; got {len(layers)}")
    for module, (place, tensors) in zip(mine, layers.items(), strict=True):
        wanted = {name: value.shape for name, value in module.state_dict().items()}
        given = {name: value.shape for name, value in tensors.items()}
        if wanted != given:
            raise ValueError(f"{file}: the layer {_named(place)} must have {wanted}; got {given}")
        module.load_state_dict(tensors)
    return Found(network, channels, width, blocks, hashlib.sha256(data).hexdigest())


def _tensors(file: Path, data: bytes) -> dict[str, Tensor]:
    """Read a state dict; what is not safetensors, an unpickler reads that makes nothing but tensors."""
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load(data)
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # readers of foreign files raise whatever they stumble over
        raise ValueError(f"{file} must hold a state dict of tensors and nothing else") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{file} must hold a state dict of tensors and nothing else")
    return found


def _layers(file: Path, tensors: dict[str, Tensor]) -> dict[tuple[int, int | None], dict[str, Tensor]]:
    """Gather the convolutions' tensors by their places, in order."""
    layers: dict[tuple[int, int | None], dict[str, Tensor]] = {}
    for name, value in tensors.items():
        match = LAYER.fullmatch(name)
        if match is None:
            raise ValueError(f"{file}: {name} is not of the layout of {LAYOUT}'s ResNet generators")
        outer, inner, key = match.groups()
        if key in STATISTICS:
            continue
        if key == "weight" and value.ndim == 1:
            raise ValueError(
                f"{file}: {name} is of batch normalisation; instance normalisation has no weights"
            )
        layers.setdefault((int(outer), int(inner) if inner else None), {})[key] = value.float()
    for place, found in layers.items():
        if found.keys() != {"weight", "bias"} or found["weight"].ndim != 4:
            raise ValueError(f"{file}: {_named(place)} must be a convolution with a bias")
    if len(layers) < 2:
        raise ValueError(f"{file} holds no generator")
    return dict(sorted(layers.items(), key=lambda item: (item[0][0], item[0][1] or 0)))


def _named(place: tuple[int, int | None]) -> str:
    outer, inner = place
    return f"model.{outer}" if inner is None else f"model.{outer}.conv_block.{inner}"


def _example(channels: int) -> Tensor:
    """Draw two soft random pictures, (2, channels, SIZE, SIZE) in [-1, 1], for there are no data to show."""
    coarse = torch.rand(2, channels, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return F.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=False).clamp(-1, 1)
