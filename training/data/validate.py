"""Dataset checks before a training run: contents, errors and warnings."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from serving.errors import UserError
from serving.imaging.files import image_files
from serving.system.progress import progress
from training.data.dataset import Dataset, open_data, read
from training.data.domains import domain_folders
from training.data.image_folder import find_folder, read_abreast, split
from zoo.entry import DataKind

FILES: dict[str, tuple[DataKind, int, int]] = {
    "folder": ("examples", 1, 64),
    "unpaired": ("domains", 1, 256),
    "paired": ("pairs", 2, 256),
}
"""Datasets of files: kind, number of images in a file, and default image size of the entries."""

VECTORS = {"gaussian2d": 2, "ring8": 2, "grid25": 2, "mixture16": 16}
"""Datasets of vectors, with the size of a vector."""

BATCH, UNEQUAL = 64, 4
"""Thresholds of the warnings: fewest examples, and largest ratio of the sizes of two domains."""

MOST_LISTED = 10


class BadData(UserError):
    """Error for a dataset with unusable files."""

    exit_status = 1


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Contents of a dataset. A count of None means that the examples have no end."""

    data: str
    kind: DataKind
    examples: Mapping[str, int | None]
    """Number of examples, by folder or in total."""

    held_out: Mapping[str, int | None]
    classes: Mapping[str, int | None]
    sizes: Mapping[str, int]
    """Number of image files of each size, width x height, the most frequent first."""

    modes: Mapping[str, int]
    """Number of image files of each Pillow mode."""

    bad: list[str]
    """Error messages of the unusable files."""

    warnings: list[str]

    def must_be_usable(self) -> None:
        """Check that a run can use the dataset.

        Raises:
            BadData: at least one file or folder can't be used.
        """
        if self.bad:
            raise BadData(
                f"{self.data} has unusable files or folders ({len(self.bad)}); repair or remove them"
            )


class Look:
    """Sizes, modes and errors of image files."""

    def __init__(self, abreast: int) -> None:
        self.abreast = abreast
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.modes: Counter[str] = Counter()
        self.bad: list[str] = []

    def through(self, folder: Path) -> int:
        """Read every image below a folder and return the number of usable images."""
        before = self.sizes.total()
        try:
            files = image_files(folder)
        except UserError as error:
            self.bad.append(str(error))
            return 0
        with progress(len(files), f"reading {folder}", "images") as advance:
            for file in files:
                try:
                    self._at(file)
                except (UserError, OSError) as error:
                    self.bad.append(str(error))
                advance()
        return self.sizes.total() - before

    def _at(self, file: Path) -> None:
        _, height, width, _ = read_abreast(file, 3, self.abreast).shape
        with Image.open(file) as image:
            self.modes[image.mode] += 1
        self.sizes[width, height] += 1


def validate(spec: str, image_size: int | None = None) -> Findings:
    """Check a dataset, including its held-out data.

    Args:
        spec: the dataset, as for a run.
        image_size: height and width of the training images, in pixels.

    Raises:
        UserError: the dataset does not exist.
        OSError: the data can't be read.
    """
    source, _, argument = spec.partition(":")
    if source in FILES:
        return _of_files(source, argument, image_size)
    shape = (VECTORS[source],) if source in VECTORS else (3, 32, 32)
    return _of_data(open_data(spec, shape, 0))


def _of_files(source: str, path: str, image_size: int | None) -> Findings:
    kind, abreast, usual = FILES[source]
    root, look = find_folder(source, path), Look(abreast)
    examples, held_out = (
        {folder.name or folder.resolve().name: look.through(folder) for folder in folders}
        for folders in (domain_folders(root) if source == "unpaired" else split(source, root))
    )
    return Findings(
        data=f"{source}:{root.resolve().name}",
        kind=kind,
        examples=examples,
        held_out=held_out,
        classes={},
        sizes={f"{width}x{height}": count for (width, height), count in look.sizes.most_common()},
        modes=dict(look.modes.most_common()),
        bad=look.bad,
        warnings=[*_few(examples), *_unlike(look, image_size or usual)],
    )


def _of_data(data: Dataset) -> Findings:
    held_out, count = data.held_out(), _count(data)
    return Findings(
        data=data.name,
        kind=data.kind,
        examples={"all": count},
        held_out={} if held_out is None else {"others": _count(held_out)},
        classes=_classes(data),
        sizes={},
        modes={},
        bad=[],
        warnings=[] if count is None else list(_few({"all": count})),
    )


def _count(data: Dataset) -> int | None:
    return int(data.size) if math.isfinite(data.size) else None


def _classes(data: Dataset) -> dict[str, int | None]:
    """Count the examples of each class."""
    count = _count(data)
    if not data.labels or count is None:
        return dict.fromkeys(data.labels)
    labels = torch.cat([batch["label"] for batch in read(data, count)])
    return dict(zip(data.labels, torch.bincount(labels, minlength=len(data.labels)).tolist(), strict=True))


def _few(examples: dict[str, int]) -> Iterator[str]:
    """Yield warnings about too few examples and about domains of unequal size."""
    for name, count in examples.items():
        if 0 < count < BATCH:
            yield f"{name}: fewer examples than a batch of {BATCH}, which repeats them; got {count}"
    least, most = min(examples, key=examples.__getitem__), max(examples, key=examples.__getitem__)
    if examples[most] > UNEQUAL * examples[least] > 0:
        ratio = examples[most] / examples[least]
        yield f"{most} is {ratio:.1f} times as large as {least}; images of {least} are repeated more often"


def _unlike(look: Look, image_size: int) -> Iterator[str]:
    """Yield warnings about small images and about differing sizes and modes."""
    if small := [size for size in look.sizes.elements() if min(size) < image_size]:
        width, height = min(small, key=min)
        yield (
            f"{len(small)} of {look.sizes.total()} images are smaller than {image_size}x{image_size} and "
            f"will be upscaled; the smallest is {width}x{height}"
        )
    if len(look.sizes) > 1:
        yield f"the images have {len(look.sizes)} sizes; each is cropped at the centre and resized"
    if len(look.modes) > 1:
        yield f"the images have {len(look.modes)} modes; each is converted to grey or RGB, on white"


def table(findings: Findings) -> str:
    """Format findings as lines of text."""
    rows = [("data", f"{findings.data}, {findings.kind}")]
    rows += [(name, _number(count)) for name, count in findings.examples.items()]
    rows += [(name, f"{_number(count)}, held out") for name, count in findings.held_out.items()]
    counted = {"classes": findings.classes, "sizes": findings.sizes, "modes": findings.modes}
    rows += [(name, _list(counts)) for name, counts in counted.items() if counts]
    rows += [("error", each) for each in findings.bad]
    rows += [("warning", each) for each in findings.warnings]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {said}" for name, said in rows)


def _number(count: int | None) -> str:
    return "unlimited" if count is None else str(count)


def _list(counts: Mapping[str, int | None]) -> str:
    """Format the first `MOST_LISTED` names with their counts."""
    named = [name if count is None else f"{name} ({count})" for name, count in counts.items()]
    more = len(named) - MOST_LISTED
    return ", ".join(named[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
