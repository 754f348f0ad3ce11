import json

import pytest

from training.run.logger import RunLogger
from training.run.scores import Score, Scores, read_scores


def scores(*values: float) -> Scores:
    return Scores("frechet", 0.1, [Score(10 * at, value) for at, value in enumerate(values, 1)])


def test_the_best_is_the_first_of_the_least():
    assert scores(3, 1, 2, 1).best == Score(20, 1)
    assert scores(3, 1, 2, 1).last == Score(40, 1)


@pytest.mark.parametrize(
    ("values", "patience", "exhausted"),
    [
        ((3,), 1, False),
        ((3, 2), 1, False),
        ((2, 3), 1, True),
        ((2, 2), 1, True),
        ((2, 3, 4), 3, False),
        ((2, 3, 4, 5), 3, True),
        ((2, 3, 4, 1), 3, False),
        ((2, 3, 4, 5), 0, False),
    ],
)
def test_patience_counts_the_scores_after_the_best(values, patience, exhausted):
    assert scores(*values).exhaust(patience) == exhausted


def test_scores_are_read_from_the_metrics(tmp_path):
    assert read_scores(tmp_path) is None
    logger = RunLogger(tmp_path, 0)
    logger.scalars(5, {"loss": 1.0})
    assert read_scores(tmp_path) is None
    for step, score in ((10, 30.0), (20, 20.0)):
        logger.scalars(step, {"frechet": score, "frechet_reference": 0.5})
    logger.scalars(20, {"loss": 0.5})
    logger.close()
    assert read_scores(tmp_path) == Scores("frechet", 0.5, [Score(10, 30.0), Score(20, 20.0)])
    assert read_scores(tmp_path, latest=19) == Scores("frechet", 0.5, [Score(10, 30.0)])
    assert read_scores(tmp_path, latest=9) is None


def test_scores_of_older_runs_are_read(tmp_path):
    line = {"step": 3, "a2b_l1": 0.5, "a2b_l1_floor": 0.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert read_scores(tmp_path) == Scores("a2b_l1", 0.0, [Score(3, 0.5)])
