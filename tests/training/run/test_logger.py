import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from serving.errors import UserError
from training.run.logger import RunLogger, read_metrics


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


def test_a_sheet_is_a_file_named_by_its_step(tmp_path):
    logger = RunLogger(tmp_path, 0)
    logger.sheet(7, "generator", np.zeros((4, 6, 3), np.uint8))
    logger.close()
    with Image.open(tmp_path / "sheets" / "00000007-generator.png") as sheet:
        assert sheet.size == (6, 4)


DAMAGED = {
    "no JSON": b"{",
    "a blank line": b"",
    "binary": b"\xff\x00\xfe",
    "null": b"null",
    "a list": b"[1]",
    "deep lists": b"[" * 100_000,
    "no step": b'{"loss": 1.0}',
    "step is text": b'{"step": "2"}',
    "step is true": b'{"step": true}',
    "a value is text": b'{"step": 2, "loss": "x"}',
    "a value is null": b'{"step": 2, "loss": null}',
    "a huge number": b'{"step": 2, "loss": 1%s}' % (b"0" * 400),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_line_is_named(kind, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + DAMAGED[kind] + b'\n{"step": 3}\n')
    for read in (read_metrics, lambda folder: RunLogger(folder, 3)):
        with pytest.raises(UserError, match=r"^line 2 of .*metrics\.jsonl is damaged: .*; remove the line$"):
            read(tmp_path)


def test_metrics_that_are_not_there_are_empty(tmp_path):
    assert read_metrics(tmp_path) == []


def test_numbers_that_are_not_finite_are_read(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\n{"step": 2, "loss": 1e999}\n')
    assert [str(line["loss"]) for line in read_metrics(tmp_path)] == ["nan", "inf"]
