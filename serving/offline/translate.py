"""Translation of image files by a pipeline."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from serving.errors import UserError
from serving.imaging.files import FOLDER_SUFFIXES, image_files
from serving.imaging.png_rows import write_png
from serving.runtime.pipeline import Pipeline
from serving.system.cpu import cores
from serving.system.files import new_file
from serving.system.progress import progress


def translate(pipeline: Pipeline, given: Path, out: Path, direction: str | None = None, tile: int = 0) -> int:
    """Translate an image, or every image below a folder, to PNG files.

    As many images of a folder are translated at once as there are cores.

    Args:
        pipeline: pipeline of a model that translates.
        given: an image or a folder.
        out: destination: a `.png` for an image, or a folder for a folder, with the same relative paths.
        direction: the direction, `a2b`, `b2a` or `upscale`; by default the model's first.
        tile: height and width in pixels of the tiles in which an image is translated; 0 chooses it for large
            images, and translates others whole.

    Returns:
        The number of translated images.

    Raises:
        UserError: the model does not translate, or not in this direction; an image can't be decoded (the
            message names it); or the destination is not valid.
        OSError: a file can't be read or written.
    """
    pipeline.must_do("translate")
    direction = pipeline.direction(direction)
    files = dict(_pairs(given, out))
    with (
        ThreadPoolExecutor(cores()) as pool,
        progress(len(files), f"translating {direction}", "images") as advance,
    ):
        waiting = [
            pool.submit(_translate, pipeline, direction, file, target, tile) for target, file in files.items()
        ]
        try:
            for work in as_completed(waiting):
                work.result()
                advance()
        finally:
            pool.shutdown(cancel_futures=True)
    return len(files)


def _pairs(given: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the destination of each image, and the image."""
    if given.is_file():
        if out.suffix != ".png":
            raise UserError(f"the output of an image must be a .png file; got {out.name}")
        if out.resolve() == given.resolve():
            raise UserError(f"the output must not be the image itself; got {out}")
        yield out, given
        return
    files = image_files(given)
    if out.is_file() or out.suffix.lower() in FOLDER_SUFFIXES:
        raise UserError(f"the output of a folder must be a folder; got {out.name}")
    if out.resolve().is_relative_to(given.resolve()):
        raise UserError(f"the output must be outside the folder of images, {given}; got {out}")
    seen: dict[Path, Path] = {}
    for file in files:
        target = (out / file.relative_to(given)).with_suffix(".png")
        if target in seen:
            raise UserError(f"{seen[target]} and {file} have the same output, {target}; rename one of them")
        seen[target] = file
        yield target, file


def _translate(pipeline: Pipeline, direction: str, file: Path, target: Path, tile: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    translation = pipeline.rows(file, direction, tile=tile)
    provenance = pipeline.provenance and pipeline.provenance.of(direction=direction, tile=tile or None)
    with new_file(target) as out:
        write_png(out, translation.blocks, translation.shape, provenance)
