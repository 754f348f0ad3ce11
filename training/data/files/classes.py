"""Classes of image files: of a list beside them, or of the subfolders that they are in."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from serving.errors import UserError
from training.data.files.image_source import ImageSource
from training.data.files.splits import Part

JSON_LIST, CSV_LIST = "dataset.json", "labels.csv"
"""Files with the classes of all images: as StyleGAN's dataset tool writes it, and as `file,label` lines."""

HEAD = ["file", "label"]


class Classes(NamedTuple):
    """Names of the classes, and the class of each image by the image's name."""

    names: tuple[str, ...]
    of: Mapping[str, int]

    def counts(self) -> list[int]:
        """Return the number of images of each class."""
        found = Counter(self.of.values())
        return [found[number] for number in range(len(self.names))]


def natural(text: str) -> list[Any]:
    """Return a key for sorting names as people do: 2 before 10, and without regard to case."""
    parts = re.split(r"(\d+)", text.casefold())
    return [*((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part), text]


def classes_of(source: ImageSource, part: Part, names: Sequence[str] = ()) -> Classes | None:
    """Return the classes of a part's images; None if they have none.

    They are those of a list at the source's root, of `.cls` files beside the images, as WebDataset has them,
    or else the subfolders that the images are in.

    Args:
        source: the source of the images.
        part: the images.
        names: names of the classes that may occur; by default all that do.

    Raises:
        UserError: the list is damaged or does not name every image, or a class is not one of the names.
        OSError: the list can't be read.
    """
    labels = _listed(source, part) or _beside(source, part) or _by_folder(part, names)
    if labels is None:
        return None
    known = tuple(names) or tuple(sorted(set(labels.values()), key=natural))
    if strange := set(labels.values()) - set(known):
        raise UserError(f"the classes of {source.path(part.root)} must occur in training; got {min(strange)}")
    number = {name: index for index, name in enumerate(known)}
    return Classes(known, {image: number[label] for image, label in labels.items()})


def _listed(source: ImageSource, part: Part) -> dict[str, str] | None:
    """Return the labels of a list at the root; None if there is no list, or one without labels."""
    found = [name for name in (JSON_LIST, CSV_LIST) if name in source.others]
    if len(found) > 1:
        raise UserError(f"{source.place} must have one list of labels; got {' and '.join(found)}")
    if not found:
        return None
    path = source.path(found[0])
    try:
        data = source.read(found[0]).decode("utf-8-sig")
        labels = _of_json(data) if found[0] == JSON_LIST else _of_csv(data)
    except (ValueError, TypeError, KeyError, IndexError, csv.Error, RecursionError) as error:
        form = '{"labels": [["FILE", CLASS], ...]}' if found[0] == JSON_LIST else "lines of file,label"
        raise UserError(f"{path} must be {form}; it can't be read: {error}") from error
    if not labels:
        return None
    if missing := [image for image in part.images if image not in labels]:
        raise UserError(f"{path} must list every image; {missing[0]} is missing")
    return {image: labels[image] for image in part.images}


def _beside(source: ImageSource, part: Part) -> dict[str, str] | None:
    """Return the labels in the files that have the images' names and the suffix `.cls`."""
    files = {image: PurePosixPath(image).with_suffix(".cls").as_posix() for image in part.images}
    if source.others.isdisjoint(files.values()):
        return None
    if missing := [image for image, file in files.items() if file not in source.others]:
        raise UserError(f"{source.path(missing[0])} must have a .cls file, as other images have; it has none")
    try:
        return {image: str(int(source.read(file))) for image, file in files.items()}
    except ValueError as error:
        raise UserError(
            f"the .cls files of {source.place} must hold the number of a class: {error}"
        ) from error


def _by_folder(part: Part, names: Sequence[str]) -> dict[str, str] | None:
    """Return the subfolders of images; None if an image is in none, or if all are in one that has no name."""
    below = {image: image.removeprefix(part.root).partition("/") for image in part.images}
    if not all(slash for _, slash, _ in below.values()):
        return None
    labels = {image: folder for image, (folder, _, _) in below.items()}
    return labels if names or len(set(labels.values())) > 1 else None


def _of_json(data: str) -> dict[str, str]:
    """Return the labels of `{"labels": [["PATH", 3], ...]}`; none if the labels are null."""
    return {str(name): str(int(label)) for name, label in json.loads(data)["labels"] or []}


def _of_csv(data: str) -> dict[str, str]:
    """Return the labels of `file,label` lines, with or without a head."""
    rows = [row for row in csv.reader(io.StringIO(data)) if row]
    if [cell.strip().lower() for cell in rows[0]] == HEAD:
        rows = rows[1:]
    return {name.strip(): label.strip() for name, label in rows}
