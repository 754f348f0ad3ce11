"""Images translated by a run or an artifact, from files to files."""

from collections.abc import Iterator
from pathlib import Path

from serving.imaging import codec
from serving.runtime.pipeline import Graphs
from serving.system.files import write_file
from serving.system.progress import progress
from training.cli.inference import open_graphs
from training.data.image_folder import FOLDER_SUFFIXES, image_files, read_image


def translate(source: Path, given: Path, out: Path, direction: str | None = None) -> int:
    """Translate an image, or every image below a folder, to PNG files of the same sizes.

    Args:
        source: an artifact or a run.
        given: an image or a folder.
        out: where to: a `.png` for an image, for a folder a folder, in which names are as in the given one.
        direction: the graph, `a2b` or `b2a`; by default the first.

    Returns:
        How many images were translated.

    Raises:
        ValueError: the source does not translate, or not so; an image can't be read, and is named; or the
            place can't be meant.
        OSError: a file can't be read or written.
    """
    graphs = open_graphs(source, "translate")
    direction = next(iter(graphs.inputs)) if direction is None else direction
    if direction not in graphs.inputs:
        raise ValueError(f"direction must be {' or '.join(graphs.inputs)}; got {direction}")
    files = dict(_pairs(given, out))
    with progress(len(files), f"translating {direction}", "images") as advance:
        for target, file in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, _translate(graphs, direction, file))
            advance()
    return len(files)


def _pairs(given: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Give where each image goes, and the image."""
    if given.is_file():
        if out.suffix != ".png":
            raise ValueError(f"a translation is written as .png; got {out.name}")
        if out.resolve() == given.resolve():
            raise ValueError(f"{out} would be overwritten by its translation; choose another place")
        yield out, given
        return
    files = image_files(given)
    if out.is_file() or out.suffix.lower() in FOLDER_SUFFIXES:
        raise ValueError(f"what comes of a folder is a folder; got {out.name}")
    if out.resolve().is_relative_to(given.resolve()):
        raise ValueError(f"{out} is in {given}, and would be translated too the next time")
    seen: dict[Path, Path] = {}
    for file in files:
        target = (out / file.relative_to(given)).with_suffix(".png")
        if target in seen:
            raise ValueError(f"{seen[target]} and {file} would both become {target}")
        seen[target] = file
        yield target, file


def _translate(graphs: Graphs, direction: str, file: Path) -> bytes:
    pixels = read_image(file, graphs.inputs[direction]["image"].size)
    return codec.encode_png(graphs.translate(direction, pixels[None])[0])
