import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import small_card
from tests.training.test_loop import final
from training import checkpoint, image_files
from training.ahead import Ahead, at_hand, in_order
from training.data import Pool, open_data
from training.image_files import ImageFiles
from training.loop import train
from training.pixels import to_pixels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Twelve images, thrice: in a folder, as two domains, and two of them side by side."""
    root = tmp_path_factory.mktemp("drawn")
    images = to_pixels(open_data("glyphs", (3, 32, 32), 0).batch(0, 24)["real"]).numpy()
    for folder in ("folder", "unpaired/trainA", "unpaired/trainB", "paired"):
        (root / folder).mkdir(parents=True)
    for number, (one, other) in enumerate(zip(images[:12], images[12:], strict=True)):
        Image.fromarray(one).save(root / "folder" / f"{number:02}.png")
        Image.fromarray(one).save(root / "unpaired/trainA" / f"{number:02}.png")
        Image.fromarray(other).save(root / "unpaired/trainB" / f"{number:02}.png")
        Image.fromarray(np.hstack([one, other])).save(root / "paired" / f"{number:02}.png")
    return root


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setenv("GANZOO_DATA_MEMORY", "0")


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("source", ["folder", "unpaired", "paired"])
def test_images_without_room_are_read_as_they_are_drawn_the_same_to_the_bit(
    drawn, source, monkeypatch, capsys
):
    spec = f"{source}:{drawn / source}"
    held = open_data(spec, (3, 16, 16), 3)
    assert 0 < held.nbytes < 10**6
    assert "read as they are drawn" not in capsys.readouterr().err
    monkeypatch.setenv("GANZOO_DATA_MEMORY", "0")
    read = open_data(spec, (3, 16, 16), 3)
    assert read.nbytes == float("inf")
    assert "GiB of images, read as they are drawn" in capsys.readouterr().err
    assert all(same(held.batch(step, 5), read.batch(step, 5)) for step in range(6)), "two passes and more"
    assert not same(held.batch(0, 5), read.batch(1, 5)), "what is equal above could differ"
    assert read.size == held.size


def test_many_images_are_read_by_several_processes(drawn, tmp_path, monkeypatch, capsys):
    images = [Image.open(file) for file in sorted((drawn / "folder").iterdir())]
    for number in range(70):
        images[number % 12].rotate(number).save(tmp_path / f"{number:02}.png")
    alone = open_data(f"folder:{tmp_path}", (3, 16, 16), 0)
    asked = []
    monkeypatch.setattr(image_files, "WORTH_A_WORKER", 20)
    monkeypatch.setattr(image_files, "in_order", lambda *given: asked.append(given) or in_order(*given))
    together = open_data(f"folder:{tmp_path}", (3, 16, 16), 0)
    assert [workers for _, _, workers in asked] == [min(os.cpu_count(), 3)]
    assert torch.equal(alone.real, together.real)
    assert alone.real.flatten(1).unique(dim=0).shape[0] > 60
    assert capsys.readouterr().err.count("70/70 images") == 2
    (tmp_path / "65.png").write_bytes(b"no image")
    (tmp_path / "40.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"40\.png"):
        open_data(f"folder:{tmp_path}", (3, 16, 16), 0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("spec", ["glyphs", "glyphs-style"])
def test_batches_made_ahead_are_those_of_the_data(spec, workers):
    ahead = Ahead(open_data(spec, (3, 16, 16), 0), CPU, workers)
    data = open_data(spec, (3, 16, 16), 0)
    before = torch.get_rng_state()
    for step, size in [(0, 4), (1, 4), (2, 4), (9, 4), (10, 4), (10, 6), (3, 6)]:
        assert same(ahead.batch(step, size), data.batch(step, size)), (step, size)
    assert torch.equal(before, torch.get_rng_state()), "the run's own random numbers"
    ahead.close()


class Marked:
    """Data whose batches say which process made them, and leave a file behind for every step."""

    nbytes = float("inf")

    def __init__(self, place) -> None:
        self.place = place

    def batch(self, step: int, size: int) -> dict[str, torch.Tensor]:
        (self.place / str(step)).touch()
        return {"real": torch.tensor([os.getpid()])}


@pytest.mark.parametrize("workers", [0, 2])
def test_others_make_batches_before_they_are_asked_for_and_end_with_the_block(workers, tmp_path):
    with at_hand(Marked(tmp_path), CPU, workers) as batches:
        makers = {int(batches.batch(step, 1)["real"]) for step in range(4)}
        until = time.monotonic() + 20
        while workers and not (tmp_path / "5").exists() and time.monotonic() < until:
            time.sleep(0.01)
    assert (tmp_path / "5").exists() == bool(workers), "alone, a process makes what it is asked for"
    assert makers == {os.getpid()} if not workers else len(makers - {os.getpid()}) == 2
    for maker in makers - {os.getpid()}:
        with pytest.raises(ProcessLookupError):
            os.kill(maker, 0)


def test_the_cpu_wants_no_workers_unless_told(drawn, no_room):
    with at_hand(open_data("glyphs", (1, 16, 16), 0), CPU) as batches:
        assert (type(batches), batches.workers) == (Ahead, 0)
    data = open_data("ring8:100", (2,), 0)
    with at_hand(data, CPU) as batches:
        assert isinstance(batches, Ahead), "without room"


def test_what_there_is_room_for_is_held(drawn):
    data = open_data(f"folder:{drawn / 'folder'}", (3, 16, 16), 0)
    with at_hand(data, CPU, 2) as batches:
        assert batches is data


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_broke_is_named_and_no_hindrance_once_mended(drawn, workers, tmp_path, no_room):
    files = sorted((drawn / "folder").iterdir())
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = open_data(f"folder:{tmp_path}", (3, 16, 16), 0)
    (tmp_path / files[7].name).write_bytes(b"no image")
    with at_hand(data, CPU, workers) as batches:
        with pytest.raises(ValueError, match=files[7].name) as raised:
            batches.batch(0, 12)
        assert "Traceback" not in str(raised.value)
        (tmp_path / files[7].name).write_bytes(files[7].read_bytes())
        assert same(batches.batch(0, 12), data.batch(0, 12))


@pytest.mark.parametrize("source", ["folder", "unpaired", "paired", "glyphs", "glyphs-style"])
def test_data_can_be_sent_to_processes_that_are_not_forked(drawn, source, no_room):
    spec = source if source.startswith("glyphs") else f"{source}:{drawn / source}"
    data = open_data(spec, (3, 16, 16), 0)
    assert same(pickle.loads(pickle.dumps(data)).batch(5, 4), data.batch(5, 4))


@pytest.mark.parametrize(("name", "source"), [("dcgan", "folder"), ("cyclegan", "unpaired")])
def test_a_run_on_images_that_are_read_ahead_is_the_run_on_those_held(
    drawn, name, source, tmp_path, monkeypatch
):
    def last(folder: str, **run: object) -> dict[str, torch.Tensor]:
        card = small_card(name, tmp_path / folder, data=f"{source}:{drawn / source}", **run)
        if name == "dcgan":
            card = dataclasses.replace(card, entry=dataclasses.replace(card.entry, image_size=16))
        train(card)
        return checkpoint.load(tmp_path / folder / "checkpoints")[1]["generators"]

    held = last("held", steps=5)
    assert not same(held, last("shorter", steps=4))
    monkeypatch.setenv("GANZOO_DATA_MEMORY", "0")
    assert same(held, last("ahead", steps=5, workers=2, checkpoint_every=3))
    (tmp_path / "ahead" / "checkpoints" / final(tmp_path / "ahead")).unlink()
    assert same(held, last("ahead", steps=5, workers=1)), "resumed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_of_a_run_saves_and_stops_it(drawn, number, tmp_path):
    command = [sys.executable, "-m", "training", "train", "mlp-gan", "--shape", "3", "16", "16"]
    flags = ["--data", f"folder:{drawn / 'folder'}", "--workers", "2", "--device", "cpu", "--log-every", "1"]
    process = subprocess.Popen(
        [*command, *flags, "--steps", "1000000", "--out", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"GANZOO_DATA_MEMORY": "0"},
        start_new_session=True,
    )
    with process:
        lines = tmp_path / "run" / "metrics.jsonl"
        until = time.monotonic() + 120
        while not (lines.exists() and lines.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == f"ganzoo: stopped by {number.name} after a checkpoint", said
    assert "Traceback" not in said
    assert final(tmp_path / "run")


def test_files_are_pools_too(drawn, no_room):
    data = open_data(f"folder:{drawn / 'folder'}", (1, 16, 16), 0)
    assert isinstance(data, Pool) and isinstance(data.real, ImageFiles)
    assert data.to(CPU).real is data.real
    assert len(data) == 12
