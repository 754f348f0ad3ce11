"""Single bits flipped in files that have a hash: every flip must be detected when the file is read."""

import io
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

import safetensors.torch
import torch

from serving.runtime.artifact import read_file, read_manifest
from serving.runtime.sessions import open_session
from tests.reliability.finding import Finding
from training.run import checkpoint


def flip_bits(artifact: Path, count: int = 200, seed: int = 0, naive: bool = False) -> tuple[int, int]:
    """Flip bits one at a time, half in a checkpoint and half in an artifact's graphs and golden files.

    Nothing has the hash of a manifest, so its bits are not flipped.

    Args:
        artifact: the artifact's folder; only a copy is damaged.
        count: the number of bits to flip.
        seed: the seed of their positions.
        naive: read the files without checking their digests, as the control.

    Returns:
        The number of flipped bits, and the number of them that were detected.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(artifact, Path(place) / "artifact"))
        saved = checkpoint.save(Path(place) / "checkpoints", 1, {"weights": torch.randn(200, 200)}, keep=1)
        graphs = read_manifest(copy).graphs.values()
        parts = [part for graph in graphs for part in (graph.golden, *graph.variants)]
        found = 0
        for number in range(count):
            if number % 2:
                part = chance.choice(parts)
                file, read = copy / part.file, lambda file, part=part: read_file(file.parent, part)
            else:
                file, read = saved, lambda file: checkpoint.load(file.parent)
            found += _is_found(file, chance, _load if naive else read)
    return count, found


def _is_found(file: Path, chance: random.Random, read: Callable[[Path], object]) -> bool:
    """Flip one bit of a file and read it; return whether the read failed."""
    read(file)
    whole = file.read_bytes()
    bit = chance.randrange(len(whole) * 8)
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    file.write_bytes(flipped)
    try:
        with redirect_stderr(io.StringIO()):  # the reader logs each damaged file
            read(file)
    except Exception:  # the format readers raise many types
        return True
    finally:
        file.write_bytes(whole)
    return False


def _load(file: Path) -> None:
    """Read a file with the reader of its format, without a digest."""
    data = file.read_bytes()
    if file.suffix == ".onnx":
        open_session(data, "cpu")
    else:
        safetensors.torch.load(data)


def flips(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Flip bits of checkpoints and artifacts; read them with and without their digests."""
    artifact = artifacts / "pictures"
    count, found = flip_bits(artifact, 2000 if long else 200)
    tried, seen = flip_bits(artifact, naive=True)
    return Finding(
        f"{count:,} flipped bits in checkpoints, graphs and golden files: every one is detected when the "
        "file is read; manifests have no hash",
        f"{found:,} of {count:,} detected",
        f"readers of these formats without hashes: {seen} of {tried} detected",
        found == count and seen < tried / 2,
    )
