"""Glyphs and the same restyled by a fixed change that can be undone: translation whose truth is known.

A style turns light characters on black into dark ones on paper: each colour's range is turned round and
narrowed, stripes are laid over, and every row is shifted, so that the character leans. Nothing is lost but
rounding, so whoever knows the change can undo it; a run is not told. Stripes and lean have their place in the
whole image: an entry that crops or mirrors its images (`--resize`, `--flip`) can't find them.
"""

import torch
from torch import Tensor

from serving.errors import UserError
from training.data.dataset import Dataset
from training.data.glyphs import CHARACTERS, Glyphs, glyphs
from zoo.entry import Batch, DataKind

PAPER, INK = (0.95, 0.85, 0.70), (0.15, 0.10, 0.40)
"""Red, green and blue of what was black and of what was white."""

STRIPES, PERIOD = 0.1, 8
LEAN = 0.25
"""Columns that a row is shifted against the one below it."""


class StyledGlyphs(Dataset):
    """Glyphs under `a`, restyled glyphs under `b`; in pairs, the restyled ones are the same glyphs."""

    def __init__(self, a: Glyphs, b: Glyphs, name: str, kind: DataKind) -> None:
        self.a, self.b, self.name, self.kind = a, b, name, kind
        self.licence = a.licence

    def batch(self, step: int, size: int) -> Batch:
        """Draw `size` examples of either domain: `a` and `b`, (N, 3, H, W) in [-1, 1]."""
        a = self.a.batch(step, size)["real"]
        return {"a": a, "b": restyle(a if self.kind == "pairs" else self.b.batch(step, size)["real"])}

    def held_out(self) -> "StyledGlyphs":
        """Draw from another stream, in pairs: the truth of every translation."""
        held_out = self.a.held_out()
        return StyledGlyphs(held_out, held_out, f"{self.name}/held-out", "pairs")


def glyphs_style(argument: str, sample_shape: tuple[int, ...], seed: int) -> StyledGlyphs:
    """Draw the characters of the argument, by default the ten digits, and others of the same in the style."""
    return _styled_glyphs("glyphs-style", argument, sample_shape, seed, "domains")


def glyphs_pairs(argument: str, sample_shape: tuple[int, ...], seed: int) -> StyledGlyphs:
    """Draw the characters of the argument, by default the ten digits, each plain and in the style."""
    return _styled_glyphs("glyphs-pairs", argument, sample_shape, seed, "pairs")


def _styled_glyphs(
    source: str, argument: str, sample_shape: tuple[int, ...], seed: int, kind: DataKind
) -> StyledGlyphs:
    if sample_shape[:-2] != (3,):
        raise UserError(f"{source} are colour images; the entry wants {sample_shape}")
    a = glyphs(argument, sample_shape, seed)
    b = Glyphs(argument or CHARACTERS, a.shape, seed, stream=(2,))
    return StyledGlyphs(a, b, f"{source}:{argument}" if argument else source, kind)


def restyle(images: Tensor) -> Tensor:
    """Bring images (N, 3, H, W) in [-1, 1] into the style; the levels are those of 8 bits, as in a file."""
    return _levels(_lean(images * _contrast(images) + _ground(images), 1))


def plain(images: Tensor) -> Tensor:
    """Undo the style."""
    return _levels((_lean(images, -1) - _ground(images)) / _contrast(images))


def _contrast(images: Tensor) -> Tensor:
    """Give the factor on every colour, which turns its range round: (1, 3, 1, 1)."""
    paper, ink = images.new_tensor(PAPER), images.new_tensor(INK)
    return (ink - paper).reshape(1, 3, 1, 1)


def _ground(images: Tensor) -> Tensor:
    """Give what is added: mid-grey's colour and stripes that fall to the right, (1, 3, H, W)."""
    height, width = images.shape[2:]
    paper, ink = images.new_tensor(PAPER), images.new_tensor(INK)
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    stripes = torch.where((columns - rows) % PERIOD < PERIOD // 2, -STRIPES, 0.0)
    return (paper + ink - 1).reshape(1, 3, 1, 1) + stripes


def _lean(images: Tensor, direction: int) -> Tensor:
    """Shift every row by whole columns, round the edge: upper ones to the right, in the direction 1."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[:, None]
    shift = torch.floor((height / 2 - rows) * LEAN).long() * direction
    places = (torch.arange(width, device=images.device) - shift) % width
    return images.gather(3, places.expand(images.shape))


def _levels(images: Tensor) -> Tensor:
    return images.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)
