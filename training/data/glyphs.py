"""Glyphs, the default dataset: labelled images of characters in Pillow's built-in font.

Each character is rendered once, at a high resolution and in several stroke weights. An example is a rendered
character with random weight, shear, rotation, scale, translation and noise, resized to the image size. The
dataset needs no download and has no end.
"""

from functools import lru_cache

import torch
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor
from torch.nn import functional as F

from serving.errors import UserError
from training.data.dataset import Dataset, generator
from training.data.transforms import image_shape, normalise
from zoo.entry import Batch

CHARACTERS = "0123456789"
STROKES = (0, 1, 3, 4, 6)
CANVAS, FONT_SIZE = 96, 84


def glyphs(argument: str, sample_shape: tuple[int, ...], seed: int) -> "Glyphs":
    """Open a dataset of the characters in the argument, light on dark. The default is the ten digits.

    Raises:
        UserError: a character is repeated, or the font has no glyph for it.
    """
    characters = argument or CHARACTERS
    if len(set(characters)) != len(characters):
        raise UserError(f"the characters of glyphs must be distinct; got {characters!r}")
    return Glyphs(characters, image_shape(sample_shape), seed)


class Glyphs(Dataset):
    """Labelled images of characters, generated without end from the seed and the step."""

    licence, features = "CC0-1.0", "classifier"

    def __init__(
        self, characters: str, shape: tuple[int, int, int], seed: int, stream: tuple[int, ...] = ()
    ) -> None:
        self.stream = stream
        self.name = "glyphs" if characters == CHARACTERS else f"glyphs:{characters}"
        self.labels, self.shape, self.seed = tuple(characters), shape, seed
        self.masters = torch.stack([_master(character) for character in characters])
        for character, master in zip(characters, self.masters, strict=True):
            if master.max() < 0.9 or torch.equal(master, _missing()):
                raise UserError(f"the characters of glyphs must be in Pillow's font; got {character!r}")

    def held_out(self) -> "Glyphs":
        """Return the same characters from another random stream."""
        return Glyphs("".join(self.labels), self.shape, self.seed, stream=(1,))

    def batch(self, step: int, size: int) -> Batch:
        """Generate `size` examples: `real` (N, C, H, W) in [-1, 1] and `label` (N,)."""
        draws = generator(self.seed, step, *self.stream)
        label = torch.randint(len(self.labels), (size,), generator=draws)
        images = self._draw(label, draws)
        return {"real": normalise(images), "label": label}

    def _draw(self, label: Tensor, draws: torch.Generator) -> Tensor:
        size = len(label)
        channels, height, width = self.shape
        weight, slant, turn, scale, right, down = torch.rand(6, size, generator=draws)

        # Interpolate between the two nearest rendered weights.
        place = weight * (len(STROKES) - 1)
        lighter = place.long().clamp(max=len(STROKES) - 2)
        blend = (place - lighter)[:, None, None]
        glyph = torch.lerp(self.masters[label, lighter], self.masters[label, lighter + 1], blend)

        # Affine matrices that map output coordinates to master coordinates, both in [-1, 1].
        slant, turn, scale = 0.7 * slant - 0.35, 0.3 * turn - 0.15, 1 / (0.8 + 0.3 * scale)
        cos, sin, zero = turn.cos() * scale, turn.sin() * scale, torch.zeros(size)
        fit_height, fit_width = height / min(height, width), width / min(height, width)
        maps = torch.stack(
            [
                torch.stack([(cos + slant * sin) * fit_width, (slant * cos - sin) * fit_height, zero], 1),
                torch.stack([sin * fit_width, cos * fit_height, zero], 1),
            ],
            dim=1,
        )
        maps[:, 0, 2], maps[:, 1, 2] = 0.3 * right - 0.15, 0.3 * down - 0.15

        # Sample at twice the size, then average 2x2 pixels. This antialiases the edges.
        grid = F.affine_grid(maps, [size, 1, 2 * height, 2 * width], align_corners=False)
        image = F.avg_pool2d(F.grid_sample(glyph[:, None], grid, align_corners=False), 2)
        image = image + 0.03 * torch.randn(image.shape, generator=draws)
        return (image * 255).round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1)


def _master(character: str) -> Tensor:
    """Render a centred character in every weight: float32 (weights, CANVAS, CANVAS) in [0, 1]."""
    if not features.check("freetype2"):
        raise UserError("glyphs needs Pillow with FreeType; install Pillow from PyPI")
    font = ImageFont.load_default(FONT_SIZE)
    pictures = []
    for stroke in STROKES:
        picture = Image.new("L", (CANVAS, CANVAS))
        left, top, right, bottom = font.getbbox(character, stroke_width=stroke)
        corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
        ImageDraw.Draw(picture).text(corner, character, fill=255, font=font, stroke_width=stroke)
        pictures.append(torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8))
    return torch.stack(pictures).reshape(-1, CANVAS, CANVAS).float() / 255


@lru_cache
def _missing() -> Tensor:
    """Render the placeholder that the font draws for a missing character."""
    return _master("\U0010ffff")
