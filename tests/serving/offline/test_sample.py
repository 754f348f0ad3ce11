import numpy as np
import pytest
from PIL import Image

from serving.offline.sample import _class_of, draw, sample


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


def test_what_is_written_where_is_told_by_the_path(artifacts, tmp_path):
    draw(artifacts / "pictures", 5, 0, tmp_path / "folder")
    draw(artifacts / "pictures", 5, 0, tmp_path / "v1.2", shards=3)
    draw(artifacts / "pictures", 5, 0, tmp_path / "one.tar")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tar")}
    assert found == {"folder/000000.tar", "v1.2/000000.tar", "v1.2/000001.tar", "one.tar"}


def test_what_makes_no_shards_is_refused(artifacts, tmp_path):
    for out, shards, said in (
        ("v1.2", None, "with --shards, a folder; got v1.2"),
        ("folder", 0, "shards must be at least 1; got 0"),
        ("one.tar", 3, "shards are written into a folder; got one.tar"),
        ("sheet.png", 3, "shards are written into a folder; got sheet.png"),
    ):
        with pytest.raises(ValueError, match=said):
            draw(artifacts / "pictures", 5, 0, tmp_path / out, shards=shards)
    for n, seed, said in ((0, 0, "n must be"), (1, -1, "got -1 to -1"), (2, 2**53 - 1, "seeds must be")):
        with pytest.raises(ValueError, match=said):
            draw(artifacts / "pictures", n, seed, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []
