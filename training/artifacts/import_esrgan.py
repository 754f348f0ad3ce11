"""Import of ESRGAN weights that were trained elsewhere: generators of residual-in-residual dense blocks."""

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
from zoo.models.translate.esrgan import ESRGAN, Generator
from zoo.super_resolution import DIRECTION

LAYOUT = "RRDBNet"

DENSE = re.compile(r"(?:body\.|RRDB_trunk\.|model\.1\.sub\.)(\d+)\.(?:rdb|RDB)([123])\.conv([1-5])(?:\.0)?")
"""A convolution of a dense block, as BasicSR, ESRGAN's repository and its first version name it."""

NAMED = {
    "conv_first": "first",
    "conv_body": "trunk",
    "conv_hr": "before last",
    "conv_last": "last",
    "trunk_conv": "trunk",
    "HRconv": "before last",
}
"""Places of the other convolutions by their names in the first two of these layouts."""

UP = re.compile(r"(?:conv_up|upconv)(\d)")
NUMBERED = re.compile(r"model\.(\d+)")
TRUNK = re.compile(r"model\.1\.sub\.\d+")

SIZE = 64
"""Height and width in pixels of the example images."""


class Unit(nn.Module):
    """A generator of images in [0, 1], as one of images in [-1, 1]."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge the images."""
        images: Tensor = 2 * self.generator((image + 1) / 2) - 1
        return images


def import_esrgan(weights: tuple[Path, ...], artifact: Path) -> Manifest:
    """Import a generator in a public layout of RRDBNet as an artifact.

    Args:
        weights: one file, `.pth` or `.safetensors`: a state dict with the names of BasicSR, of ESRGAN's
            repository or of its first version.
        artifact: folder of the artifact.

    Raises:
        UserError: the file has other contents. The message names the file, and no code in it was run.
        OSError: the file can't be read.
    """
    if len(weights) != 1:
        raise UserError(f"weights must be one file; got {len(weights)}")
    artifact, (file,) = artifact.resolve(), weights
    must_be_replaceable(artifact)
    tensors, sha256 = read_tensors(file)
    found = _Layers.of(file, tensors)
    entry = found.entry()
    with torch.device("meta"):
        # Checks shapes without allocating memory.
        _must_fit(file, Generator(entry), found)
    generator = Generator(entry)
    generator.load_state_dict(found.state_dict())
    example = example_images(entry.channels, SIZE)
    return write_artifact(
        artifact,
        Exportable(
            name="esrgan",
            entry=entry,
            data="unknown",
            generators=nn.ModuleDict({DIRECTION: Unit(generator)}).eval(),
            preview={DIRECTION: {"image": example}},
            columns=1,
        ),
        {
            "training": Imported(layout=LAYOUT, files={DIRECTION: sha256}, software=software()),
            "licence": "unknown",
        },
    )


Layer = dict[str, Tensor]
"""The weight and the bias of a convolution."""


class _Layers(NamedTuple):
    """The convolutions of a generator."""

    dense: dict[tuple[int, int, int], Layer]
    """Those of dense blocks, by block, dense block and number, from 0."""

    others: dict[str, Layer]
    """`first`, `trunk`, `before last` and `last`."""

    ups: list[Layer]
    """Those after each doubling of the size."""

    @classmethod
    def of(cls, file: Path, tensors: dict[str, Tensor]) -> "_Layers":
        """Group tensors by the places of their convolutions.

        Raises:
            UserError: a tensor is not part of a layout, or a convolution is missing or incomplete.
        """
        dense: dict[tuple[int, int, int], Layer] = {}
        others: dict[str, Layer] = {}
        ups: dict[int, Layer] = {}
        numbered: dict[int, Layer] = {}
        for name, value in tensors.items():
            layer, _, key = name.removeprefix("module.").rpartition(".")
            if match := DENSE.fullmatch(layer):
                block, part, number = map(int, match.groups())
                dense.setdefault((block, part - 1, number - 1), {})[key] = value.float()
            elif layer in NAMED or TRUNK.fullmatch(layer):
                others.setdefault(NAMED.get(layer, "trunk"), {})[key] = value.float()
            elif match := UP.fullmatch(layer):
                ups.setdefault(int(match[1]), {})[key] = value.float()
            elif match := NUMBERED.fullmatch(layer):
                numbered.setdefault(int(match[1]), {})[key] = value.float()
            else:
                raise UserError(f"{file}: {name} is not a tensor of an {LAYOUT} generator")
        if numbered:  # in order: the first, those after doublings, and the two last ones
            ordered = [numbered[number] for number in sorted(numbered)]
            ups |= dict(enumerate(ordered[1:-2]))
            others |= dict(zip(("first", "before last", "last"), [ordered[0], *ordered[-2:]], strict=False))
        found = cls(dense, others, [ups[number] for number in sorted(ups)])
        found._must_be_whole(file)
        return found

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len({block for block, _, _ in self.dense})

    def _must_be_whole(self, file: Path) -> None:
        blocks = self.blocks
        wanted = {
            (block, part, number) for block in range(blocks) for part in range(3) for number in range(5)
        }
        layers = [*self.dense.values(), *self.others.values(), *self.ups]
        is_whole = (
            self.dense.keys() == wanted and len(self.others) == 4 and wanted and 1 <= len(self.ups) <= 3
        )
        if not is_whole or any(
            layer.keys() != {"weight", "bias"} or layer["weight"].ndim != 4 for layer in layers
        ):
            raise UserError(
                f"{file} must contain the convolutions, each with a weight and a bias, of an {LAYOUT}: "
                f"blocks of 3 dense blocks with 5 each, and 5 to 7 others; got {blocks} blocks with "
                f"{len(self.dense)}, and {len(self.others) + len(self.ups)} others"
            )

    def entry(self) -> ESRGAN:
        """Return the entry of the generator; it describes its architecture, as nothing is trained."""
        width, channels = self.others["first"]["weight"].shape[:2]
        return ESRGAN(
            channels=channels,
            width=width,
            growth=len(self.dense[0, 0, 0]["weight"]),
            blocks=self.blocks,
            scale=2 ** len(self.ups),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors by the names of `Generator`."""
        doublings = len(self.ups)
        layers = {
            f"blocks.{block}.{part}.layers.{number}": each
            for (block, part, number), each in self.dense.items()
        }
        layers |= {f"enlarge.{number}.1": each for number, each in enumerate(self.ups)}
        layers |= {
            "first": self.others["first"],
            f"blocks.{self.blocks}": self.others["trunk"],
            f"enlarge.{doublings}": self.others["before last"],
            f"enlarge.{doublings + 2}": self.others["last"],
        }
        return {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.items()}


def _must_fit(file: Path, generator: Generator, found: _Layers) -> None:
    """Check the shapes of tensors against those of a generator.

    Raises:
        UserError: a shape does not match, or the images have neither 1 nor 3 channels.
    """
    if (channels := generator.first.in_channels) not in (1, 3):
        raise UserError(
            f"{file}: the first convolution must take images of 1 or 3 channels; got {channels}, as of a "
            "generator that rearranges pixels first, which is not supported"
        )
    given = {name: tuple(value.shape) for name, value in found.state_dict().items()}
    for name, value in generator.state_dict().items():
        if given[name] != tuple(value.shape):
            raise UserError(f"{file}: {name} must have the shape {tuple(value.shape)}; got {given[name]}")
