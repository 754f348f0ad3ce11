import json

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.run.logger import RunLogger


def test_what_an_interrupted_run_wrote_past_its_checkpoint_is_dropped(tmp_path):
    logger = RunLogger(tmp_path, 0)
    for step in (1, 2, 3):
        logger.scalars(step, {"loss": float(step)})
    logger.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    logger = RunLogger(tmp_path, 2)
    logger.scalars(3, {"loss": 30.0})
    logger.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, {"step": 3, "loss": 30.0}]


def test_tensorboard_has_the_same_scalars(tmp_path):
    logger = RunLogger(tmp_path, 0)
    logger.scalars(5, {"loss": 0.25})
    logger.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(5, 0.25)]


def test_a_scalars_history_is_what_was_written_of_it(tmp_path):
    logger = RunLogger(tmp_path, 0)
    for step, values in ((5, {"loss": 1.0}), (10, {"loss": 0.5, "frechet": 30.0}), (20, {"frechet": 20.0})):
        logger.scalars(step, values)
    assert logger.history("frechet") == [(10, 30.0), (20, 20.0)]
    assert logger.history("beauty") == []
    logger.close()


def test_a_sheet_is_a_file_named_by_its_step(tmp_path):
    logger = RunLogger(tmp_path, 0)
    logger.sheet(7, "generator", np.zeros((4, 6, 3), np.uint8))
    logger.close()
    with Image.open(tmp_path / "sheets" / "00000007-generator.png") as sheet:
        assert sheet.size == (6, 4)
