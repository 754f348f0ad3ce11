"""Runs of public training scripts at a cost in CPU seconds.

The scripts are executed as they were cloned, with the default settings of their authors. They read our
pictures, and end when the budget is spent.
"""

import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from serving.arrays import Array
from serving.runtime.pipeline import Pipeline
from serving.runtime.tensor import Tensor as TensorSpec
from tests.bench.course import Course
from tests.bench.scripts import Names, clone_of, execute, follow

BATCH = 64
"""Samples in a pass. The generators stay in training mode, in which the scripts draw their own samples."""


@dataclass(frozen=True)
class Script:
    """A training script, which runs when its file is executed."""

    repository: str
    """Name on GitHub. The clone is in a folder with the last part of this name."""

    path: str
    arguments: str
    """Arguments of the script, where {data}, {size} and {seed} stand for those of the run."""

    generator: str
    """Name of the generator in the script."""

    latent: tuple[int, ...]
    """Shape of a latent."""

    black: ClassVar[float] = -1
    """Value of black in the generator's images; white is 1."""

    def start(self, clone: Path, data: Path, size: int, seed: int, names: Names) -> None:
        """Execute the script; its names go into `names`. Where it reads MNIST, it gets our pictures."""

        def pictures(*_: object, transform: object, **__: object) -> datasets.ImageFolder:
            return datasets.ImageFolder(data / "train", transform)

        given = self.arguments.format(data=data / "train", size=size, seed=seed).split()
        with mock.patch.object(datasets, "MNIST", pictures):
            execute(clone / self.path, given, names)


@dataclass(frozen=True)
class Mimicry:
    """SNGAN of mimicry: its networks and its trainer, with the settings of its example."""

    repository: str = "kwotsin/mimicry"
    generator: str = "netG"
    latent: tuple[int, ...] = (128,)
    black: ClassVar[float] = -1

    def start(self, clone: Path, data: Path, size: int, seed: int, names: Names) -> None:
        """Train. The package's metrics, which need TensorFlow, are left out."""
        sys.path.insert(0, str(clone))
        for name in ("torch_mimicry.metrics", "torch_mimicry.datasets"):
            sys.modules[name] = types.ModuleType(name)
        from torch_mimicry.nets import sngan
        from torch_mimicry.training import Trainer

        middle = (0.5, 0.5, 0.5)
        change = transforms.Compose([transforms.ToTensor(), transforms.Normalize(middle, middle)])
        pictures = datasets.ImageFolder(data / "train", change)
        players = {
            "netG": getattr(sngan, f"SNGANGenerator{size}")(),
            "netD": getattr(sngan, f"SNGANDiscriminator{size}")(),
        }
        names |= players
        adam = {
            name.replace("net", "opt"): torch.optim.Adam(player.parameters(), 2e-4, betas=(0.0, 0.9))
            for name, player in players.items()
        }
        Trainer(
            **players,
            **adam,
            n_dis=5,
            num_steps=100_000,
            lr_decay="linear",
            dataloader=DataLoader(pictures, 64, shuffle=True),
            log_dir="log",
            device=torch.device("cpu"),
        ).train()


@dataclass(frozen=True)
class LightweightGAN:
    """lightweight-gan: its trainer with the defaults of its command; the calls of CUDA are taken out."""

    repository: str = "lucidrains/lightweight-gan"
    generator: str = "averaged"
    latent: tuple[int, ...] = (256,)
    black: ClassVar[float] = 0

    def start(self, clone: Path, data: Path, size: int, seed: int, names: Names) -> None:
        """Train."""
        package = types.ModuleType("lightweight_gan")  # without its imports, which need CUDA
        package.__path__ = [str(clone / "lightweight_gan")]
        sys.modules[package.__name__] = package
        source = (clone / "lightweight_gan" / "lightweight_gan.py").read_text()
        for cuda, cpu in (
            (".cuda(self.rank)", ""),
            ("self.cuda(rank)", "self.cpu()"),
            ("f'cuda:{self.rank}'", "'cpu'"),
            ("torch.cuda.empty_cache()", "None"),
        ):
            source = source.replace(cuda, cpu)
        module = types.ModuleType("lightweight_gan_on_cpu")
        with mock.patch.object(torch.cuda, "is_available", return_value=True):  # it is asserted
            exec(compile(source, module.__name__, "exec"), module.__dict__)
        trainer = module.__dict__["Trainer"](
            image_size=size,
            batch_size=10,
            gradient_accumulate_every=4,
            attn_res_layers=[32],
            disc_output_size=1,
            num_workers=0,
            use_aim=False,
            save_every=10**9,
            evaluate_every=10**9,
        )
        trainer.set_data_src(data / "train")
        trainer.init_GAN()
        names["averaged"] = trainer.GAN.GE
        while True:
            trainer.train()


Peer = Script | Mimicry | LightweightGAN

PEERS: dict[str, Peer] = {
    "examples dcgan": Script(
        "pytorch/examples",
        "dcgan/main.py",
        "--dataset folder --dataroot {data} --workers 0 --niter 100000 --manualSeed {seed}",
        "netG",
        (100, 1, 1),
    ),
    "PyTorch-GAN dcgan": Script(
        "eriklindernoren/PyTorch-GAN",
        "implementations/dcgan/dcgan.py",
        "--channels 3 --img_size {size} --n_epochs 100000",
        "generator",
        (100,),
    ),
    "PyTorch-GAN wgan_gp": Script(
        "eriklindernoren/PyTorch-GAN",
        "implementations/wgan_gp/wgan_gp.py",
        "--channels 3 --img_size {size} --n_epochs 100000",
        "generator",
        (100,),
    ),
    "mimicry sngan": Mimicry(),
    "lightweight-gan": LightweightGAN(),
}
"""The scripts by name."""


def run(name: str, clones: Path, data: Path, size: int, seed: int, course: Course) -> int:
    """Run a script for the budget of the course, with scores; return the number of optimizer updates."""
    peer = PEERS[name]
    clone = clone_of(clones, peer.repository)
    return follow(
        partial(peer.start, clone, data.resolve(), size, seed), partial(pipeline_of, peer, size), seed, course
    )


def pipeline_of(peer: Peer, size: int, names: Names) -> Pipeline:
    """Return a pipeline of a script's generator, whose images get a height and width."""

    @torch.no_grad()
    def generate(_: str, inputs: Mapping[str, Array]) -> Array:
        latents = torch.from_numpy(inputs["latent"])
        # Batch normalisation needs whole batches.
        whole = latents[torch.arange(BATCH) % len(latents)].reshape(-1, *peer.latent)
        return pixels(names[peer.generator](whole), peer.black, size)[: len(latents)]

    latent = TensorSpec(
        dtype="float32", shape=["batch", peer.latent[0]], meaning="latent", distribution="normal"
    )
    return Pipeline({"generator": {"latent": latent}}, generate)


def pixels(images: Tensor, black: float, size: int) -> Array:
    """Return images (N, C, H, W) from black to 1 as uint8 (N, size, size, C); larger ones are averaged."""
    sized = F.adaptive_avg_pool2d((images.clamp(black, 1) - black) / (1 - black), size)
    array: Array = sized.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return array
