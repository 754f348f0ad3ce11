import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from serving.offline.shards import pack, write_shard
from serving.runtime.pipeline import Samples

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_pictures_are_named_by_their_seeds_and_their_classes_lie_beside_them(tmp_path):
    write_shard(tmp_path / "a.tar", [pack(Samples(range(41, 44), PICTURES, [2, 0, 11]))])
    found = members((tmp_path / "a.tar").read_bytes())
    assert [name for name in found if name.endswith("cls")] == [f"{seed:016}.cls" for seed in (41, 42, 43)]
    assert [found[f"{seed:016}.cls"] for seed in (41, 42, 43)] == [b"2", b"0", b"11"]
    for seed, picture in zip(range(41, 44), PICTURES, strict=True):
        with Image.open(io.BytesIO(found[f"{seed:016}.png"])) as image:
            assert np.array_equal(np.asarray(image), picture)
    names = list(found)
    assert names == sorted(names, key=lambda name: name.split(".")[0]), "what belongs together is together"


def test_vectors_are_arrays_and_without_classes_there_are_none():
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = members(pack(Samples(range(2**53 - 2, 2**53), vectors, [])) + bytes(1024))
    assert list(found) == ["9007199254740990.npy", "9007199254740991.npy"]
    arrays = [np.load(io.BytesIO(data), allow_pickle=False) for data in found.values()]
    assert np.array_equal(arrays, vectors)


@pytest.mark.parametrize("size", [1, 3])
def test_a_shard_is_what_pythons_own_tarfile_writes(tmp_path, size):
    """The control: the same members, by tarfile alone."""
    parts = [
        pack(Samples(range(first, min(first + size, 3)), PICTURES[first : first + size], []))
        for first in range(0, 3, size)
    ]
    digest = write_shard(tmp_path / "ours.tar", parts)
    ours = (tmp_path / "ours.tar").read_bytes()
    with tarfile.open(tmp_path / "theirs.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members(ours).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert ours == (tmp_path / "theirs.tar").read_bytes()
    assert digest == hashlib.sha256(ours).hexdigest()


def test_a_shard_that_fails_is_not_there(tmp_path):
    def parts():
        yield pack(Samples(range(3), PICTURES, []))
        assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "a.tar", parts())
    assert list(tmp_path.iterdir()) == []
