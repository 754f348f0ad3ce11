"""What several rooms' tests share: small entries, data that suit them, artifacts, real data."""

import dataclasses
import os
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import filelock
import pytest
import torch

from training.artifacts.export import export
from training.loop.train import train
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo import registry
from zoo.entry import Entry
from zoo.super_resolution import SuperResolutionEntry

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


LONGEST = ("test_readme.py", "test_variants.py", "test_distributed.py", "test_journey.py", "test_main.py")
"""Modules of the longest tests. They run first, so that no process is the only one to work at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the longest; leave out what needs a GPU where there is none, and what takes long unasked."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no NVIDIA GPU"))
        if item.get_closest_marker("long") and "long" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="it takes minutes; run by -m long"))


def data_for(entry: Entry) -> str:
    """Name data without a download that suit an entry, whichever it is."""
    match entry.learns_from:
        case "domains":
            return "glyphs-style"
        case "pairs":
            return "glyphs-pairs"
        case "examples":
            return "glyphs" if len(entry.sample_shape) == 3 else "gaussian2d"


STILL = {
    "image_size": (32, 32),
    "resize": 1,
    "flip": False,
    "width": 8,
    "discriminator_width": 8,
    "discriminator_layers": 2,
}
"""Narrow games of translation that see drawn characters whole."""

SMALL_TRANSLATORS = {"image_size": (32, 32), "discriminator_layers": 2}

SMALL_RESOLUTION = {"image_size": 32, "crop_size": 16, "scale": 2, "blocks": 1, "width": 16}


PRETRAINED = (
    "cdcgan-cifar10",
    "cdcgan-mnist",
    "cyclegan-glyphs-style",
    "dcgan-glyphs",
    "dcgan-mnist",
    "fastgan-projection-emoji",
    "fastgan-smileys",
    "mlp-gan-mnist",
)
"""Names of the artifacts that come with the package."""


FEW = ("mlp-gan", "cdcgan", "wgan-gp", "cyclegan", "cut", "srresnet")
"""Entries of every kind, for the quick tests."""

EVERY = [pytest.param(name, marks=[] if name in FEW else [pytest.mark.slow]) for name in registry.ENTRIES]
"""All entries, those beside FEW for the slow tests."""

DIGITS = 10
"""Number of classes of the data that a small run of a conditional entry has by default."""


def small_config(name: str, folder: Path, **run: object) -> RunConfig:
    """Any entry of the registry, narrow and with a small batch, and a short run of it."""
    kind = registry.load(name)
    widths = [field.name for field in dataclasses.fields(kind) if field.name.endswith("width")]
    size = {}
    if issubclass(kind, SuperResolutionEntry):
        size = SMALL_RESOLUTION | ({"pixel_steps": 1} if hasattr(kind, "pixel_steps") else {})
    elif kind.task == "translate":
        size = SMALL_TRANSLATORS | {"translator": get_args(get_type_hints(kind)["translator"])[-1]}
    entry = kind(batch_size=4, **dict.fromkeys(widths, 16) | size).for_data(classes=DIGITS, channels=3)
    options: dict[str, object] = {
        "data": data_for(entry),
        "steps": 2,
        "out": folder,
        "log_every": 1,
        "device": "cpu",
        "precision": "fp32",
    }
    return RunConfig(name=name, entry=entry, train=TrainConfig(**options | run))


def flips(whole: bytes, count: int) -> Iterator[bytes]:
    """Copies of some bytes, each with one bit flipped, the same ones every time."""
    chance = random.Random(0)
    for _ in range(count):
        bit = chance.randrange(len(whole) * 8)
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Build a folder once for all processes of a test session: the first that wants it builds it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with filelock.FileLock(root / f"{name}.lock"):
        if not (root / f"{name}.built").exists():
            build(folder)
            (root / f"{name}.built").touch()
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: `pictures` of a 16x16 DCGAN, `classes` of a conditional one, `points` of a linear GAN.

    And `styles` of a CycleGAN with both directions, `pairs` of a pix2pix with one.
    """
    return once(tmp_path_factory, "runs", _train_runs)


def _train_runs(root: Path) -> None:
    small = {"image_size": 16, "channels": 1, "width": 4, "latent_size": 8, "batch_size": 8}
    styles = {"image_size": (16, 24), "width": 4, "discriminator_width": 4, "discriminator_layers": 1}
    styles |= {"translator": "resnet-6"}
    for run, name, fields, data, steps in (
        ("pictures", "dcgan", small | {"learning_rate": 0.01}, "glyphs", 60),
        ("classes", "cdcgan", small | {"classes": 3}, "glyphs:ABC", 3),
        ("points", "linear-gan", {}, "gaussian2d", 3),
        ("styles", "cyclegan", styles, "glyphs-style", 3),
        ("pairs", "pix2pix", styles | {"translator": "unet-32", "image_size": (32, 64)}, "glyphs-pairs", 3),
    ):
        entry = registry.load(name)(**fields)
        train(
            RunConfig(
                name=name,
                entry=entry,
                train=TrainConfig(data=data, steps=steps, device="cpu", precision="fp32", out=root / run),
            )
        )


@pytest.fixture(scope="session")
def artifacts(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of the runs."""

    def export_all(root: Path) -> None:
        for run in runs.iterdir():
            export(run, root / run.name)

    return once(tmp_path_factory, "artifacts", export_all)


@pytest.fixture(scope="session")
def enlarger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one artifact, `larger`, which doubles the height and width of images."""

    def build(root: Path) -> None:
        train(small_config("srresnet", root / "run", steps=3))
        export(root / "run", root / "artifacts" / "larger")

    return once(tmp_path_factory, "enlarger", build) / "artifacts"


def _build_zoo(root: Path, names: Iterable[str]) -> None:
    for name in names:
        train(small_config(name, root / "runs" / name))
        export(root / "runs" / name, root / "artifacts" / name)


@pytest.fixture(scope="session")
def zoo_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of every entry, from two steps of a small run; the runs are in the folder `runs` beside."""
    return once(tmp_path_factory, "zoo", lambda root: _build_zoo(root, registry.ENTRIES)) / "artifacts"


@pytest.fixture(scope="session")
def few_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the few entries."""
    return once(tmp_path_factory, "few", lambda root: _build_zoo(root, FEW)) / "artifacts"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real MNIST and photographs, where they are: GANZOO_TEST_DATA, or shared/data beside the checkout."""
    here = Path(__file__).parents[2] / "shared" / "data"
    place = Path(os.environ.get("GANZOO_TEST_DATA", here))
    if not (place / "mnist").is_dir():
        pytest.skip(f"no real data at {place}; set GANZOO_TEST_DATA")
    return place
