"""Dataset checks before a training run: contents, errors and warnings."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from serving.errors import UserError
from serving.imaging.files import decode_file
from serving.imaging.values import ValueRange
from serving.system.progress import progress
from training.data.dataset import OF_FILES, Dataset, open_data, read
from training.data.files.classes import classes_of
from training.data.files.domains import parts_of
from training.data.files.image_folder import find_place
from training.data.files.image_source import ImageSource, open_source
from training.data.files.pairs import doubts, halves, pairs_of
from training.data.files.splits import Part
from training.data.files.survey import Survey, look
from training.data.transforms import Fit
from zoo.entry import DataKind

USUAL_SIZES: dict[DataKind, int] = {"examples": 64, "domains": 256, "pairs": 256}
"""Default image size of the entries that learn from data of a kind."""

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


class Look:
    """Survey, classes and errors of the image files of a source."""

    def __init__(self, source: ImageSource) -> None:
        self.source, self.survey = source, Survey()
        self.classes: dict[str, int | None] = {}
        self.bad: list[str] = []
        self.warnings: list[str] = []

    def counts(self, parts: Sequence[Part], abreast: int) -> dict[str, int]:
        """Read every image of some parts, and return the numbers of usable images, by folder."""
        place = self.source.place.resolve().name
        return {part.root.rstrip("/") or place: self._through(part, abreast) for part in parts}

    def look_at_classes(self, part: Part) -> None:
        """Count the images of each class."""
        with self._noted():
            if classes := classes_of(self.source, part):
                self.classes = dict(zip(classes.names, classes.counts(), strict=True))

    def look_at_pairs(self, parts: Sequence[Part]) -> None:
        """Note what is doubtful about pairs."""
        with self._noted():
            self.warnings += doubts(self.source, pairs_of(self.source, parts))

    def values(self, asked: ValueRange | Literal["percentile"] | None, name: str) -> str | None:
        """Return a text about the mapping of the values; None without a value range."""
        with self._noted():
            if found := self.survey.value_range(asked, name):
                return self.survey.clipped(found)
        return None

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note an error among the bad files, in place of raising it."""
        try:
            yield
        except (UserError, OSError) as error:
            self.bad.append(str(error))

    def _through(self, part: Part, abreast: int) -> int:
        """Read the images of a part and return the number of usable ones."""
        before = self.survey.sizes.total()
        with progress(len(part.images), f"reading {self.source.path(part.root)}", "images") as advance:
            for name in part.images:
                with self._noted():
                    self._at(name, abreast)
                advance()
        return self.survey.sizes.total() - before

    def _at(self, name: str, abreast: int) -> None:
        path = self.source.path(name)
        pixels = decode_file(self.source.read(name), 3, path, ANY_RANGE)
        if abreast == 2:
            halves(pixels, path)
        self.survey.add(look(self.source, name, abreast))


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
    if source in OF_FILES:
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
    kind = OF_FILES[source]
    place = find_place(source, path)
    look, name = Look(open_source(place)), f"{source}:{place.resolve().name}"
    parts = parts_of(kind, look.source)
    if kind == "examples":
        look.look_at_classes(*parts.train)
    for pairs in (parts.train, parts.held_out) if kind == "pairs" else ():
        look.look_at_pairs(pairs)
    examples, held_out = (look.counts(some, parts.abreast) for some in (parts.train, parts.held_out))
    values = look.values(value_range, name)
    size = image_size or USUAL_SIZES[kind]
    return Findings(
        data=name,
        kind=kind,
        examples=examples,
        held_out=held_out,
        classes=look.classes,
        sizes={f"{width}x{height}": count for (width, height), count in look.survey.sizes.most_common()},
        modes=dict(look.survey.modes.most_common()),
        values=values,
        skipped=dict(look.source.skipped.most_common()),
        bad=look.bad,
        warnings=[*look.warnings, *_few(examples), *_unlike(look.survey, size, fit)],
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
