import json

import numpy as np
import pytest
from PIL import Image

from serving.errors import UserError
from serving.offline.sample import write_samples
from serving.runtime.load import load
from serving.runtime.manifest import class_of, label_in
from training.cli.inference import open_model


def test_a_seed_names_a_picture(artifacts):
    many, one = (
        load(artifacts / "pictures").sample(70, seed=10),
        load(artifacts / "pictures").sample(1, seed=79),
    )
    assert many.shape == (70, 16, 16, 1)
    assert np.array_equal(many[69], one[0])
    assert len(np.unique(many.reshape(70, -1), axis=0)) == 70


def test_a_run_and_its_artifact_draw_the_same(artifacts, runs):
    from_run, from_artifact = (
        open_model(runs / "pictures").sample(9, seed=3),
        load(artifacts / "pictures").sample(9, seed=3),
    )
    assert np.abs(from_run.astype(int) - from_artifact).max() <= 1


def test_a_run_and_its_artifact_draw_the_class_that_is_asked_for(artifacts, runs):
    by_name, by_number = (load(artifacts / "classes").sample(3, seed=5, label=label) for label in ("B", 1))
    assert np.array_equal(by_name, by_number)
    assert not np.array_equal(by_name, load(artifacts / "classes").sample(3, seed=5, label="C"))
    from_run = open_model(runs / "classes").sample(3, seed=5, label="B")
    assert np.abs(from_run.astype(int) - by_name).max() <= 1
    in_turns = load(artifacts / "classes").sample(3, seed=5)
    assert np.array_equal(in_turns[2], by_name[2]), "seed 7 is of class 7 % 3 = 1"
    for source, label in (("classes", "D"), ("classes", "3"), ("pictures", "0")):
        with pytest.raises(ValueError, match="label"):
            load(artifacts / source).sample(1, seed=0, label=label)


def test_a_name_that_is_a_number_is_a_name():
    labels = ["3", "1"]
    classes = [class_of(labels, label_in(labels, text)) for text in ("3", "0", "1", None)]
    assert classes == [0, 0, 1, None]


def test_pictures_and_arrays_are_written(artifacts, tmp_path):
    write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "new" / "sheet.png")
    write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "array.npy")
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (3 * 18 + 2, 2 * 18 + 2)
    assert np.array_equal(np.load(tmp_path / "array.npy"), load(artifacts / "pictures").sample(5, seed=0))
    with pytest.raises(ValueError, match=r"samples\.gif"):
        write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "samples.gif")


def test_what_cannot_be_sampled_is_refused(tmp_path, artifacts):
    with pytest.raises(UserError, match="is not an artifact"):
        open_model(tmp_path)
    with pytest.raises(ValueError, match="n must be"):
        load(artifacts / "pictures").sample(0, seed=0)


def test_what_is_written_where_is_told_by_the_path_and_the_format(artifacts, tmp_path):
    pictures, points = load(artifacts / "pictures"), load(artifacts / "points")
    write_samples(pictures, 2, 0, tmp_path / "folder")
    write_samples(pictures, 5, 0, tmp_path / "v1.2", shard_size=3)
    write_samples(pictures, 1, 0, tmp_path / "v1.3", folder_format="png")
    write_samples(pictures, 5, 0, tmp_path / "tars", folder_format="tar")
    write_samples(points, 5, 0, tmp_path / "points")
    write_samples(pictures, 5, 0, tmp_path / "one.tar")
    found = {str(path.relative_to(tmp_path)) for end in ("tar", "png") for path in tmp_path.rglob("*." + end)}
    shards = {"v1.2/000000.tar", "v1.2/000001.tar", "tars/000000.tar", "points/000000.tar", "one.tar"}
    assert found == shards | {"folder/000000.png", "folder/000001.png", "v1.3/000000.png"}


def test_a_folder_of_an_earlier_version_stays_one_of_shards(artifacts, tmp_path):
    """Its plan has no format."""
    write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "out", folder_format="tar")
    plan = json.loads((tmp_path / "out" / "plan.json").read_bytes())
    del plan["format"]
    (tmp_path / "out" / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "out" / "000000.tar").unlink()
    write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("0*")] == ["000000.tar"]


def test_more_images_than_a_shard_holds_are_not_files(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.offline.sample.SHARD_SIZE", 4)
    write_samples(load(artifacts / "pictures"), 4, 0, tmp_path / "four")
    write_samples(load(artifacts / "pictures"), 5, 0, tmp_path / "five")
    assert len(list((tmp_path / "four").glob("*.png"))) == 4
    assert len(list((tmp_path / "five").glob("*.tar"))) == 2


def test_what_makes_no_shards_is_refused(artifacts, tmp_path):
    for out, shards, kind, said in (
        ("v1.2", None, None, "a folder without a suffix; got v1.2"),
        ("folder", 0, None, "--shard-size must be at least 1; got 0"),
        ("one.tar", 3, None, "must be a folder with --shard-size, --ray or --format; got one.tar"),
        ("sheet.png", 3, None, "must be a folder with --shard-size, --ray or --format; got sheet.png"),
        ("sheet.png", None, "png", "must be a folder with --shard-size, --ray or --format; got sheet.png"),
        ("folder", 3, "png", "--format must be tar with --shard-size or --ray; got png"),
    ):
        with pytest.raises(ValueError, match=said):
            write_samples(
                load(artifacts / "pictures"), 5, 0, tmp_path / out, shard_size=shards, folder_format=kind
            )
    for n, seed, said in ((0, 0, "n must be"), (1, -1, "got -1 to -1"), (2, 2**53 - 1, "seeds must be")):
        with pytest.raises(ValueError, match=said):
            write_samples(load(artifacts / "pictures"), n, seed, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []
