"""Classes of images by a list, by files beside them or by folders."""

import json

import pytest

from serving.errors import UserError
from tests.training.data.files.test_image_source import in_folder, in_tar, png
from training.data.dataset import open_data
from training.data.files.classes import natural

TWO = {"a/1.png": png(1), "b/2.png": png(2), "b/3.png": png(3)}


def labelled(path, files) -> tuple[tuple[str, ...], list[int] | None]:
    data = open_data(f"folder:{in_folder(path / 'set', files)}", (1, 8, 8), 0)
    return data.labels, None if data.label is None else data.label.tolist()


def test_names_are_sorted_as_people_sort_them():
    names = ["class 10", "Class 2", "class 1", "b", "A", "10", "9"]
    assert sorted(names, key=natural) == ["9", "10", "A", "b", "class 1", "Class 2", "class 10"]


def test_subfolders_are_classes(tmp_path):
    files = {f"{name}/1.png": png(1) for name in ("10", "9", "1")}
    assert labelled(tmp_path, files) == (("1", "9", "10"), [0, 2, 1])


@pytest.mark.parametrize("names", [["1.png", "a/2.png"], ["a/1.png", "a/b.png"]])
def test_images_in_no_folder_or_all_in_one_have_no_classes(names, tmp_path):
    assert labelled(tmp_path, {name: png(1) for name in names}) == ((), None)


def test_stylegans_list_of_classes(tmp_path):
    content = {"labels": [["b/3.png", 1], ["a/1.png", 1], ["b/2.png", 0]]}
    files = TWO | {"dataset.json": json.dumps(content).encode()}
    assert labelled(tmp_path, files) == (("0", "1"), [1, 0, 1])


def test_stylegans_list_without_classes(tmp_path):
    assert labelled(tmp_path, {"1.png": png(1), "dataset.json": b'{"labels": null}'}) == ((), None)


@pytest.mark.parametrize("head", ["", "file,label\n", "File, Label\n", "\ufefffile,label\n"])
def test_a_table_of_classes(head, tmp_path):
    lines = f'{head}a/1.png,tabby cat\nb/2.png,dog\n\n"b/3.png","tabby cat"\n'
    assert labelled(tmp_path, TWO | {"labels.csv": lines.encode()}) == (("dog", "tabby cat"), [1, 0, 1])


def test_classes_beside_the_images_as_webdataset_has_them(tmp_path):
    files = {"1.png": png(1), "1.cls": b"7", "2.png": png(2), "2.cls": b"12\n"}
    place = in_tar(tmp_path / "set", files)
    data = open_data(f"folder:{place}", (1, 8, 8), 0)
    assert (data.labels, data.label.tolist()) == (("7", "12"), [0, 1])
    with pytest.raises(UserError, match=r"2\.png must have a \.cls file"):
        open_data(f"folder:{in_tar(tmp_path / 'less', {k: files[k] for k in list(files)[:3]})}", (1, 8, 8), 0)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("dataset.json", b"{", "must be"),
        ("dataset.json", b"[]", "must be"),
        ("dataset.json", b'{"labels": [["a/1.png"]]}', "must be"),
        ("dataset.json", b'{"labels": [["a/1.png", "cat"]]}', "must be"),
        ("dataset.json", b'{"labels": ' + b"[" * 100_000, "must be"),
        ("dataset.json", b'{"labels": [["a/1.png", 1]]}', r"b/2\.png is missing"),
        ("labels.csv", b"", "must be"),
        ("labels.csv", b"a/1.png\n", "must be"),
        ("labels.csv", b"a/1.png,b,c\n", "must be"),
        ("labels.csv", b"\xff\xfe\x00", "must be"),
        ("labels.csv", b"a/1.png,cat\n", r"b/2\.png is missing"),
    ],
)
def test_damaged_lists_are_named(name, content, reason, tmp_path):
    with pytest.raises(UserError, match=rf"{name} .*{reason}"):
        labelled(tmp_path, TWO | {name: content})


def test_two_lists_are_refused(tmp_path):
    lists = {"dataset.json": b'{"labels": null}', "labels.csv": b"a/1.png,b\n"}
    with pytest.raises(UserError, match="one list of labels"):
        labelled(tmp_path, TWO | lists)


def test_a_class_that_is_only_held_out_is_named(tmp_path):
    files = {"train/a/1.png": png(1), "train/b/1.png": png(1), "test/c/1.png": png(1)}
    data = open_data(f"folder:{in_folder(tmp_path / 'set', files)}", (1, 8, 8), 0)
    with pytest.raises(UserError, match="must occur in training; got c"):
        data.held_out()
