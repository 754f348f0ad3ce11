"""The commands `sample` and `translate`, for a run or an artifact."""

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from serving.runtime.pipeline import Pipeline


def sample(
    source: Positional[Path],
    *,
    n: int = 64,
    seed: int = 0,
    label: str | None = None,
    out: Path = Path("samples.png"),
    shard_size: int | None = None,
    ray: bool = False,
) -> None:
    """Draw samples from a run or an artifact.

    Args:
        source: Folder of a run or an artifact.
        n: Number of samples.
        seed: Seed of the first sample; sample i has seed + i and equals the server's sample of that seed.
        label: Name or index of the class, for a conditional model; by default the classes alternate.
        out: Output: .png for a sheet or a plot, .npy for an array, .tar for one file per sample, or a folder
            for tar shards. Running the same command again resumes a folder.
        shard_size: Samples per tar shard of a folder; by default 10000.
        ray: Write a folder with a Ray cluster: that of RAY_ADDRESS, or a local one.
    """
    from serving.offline.sample import must_be_a_place, write_samples

    must_be_a_place(out, shard_size, ray)  # fails before the model is loaded
    write_samples(open_model(source), n, seed, out, label, shard_size, ray)
    print(out)


def translate(
    source: Positional[Path],
    images: Positional[Path],
    out: Positional[Path],
    *,
    direction: str | None = None,
) -> None:
    """Translate an image or every image of a folder with a run or an artifact.

    Args:
        source: Folder of a run or an artifact.
        images: An image of any size, or a folder of images.
        out: Output: a .png file, or a folder. Translations have the sizes of their sources.
        direction: a2b or b2a; by default the first direction of the model.
    """
    from serving.offline.translate import translate

    translate(open_model(source), images, out, direction)
    print(out)


def open_model(source: Path) -> "Pipeline":
    """Load an artifact with the serving engine, or a run's averaged generators with torch on the CPU.

    Raises:
        UserError: the folder holds neither an artifact nor a run with a checkpoint.
    """
    from serving.runtime.artifact import is_artifact
    from serving.runtime.pipeline import open_pipeline

    if is_artifact(source):
        return open_pipeline(source)
    from training.loop.averaged import open_averaged

    return open_averaged(source).pipeline
