"""Parts of a dataset of files: the one to train on, and the one that is held out."""

from collections.abc import Sequence
from typing import NamedTuple

TRAIN = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation")
"""Usual names of the folders of a dataset's parts, in any case. The first that exists is used."""


class Part(NamedTuple):
    """Images of a source that lie in one folder."""

    root: str
    """Path of the folder in the source, with a `/` at its end; empty for all of the source."""

    images: list[str]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.root.rstrip("/").rpartition("/")[2]


def split(images: Sequence[str]) -> tuple[Part, Part | None]:
    """Return the images to train on, and those that are held out, by the folders that they are in.

    Folders that all images are in are left out, as an archive often has one. Without both a folder to train
    on and one that is held out, all images are trained on.
    """
    root = ""
    while len(folders := _folders(images, root)) == 1 and (only := next(iter(folders))) is not None:
        if only.casefold() in (*TRAIN, *HELD_OUT):
            break
        root += f"{only}/"
    named = {folder.casefold(): folder for folder in folders if folder is not None}
    train, held_out = (
        next((named[name] for name in names if name in named), None) for names in (TRAIN, HELD_OUT)
    )
    if train is None or held_out is None:
        return Part(root, list(images)), None
    first, second = (f"{root}{folder}/" for folder in (train, held_out))
    return _part(images, first), _part(images, second)


def _part(images: Sequence[str], root: str) -> Part:
    return Part(root, [image for image in images if image.startswith(root)])


def _folders(images: Sequence[str], root: str) -> set[str | None]:
    """Return the folders right below a root that images are in; None stands for the root itself."""
    below = (image.removeprefix(root).partition("/") for image in images)
    return {folder if slash else None for folder, slash, _ in below}
