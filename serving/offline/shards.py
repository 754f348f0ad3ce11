"""Shards: tar files of samples that WebDataset reads, with the same bytes from any writer."""

import hashlib
import io
import secrets
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from serving.arrays import Array
from serving.imaging import codec
from serving.runtime.pipeline import Samples
from serving.system.files import PARTIAL, new_file

DIGITS = 16
"""Digits of the seed in a sample's name, as many as the largest seed has."""


class Shard(NamedTuple):
    """Entry of a shard in the index."""

    file: str
    samples: int
    sha256: str


def pack(samples: Samples) -> bytes:
    """Pack samples as part of a tar, named by their seeds: images as the server's `.png`, vectors as `.npy`.

    If samples have classes, there is a `.cls` file with the class of each sample.
    """
    members = []
    for row, (seed, value) in enumerate(zip(samples.seeds, samples.values, strict=True)):
        if value.ndim == 3:
            said = samples.provenance and samples.provenance.of(seed=seed)
            members.append(_member(f"{seed:0{DIGITS}}.png", codec.encode_png(value, said)))
        else:
            members.append(_member(f"{seed:0{DIGITS}}.npy", _npy(value)))
        if samples.classes:
            members.append(_member(f"{seed:0{DIGITS}}.cls", str(samples.classes[row]).encode()))
    return b"".join(members)


def _npy(vector: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, vector, allow_pickle=False)
    return file.getvalue()


def _member(name: str, data: bytes) -> bytes:
    """Return a file of a tar, without an owner and with the time 0."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def write_shard(path: Path, packed: Iterable[bytes], suffix: str = "") -> str:
    """Write a shard of packed samples atomically, and return its SHA-256.

    Args:
        path: destination.
        packed: parts of the shard, from `pack`.
        suffix: suffix of its name until it is complete. The default is random, so that two processes can
            write the same shard at once: they write the same bytes, and the last rename wins.

    Raises:
        OSError: the shard can't be written.
    """
    digest = hashlib.sha256()
    with new_file(path, suffix or f".{secrets.token_hex(4)}{PARTIAL}") as file:
        for part in _closed(packed):
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def _closed(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts, then the end of the tar: two empty blocks, and padding to a whole record."""
    length = 0
    for part in packed:
        length += len(part)
        yield part
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(length + end) % tarfile.RECORDSIZE)
