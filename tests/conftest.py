"""What several rooms' tests share: small entries, data that suit them, artifacts, real data."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from training.config import Card, Run
from training.export import export
from training.loop import train
from zoo import registry
from zoo.dcgan import DCGAN
from zoo.entry import Entry
from zoo.linear_gan import LinearGAN

torch.set_num_threads(2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="there is no NVIDIA GPU"))


def data_for(entry: Entry) -> str:
    """Name data without a download that suit an entry, whichever it is."""
    return "glyphs" if len(entry.sample_shape) == 3 else "gaussian2d"


def small_card(name: str, folder: Path, **run: object) -> Card:
    """Any entry of the registry with a small batch, and a short run of it."""
    entry = registry.load(name)(batch_size=4)
    options: dict[str, object] = {
        "data": data_for(entry),
        "steps": 2,
        "out": folder,
        "log_every": 1,
        "device": "cpu",
    }
    return Card(name=name, entry=entry, run=Run(**options | run))


def flips(whole: bytes, count: int) -> Iterator[bytes]:
    """Copies of some bytes, each with one bit flipped, the same ones every time."""
    chance = random.Random(0)
    for _ in range(count):
        bit = chance.randrange(len(whole) * 8)
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs: `pictures`, of a 16x16 DCGAN, and `points`, of a linear GAN."""
    root = tmp_path_factory.mktemp("runs")
    dcgan = DCGAN(image_size=16, channels=1, width=4, latent_size=8, batch_size=8, learning_rate=0.01)
    train(Card(name="dcgan", entry=dcgan, run=Run(steps=60, device="cpu", out=root / "pictures")))
    linear = LinearGAN()
    train(
        Card(
            name="linear-gan",
            entry=linear,
            run=Run(data="gaussian2d", steps=3, device="cpu", out=root / "points"),
        )
    )
    return root


@pytest.fixture(scope="session")
def artifacts(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of both runs."""
    root = tmp_path_factory.mktemp("artifacts")
    for name in ("pictures", "points"):
        export(runs / name, root / name)
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real MNIST and photographs, where they are: GANZOO_TEST_DATA, or shared/data beside the checkout."""
    here = Path(__file__).parents[2] / "shared" / "data"
    place = Path(os.environ.get("GANZOO_TEST_DATA", here))
    if not (place / "mnist").is_dir():
        pytest.skip(f"no real data at {place}; set GANZOO_TEST_DATA")
    return place
