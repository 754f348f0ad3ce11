import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from PIL import Image

from serving.runtime.artifact import read_manifest
from serving.runtime.engine import Engine
from serving.runtime.load import load
from tests.training.evaluation.test_samples import folder_of_glyphs
from training.artifacts.evaluate import _keep, evaluate, table
from training.artifacts.model_card import NEAREST_FILE, describe
from training.evaluation import features


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where classifiers are kept, for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def quick(monkeypatch, cache):
    monkeypatch.setattr(features, "STEPS", 100)
    monkeypatch.setenv("GANZOO_CACHE", str(cache))


@pytest.fixture
def copies(artifacts, tmp_path):
    return shutil.copytree(artifacts, tmp_path / "artifacts")


def test_scores_go_into_the_manifest_and_the_card_and_nothing_else_changes(copies, quick):
    before = read_manifest(copies / "pictures")
    evaluation = evaluate(copies / "pictures", "glyphs", n=300)
    after = read_manifest(copies / "pictures")
    assert after.metrics == [evaluation]
    assert after == before.model_copy(update={"metrics": [evaluation]})
    assert after.version == before.version
    Engine(copies / "pictures", "cpu")
    assert (evaluation.data, evaluation.samples, evaluation.seed) == ("glyphs", 300, 0)
    assert evaluation.features["name"] == "classifier"
    assert 0 < evaluation.features["accuracy"] <= 1
    assert evaluation.scores["frechet"] > evaluation.controls["real"]["frechet"]
    card = (copies / "pictures" / "README.md").read_text()
    assert f"| frechet | {evaluation.scores['frechet']:.4g} |" in card
    assert "300 samples" in card
    lines = table(evaluation).splitlines()
    assert len(lines) == 1 + len(evaluation.scores)

    again = evaluate(copies / "pictures", "glyphs", n=300, seed=300)
    assert read_manifest(copies / "pictures").metrics == [again], "the newer one replaces the older"
    assert again.scores != evaluation.scores


def test_it_is_the_graph_that_is_scored(copies, quick):
    """The control: another graph in the same artifact, one that draws a flat picture, gets another score."""
    good = evaluate(copies / "pictures", "glyphs", n=200).scores
    path = copies / "pictures" / "generator.cpu.fp32.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) in (2, 4):
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.zeros(list(tensor.dims), np.float32), tensor.name)
            )
    onnx.save(model, path)
    manifest = json.loads((copies / "pictures" / "manifest.json").read_text())
    manifest["graphs"]["generator"]["variants"][1]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (copies / "pictures" / "manifest.json").write_text(json.dumps(manifest))
    assert len(np.unique(load(copies / "pictures").sample(5, seed=0), axis=0)) == 1
    bad = evaluate(copies / "pictures", "glyphs", n=200).scores
    assert bad["frechet"] > good["frechet"]
    assert bad["classes_covered"] == 1


def test_a_score_of_fewer_samples_does_not_replace_one_of_more(copies, capsys):
    good = evaluate(copies / "points", "gaussian2d", n=500)
    before = (copies / "points" / "manifest.json").read_bytes()
    evaluate(copies / "points", "gaussian2d", n=20)
    assert "the scores of 20 samples are not written" in capsys.readouterr().err
    assert (copies / "points" / "manifest.json").read_bytes() == before
    more = evaluate(copies / "points", "gaussian2d", n=600)
    assert read_manifest(copies / "points").metrics == [more]
    assert more.samples > good.samples


