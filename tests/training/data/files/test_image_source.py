"""Folders, zip files and tar files of images give the same examples; what is damaged in them is named."""

import gc
import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving.errors import UserError
from serving.imaging import codec
from serving.imaging.files import SUFFIXES
from training.data.dataset import open_data
from training.data.files import image_source
from training.data.files.image_source import open_source
from training.data.validate import validate


def png(number: int) -> bytes:
    return codec.encode_png(np.full((8, 8, 3), number, np.uint8))


FILES = {
    "train/dog/1.png": png(1),
    "train/dog/10.png": png(2),
    "train/cat/deep/3.png": png(3),
    "test/cat/4.png": png(4),
    "train/notes.txt": b"no image",
    ".hidden/5.png": b"no image",
    "__MACOSX/train/dog/._1.png": b"no image",
    "train/.ipynb_checkpoints/6.png": b"no image",
    "train/dog/._1.png": b"no image",
    "train/@eaDir/7.png": b"no image",
    "$RECYCLE.BIN/8.png": b"no image",
    "train/dog/Thumbs.db": b"no image",
    ".DS_Store": b"no image",
}


def in_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def in_zip(path, files, kind=zipfile.ZIP_DEFLATED):
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return path


def in_tar(path, files):
    path = path.with_suffix(".tar")
    with tarfile.open(path, "w") as file:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("write", [in_folder, in_zip, in_tar])
def test_every_place_gives_the_same_examples_with_their_classes(write, tmp_path):
    place = write(tmp_path / "pictures", FILES)
    data = open_data(f"folder:{place}", (1, 8, 8), 0)
    assert (data.name, data.labels) == (f"folder:{place.name}", ("cat", "dog"))
    assert data.real[:, 0, 0, 0].tolist() == [3, 1, 2]
    assert data.label.tolist() == [0, 1, 1]
    held_out = data.held_out()
    assert (held_out.name, held_out.labels) == (f"folder:{place.name}/test", ("cat", "dog"))
    assert (held_out.real[:, 0, 0, 0].tolist(), held_out.label.tolist()) == ([4], [0])
    findings = validate(f"folder:{place}", image_size=8)
    assert (findings.examples, findings.held_out) == ({"train": 3}, {"test": 1})
    assert (findings.classes, findings.bad) == ({"cat": 1, "dog": 2}, [])
    assert findings.skipped == {"hidden": 7, ".txt": 1, ".db": 1}


def test_the_one_folder_of_an_archive_is_no_class(tmp_path):
    place = in_zip(tmp_path / "set", {f"set/{name}": data for name, data in FILES.items()})
    assert open_data(f"folder:{place}", (1, 8, 8), 0).labels == ("cat", "dog")


def test_shards_that_the_zoo_writes_are_read(artifacts, tmp_path):
    from tests.training.cli.test_main import ganzoo

    out = tmp_path / "shards"
    command = ["sample", str(artifacts / "classes"), "--n", "7", "--shard-size", "3", "--out", str(out)]
    assert ganzoo(*command) == 0
    data = open_data(f"folder:{out}", (1, 16, 16), 0)
    assert len(data) == 7
    assert data.label is not None


def test_links_are_followed_once(tmp_path):
    in_folder(tmp_path / "set", {"a/1.png": png(1), "b/2.png": png(2)})
    in_folder(tmp_path / "elsewhere", {"3.png": png(3)})
    (tmp_path / "set" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "b" / "loop").symlink_to(tmp_path / "set")
    os.mkfifo(tmp_path / "set" / "a" / "4.png")
    data = open_data(f"folder:{tmp_path / 'set'}", (1, 8, 8), 0)
    assert (data.labels, data.label.tolist()) == (("a", "b", "c"), [0, 1, 2])
    assert validate(f"folder:{tmp_path / 'set'}").skipped == {"not a file": 1}


def test_what_is_read_on_request_is_the_same(tmp_path, monkeypatch):
    place = in_zip(tmp_path / "set", FILES)
    held = open_data(f"folder:{place}", (1, 8, 8), 0)
    monkeypatch.setattr("training.data.files.image_folder.available_memory", lambda device: 0)
    asked = open_data(f"folder:{place}", (1, 8, 8), 0)
    assert torch.equal(held.batch(3, 2)["real"], asked.batch(3, 2)["real"])


