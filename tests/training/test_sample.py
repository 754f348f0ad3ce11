import numpy as np
import pytest
from PIL import Image

from training.sample import _class_of, draw, sample


def test_a_seed_names_a_picture(artifacts):
    many, one = sample(artifacts / "pictures", 70, 10), sample(artifacts / "pictures", 1, 79)
    assert many.shape == (70, 16, 16, 1)
    assert np.array_equal(many[69], one[0])
    assert len(np.unique(many.reshape(70, -1), axis=0)) == 70


def test_a_run_and_its_artifact_draw_the_same(artifacts, runs):
    from_run, from_artifact = sample(runs / "pictures", 9, 3), sample(artifacts / "pictures", 9, 3)
    assert np.abs(from_run.astype(int) - from_artifact).max() <= 1


def test_a_run_and_its_artifact_draw_the_class_that_is_asked_for(artifacts, runs):
    by_name, by_number = (sample(artifacts / "classes", 3, 5, label) for label in ("B", "1"))
    assert np.array_equal(by_name, by_number)
    assert not np.array_equal(by_name, sample(artifacts / "classes", 3, 5, "C"))
    from_run = sample(runs / "classes", 3, 5, "B")
    assert np.abs(from_run.astype(int) - by_name).max() <= 1
    in_turns = sample(artifacts / "classes", 3, 5)
    assert np.array_equal(in_turns[2], by_name[2]), "seed 7 is of class 7 % 3 = 1"
    for source, label in (("classes", "D"), ("classes", "3"), ("pictures", "0")):
        with pytest.raises(ValueError, match="label"):
            sample(artifacts / source, 1, 0, label)


def test_a_name_that_is_a_number_is_a_name():
    assert _class_of(["3", "1"], "3") == 0
    assert _class_of(["3", "1"], "0") == 0
    assert _class_of(["3", "1"], "1") == 1


def test_pictures_and_arrays_are_written(artifacts, tmp_path):
    draw(artifacts / "pictures", 5, 0, tmp_path / "new" / "sheet.png")
    draw(artifacts / "pictures", 5, 0, tmp_path / "array.npy")
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (3 * 18 + 2, 2 * 18 + 2)
    assert np.array_equal(np.load(tmp_path / "array.npy"), sample(artifacts / "pictures", 5, 0))
    with pytest.raises(ValueError, match=r"samples\.gif"):
        draw(artifacts / "pictures", 5, 0, tmp_path / "samples.gif")


def test_what_cannot_be_sampled_is_refused(tmp_path, artifacts):
    with pytest.raises(ValueError, match="holds no run"):
        sample(tmp_path, 1, 0)
    with pytest.raises(ValueError, match="n must be"):
        sample(artifacts / "pictures", 0, 0)
