import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serving.system.files import new_folder, read_regular, sweep, write_file


def test_a_file_reaches_the_disk_before_its_name_and_its_name_before_the_end(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(self, target):
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_file(tmp_path / "file", b"whole")
    assert calls == ["file", "rename", "folder"]
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_a_failed_write_leaves_the_old_file_and_no_partial(tmp_path, monkeypatch):
    write_file(tmp_path / "file", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("first", "second"):
        with new_folder(tmp_path / "folder") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["second"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with new_folder(tmp_path / "folder") as folder:
        (folder / "old").touch()
    with pytest.raises(RuntimeError), new_folder(tmp_path / "folder") as folder:
        (folder / "new").touch()
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_kill_between_the_renames_loses_nothing(tmp_path):
    with new_folder(tmp_path / "folder") as folder:
        (folder / "first").touch()
    (tmp_path / "folder").rename(tmp_path / "folder.old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "folder"):
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "first"]


def test_leftovers_of_a_kill_are_swept_and_nothing_below(tmp_path):
    (tmp_path / "below").mkdir()
    for path in ("a.partial", "kept", "below/b.partial"):
        (tmp_path / path).touch()
    sweep(tmp_path, tmp_path / "missing")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b.partial", "below", "kept"]


FILLING = """
import pathlib, sys, time
from serving.system.files import new_folder
with new_folder(pathlib.Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    print(folder.name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_half_filled_is_swept_and_a_living_ones_is_not(tmp_path):
    others = [tmp_path / name for name in ("other.1.partial", "folder.mine.partial")]
    for other in others:
        other.mkdir()
    command = [sys.executable, "-c", FILLING, tmp_path / "folder"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as filling:
        partial = tmp_path / filling.stdout.readline().strip()
        with new_folder(tmp_path / "folder"):
            at_work = (partial / "half").exists()
        filling.kill()
    assert at_work, "it was left alone"
    assert (partial / "half").exists(), "it could not tidy up"
    with new_folder(tmp_path / "folder"):
        assert not partial.exists()
    assert all(other.exists() for other in others)


def test_a_leftover_of_a_process_of_the_same_number_is_no_obstacle(tmp_path):
    (tmp_path / f"folder.{os.getpid()}.partial" / "half").mkdir(parents=True)
    with new_folder(tmp_path / "folder") as folder:
        (folder / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "whole"]


def test_two_at_work_on_one_folder_in_one_process_are_refused(tmp_path):
    with new_folder(tmp_path / "folder") as folder:
        (folder / "first").touch()
        with pytest.raises(FileExistsError), new_folder(tmp_path / "folder"):
            pass
    assert (tmp_path / "folder" / "first").exists()


def test_a_full_disk_is_told_with_the_path(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*file'"):
        write_file(tmp_path / "file", b"new")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*folder'"),
        new_folder(tmp_path / "folder"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    os.mkfifo(tmp_path / "fifo")
    assert read_regular(tmp_path / "file") == b"content"
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path, tmp_path / "nothing"):
        with pytest.raises(OSError, match=path.name):
            read_regular(path)