@pytest.mark.parametrize("name", ["../1.png", "/1.png", "a/../../1.png", "..\\1.png"])
@pytest.mark.parametrize("write", [in_zip, in_tar])
def test_members_that_point_outside_are_named(write, name, tmp_path):
    place = write(tmp_path / "set", {"good.png": png(1), name: png(1)})
    with pytest.raises(UserError, match="below its root; got"):
        open_source(place)


def test_members_that_are_too_large_are_named_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_source, "MAX_FILE", 1000)
    for write in (in_zip, in_tar):
        place = write(tmp_path / "set", {"bomb.png": bytes(10_000)})
        with pytest.raises(UserError, match=r"at most 1000 bytes; bomb\.png has 10000"):
            open_source(place)


def test_damaged_archives_are_named(tmp_path):
    whole = in_zip(tmp_path / "set", {"1.png": png(1), "2.png": png(2)}, zipfile.ZIP_STORED)
    data = bytearray(whole.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 255
    whole.write_bytes(data)
    with pytest.raises(UserError, match=r"set\.zip/1\.png can't be read: Bad CRC-32"):
        open_data(f"folder:{whole}", (1, 8, 8), 0)
    for name, content in (("text.zip", b"no archive"), ("text.tar", b"no archive" * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="damaged or not one"):
            open_source(tmp_path / name)
    cut = in_tar(tmp_path / "cut", {"1.png": png(1), "2.png": bytes(20_000)})
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.tar"):
        open_source(cut).read("2.png")


def test_encrypted_members_are_named(tmp_path):
    place = in_zip(tmp_path / "set", {"1.png": png(1)})
    data = bytearray(place.read_bytes())
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(mark) + flags] |= 1
    place.write_bytes(data)
    with pytest.raises(UserError, match=r"1\.png can't be read: .*password"):
        open_data(f"folder:{place}", (1, 8, 8), 0)


@pytest.mark.parametrize("write", [in_folder, in_zip, in_tar])
def test_the_first_bytes_are_read_alone(write, tmp_path):
    place = write(tmp_path / "set", {"1.png": png(1)})
    source = open_source(place)
    assert source.read("1.png", 20) == png(1)[:20]
    assert source.read("1.png", 10**6) == source.read("1.png") == png(1)


DESCRIPTORS = Path("/proc/self/fd")


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="no list of descriptors")
@pytest.mark.parametrize("write", [in_folder, in_zip, in_tar])
def test_no_descriptor_outlives_its_source(write, tmp_path):
    place = write(tmp_path / "set", {"1.png": png(1)})
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(b"no archive" * 100)
    gc.collect()
    before = len(list(DESCRIPTORS.iterdir()))
    for _ in range(5):
        assert open_source(place).read("1.png")
        with pytest.raises(UserError):
            open_source(damaged)
    gc.collect()
    assert len(list(DESCRIPTORS.iterdir())) == before


def test_every_suffix_that_is_read_can_be_read(tmp_path):
    image = Image.fromarray(np.full((8, 8, 3), 9, np.uint8))
    for kind, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            if suffix not in (".pfm", ".pbm", ".pgm"):  # of which Pillow writes others
                image.save(tmp_path / f"{suffix[1:]}{suffix.upper()}", kind)
    data = open_data(f"folder:{tmp_path}", (3, 8, 8), 0)
    assert len(data) == len(list(tmp_path.iterdir())) > 20
    assert (data.real.float() - 9).abs().max() <= 3


@pytest.mark.slow
def test_cifar10_in_a_zip(real_data, tmp_path):
    shutil.copy(real_data / "cifar10-jpeg.zip", tmp_path)
    data = open_data(f"folder:{tmp_path / 'cifar10-jpeg.zip'}", (3, 32, 32), 0)
    assert (len(data), len(data.held_out()), len(data.labels)) == (45_000, 5_000, 10)
