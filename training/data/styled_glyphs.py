"""Glyphs and restyled glyphs, for translation with a known ground truth.

The style is a fixed, invertible transform. It turns light characters on black into dark characters on paper.
The range of each colour channel is inverted and narrowed. Stripes are added. Every row is shifted, so that
the character is slanted. Only rounding loses information. A model is not given the transform. The stripes and
the shift depend on the position in the full image, so an entry that crops or mirrors its images (`--resize`,
`--flip`) can't learn them.
"""

import torch
from torch import Tensor

from serving.errors import UserError
from training.data.dataset import Dataset
from training.data.glyphs import CHARACTERS, Glyphs, glyphs
from zoo.entry import Batch, DataKind, DomainShapes, SampleShape

PAPER, INK = (0.95, 0.85, 0.70), (0.15, 0.10, 0.40)
"""RGB values, from 0 to 1, that replace black (PAPER) and white (INK)."""

STRIPES, PERIOD = 0.1, 8
LEAN = 0.25
"""Shift of a row relative to the row below it, in columns."""


class StyledGlyphs(Dataset):
    """Glyphs in `a` and restyled glyphs in `b`. For pairs, `b` is `a` restyled."""

    features = "classifier"

    def __init__(self, a: Glyphs, b: Glyphs, name: str, kind: DataKind) -> None:
        self.a, self.b, self.name, self.kind = a, b, name, kind
        self.licence = a.licence

    def batch(self, step: int, size: int) -> Batch:
        """Generate `size` examples of each domain in [-1, 1]: `a`, (N, C, H, W), and `b`, (N, 3, H, W)."""
        a = self.a.batch(step, size)["real"]
        return {"a": a, "b": restyle(a if self.kind == "pairs" else self.b.batch(step, size)["real"])}

    def held_out(self) -> "StyledGlyphs":
        """Return pairs from another random stream. They contain the ground truth of every translation."""
        held_out = self.a.held_out()
        return StyledGlyphs(held_out, held_out, f"{self.name}/held-out", "pairs")


def glyphs_style(argument: str, sample_shape: SampleShape, seed: int) -> StyledGlyphs:
    """Open an unpaired dataset of the characters in the argument, plain and restyled.

    The default is the ten digits.
    """
    return _styled_glyphs("glyphs-style", argument, sample_shape, seed, "domains")


def glyphs_pairs(argument: str, sample_shape: SampleShape, seed: int) -> StyledGlyphs:
    """Open a paired dataset of the characters in the argument, plain and restyled.

    The default is the ten digits.
    """
    return _styled_glyphs("glyphs-pairs", argument, sample_shape, seed, "pairs")


def _styled_glyphs(
    source: str, argument: str, sample_shape: SampleShape, seed: int, kind: DataKind
) -> StyledGlyphs:
    shapes = DomainShapes.of(sample_shape)
    if shapes.b[:-2] != (3,):
        raise UserError(f"{source} needs an entry for colour images in domain b, (3, H, W); got {shapes.b}")
    a = glyphs(argument, shapes.a, seed)
    b = Glyphs(argument or CHARACTERS, a.shape, seed, stream=(2,))
    return StyledGlyphs(a, b, f"{source}:{argument}" if argument else source, kind)


def restyle(images: Tensor) -> Tensor:
    """Apply the style to grey images (N, 1 or 3, H, W) in [-1, 1]: (N, 3, H, W), quantised to 8 bits."""
    images = images.expand(-1, 3, -1, -1)
    return _levels(_lean(images * _contrast(images) + _ground(images), 1))


def plain(images: Tensor) -> Tensor:
    """Invert the style."""
    return _levels((_lean(images, -1) - _ground(images)) / _contrast(images))


def _contrast(images: Tensor) -> Tensor:
    """Return the factor of each colour channel, (1, 3, 1, 1). It is negative, so it inverts the range."""
    paper, ink = images.new_tensor(PAPER), images.new_tensor(INK)
    return (ink - paper).reshape(1, 3, 1, 1)


def _ground(images: Tensor) -> Tensor:
    """Return the additive part of the style, (1, 3, H, W): the colour of mid-grey and diagonal stripes."""
    height, width = images.shape[2:]
    paper, ink = images.new_tensor(PAPER), images.new_tensor(INK)
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    stripes = torch.where((columns - rows) % PERIOD < PERIOD // 2, -STRIPES, 0.0)
    return (paper + ink - 1).reshape(1, 3, 1, 1) + stripes


def _lean(images: Tensor, direction: int) -> Tensor:
    """Shift every row by whole columns, with wrap-around at the edge.

    In direction 1, the upper rows move to the right.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[:, None]
    shift = torch.floor((height / 2 - rows) * LEAN).long() * direction
    places = (torch.arange(width, device=images.device) - shift) % width
    return images.gather(3, places.expand(images.shape))


def _levels(images: Tensor) -> Tensor:
    return images.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)
