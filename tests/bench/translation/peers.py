"""Runs of the authors' loops of CycleGAN, CUT and FastCUT at a cost in CPU seconds.

The script is executed as it was cloned, with the default settings of its authors but for the size of the
images and of the networks.
"""

import argparse
import importlib
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from serving.arrays import Array
from serving.runtime.pipeline import Pipeline
from serving.runtime.tensor import Tensor as TensorSpec
from tests.bench.course import Course
from tests.bench.scripts import Names, clone_of, execute, follow
from training.graphs.pixels import as_served, from_pixels

REPOSITORY = "taesungp/contrastive-unpaired-translation"

PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "authors' cyclegan": ("--model cycle_gan", {"a2b": "netG_A", "b2a": "netG_B"}),
    "authors' cut": ("--model cut --CUT_mode CUT", {"a2b": "netG"}),
    "authors' fastcut": ("--model cut --CUT_mode FastCUT", {"a2b": "netG"}),
}
"""Arguments of the script, and its translators by their directions."""


def run(name: str, clones: Path, data: Path, size: int, width: int, seed: int, course: Course) -> int:
    """Run the script for the budget of the course, with scores; return the number of optimizer updates."""
    clone = clone_of(clones, REPOSITORY)
    chosen, translators = PEERS[name]
    arguments = (
        f"--dataroot {data.resolve()} --gpu_ids -1 --num_threads 0 --display_id 0 --no_html {chosen} "
        f"--load_size {size * 9 // 8} --crop_size {size} --netG resnet_6blocks --ngf {width} --ndf {width}"
    )

    def start(names: Names) -> None:
        sys.path.insert(0, str(clone))
        cyclegan = importlib.import_module("models.cycle_gan_model").CycleGANModel
        # The script's CycleGAN lacks an option and an argument of later versions.
        with (
            mock.patch.object(argparse.Namespace, "amp", False, create=True),
            mock.patch.object(cyclegan, "data_dependent_initialize", lambda *_: None),
        ):
            execute(clone / "train.py", arguments.split(), names)

    return follow(start, partial(pipeline_of, translators), seed, course)


def pipeline_of(translators: Mapping[str, str], names: Names) -> Pipeline:
    """Return a pipeline of the script's translators."""

    @torch.no_grad()
    def translate(direction: str, inputs: Mapping[str, Array]) -> Array:
        images = from_pixels(torch.from_numpy(inputs["image"]))
        return as_served(getattr(names["model"], translators[direction])(images))

    image = TensorSpec(dtype="uint8", shape=["batch", "height", "width", 3], meaning="image", range=(0, 255))
    return Pipeline({direction: {"image": image} for direction in translators}, translate)
