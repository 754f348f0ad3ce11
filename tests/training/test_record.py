import json

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from training.record import Record, to_pixels


def test_what_an_interrupted_run_wrote_past_its_checkpoint_is_dropped(tmp_path):
    record = Record(tmp_path, 0)
    for step in (1, 2, 3):
        record.scalars(step, {"loss": float(step)})
    record.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    record = Record(tmp_path, 2)
    record.scalars(3, {"loss": 30.0})
    record.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, {"step": 3, "loss": 30.0}]


def test_tensorboard_has_the_same_scalars(tmp_path):
    record = Record(tmp_path, 0)
    record.scalars(5, {"loss": 0.25})
    record.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(5, 0.25)]


def test_a_scalars_history_is_what_was_written_of_it(tmp_path):
    record = Record(tmp_path, 0)
    for step, values in ((5, {"loss": 1.0}), (10, {"loss": 0.5, "frechet": 30.0}), (20, {"frechet": 20.0})):
        record.scalars(step, values)
    assert record.history("frechet") == [(10, 30.0), (20, 20.0)]
    assert record.history("beauty") == []
    record.close()


@pytest.mark.parametrize(
    ("shape", "size"), [((1, 4, 4), (14, 14)), ((3, 4, 6), (18, 14)), ((2,), (256, 256))]
)
def test_sheets_of_images_and_of_points(shape, size, tmp_path):
    class Fixed(nn.Module):
        def forward(self, latent):
            return torch.linspace(-1, 1, 4)[:, None].expand(4, latent[0].numel()).reshape(4, *shape)

    record = Record(tmp_path, 0)
    latent = torch.zeros(4, *shape)
    record.sheet(7, nn.ModuleDict({"generator": Fixed()}), {"generator": {"latent": latent}}, columns=2)
    record.close()
    with Image.open(tmp_path / "sheets" / "00000007-generator.png") as sheet:
        assert sheet.size == size


def test_pixels_round_half_to_even_and_are_clipped():
    levels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0, 0.5 / 127.5 - 1, 1.5 / 127.5 - 1]).double()
    pixels = to_pixels(levels.reshape(1, 1, 1, -1).float())
    assert pixels.shape == (1, 1, 7, 1)
    assert pixels.flatten().tolist()[:5] == [0, 0, 128, 255, 255]
    assert pixels.flatten().tolist()[5] in (0, 1)
    assert pixels.flatten().tolist()[6] in (1, 2)


def test_pixels_go_back_and_forth_unchanged():
    from training.data import normalise

    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_pixels(normalise(levels)).permute(0, 3, 1, 2), levels)
