"""A shard: a tar of samples by their seeds, as WebDataset reads it: the same bytes whoever writes it."""

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
"""Of a sample's name, its seed: as many as the greatest has."""


class Shard(NamedTuple):
    """What the index says of a shard."""

    file: str
    samples: int
    sha256: str


def pack(samples: Samples) -> bytes:
    """Pack samples for a shard, by their seeds: images as the server's `.png`, vectors as `.npy`.

    A sample's class, where it has one, is a `.cls` beside it.
    """
    suffix, encode = ("png", codec.encode_png) if samples.values.ndim == 4 else ("npy", _npy)
    members = []
    for row, (seed, value) in enumerate(zip(samples.seeds, samples.values, strict=True)):
        members.append(_member(f"{seed:0{DIGITS}}.{suffix}", encode(value)))
        if samples.classes:
            members.append(_member(f"{seed:0{DIGITS}}.cls", str(samples.classes[row]).encode()))
    return b"".join(members)


def _npy(vector: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, vector, allow_pickle=False)
    return file.getvalue()


def _member(name: str, data: bytes) -> bytes:
    """Write a file of a tar: of nobody, and of 1970."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def write_shard(path: Path, packed: Iterable[bytes], suffix: str = "") -> str:
    """Write a shard of packed samples; it is whole or not there. Give its SHA-256.

    Args:
        path: where to.
        packed: its parts.
        suffix: of its name until it is whole; by default one of its own, since two that write the same shard,
            unaware of each other, write the same bytes: the last rename may win.

    Raises:
        OSError: it can't be written.
    """
    digest = hashlib.sha256()
    with new_file(path, suffix or f".{secrets.token_hex(4)}{PARTIAL}") as file:
        for part in _closed(packed):
            file.write(part)
            digest.update(part)
    return digest.hexdigest()


def _closed(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Add what ends a tar: two empty blocks, and more up to a whole record."""
    length = 0
    for part in packed:
        length += len(part)
        yield part
    end = 2 * tarfile.BLOCKSIZE
    yield bytes(end + -(length + end) % tarfile.RECORDSIZE)
