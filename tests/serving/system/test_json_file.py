"""Whatever a file holds, it is an object or one error that names the file."""

import os

import pytest

from serving.errors import UserError
from serving.system.json_file import parse, read_object

DAMAGED = {
    "empty": b"",
    "truncated": b'{"a": ',
    "binary": bytes(range(128, 256)),
    "not UTF-8": b'{"a": "\xff"}',
    "a list": b"[{}]",
    "a string": b'"text"',
    "a number": b"1e999",
    "null": b"null",
    "a huge number": b"9" * 5000,
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_object_is_refused_with_the_files_name(kind, tmp_path):
    (tmp_path / "run.json").write_bytes(DAMAGED[kind])
    with pytest.raises(UserError, match=r"run\.json is damaged: ."):
        read_object(tmp_path / "run.json")


@pytest.mark.parametrize("make", [lambda path: None, os.mkfifo, os.mkdir])
def test_what_is_no_file_is_an_error_of_the_system(make, tmp_path):
    make(tmp_path / "run.json")
    with pytest.raises(OSError, match=r"run\.json"):
        read_object(tmp_path / "run.json")


def test_an_object_is_read(tmp_path):
    (tmp_path / "run.json").write_text('{"a": [1]}')
    assert read_object(tmp_path / "run.json") == {"a": [1]}


def test_deep_nesting_is_no_json():
    with pytest.raises(ValueError, match="nested"):
        parse("[" * 100_000)
