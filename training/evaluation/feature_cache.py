"""Features of images on disk, by the content of the images."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

from serving.system.files import new_file, read_regular
from training.evaluation.extractor import Extractor, Seen

MOST = 2 << 30
"""Size of the cache in bytes. The files that were not used for longest are removed first."""

KEY, SUFFIX = "features", ".features"


def cache_folder() -> Path | None:
    """Return the user's folder of cached files: GANZOO_CACHE, or gan-zoo in the user's cache.

    Without a home directory there is none.
    """
    if chosen := os.environ.get("GANZOO_CACHE"):
        return Path(chosen)
    with suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gan-zoo"
    return None


def cached(extractor: Extractor) -> Extractor:
    """Return an extractor that keeps the features in the user's cache, unless it classifies the images."""
    folder = cache_folder()
    return extractor if extractor.classes or folder is None else Cached(extractor, folder / "features")


class Cached:
    """Extractor that keeps on disk the features of the batches that it has seen.

    The name of a file is a hash of the pixels and of the extractor's description. If the folder can't be
    written, the features are extracted again each time.

    Args:
        extractor: an extractor that does not classify.
        folder: folder of the cache.
    """

    classes = 0

    def __init__(self, extractor: Extractor, folder: Path) -> None:
        self.extractor, self.folder = extractor, folder
        self.described = json.dumps(extractor.describe(), sort_keys=True).encode()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            prune(folder, MOST)

    def describe(self) -> dict[str, str | float]:
        """Return the description of the extractor."""
        return self.extractor.describe()

    def __call__(self, images: Tensor) -> Seen:
        """Return the features of images, from the cache if they are there."""
        digest = hashlib.sha256(self.described + repr(tuple(images.shape)).encode())
        digest.update(images.contiguous().numpy().tobytes())
        path = self.folder / (digest.hexdigest() + SUFFIX)
        if (found := _read(path)) is None:
            found = self.extractor(images).features
            with suppress(OSError):
                _write(path, found)
        return Seen(found, None)


def _write(path: Path, features: Tensor) -> None:
    data = safetensors.torch.save({KEY: features.contiguous()})
    with new_file(path, f".{os.getpid()}.partial") as file:
        file.write(hashlib.sha256(data).digest() + data)


def _read(path: Path) -> Tensor | None:
    """Return the features in a file, or None if it is absent or damaged."""
    try:
        content = read_regular(path)
    except OSError:
        return None
    digest, data = content[:32], content[32:]
    if hashlib.sha256(data).digest() != digest:
        return None
    with suppress(OSError):
        os.utime(path)
    return safetensors.torch.load(data)[KEY]


def prune(folder: Path, most: int) -> None:
    """Remove the files that were used least recently, so that the others have at most `most` bytes."""
    files = [(path, path.stat()) for path in folder.glob(f"*{SUFFIX}*")]
    total = 0
    for path, stat in sorted(files, key=lambda file: file[1].st_mtime, reverse=True):
        total += stat.st_size
        if total > most:
            path.unlink(missing_ok=True)
