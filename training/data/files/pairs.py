"""Pairs of images: in two folders by their names, or side by side in one file."""

import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import Base
from torch import Tensor

from serving.arrays import Pixels
from serving.errors import UserError
from serving.imaging.files import FOLDER_FORMATS
from training.data.files.image_folder import ImageFiles
from training.data.files.image_source import ImageSource
from training.data.files.splits import Part
from training.data.transforms import AS_USUAL, Conversion, image_shape
from zoo.entry import DomainShapes

EXAMINED = 1000
"""Maximum number of pairs whose shapes are examined before a training, evenly chosen."""

TWICE = (1.8, 2.2)
"""Usual ratio of the width to the height of a file with a pair, whose images are nearly square."""

WIDEST_SINGLE, MOST_SINGLES = 1.1, 0.9
"""A file that is no wider, relative to its height, is probably a single image. If so many are, a training is
refused."""

SAME = 0.02
"""Maximum relative difference of the two aspect ratios of a pair."""


class PairNames(NamedTuple):
    """Names of the files of pairs."""

    files: list[tuple[str, str]]
    """Names of the images in a and in b; the same name twice for a file with both images side by side."""

    alone: list[str]
    """Names of the images without a partner, which are left out."""


def pairs_of(source: ImageSource, parts: Sequence[Part]) -> PairNames:
    """Return the pairs of one part, side by side in each file, or of the two domains' parts, by their names.

    Case and suffix of the names do not matter. They may end in their domain, such as `1_A` and `1_B`.

    Raises:
        UserError: there is no pair, or two images of a domain have the same name.
    """
    if len(parts) < 2:
        return PairNames([(image, image) for part in parts for image in part.images], [])
    first, second = parts
    a, b = _by_name(source, first), _by_name(source, second)
    found = {key: (a[key], b[key]) for key in a if key in b}
    rest_a, rest_b = (
        {re.sub(rf"[ _-]{domain}$", "", key): name for key, name in names.items() if key not in found}
        for domain, names in (("a", a), ("b", b))
    )
    found |= {key: (rest_a[key], rest_b[key]) for key in rest_a if key in rest_b and key not in found}
    if not found:
        raise UserError(
            f"{source.place} must have images of equal names in {first.root} and {second.root}; got "
            f"{first.images[0]} and {second.images[0]}; rename the images, or use unpaired:PATH"
        )
    paired = {name for pair in found.values() for name in pair}
    return PairNames(
        list(found.values()), [name for name in (*first.images, *second.images) if name not in paired]
    )


def _by_name(source: ImageSource, part: Part) -> dict[str, str]:
    """Return the images of a part by their names below its folder, without suffix and case."""
    names: dict[str, str] = {}
    for image in part.images:
        if (key := _key(image, part)) in names:
            raise UserError(
                f"{source.place} must have one image of a name in {part.root}; got {names[key]} and {image}; "
                "rename one of them"
            )
        names[key] = image
    return names


def are_namesakes(first: Part, second: Part) -> bool:
    """Return whether every image of each part has one of the same name in the other part."""
    keys, others = ([_key(image, part) for image in part.images] for part in (first, second))
    return len(keys) == len(others) == len({*keys}) and {*keys} == {*others}


def _key(image: str, part: Part) -> str:
    key = PurePosixPath(image.removeprefix(part.root)).with_suffix("").as_posix()
    return unicodedata.normalize("NFC", key).casefold()


def doubts(source: ImageSource, pairs: PairNames) -> list[str]:
    """Return warnings about images without a partner, and about shapes that pairs rarely have.

    Raises:
        UserError: nearly all files are single images, and no pairs.
    """
    warnings = []
    if pairs.alone:
        warnings.append(
            f"{len(pairs.alone)} images have no partner of the same name and are left out, such as "
            f"{', '.join(pairs.alone[:3])}"
        )
    some = pairs.files[:: max(1, -(-len(pairs.files) // EXAMINED))]
    seen = [(pair, _ratio(source, pair[0]), _ratio(source, pair[1])) for pair in some if pair[0] != pair[1]]
    unlike = [pair for pair, a, b in seen if a and b and abs(a / b - 1) > SAME]
    if unlike:
        warnings.append(
            f"the images of {len(unlike)} of {len(some)} pairs differ in shape, and may be cropped "
            f"differently, such as {' and '.join(unlike[0])}"
        )
    ratios = {pair[0]: _ratio(source, pair[0]) for pair in some if pair[0] == pair[1]}
    return warnings + _doubts_of_halves(source, {name: ratio for name, ratio in ratios.items() if ratio})


def _doubts_of_halves(source: ImageSource, ratios: dict[str, float]) -> list[str]:
    """Return warnings about files with a pair side by side, given their ratios of width to height.

    Raises:
        UserError: nearly all of them are single images.
    """
    odd = [name for name, ratio in ratios.items() if not TWICE[0] <= ratio <= TWICE[1]]
    singles = [name for name in odd if ratios[name] <= WIDEST_SINGLE]
    if singles and len(singles) >= MOST_SINGLES * len(ratios):
        raise UserError(
            f"a file with a pair side by side must be about twice as wide as high; {len(singles)} of "
            f"{len(ratios)} files are not wider than high, such as {source.path(singles[0])}; put the images "
            "of the two domains into the folders A and B, with equal names, or use unpaired:PATH"
        )
    if not odd:
        return []
    return [
        f"{len(odd)} of {len(ratios)} files are not twice as wide as high, such as {odd[0]}; each is halved "
        "into a pair"
    ]


def _ratio(source: ImageSource, name: str) -> float | None:
    """Return the width of an image relative to its height; None if its header can't be read."""
    try:
        with Image.open(io.BytesIO(source.read(name)), formats=FOLDER_FORMATS) as image:
            width, height = image.size
            turned = image.getexif().get(Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception:  # a damaged file is named when it is decoded
        return None
    return height / width if turned else width / height


def halves(pixels: Pixels, path: Path) -> tuple[Pixels, Pixels]:
    """Return the left and the right half of an image (H, W, C).

    Raises:
        UserError: the width is odd.
    """
    if pixels.shape[1] % 2:
        raise UserError(f"{path}: the width must be a multiple of 2; got {pixels.shape[1]} pixels")
    left, right = np.split(pixels, 2, 1)
    return left, right


class PairFiles(ImageFiles):
    """Pairs of images, read on request: uint8 (C_a + C_b, H, W)."""

    def __init__(
        self,
        source: ImageSource,
        pairs: PairNames,
        shapes: DomainShapes,
        conversion: Conversion = AS_USUAL,
    ) -> None:
        self.a, self.b = image_shape(shapes.a), image_shape(shapes.b)
        both = (self.a[0] + self.b[0], *self.a[1:])
        super().__init__(source, [a for a, _ in pairs.files], both, conversion)
        self.partners = [b for _, b in pairs.files]

    def read(self, place: int) -> Tensor:
        """Read one pair: uint8 (C_a + C_b, H, W)."""
        name, partner = self.images[place], self.partners[place]
        if name == partner:
            a, b = halves(self.decode(name, max(self.a[0], self.b[0])), self.source.path(name))
        else:
            a, b = self.decode(name, self.a[0]), self.decode(partner, self.b[0])
        return torch.cat([self.fitted(a, self.a), self.fitted(b, self.b)])
