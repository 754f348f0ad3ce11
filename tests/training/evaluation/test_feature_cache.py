import os
from pathlib import Path

import pytest
import torch

from training.evaluation.extractor import Seen
from training.evaluation.feature_cache import SUFFIX, Cached, cache_folder, prune


class Counting:
    """An extractor of two numbers that counts the images it sees."""

    classes = 0

    def __init__(self, version=1):
        self.version, self.seen = version, 0

    def describe(self):
        return {"name": "counting", "version": self.version}

    def __call__(self, images):
        self.seen += len(images)
        flat = images.float().flatten(1)
        return Seen(torch.stack([flat.mean(1), flat.std(1)], 1), None)


IMAGES = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def kept(folder):
    return list(folder.glob(f"*{SUFFIX}"))


def test_what_was_seen_is_not_seen_again(tmp_path):
    first, again = Counting(), Counting()
    features = Cached(first, tmp_path)(IMAGES).features
    assert torch.equal(Cached(again, tmp_path)(IMAGES).features, features)
    assert (first.seen, again.seen) == (5, 0)
    Cached(again, tmp_path)(IMAGES ^ (torch.arange(8) == 7))
    assert again.seen == 5, "one level of one column is another image"
    Cached(again, tmp_path)(IMAGES.reshape(5, 3, 4, 16))
    assert again.seen == 10
    Cached(other := Counting(version=2), tmp_path)(IMAGES)
    assert other.seen == 5


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_file_is_written_again(tmp_path, place):
    features = Cached(Counting(), tmp_path)(IMAGES).features
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= 1
    for content in (bytes(damaged), whole[:-3], b""):
        file.write_bytes(content)
        assert torch.equal(Cached(again := Counting(), tmp_path)(IMAGES).features, features)
        assert again.seen == 5
        assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_error_and_no_output(capsys):
    extractor = Counting()
    for _ in range(2):
        assert Cached(extractor, Path("/proc/cache/features"))(IMAGES).features.shape == (5, 2)
    assert extractor.seen == 10
    assert capsys.readouterr() == ("", "")


def test_the_least_recently_used_files_go_first(tmp_path):
    for age in range(4):
        file = tmp_path / f"{age}{SUFFIX}"
        file.write_bytes(bytes(100))
        os.utime(file, (1000 - age, 1000 - age))
    prune(tmp_path, 250)
    assert {path.name for path in kept(tmp_path)} == {f"0{SUFFIX}", f"1{SUFFIX}"}


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("GANZOO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gan-zoo"
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
