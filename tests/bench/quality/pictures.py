"""Pictures of the benchmark: CIFAR-10, and the emoji of one artist, both with held-out pictures by class."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.cells import Picture, on_white

HELD_OUT = 4
"""One of how many emoji is held out."""


def cifar10(root: Path) -> Iterator[Picture]:
    """Yield part, path below the part and content of every picture of CIFAR-10."""
    with zipfile.ZipFile(root / "cifar10-jpeg.zip") as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
            part, _, path = name.partition("/")
            yield part, path, archive.read(name)


def emoji(root: Path) -> Iterator[Picture]:
    """Yield part, path below the part and picture of every emoji of Noto, on white."""
    categories = json.loads((root / "emoji" / "categories.json").read_text())
    paths = sorted((root / "emoji").glob("*A/*.png"), key=lambda path: path.name)
    for number, path in enumerate(paths):
        part = "train" if number % HELD_OUT else "test"
        name = f"{categories[path.name].replace(' & ', '-')}/{path.name}"
        yield part, name, on_white(path)
