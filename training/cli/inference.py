"""The verbs `sample` and `translate`, of a run or of an artifact."""

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
        source: The run's folder, or the artifact's.
        n: How many.
        seed: Sample i is that of seed + i, the one that the server gives for it too.
        label: Name or number of their class, for a conditional model; by default the classes take turns.
        out: Where to: .png, a sheet or a plot; .npy, the array; .tar, a file each; or a folder, tars of
            many, which the same command again goes on with.
        shard_size: Samples in each tar of a folder; by default 10000.
        ray: Have a folder written by a Ray cluster: that of RAY_ADDRESS, or one on this machine.
    """
    from serving.offline.sample import must_be_a_place, write_samples

    must_be_a_place(out, shard_size, ray)  # before anything is loaded
    write_samples(open_model(source), n, seed, out, label, shard_size, ray)
    print(out)


def translate(
    source: Positional[Path],
    images: Positional[Path],
    out: Positional[Path],
    *,
    direction: str | None = None,
) -> None:
    """Translate an image, or every image of a folder, by a run or an artifact.

    Args:
        source: The run's folder, or the artifact's.
        images: An image of any size, or a folder of them.
        out: Where to: a .png, or a folder, of the same sizes.
        direction: a2b or b2a; by default the first that there is.
    """
    from serving.offline.translate import translate

    translate(open_model(source), images, out, direction)
    print(out)


def open_model(source: Path) -> "Pipeline":
    """Load an artifact by the serving engine, or a run's averaged generators by torch, on the CPU.

    Raises:
        UserError: the folder holds neither.
    """
    from serving.runtime.artifact import is_artifact
    from serving.runtime.pipeline import open_pipeline

    if is_artifact(source):
        return open_pipeline(source)
    from training.loop.averaged import open_averaged

    return open_averaged(source).pipeline
