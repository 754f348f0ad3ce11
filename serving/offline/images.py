"""A folder of PNG files, one per sample, which a later run of the command completes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving.arrays import Pixels
from serving.errors import UserError
from serving.imaging import codec
from serving.imaging.provenance import Provenance
from serving.offline.bulk import GOES_ON, Plan, held
from serving.runtime.pipeline import Pipeline
from serving.system.cpu import cores
from serving.system.files import PARTIAL, naming, sync_folder
from serving.system.locks import LOCK_FILES
from serving.system.progress import progress
from serving.system.signals import stoppable

DIGITS = 6
"""Digits of the seed in a file's name; more where the largest seed has more."""

END = b"IEND\xae\x42\x60\x82"
"""Last bytes of a whole PNG file."""


def write_images(pipeline: Pipeline, plan: Plan, out: Path) -> None:
    """Write the missing images of a folder, each named by its seed.

    Raises:
        UserError: the model samples vectors, the folder has other content, or another process is writing to
            it.
        OSError: a file can't be written.
        Interrupted: SIGINT or SIGTERM was received.
    """
    if pipeline.sample(1, seed=plan.seed, label=plan.label, truncation=plan.truncation).ndim != 4:
        raise UserError("--format must be tar for a model of vectors; got png")
    paths = {seed: out / name for seed, name in names(plan).items()}
    with stoppable(GOES_ON), held(out, plan):
        missing = [seed for seed, path in paths.items() if not _is_whole(path)]
        with (
            progress(plan.n, "sampling", "samples", plan.n - len(missing)) as advance,
            ThreadPoolExecutor(cores()) as threads,
        ):
            for seeds in _runs(missing):
                for some in pipeline.samples(seeds, plan.label, plan.truncation):
                    said = [some.provenance and some.provenance.of(seed=seed) for seed in some.seeds]
                    list(threads.map(_write, [paths[seed] for seed in some.seeds], some.values, said))
                    advance(len(some.seeds))
        sync_folder(out)
        for name in LOCK_FILES:
            (out / name).unlink(missing_ok=True)


def names(plan: Plan) -> dict[int, str]:
    """Return the file name of each seed; the names have one length, so that they sort by the seed."""
    seeds = range(plan.seed, plan.seed + plan.n)
    digits = max(DIGITS, len(str(seeds[-1])))
    return {seed: f"{seed:0{digits}}.png" for seed in seeds}


def _runs(seeds: list[int]) -> Iterator[range]:
    """Yield ascending seeds as ranges without gaps."""
    first = 0
    for index, seed in enumerate(seeds):
        if index + 1 == len(seeds) or seeds[index + 1] != seed + 1:
            yield range(seeds[first], seed + 1)
            first = index + 1


def _write(path: Path, pixels: Pixels, provenance: Provenance | None) -> None:
    """Write an image under another name, and rename it; syncing each file would take longer than sampling."""
    partial = path.with_name(path.name + PARTIAL)
    with naming(path):
        partial.write_bytes(codec.encode_png(pixels, provenance))
        partial.replace(path)


def _is_whole(path: Path) -> bool:
    """Return whether a PNG file exists and has its end, which a crash of the machine may have cut off."""
    return path.is_file() and path.read_bytes().endswith(END)
