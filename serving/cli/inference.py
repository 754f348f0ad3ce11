"""The commands `sample`, `translate`, `identify` and `verify`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, Positional, Suppress, arg

if TYPE_CHECKING:
    from serving.runtime.pipeline import Pipeline

OpenModel = Callable[[Path], Any]
"""A function that loads a pipeline; tyro would import the type to resolve it."""


NoProvenance = Annotated[bool, FlagCreatePairsOff]


def open_artifact(source: Path) -> "Pipeline":
    """Load an artifact."""
    from serving.runtime.load import load

    return load(source)


def _opened(open_model: OpenModel, source: Path, no_provenance: bool) -> "Pipeline":
    pipeline: Pipeline = open_model(source)
    return dataclasses.replace(pipeline, provenance=None) if no_provenance else pipeline


def sample(
    source: Positional[Path],
    *,
    n: int = 64,
    seed: int = 0,
    label: str | None = None,
    truncation: float | None = None,
    out: Path = Path("samples.png"),
    folder_format: Annotated[Literal["png", "tar"] | None, arg(name="format")] = None,
    shard_size: int | None = None,
    ray: bool = False,
    no_provenance: NoProvenance = False,
    open_model: Suppress[OpenModel] = open_artifact,
) -> None:
    """Draw samples from an artifact; `ganzoo sample` also takes a run.

    Args:
        source: Folder or name of an artifact; or a run, as RUN, RUN@STEP or RUN@best.
        n: Number of samples.
        seed: Seed of the first sample; sample i has seed + i and equals the server's sample of that seed.
        label: Name or index of the class, for a conditional model; by default the classes alternate.
        truncation: Factor from 0 to 1 for the latents' distance from their mean; below 1, samples are more
            alike and more typical.
        out: Output: .png for a sheet or a plot, .npy for an array, .tar for one file per sample, or a folder.
            Running the same command again resumes a folder.
        folder_format: Format of a folder: png for one file per sample, named by its seed; or tar for shards.
            By default png for at most 10000 images without --shard-size and --ray, else tar.
        shard_size: Samples in each tar file of a folder, not the number of files; by default 10000.
        ray: Write a folder with a Ray cluster: that of RAY_ADDRESS, or a local one.
        no_provenance: Do not write into the files that a model made them, and which.
        open_model: Function that loads the source.
    """
    from serving.offline.sample import must_be_a_place, write_samples

    must_be_a_place(out, shard_size, ray, folder_format)  # fails before the model is loaded
    pipeline = _opened(open_model, source, no_provenance)
    write_samples(pipeline, n, seed, out, label, shard_size, ray, truncation, folder_format)
    print(out)


def translate(
    source: Positional[Path],
    images: Positional[Path],
    out: Positional[Path],
    *,
    direction: str | None = None,
    tile: int = 0,
    no_provenance: NoProvenance = False,
    open_model: Suppress[OpenModel] = open_artifact,
) -> None:
    """Translate an image, or every image of a folder, with an artifact; `ganzoo translate` also takes a run.

    Args:
        source: Folder or name of an artifact; or a run, as RUN, RUN@STEP or RUN@best.
        images: An image of any size, or a folder of images.
        out: Output: a .png file, or a folder. Translations have the sizes of their sources, or the multiple
            that a super-resolution model enlarges by.
        direction: a2b, b2a or upscale; by default the first direction of the model.
        tile: Height and width in pixels of the tiles in which an image is translated; 0 chooses it for images
            whose translation has more than 2^20 pixels, and translates others whole.
        no_provenance: Do not write into the files that a model made them, and which.
        open_model: Function that loads the source.
    """
    from serving.offline.translate import translate

    translate(_opened(open_model, source, no_provenance), images, out, direction, tile)
    print(out)


def identify(image: Positional[Path], *, source: Path | None = None, artifacts: Path | None = None) -> None:
    """Print what an image says of itself, and whether its model draws the same pixels again.

    Args:
        image: A PNG, JPEG or WebP file.
        source: For a translation, the image that was translated.
        artifacts: Folder of artifacts among which the model is looked for; by default ./artifacts and the
            pretrained artifacts.
    """
    from serving.offline.identify import identify

    for name, text in identify(image, source, artifacts):
        print(f"{name}: {text}")


def verify(artifact: Positional[Path]) -> None:
    """Verify an artifact: its hashes, its graphs and their outputs for the golden examples.

    Args:
        artifact: Folder or name of the artifact.
    """
    from serving.offline.verify import verify
    from serving.runtime.pretrained import find_artifact

    for line in verify(find_artifact(artifact)):
        print(line)
