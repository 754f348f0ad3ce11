"""Usual names of a dataset's parts are known, and what is held out is not trained on."""

import pytest

from training.data.splits import split


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
