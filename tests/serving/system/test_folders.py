"""Folders are tried before they are needed."""

from pathlib import Path

import pytest

from serving.system.folders import must_be_writable, writable_or_temporary


def test_a_folder_is_made_and_left_empty(tmp_path):
    must_be_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/x", "/proc", "/dev/null/x"])
def test_a_folder_that_cannot_be_written_is_named(place):
    with pytest.raises(OSError, match=place):
        must_be_writable(Path(place))


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(OSError, match="file"):
            must_be_writable(path)


def test_in_its_place_a_temporary_one_is_used_with_one_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    writable_or_temporary.cache_clear()
    first, second = (writable_or_temporary("/proc/x") for _ in range(2))
    assert first == second
    assert first.parent == tmp_path
    assert capsys.readouterr().err == (
        f"warning: /proc/x can't be written (No such file or directory); {first} is used instead\n"
    )


def test_a_folder_in_the_home_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    writable_or_temporary.cache_clear()
    assert writable_or_temporary("~/.cache/x") == tmp_path / ".cache" / "x"
    assert capsys.readouterr().err == ""
