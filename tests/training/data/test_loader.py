import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import small_config
from tests.training.loop.test_train import final
from training.data import loader
from training.data.dataset import ShuffledDataset, open_data
from training.data.files import image_folder
from training.data.files.image_folder import ImageFiles
from training.data.loader import PrefetchLoader, available_memory, open_loader
from training.graphs.pixels import to_pixels
from training.loop.train import train
from training.run import checkpoint

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
    assert "read on request" not in capsys.readouterr().err
    monkeypatch.setenv("GANZOO_DATA_MEMORY", "0")
    read = open_data(spec, (3, 16, 16), 3)
    assert read.nbytes == float("inf")
    assert "GiB of images exceed the memory for data" in capsys.readouterr().err
    assert all(same(held.batch(step, 5), read.batch(step, 5)) for step in range(6)), "two passes and more"
    assert not same(held.batch(0, 5), read.batch(1, 5)), "what is equal above could differ"
    assert read.size == held.size


def test_many_images_are_read_by_several_threads(drawn, tmp_path, monkeypatch):
    images = [Image.open(file) for file in sorted((drawn / "folder").iterdir())]
    for number in range(70):
        images[number % 12].rotate(number).save(tmp_path / f"{number:02}.png")

    def read(threads: int) -> torch.Tensor:
        monkeypatch.setattr(image_folder, "cores", lambda: threads)
        return open_data(f"folder:{tmp_path}", (3, 16, 16), 0).real

    assert torch.equal(read(0), read(3))
    assert read(3).flatten(1).unique(dim=0).shape[0] > 60
    for broken in ("65", "40"):
        (tmp_path / f"{broken}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"40\.png"):
        read(3)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("spec", ["glyphs", "glyphs-style"])
def test_batches_made_ahead_are_those_of_the_data(spec, workers):
    made = PrefetchLoader(open_data(spec, (3, 16, 16), 0), CPU, workers)
    data = open_data(spec, (3, 16, 16), 0)
    before = torch.get_rng_state()
    for step, size in [(0, 4), (1, 4), (2, 4), (9, 4), (10, 4), (10, 6), (3, 6)]:
        assert same(made.batch(step, size), data.batch(step, size)), (step, size)
    assert torch.equal(before, torch.get_rng_state()), "the run's own random numbers"
    made.close()


class Marked:
    """Data whose batches say which thread made them, and leave a mark for every step that is begun."""

    nbytes = float("inf")

    def __init__(self, seconds: float = 0.0) -> None:
        self.begun, self.seconds = set[int](), seconds

    def batch(self, step: int, size: int) -> dict[str, torch.Tensor]:
        self.begun.add(step)
        time.sleep(self.seconds)
        return {"real": torch.tensor([threading.get_ident(), torch.get_num_threads()])}


def until(met, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not met() and time.monotonic() < end:
        time.sleep(0.01)
    return met()


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("workers", [0, 2])
def test_others_begin_batches_before_they_are_asked_for_and_end_with_the_block(workers):
    data = Marked(0.01)
    assert until(lambda: not helpers()), "those of other tests have ended"
    with open_loader(data, CPU, workers) as batches:
        made = [batches.batch(step, 1)["real"].tolist() for step in range(6)]
        assert until(lambda: max(data.begun) == 5 + 2 * workers), "two ahead of each, and no more"
        assert len(helpers()) == workers
    makers = {maker for maker, _ in made}
    if workers:
        assert len(makers - {threading.get_ident()}) == 2
        assert {threads for _, threads in made} == {1}, "torch's own threads would be too many"
    else:
        assert makers == {threading.get_ident()}
    assert until(lambda: not helpers())
    assert torch.get_num_threads() > 1 or os.environ.get("OMP_NUM_THREADS") == "1"


def test_nobody_waits_for_a_batch_that_nobody_wants():
    data = Marked(1.0)
    with open_loader(data, CPU, 2) as batches:
        batches.batch(0, 1)
        start = time.monotonic()
    assert time.monotonic() - start < 0.5
    time.sleep(2.5)
    assert max(data.begun) <= 4, "what was not begun by then never is"


def test_what_goes_wrong_in_a_thread_is_raised_as_it_was():
    class Broken(Marked):
        def batch(self, step: int, size: int) -> dict[str, torch.Tensor]:
            raise RuntimeError("out of order")

    with open_loader(Broken(), CPU, 2) as batches, pytest.raises(RuntimeError, match=r"^out of order$"):
        batches.batch(0, 1)


def test_the_cpu_wants_no_workers_and_a_gpu_one_for_each_core(monkeypatch):
    def workers(device: str, *told: int) -> int:
        with open_loader(open_data("ring8:100", (2,), 0), torch.device(device), *told) as batches:
            assert isinstance(batches, PrefetchLoader)
            return batches.workers

    monkeypatch.setattr(loader, "available_memory", lambda device: 0)
    assert (workers("cpu"), workers("cpu", 3)) == (0, 3)
    for cores, runs, wanted in [(64, 1, 8), (6, 1, 6), (6, 2, 3), (2, 8, 1)]:
        monkeypatch.setattr(loader, "cores", lambda cores=cores: cores)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(runs))
        assert workers("cuda") == wanted
    assert workers("cuda", 0) == 0


def test_what_there_is_room_for_is_held(drawn):
    data = open_data(f"folder:{drawn / 'folder'}", (3, 16, 16), 0)
    with open_loader(data, CPU, 2) as batches:
        assert batches is data


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_broke_is_named_and_no_hindrance_once_mended(drawn, workers, tmp_path, no_room):
    files = sorted((drawn / "folder").iterdir())
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = open_data(f"folder:{tmp_path}", (3, 16, 16), 0)
    (tmp_path / files[7].name).write_bytes(b"no image")
    with open_loader(data, CPU, workers) as batches:
        with pytest.raises(ValueError, match=files[7].name) as raised:
            batches.batch(0, 12)
        assert "Traceback" not in str(raised.value)
        (tmp_path / files[7].name).write_bytes(files[7].read_bytes())
        assert same(batches.batch(0, 12), data.batch(0, 12))


@pytest.mark.parametrize(
    ("name", "source"), [("dcgan", "folder"), pytest.param("cyclegan", "unpaired", marks=pytest.mark.slow)]
)
def test_a_run_on_images_that_are_read_ahead_is_the_run_on_those_held(
    drawn, name, source, tmp_path, monkeypatch
):
    def last(folder: str, **run: object) -> dict[str, torch.Tensor]:
        config = small_config(name, tmp_path / folder, data=f"{source}:{drawn / source}", **run)
        if name == "dcgan":
            config = dataclasses.replace(config, entry=dataclasses.replace(config.entry, image_size=16))
        train(config)
        return checkpoint.load(tmp_path / folder / "checkpoints")[1]["generators"]

    held = last("held", steps=5)
    assert not same(held, last("shorter", steps=4))
    monkeypatch.setenv("GANZOO_DATA_MEMORY", "0")
    told = []
    monkeypatch.setattr(
        "training.loop.train.open_loader", lambda *given: told.append(given[2]) or open_loader(*given)
    )
    assert same(held, last("ahead", steps=5, workers=2, checkpoint_every=3))
    (tmp_path / "ahead" / "checkpoints" / final(tmp_path / "ahead")).unlink()
    assert same(held, last("ahead", steps=5, workers=1)), "resumed"
    assert told == [2, 1]


@pytest.mark.gpu
def test_a_gpu_gets_the_same_bits_held_and_read(drawn, monkeypatch):
    cuda, spec = torch.device("cuda"), f"folder:{drawn / 'folder'}"
    with open_loader(open_data(spec, (3, 16, 16), 0), cuda) as held:
        monkeypatch.setenv("GANZOO_DATA_MEMORY", "0")
        with open_loader(open_data(spec, (3, 16, 16), 0), cuda, 2) as read:
            for step in range(6):
                one, other = held.batch(step, 5)["real"], read.batch(step, 5)["real"]
                assert one.device.type == other.device.type == "cuda"
                assert torch.equal(one, other)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_stops_a_run_whose_batches_are_made_ahead(drawn, number, tmp_path):
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
        until(lambda: lines.exists() and lines.stat().st_size, 120)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == f"ganzoo: stopped by {number.name}; a checkpoint is saved", said
    assert "Traceback" not in said
    assert final(tmp_path / "run")


def test_files_are_pools_too(drawn, no_room):
    data = open_data(f"folder:{drawn / 'folder'}", (1, 16, 16), 0)
    assert isinstance(data, ShuffledDataset) and isinstance(data.real, ImageFiles)
    assert data.to(CPU).real is data.real
    assert len(data) == 12


PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("limit", "told", "bytes_"),
    [
        (None, None, PHYSICAL / 2),
        ("max\n", None, PHYSICAL / 2),
        ("1073741824\n", None, 2**29),
        (f"{4 * PHYSICAL}\n", None, PHYSICAL / 2),
        ("1073741824\n", "3", 3 * 2**30),
        (None, ".5", 2**29),
        (None, "0", 0),
    ],
)
def test_half_of_the_memory_a_container_s_limit_or_what_is_told(limit, told, bytes_, tmp_path, monkeypatch):
    monkeypatch.setattr(loader, "LIMIT", tmp_path / "memory.max")
    monkeypatch.delenv("GANZOO_DATA_MEMORY", raising=False)
    if limit:
        (tmp_path / "memory.max").write_text(limit)
    if told:
        monkeypatch.setenv("GANZOO_DATA_MEMORY", told)
    assert available_memory(CPU) == bytes_


@pytest.mark.parametrize("told", ["lots", "-1", "nan", "1 GiB"])
def test_what_is_no_number_is_refused(told, monkeypatch):
    monkeypatch.setenv("GANZOO_DATA_MEMORY", told)
    with pytest.raises(ValueError, match="GANZOO_DATA_MEMORY"):
        available_memory(CPU)


def test_the_processes_of_a_run_share_a_machine_s_memory(monkeypatch):
    monkeypatch.delenv("GANZOO_DATA_MEMORY", raising=False)
    alone = available_memory(CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert available_memory(CPU) == alone / 8


@pytest.mark.gpu
def test_half_of_what_a_gpu_has_free():
    free, whole = torch.cuda.mem_get_info()
    assert 0.4 * free < available_memory(torch.device("cuda")) <= whole / 2
