import numpy as np
import pytest
from PIL import Image

from training.sample import draw, sample


def test_a_seed_names_a_picture(artifacts):
    many, one = sample(artifacts / "pictures", 70, 10), sample(artifacts / "pictures", 1, 79)
    assert many.shape == (70, 16, 16, 1)
    assert np.array_equal(many[69], one[0])
    assert len(np.unique(many.reshape(70, -1), axis=0)) == 70


def test_a_run_and_its_artifact_draw_the_same(artifacts, runs):
    from_run, from_artifact = sample(runs / "pictures", 9, 3), sample(artifacts / "pictures", 9, 3)
    assert np.abs(from_run.astype(int) - from_artifact).max() <= 1


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
