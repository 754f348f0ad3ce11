"""Scores of translations, by translators whose worth is known: the truth itself, none, and nonsense."""

import numpy as np
import pytest
import torch
from PIL import Image

from serving.runtime.pipeline import Pipeline
from serving.runtime.tensor import Tensor as TensorSpec
from training.data.dataset import open_data
from training.data.styled_glyphs import plain, restyle
from training.data.transforms import with_channels
from training.evaluation import features
from training.evaluation.translation.translations import open_translation_scorer
from training.graphs.pixels import as_fed, as_served
from zoo.entry import DomainShapes

SHAPE = (3, 32, 32)
CPU = torch.device("cpu")
IMAGE = TensorSpec(dtype="uint8", shape=["batch", "height", "width", 3], meaning="image", range=(0, 255))


def pipeline(**translators) -> Pipeline:
    """Translators, functions of uint8 (N, H, W, C), by their directions."""
    inputs = {name: {"image": IMAGE} for name in translators}
    return Pipeline(inputs, lambda name, fed: translators[name](fed["image"]))


def by(change):
    return lambda pixels: as_served(change(as_fed(torch.from_numpy(pixels))))


def same(pixels):
    return pixels


@pytest.fixture(scope="module")
def scorer():
    return open_translation_scorer("glyphs-style", SHAPE, 60, "auto", CPU)


def test_the_truth_scores_best(scorer):
    scores = scorer.score(pipeline(a2b=by(restyle), b2a=by(plain)))
    assert scores["a2b_l1"] == 0
    assert scores["a2b_ssim"] == pytest.approx(1)
    assert scores["a2b_psnr"] == pytest.approx(100)
    assert scores["b2a_l1"] < 0.01
    assert scores["b2a_psnr"] > 40
    assert scores["a2b_cycle"] < 0.01
    assert scorer.describe() is None


def test_the_untranslated_image_scores_as_the_control_of_that_name(scorer):
    untranslated = pipeline(a2b=same, b2a=same)
    scores = scorer.score(untranslated)
    control = scorer.controls["untranslated"]
    assert {name: scores[name] for name in control} == pytest.approx(control)
    assert scores["a2b_cycle"] == 0, "there and back again alone says nothing"
    assert scorer.headline_score(untranslated) == pytest.approx((scores["a2b_l1"] + scores["b2a_l1"]) / 2)


def test_recolouring_is_better_than_nothing_and_worse_than_the_truth(scorer):
    untranslated, recoloured = scorer.controls["untranslated"], scorer.controls["recoloured"]
    for direction in ("a2b", "b2a"):
        assert 0.03 < recoloured[f"{direction}_l1"] < 0.3 * untranslated[f"{direction}_l1"]
        assert untranslated[f"{direction}_ssim"] < recoloured[f"{direction}_ssim"] < 0.8


def test_one_direction_alone_has_no_way_back(scorer):
    scores = scorer.score(pipeline(a2b=same))
    assert set(scores) == {"a2b_l1", "a2b_psnr", "a2b_ssim"}


@pytest.fixture(scope="module")
def seasons(tmp_path_factory):
    """Noise of two colours in folders, as domains without a truth; and their scorer, quickly taught."""
    root = tmp_path_factory.mktemp("seasons")
    draws = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 40)):
        for domain, channel in (("A", 0), ("B", 2)):
            (root / f"{part}{domain}").mkdir()
            for index in range(count):
                pixels = draws.integers(0, 120, (16, 16, 3), dtype=np.uint8)
                pixels[..., channel] += 100
                Image.fromarray(pixels).save(root / f"{part}{domain}" / f"{domain.lower()}{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "STEPS", 60)
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield open_translation_scorer(f"unpaired:{root}", (3, 16, 16), 1000, "classifier", CPU)


def test_the_right_change_of_season_scores_as_real_ones_and_none_as_the_control(seasons):
    assert seasons.samples == 40
    assert seasons.describe()["accuracy"] == 1

    def swap(pixels):
        return pixels[..., ::-1].copy()

    right, none = seasons.score(pipeline(a2b=swap, b2a=swap)), seasons.score(pipeline(a2b=same, b2a=same))
    untranslated, real = seasons.controls["untranslated"], seasons.controls["real"]
    for direction in ("a2b", "b2a"):
        assert none[f"{direction}_frechet"] == pytest.approx(untranslated[f"{direction}_frechet"], rel=1e-3)
        assert untranslated[f"{direction}_frechet"] > 10 * real[f"{direction}_frechet"]
        assert right[f"{direction}_frechet"] < 3 * real[f"{direction}_frechet"]
        assert right[f"{direction}_kernel"] < 0.1 * none[f"{direction}_kernel"]
        assert right[f"{direction}_cycle"] == 0
    assert seasons.headline_score(pipeline(a2b=swap, b2a=swap)) < 0.3 * seasons.headline_score(
        pipeline(a2b=same, b2a=same)
    )
    assert seasons.reference == pytest.approx((real["a2b_frechet"] + real["b2a_frechet"]) / 2)


class Means:
    """Features of the mean and the deviation of each channel, and the channels of what was seen."""

    classes = 0

    def __init__(self):
        self.seen = []

    def describe(self):
        return {"name": "means"}

    def __call__(self, images):
        self.seen.append(images.shape[1])
        return features.Seen(images.float().mean((2, 3)) + images.float().std((2, 3)), None)


def test_grey_and_colour_are_compared_in_colour(tmp_path, monkeypatch):
    """The untranslated control is what a conversion alone gives: grey repeated, colour as luma."""
    means = Means()
    monkeypatch.setattr(
        "training.evaluation.translation.translations.open_extractor", lambda *arguments: means
    )
    draws = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / folder).mkdir()
        for index in range(20):
            pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            pixels[..., 2] //= 2
            image = Image.fromarray(pixels)
            shown = image.convert("L") if folder.endswith("A") else image
            shown.save(tmp_path / folder / f"{folder}-{index}.png")
    shapes = DomainShapes((1, 8, 8), (3, 8, 8))
    scorer = open_translation_scorer(f"unpaired:{tmp_path}", shapes, 99, "auto", CPU)
    assert set(means.seen) == {3}

    def luma(pixels):
        return with_channels(torch.from_numpy(pixels).permute(0, 3, 1, 2), 1).permute(0, 2, 3, 1).numpy()

    inputs = {
        "a2b": {"image": IMAGE.model_copy(update={"shape": [*IMAGE.shape[:3], 1]})},
        "b2a": {"image": IMAGE},
    }
    does = {"a2b": lambda pixels: pixels.repeat(3, 3), "b2a": luma}
    scores = scorer.score(Pipeline(inputs, lambda name, fed: does[name](fed["image"])))
    untranslated, real = scorer.controls["untranslated"], scorer.controls["real"]
    assert {name: scores[name] for name in untranslated} == pytest.approx(untranslated)
    assert scores["b2a_frechet"] < 3 * real["b2a_frechet"], "the luma is what domain a has"
    assert scores["a2b_frechet"] > 10 * real["a2b_frechet"], "grey repeated has no colour"
    assert scores["a2b_cycle"] == 0


