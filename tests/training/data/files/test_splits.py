"""Usual names of a dataset's parts are known, and what is held out is not trained on."""

import pytest

from training.data.files.splits import folders_of, split, split_domains


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("held_out", ["test", "VAL", "valid", "validation", "Testing"])
def test_usual_names_are_known(train, held_out):
    one, other = split([f"{train}/1.png", f"{held_out}/2.png", "3.png"])
    assert (one.name, one.images) == (train, [f"{train}/1.png"])
    assert (other.name, other.images) == (held_out, [f"{held_out}/2.png"])


def test_one_part_is_held_out_and_no_other_is_trained_on():
    one, other = split(["val/1.png", "test/2.png", "train/3.png"])
    assert (one.images, other.images) == (["train/3.png"], ["test/2.png"])


@pytest.mark.parametrize("images", [["train/1.png"], ["test/1.png"], ["a/1.png", "b/1.png"], ["1.png"]])
def test_without_both_all_is_trained_on(images):
    one, other = split(images)
    assert (one.images, other) == (images, None)


def test_folders_that_hold_everything_are_left_out():
    one, other = split(["set/v1/train/a/1.png", "set/v1/test/a/2.png"])
    assert (one.root, other.root) == ("set/v1/train/", "set/v1/test/")
    assert split(["set/a/1.png", "set/b/2.png"])[0].root == "set/"


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ("train{}", "test{}"),
        ("train_{}", "val_{}"),
        ("Train-{}", "Valid {}"),
        ("{}/train", "{}/test"),
        ("train/{}", "validation/{}"),
        ("{}_train", "{}_test"),
        ("{}", "test{}"),
        ("{}", "test/{}"),
    ],
)
@pytest.mark.parametrize("letters", ["AB", "ab"])
@pytest.mark.parametrize("root", ["", "set/v1/"])
def test_folders_of_two_domains_are_known(train, held_out, letters, root):
    folders = [root + name.format(letter) for name in (train, held_out) for letter in letters]
    images = [f"{folder}/{index}.png" for folder in folders for index in range(2)]
    one, other = split_domains([*images, f"{root}more/3.png"])
    found = [part for parts in (one, other) for part in (parts.a, parts.b)]
    assert [part.root for part in found] == [f"{folder}/" for folder in folders]
    assert [image for part in found for image in part.images] == images


@pytest.mark.parametrize(
    "images", [["1.png"], ["A/1.png"], ["trainA/1.png", "testB/1.png"], ["AB/1.png", "CA/1.png"], ["a/b.png"]]
)
def test_without_both_domains_there_are_none(images):
    assert split_domains(images) == (None, None)


def test_folders_within_a_domain_are_part_of_it():
    one, other = split_domains(["A/cat/1.png", "B/cat/1.png"])
    assert (one.a.images, one.b.root, other) == (["A/cat/1.png"], "B/", None)


def test_two_folders_of_one_domain_are_refused():
    with pytest.raises(ValueError, match="one folder; got trainA/ and train_A/"):
        split_domains(["trainA/1.png", "train_A/1.png", "trainB/1.png"])


def test_a_folder_of_a_single_letter_is_a_class_as_any_other():
    assert split(["a/x/1.png", "a/y/1.png"])[0].root == "a/"
    assert folders_of(["set/a/x.png", "set/c/x.png", "set/1.png"]) == ["a", "c"]
