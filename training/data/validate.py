"""Dataset checks before a training run: contents, errors and warnings."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from serving.errors import UserError
from serving.imaging.values import ValueRange
from serving.system.progress import progress
from training.data.classes import classes_of
from training.data.dataset import Dataset, open_data, read
from training.data.domains import domain_folders
from training.data.image_folder import decode_abreast, find_place
from training.data.image_source import Folder, ImageSource, open_source
from training.data.splits import Part, split
from training.data.survey import ABREAST, Survey, look
from training.data.transforms import Fit
from zoo.entry import DataKind

FILES: dict[str, tuple[DataKind, int]] = {
    "folder": ("examples", 64),
    "unpaired": ("domains", 256),
    "paired": ("pairs", 256),
}
"""Datasets of files: kind, and default image size of the entries."""

ANY_RANGE = (0.0, 1.0)
"""A value range to decode with; the values themselves are checked together, not file by file."""

FITTED = {"crop": "cropped at the centre", "pad": "padded with black", "squash": "squashed"}
"""What is done to images of another aspect ratio, by the way to fit them."""

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

    values: str | None
    """The values of the images with more than 8 bits that become 0 and 255, if a value range is set."""

    skipped: Mapping[str, int]
    """Number of the files that are no images, by suffix."""

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


Open = Callable[[Path], ImageSource]


class Look:
    """Survey, classes and errors of image files."""

    def __init__(self, abreast: int) -> None:
        self.abreast, self.survey = abreast, Survey()
        self.skipped: Counter[str] = Counter()
        self.classes: dict[str, int | None] = {}
        self.bad: list[str] = []

    def split(self, open_: Open, place: Path) -> tuple[dict[str, int], dict[str, int]]:
        """Read every image of a place, and return the numbers of usable images, by part.

        Returns:
            The numbers of the part to train on, and of the part that is held out.
        """
        source = self._open(open_, place)
        if source is None:
            return {place.resolve().name: 0}, {}
        train, held_out = split(source.images)
        try:
            if classes := classes_of(source, train):
                self.classes = dict(zip(classes.names, classes.counts(), strict=True))
        except UserError as error:
            self.bad.append(str(error))
        counts = {train.name or place.resolve().name: self._through(source, train)}
        return counts, {held_out.name: self._through(source, held_out)} if held_out else {}

    def all(self, folder: Path) -> int:
        """Read every image below a folder and return the number of usable images."""
        source = self._open(Folder, folder)
        return 0 if source is None else self._through(source, Part("", source.images))

    def _open(self, open_: Open, place: Path) -> ImageSource | None:
        """Open a source, or note why it has no images."""
        try:
            source = open_(place)
        except UserError as error:
            self.bad.append(str(error))
            return None
        self.skipped += source.skipped
        return source

    def _through(self, source: ImageSource, part: Part) -> int:
        """Read the images of a part and return the number of usable ones."""
        before = self.survey.sizes.total()
        with progress(len(part.images), f"reading {source.path(part.root)}", "images") as advance:
            for name in part.images:
                try:
                    self._at(source, name)
                except (UserError, OSError) as error:
                    self.bad.append(str(error))
                advance()
        return self.survey.sizes.total() - before

    def _at(self, source: ImageSource, name: str) -> None:
        data = source.read(name)
        decode_abreast(data, source.path(name), 3, self.abreast, ANY_RANGE)
        self.survey.add(look(source, name, self.abreast))


def validate(
    spec: str,
    image_size: int | None = None,
    fit: Fit = "crop",
    value_range: ValueRange | Literal["percentile"] | None = None,
) -> Findings:
    """Check a dataset, including its held-out data.

    Args:
        spec: the dataset, as for a run.
        image_size: height and width of the training images, in pixels.
        fit: how images of another aspect ratio are fitted.
        value_range: the value range of images with more than 8 bits, or how it is found.

    Raises:
        UserError: the dataset does not exist.
        OSError: the data can't be read.
    """
    source, _, argument = spec.partition(":")
    if source in FILES:
        return _of_files(source, argument, image_size, fit, value_range)
    shape = (VECTORS[source],) if source in VECTORS else (3, 32, 32)
    return _of_data(open_data(spec, shape, 0))


def _of_files(
    source: str,
    path: str,
    image_size: int | None,
    fit: Fit,
    value_range: ValueRange | Literal["percentile"] | None,
) -> Findings:
    kind, usual = FILES[source]
    look, examples, held_out = Look(ABREAST[source]), dict[str, int](), dict[str, int]()
    root = find_place(source, path, archives=source == "folder")
    if source == "unpaired":
        for folders, counts in zip(domain_folders(root), (examples, held_out), strict=True):
            counts |= {folder.name: look.all(folder) for folder in folders}
    else:
        examples, held_out = look.split(open_source if source == "folder" else Folder, root)
    survey, name = look.survey, f"{source}:{root.resolve().name}"
    values = None
    try:
        if found := survey.value_range(value_range, name):
            values = survey.clipped(found)
    except UserError as error:
        look.bad.append(str(error))
    return Findings(
        data=name,
        kind=kind,
        examples=examples,
        held_out=held_out,
        classes=look.classes,
        sizes={f"{width}x{height}": count for (width, height), count in survey.sizes.most_common()},
        modes=dict(survey.modes.most_common()),
        values=values,
        skipped=dict(look.skipped.most_common()),
        bad=look.bad,
        warnings=[*_few(examples), *_unlike(survey, image_size or usual, fit)],
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
        values=None,
        skipped={},
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


def _unlike(survey: Survey, image_size: int, fit: Fit) -> Iterator[str]:
    """Yield warnings about small images and about differing sizes and modes."""
    if small := [size for size in survey.sizes.elements() if min(size) < image_size]:
        width, height = min(small, key=min)
        yield (
            f"{len(small)} of {survey.sizes.total()} images are smaller than {image_size}x{image_size} and "
            f"will be upscaled; the smallest is {width}x{height}"
        )
    if len(survey.sizes) > 1:
        yield f"the images have {len(survey.sizes)} sizes; each is {FITTED[fit]} and resized"
    if fit == "crop":
        yield from survey.lost(image_size, image_size)
    if len(survey.modes) > 1:
        yield f"the images have {len(survey.modes)} modes; each is converted to grey or RGB, on white"


def table(findings: Findings) -> str:
    """Format findings as lines of text."""
    rows = [("data", f"{findings.data}, {findings.kind}")]
    rows += [(name, _number(count)) for name, count in findings.examples.items()]
    rows += [(name, f"{_number(count)}, held out") for name, count in findings.held_out.items()]
    counted = {name: getattr(findings, name) for name in ("classes", "sizes", "modes", "skipped")}
    rows += [(name, _list(counts)) for name, counts in counted.items() if counts]
    rows += [("values", findings.values)] if findings.values else []
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