def test_without_held_out_images_there_are_two_halves(tmp_path, monkeypatch):
    class Means:
        classes = 0

        def __call__(self, images):
            flat = images.float().flatten(1)
            return features.Seen(torch.stack([flat.mean(1), flat.std(1)], 1), None)

    monkeypatch.setattr(
        "training.evaluation.translation.translations.open_extractor", lambda *arguments: Means()
    )
    draws = np.random.default_rng(0)
    for domain, count in (("A", 30), ("B", 25)):
        (tmp_path / f"train{domain}").mkdir()
        for index in range(count):
            pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"train{domain}" / f"{index}.png")
    assert open_translation_scorer(f"unpaired:{tmp_path}", (3, 8, 8), 99, "auto", CPU).samples == 12
    with pytest.raises(ValueError, match="at least 5 images of each domain; got"):
        open_translation_scorer(f"unpaired:{tmp_path}", (3, 8, 8), 3, "auto", CPU)


def test_examples_and_nothing_are_refused():
    with pytest.raises(ValueError, match="has examples"):
        open_translation_scorer("glyphs", (1, 16, 16), 9, "auto", CPU)
    with pytest.raises(ValueError, match="n must be"):
        open_translation_scorer("glyphs-style", SHAPE, 0, "auto", CPU)
    assert open_data("glyphs-style", SHAPE, 0).kind == "domains"


@pytest.fixture
def namesakes(tmp_path, monkeypatch):
    """Noise in red, and the same noise in blue under the same names; training has others, of other names."""
    monkeypatch.setattr(
        "training.evaluation.translation.translations.open_extractor", lambda *arguments: Means()
    )
    draws = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "testA", "testB"):
        (tmp_path / folder).mkdir()
    for index in range(20):
        red = draws.integers(0, 120, (16, 16, 3), dtype=np.uint8)
        red[..., 0] += 100
        for domain, pixels in (("A", red), ("B", red[..., ::-1])):
            image = Image.fromarray(np.ascontiguousarray(pixels))
            image.save(
                tmp_path / f"test{domain}" / f"{index}.{'png' if domain == 'A' else 'webp'}", lossless=True
            )
            image.save(tmp_path / f"train{domain}" / f"{domain}{index}.png")
    return tmp_path


def test_held_out_images_of_equal_names_are_the_truth_that_training_hides(namesakes, capsys):
    scorer = open_translation_scorer(f"unpaired:{namesakes}", (3, 16, 16), 1000, "auto", CPU)
    assert "20 held-out images of each domain have equal names" in capsys.readouterr().err
    assert (scorer.samples, scorer.headline, scorer.describe()) == (20, "frechet", {"name": "means"})

    def swap(pixels):
        return pixels[..., ::-1].copy()

    def swap_another(pixels):
        return np.roll(swap(pixels), 1, 0)

    right, others, none = (scorer.score(pipeline(a2b=each, b2a=each)) for each in (swap, swap_another, same))
    assert right["a2b_l1"] == right["b2a_feature_distance"] == 0
    assert right["a2b_ssim"] == pytest.approx(1)
    assert others["a2b_frechet"] == pytest.approx(right["a2b_frechet"]), "the distribution is the same"
    assert others["a2b_l1"] > 0.1, "but not the images"
    controls = scorer.controls
    assert {name: none[name] for name in controls["untranslated"]} == pytest.approx(controls["untranslated"])
    assert none["a2b_feature_distance"] > 10
    assert controls["recoloured"]["a2b_l1"] < 0.05, "a fixed change of colours does it"
    assert set(controls) == {"untranslated", "real", "recoloured"}
    assert scorer.headline_score(pipeline(a2b=swap, b2a=swap)) < scorer.headline_score(
        pipeline(a2b=same, b2a=same)
    )


def test_one_image_without_a_namesake_and_there_is_no_truth(namesakes, capsys):
    (namesakes / "testA" / "0.png").rename(namesakes / "testA" / "zero.png")
    scorer = open_translation_scorer(f"unpaired:{namesakes}", (3, 16, 16), 1000, "auto", CPU)
    assert set(scorer.controls) == {"untranslated", "real"}
    assert "equal names" not in capsys.readouterr().err