def test_a_folder_is_scored_without_a_download_and_its_nearest_images_are_shown(copies, cache, quick, capsys):
    spec = folder_of_glyphs(cache / "files")
    evaluation = evaluate(copies / "pictures", spec, n=60)
    assert evaluation.features["name"] == "efficientnet"
    assert "needs at least 1280 samples" in capsys.readouterr().err
    for scores in (evaluation.scores, evaluation.controls["real"]):
        assert 0 <= scores["memorised"] <= 1
        assert 0 <= scores["authenticity"] <= 1
    with Image.open(copies / "pictures" / NEAREST_FILE) as sheet:
        assert sheet.size == (12 * 18 + 2, 2 * 18 + 2)
    manifest = read_manifest(copies / "pictures")
    assert (copies / "pictures" / "README.md").read_text() == describe(manifest)
    twice = manifest.model_copy(update={"metrics": [evaluation, evaluation.model_copy()]})
    assert describe(twice).count(f"]({NEAREST_FILE})") == 1, "that of the last evaluation"
    Engine(copies / "pictures", "cpu")
    assert "memorised" in table(evaluation)


def test_drawn_characters_without_end_have_no_copies(copies, quick):
    """The control of the sheet: there is no training set to copy from."""
    evaluation = evaluate(copies / "pictures", "glyphs", n=100)
    assert "memorised" not in evaluation.scores
    assert not (copies / "pictures" / NEAREST_FILE).exists()


def test_an_artifact_that_is_exported_anew_meanwhile_is_left_alone(copies):
    evaluation = evaluate(copies / "points", "gaussian2d", n=100)
    before = (copies / "points" / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="exported again"):
        _keep(evaluation, copies / "points", "another")
    assert (copies / "points" / "manifest.json").read_bytes() == before


def test_labels_of_other_data_are_not_held_against_it(copies, quick):
    assert "label_accuracy" not in evaluate(copies / "classes", "glyphs:CBA", n=100).scores


def test_a_conditional_artifact_is_asked_for_its_classes(copies, quick):
    evaluation = evaluate(copies / "classes", "glyphs:ABC", n=150)
    assert 0 <= evaluation.scores["label_accuracy"] <= 1
    assert "label_accuracy" in table(evaluation)
    assert evaluation.controls["real"]["label_accuracy"] == evaluation.features["accuracy"]


def test_points_are_held_against_the_truth(copies):
    evaluation = evaluate(copies / "points", "gaussian2d", n=1000)
    assert set(evaluation.scores) == {"wasserstein2"}
    assert evaluation.features is None
    assert evaluation.controls["real"]["wasserstein2"] < 0.2 < evaluation.scores["wasserstein2"]


def test_translations_are_held_against_their_truth_beside_the_controls(copies):
    evaluation = evaluate(copies / "styles", "glyphs-style", n=20)
    assert read_manifest(copies / "styles").metrics == [evaluation]
    assert (evaluation.samples, evaluation.features) == (20, None)
    assert set(evaluation.controls) == {"untranslated", "recoloured"}
    assert "a2b_cycle" in evaluation.scores
    assert evaluation.controls["recoloured"]["a2b_l1"] < evaluation.scores["a2b_l1"], "3 steps are few"
    card = (copies / "styles" / "README.md").read_text()
    assert "| score | artifact | untranslated | recoloured |" in card
    assert "20 translations per direction" in card
    head, *lines = table(evaluation).splitlines()
    assert head.split() == ["artifact", "untranslated", "recoloured"]
    assert len(lines) == len(evaluation.scores)


@pytest.mark.parametrize(
    ("artifact", "data", "options", "reason"),
    [
        ("pictures", "gaussian2d", {}, "vectors of 2"),
        ("points", "glyphs", {}, "images of 1 or 3"),
        ("pictures", "glyphs", {"n": 0}, "n must be"),
        ("pictures", "glyphs", {"features": "taste"}, "features must be"),
        ("nothing", "glyphs", {}, "is not an artifact"),
        ("styles", "glyphs", {}, "data of two domains"),
        ("pictures", "glyphs-style", {}, "1, 16, 16"),
    ],
)
def test_what_cannot_be_scored_is_refused(copies, artifact, data, options, reason):
    with pytest.raises(ValueError, match=reason):
        evaluate(copies / artifact, data, **options)
