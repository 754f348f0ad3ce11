from training.evaluation.validator import Validator, by


def test_the_best_may_be_nothing():
    assert by(0.0, 0.0) == 1
    assert by(3.0, 2.0) == 1.5
    assert by(1.0, 0.0) > 1e6


def test_a_validator_tells_last_best_and_reference():
    validator = Validator("frechet", 0.01, lambda: 1.5)
    assert validator.measure() == {"frechet": 1.5, "frechet_reference": 0.01}
    said = validator.standing([(10, 0.5), (20, 0.25), (30, 0.3)])
    assert "last 0.3, best 0.25 at step 20, last/best 1.2" in said
