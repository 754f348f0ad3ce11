import numpy as np
import pytest
import torch
from PIL import Image

from training.data.dataset import open_data
from training.evaluation import features, metrics
from training.evaluation.samples import PAIRS, open_scorer
from training.graphs.pixels import to_pixels

SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "STEPS", 150)
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_scorer("glyphs", SHAPE, 1000, "auto", torch.device("cpu"))


def test_fresh_real_images_score_as_the_floor_does(scorer):
    real = to_pixels(open_data("glyphs", SHAPE, 7).batch(0, 1000)["real"]).numpy()
    scores = scorer.score([real]).scores
    assert set(scores) | {"label_accuracy"} == set(scorer.reference)
    assert scores["frechet"] < 3 * scorer.reference["frechet"]
    assert scores["entropy"] > 0.98
    assert scores["coverage"] > 0.8
    assert scorer.headline_score([real]) == pytest.approx(scores["frechet"])
    assert scorer.reference["label_accuracy"] > 0.9


def test_noise_scores_badly_in_every_metric(scorer):
    """The control: what knows nothing of the data is far from them by each of the scores."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 16, 16, 1), dtype=np.uint8)
    bad, reference = scorer.score([noise]).scores, scorer.reference
    assert bad["frechet"] > 20 * reference["frechet"]
    assert bad["kernel"] > 20 * abs(reference["kernel"])
    for name in ("precision", "recall", "density", "coverage"):
        assert bad[name] < 0.7 * reference[name], name
    assert bad["entropy"] < 0.8
    assert bad["classes_covered"] < 10


def test_one_picture_over_and_over_scores_badly_too(scorer):
    """The control of lost diversity: precise, and of one class."""
    one = to_pixels(open_data("glyphs", SHAPE, 0).batch(0, 1)["real"]).numpy().repeat(1000, 0)
    bad = scorer.score([one]).scores
    assert bad["classes_covered"] == 1
    assert bad["coverage"] < 0.1
    assert bad["frechet"] > 20 * scorer.reference["frechet"]


def test_labels_are_held_against_what_was_told(scorer):
    batch = open_data("glyphs", SHAPE, 7).batch(0, 1000)
    pixels, told = to_pixels(batch["real"]).numpy(), batch["label"].numpy()
    assert scorer.score([pixels], told).scores["label_accuracy"] > 0.9
    assert scorer.score([pixels], (told + 1) % 10).scores["label_accuracy"] < 0.1


def folder_of_noise(path, count):
    path.mkdir(parents=True)
    for index in range(count):
        pixels = np.random.default_rng([index, len(path.name)]).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")


class Means:
    """An extractor of two numbers."""

    classes = 0

    def describe(self):
        return {"name": "means"}

    def __call__(self, images):
        flat = images.float().flatten(1)
        return features.Seen(torch.stack([flat.mean(1), flat.std(1)], 1), None)


def test_a_folder_is_scored_against_its_test_images_or_against_its_other_half(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("training.evaluation.samples.open_extractor", lambda *arguments: Means())
    folder_of_noise(tmp_path / "whole", 30)
    assert open_scorer(f"folder:{tmp_path / 'whole'}", SHAPE, 1000, "auto", torch.device("cpu")).samples == 15
    folder_of_noise(tmp_path / "split" / "train", 20)
    folder_of_noise(tmp_path / "split" / "test", 12)
    scorer = open_scorer(f"folder:{tmp_path / 'split'}", SHAPE, 1000, "auto", torch.device("cpu"))
    assert scorer.samples == 12
    assert scorer.data == "folder:split"
    assert "entropy" not in scorer.reference
    folder_of_noise(tmp_path / "few", 2 * metrics.NEIGHBOURS)
    with pytest.raises(ValueError, match="at least 10 images; got 5"):
        open_scorer(f"folder:{tmp_path / 'few'}", SHAPE, 1000, "auto", torch.device("cpu"))


def folder_of_glyphs(path):
    """Drawn characters as files: 120 to train with and 60 held out."""
    for part, step, count in (("train", 0, 120), ("test", 1, 60)):
        (path / part).mkdir(parents=True)
        batch = open_data("glyphs", SHAPE, 0).batch(step, count)
        for index, pixels in enumerate(to_pixels(batch["real"]).numpy()):
            Image.fromarray(pixels[..., 0]).save(path / part / f"{index}.png")
    return f"folder:{path}"


def test_a_generator_of_training_images_is_caught_and_held_out_images_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    spec = folder_of_glyphs(tmp_path / "data")
    scorer = open_scorer(spec, SHAPE, 60, "auto", torch.device("cpu"))
    assert scorer.describe()["name"] == "efficientnet"
    data = open_data(spec, SHAPE, 0)
    copied, held_out = (to_pixels(part.batch(0, 60)["real"]).numpy() for part in (data, data.held_out()))
    scores, pairs = scorer.score([copied])
    assert scores["memorised"] == 1
    assert scores["authenticity"] == 0
    assert len(pairs.samples) == PAIRS
    assert np.array_equal(pairs.training, copied[pairs.samples])
    honest = scorer.score([held_out]).scores
    assert honest["memorised"] < 0.1
    assert honest["authenticity"] > 0.3
    assert scorer.reference["memorised"] < 0.1
    assert list((tmp_path / "cache" / "features").iterdir())


@pytest.mark.parametrize(("spec", "shape", "n"), [("glyphs", SHAPE, 5), ("ring8", (2,), 1)])
def test_too_few_samples_are_refused(spec, shape, n, monkeypatch, tmp_path):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("training.evaluation.samples.open_extractor", lambda *arguments: Means())
    with pytest.raises(ValueError, match=r"at least 10 images; got 5|at least 2; got 1"):
        open_scorer(spec, shape, n, "auto", torch.device("cpu"))


def test_points_are_scored_by_their_truth():
    scorer = open_scorer("ring8", (2,), 5000, "auto", torch.device("cpu"))
    assert (scorer.samples, scorer.headline, scorer.describe()) == (5000, "total_variation", None)
    noise = [np.zeros((100, 2), np.float32)] * 3
    assert scorer.headline_score(noise) == 1
    assert scorer.reference["modes_covered"] == 8
