"""Parts of a dataset of files: the one to train on, the one that is held out, and those of two domains."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from serving.errors import UserError

TRAIN = ("train", "training")
HELD_OUT = ("test", "testing", "val", "valid", "validation")
"""Usual names of the folders of a dataset's parts, in any case. The first that exists is used."""

PART = re.compile("|".join((*TRAIN, *HELD_OUT)))
DOMAIN = re.compile(
    rf"(?:(?P<part>{PART.pattern})[ _-]?)?(?P<domain>[ab])|(?P<of>[ab])[ _-]?(?P<at>{PART.pattern})"
)
"""Usual names of a domain's folder, in lower case: `A`, `trainA`, `train_A`, `A_train`. The names of a folder
in another one are joined with a space."""


class Part(NamedTuple):
    """Images of a source that lie in one folder."""

    root: str
    """Path of the folder in the source, with a `/` at its end; empty for all of the source."""

    images: list[str]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.root.rstrip("/").rpartition("/")[2]


class DomainParts(NamedTuple):
    """Images of the two domains, each in a folder of its own."""

    a: Part
    b: Part
    name: str
    """Name of the part, such as `test`; empty if the folders are named by their domains only."""


def split(images: Sequence[str]) -> tuple[Part, Part | None]:
    """Return the images to train on, and those that are held out, by the folders that they are in.

    Folders that all images are in are left out, as an archive often has one. Without both a folder to train
    on and one that is held out, all images are trained on.
    """
    root, folders = _root(images, PART)
    named = {folder.casefold(): folder for folder in folders if folder is not None}
    train, held_out = (
        next((named[name] for name in names if name in named), None) for names in (TRAIN, HELD_OUT)
    )
    if train is None or held_out is None:
        return Part(root, list(images)), None
    first, second = (f"{root}{folder}/" for folder in (train, held_out))
    return _part(images, first), _part(images, second)


def split_domains(images: Sequence[str]) -> tuple[DomainParts | None, DomainParts | None]:
    """Return the images of both domains to train on, and those that are held out, by their folders.

    The folders are `A` and `B`, `trainA` and `trainB`, `A/train` and `B/train`, or the like, in any case.

    Raises:
        UserError: a domain has two folders of equal meaning.
    """
    root, _ = _root(images, PART, DOMAIN)
    found: dict[tuple[str, str], Part] = {}
    for image in images:
        if (place := _domain_of(image, root)) is None:
            continue
        *key, folder = place
        part = found.setdefault((key[0], key[1]), Part(folder, []))
        if part.root != folder:
            raise UserError(f"a domain must have one folder; got {part.root} and {folder}; remove one")
        part.images.append(image)
    train, held_out = (
        next((name for name in names if (name, "a") in found and (name, "b") in found), None)
        for names in ((*TRAIN, ""), HELD_OUT)
    )
    if train is None:
        return None, None
    of = {
        name: DomainParts(found[name, "a"], found[name, "b"], name)
        for name in (train, held_out)
        if name is not None
    }
    return of[train], None if held_out is None else of[held_out]


def _domain_of(image: str, root: str) -> tuple[str, str, str] | None:
    """Return the name of the part, the domain and the folder of an image; None if it is of no domain."""
    folders = image.removeprefix(root).split("/")[:-1]
    for depth in (2, 1):
        match = DOMAIN.fullmatch(" ".join(folders[:depth]).casefold())
        if match and len(folders) >= depth:
            part, domain = match["part"] or match["at"] or "", match["domain"] or match["of"]
            return part, domain, root + "".join(f"{folder}/" for folder in folders[:depth])
    return None


def folders_of(images: Sequence[str]) -> list[str]:
    """Return the first folders below the one that all images are in."""
    return sorted(folder for folder in _root(images, PART, DOMAIN)[1] if folder is not None)


def _root(images: Sequence[str], *names: re.Pattern[str]) -> tuple[str, set[str | None]]:
    """Return the folder that all images are in, above one of the names, and the folders below it."""
    root = ""
    while len(folders := _folders(images, root)) == 1 and (only := next(iter(folders))) is not None:
        if any(name.fullmatch(only.casefold()) for name in names):
            break
        root += f"{only}/"
    return root, folders


def _part(images: Sequence[str], root: str) -> Part:
    return Part(root, [image for image in images if image.startswith(root)])


def _folders(images: Sequence[str], root: str) -> set[str | None]:
    """Return the folders right below a root that images are in; None stands for the root itself."""
    below = (image.removeprefix(root).partition("/") for image in images)
    return {folder if slash else None for folder, slash, _ in below}
