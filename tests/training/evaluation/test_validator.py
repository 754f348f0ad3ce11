from tests.conftest import small_config
from training.evaluation.validator import Validator, by, standing
from training.run import checkpoint
from training.run.scores import Score, Scores


def test_the_best_may_be_nothing():
    assert by(0.0, 0.0) == 1
    assert by(3.0, 2.0) == 1.5
    assert by(1.0, 0.0) > 1e6


def test_a_validator_tells_score_and_reference():
    validator = Validator("frechet", 0.01, lambda: 1.5)
    assert validator.measure() == {"frechet": 1.5, "frechet_reference": 0.01}


def test_the_standing_of_a_run_tells_last_best_and_reference(tmp_path):
    scores = Scores("frechet", 0.01, [Score(10, 0.5), Score(20, 0.25), Score(30, 0.3)])
    config = small_config("linear-gan", tmp_path / "a run")
    said = standing(config, scores)
    assert "last 0.3, best 0.25 at step 20, last/best 1.2; real data 0.01" in said
    assert "the best is not kept" in said
    config.folder.mkdir()
    checkpoint.save(config.folder / "checkpoints", 20, {}, keep=1)
    assert f"`ganzoo export '{config.folder}' --checkpoint best`" in standing(config, scores)
