"""Scores of enlarged images, by ways to enlarge whose worth is known."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from serving.runtime.pipeline import Pipeline
from serving.runtime.tensor import Tensor as TensorSpec
from tests.conftest import small_config
from training.data.dataset import open_data
from training.evaluation.translation.resolution import METHODS, ResolutionScorer, enlarged
from training.evaluation.translation.translations import open_translation_scorer
from training.evaluation.validator import open_validator
from training.graphs.pixels import as_fed, as_served
from zoo.degradations import bicubic
from zoo.super_resolution import DIRECTION

CPU = torch.device("cpu")
IMAGE = TensorSpec(dtype="uint8", shape=["batch", "height", "width", 3], meaning="image", range=(0, 255))


def pipeline(enlarge) -> Pipeline:
    return Pipeline({DIRECTION: {"image": IMAGE}}, lambda _, fed: enlarge(fed["image"]))


def repeated(pixels):
    return pixels.repeat(2, 1).repeat(2, 2)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Smooth pictures with an edge, which tell ways to enlarge apart."""
    folder = tmp_path_factory.mktemp("photographs")
    draws = torch.Generator().manual_seed(0)
    for number in range(12):
        smooth = F.interpolate(torch.rand(1, 3, 5, 5, generator=draws), (32, 32), mode="bicubic")[0]
        smooth[:, :, 8 + number :] = 1 - smooth[:, :, 8 + number :]
        pixels = (smooth.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def scorer(photographs):
    return ResolutionScorer(open_data(photographs, (3, 32, 32), 0), 2, 12)


def test_the_original_scores_best(scorer):
    originals = iter([real for _, real in scorer])
    scores = scorer.score(pipeline(lambda _: next(originals)))
    assert scores["upscale_l1"] == 0
    assert scores["upscale_psnr"] == pytest.approx(100)
    assert scores["upscale_ssim"] == pytest.approx(1)


def test_ways_to_enlarge_are_in_their_usual_order(scorer):
    scores = scorer.score(pipeline(repeated))
    for name in ("psnr", "ssim"):
        assert scores[f"upscale_{name}"] < scorer.controls["bicubic"][f"upscale_{name}"]
    assert scores["upscale_l1"] > scorer.controls["bicubic"]["upscale_l1"]
    assert scorer.controls.keys() == {"bicubic", "lanczos"}
    assert scorer.headline_score(pipeline(repeated)) == pytest.approx(scores["upscale_l1"])


def test_enlarging_by_a_control_scores_as_the_control(scorer):
    scores = scorer.score(pipeline(lambda small: enlarged(small, 2, METHODS["lanczos"])))
    assert scores == pytest.approx(scorer.controls["lanczos"])


def test_luma_without_the_border_is_compared(photographs):
    """By hand, for one image: the luma's weights, and two pixels less at each side."""
    scorer = ResolutionScorer(open_data(photographs, (3, 32, 32), 0), 2, 1)
    ((small, real),) = scorer
    wanted = repeated(small)
    lumas = [(each[0, 2:-2, 2:-2] @ [65.481, 128.553, 24.966]) / 255 for each in (wanted, real)]
    error = np.square((lumas[0] - lumas[1]) / 255).mean()
    scores = scorer.score(pipeline(repeated))
    assert scores["upscale_psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert scores["upscale_l1"] == pytest.approx(np.abs(wanted / 255 - real / 255.0).mean(), abs=1e-6)


def test_images_are_reduced_as_in_training(scorer):
    small, real = next(iter(scorer))
    assert np.array_equal(small, as_served(bicubic(as_fed(torch.from_numpy(real)), 2)))


def test_features_are_compared_unless_the_model_was_trained_against_them(photographs, capsys):
    shape = (3, 32, 32)
    seen = open_translation_scorer(photographs, shape, 12, "auto", CPU, scale=2)
    assert "upscale_feature_distance" in seen.controls["bicubic"]
    assert seen.describe()["name"] == "efficientnet"
    against = ("efficientnet",)
    blind = open_translation_scorer(photographs, shape, 12, "auto", CPU, trained_against=against, scale=2)
    assert "upscale_feature_distance" not in blind.controls["bicubic"]
    assert blind.describe() is None
    assert "trained against the features of efficientnet" in capsys.readouterr().err
    with pytest.raises(ValueError, match="another network"):
        open_translation_scorer(photographs, shape, 12, "efficientnet", CPU, trained_against=against, scale=2)


def test_domains_are_no_data_for_it():
    with pytest.raises(ValueError, match="must be examples"):
        open_translation_scorer("glyphs-style", (3, 32, 32), 4, "auto", CPU, scale=2)


def test_a_run_is_scored_while_it_trains(photographs, tmp_path):
    config = small_config("srresnet", tmp_path, data=photographs)
    validator = open_validator(config, pipeline(repeated), CPU)
    assert validator.name == "l1"
    assert validator.measure()["l1"] > 0
