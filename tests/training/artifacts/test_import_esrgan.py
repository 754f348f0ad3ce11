"""Weights in three layouts of RRDBNet, from a network that is written here with their arithmetic."""

import re

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

from serving.runtime.artifact import read_manifest
from serving.runtime.load import load
from training.artifacts.import_esrgan import import_esrgan

WIDTH, GROWTH, BLOCKS = 6, 3, 2


def weights(doublings=2, channels=3, width=WIDTH, ends=None):
    """Tensors with the names of BasicSR."""
    draws = torch.Generator().manual_seed(0)
    shapes = {"conv_first": (width, ends or channels), "conv_body": (width, width)}
    for block in range(BLOCKS):
        for part in (1, 2, 3):
            for number in range(1, 6):
                after = GROWTH if number < 5 else width
                shapes[f"body.{block}.rdb{part}.conv{number}"] = (after, width + (number - 1) * GROWTH)
    shapes |= {f"conv_up{number + 1}": (width, width) for number in range(doublings)}
    shapes |= {"conv_hr": (width, width), "conv_last": (channels, width)}
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(*shape, 3, 3, generator=draws) * (shape[1] * 9) ** -0.5
        tensors[f"{name}.bias"] = torch.randn(shape[0], generator=draws) * 0.1
    tensors["conv_last.bias"] += 0.5  # a mid grey
    return tensors


def enlarge(tensors, image):
    """The network's arithmetic, for images in [0, 1]: Wang et al. 2018, figures 3 and 4."""

    def convolve(name, maps):
        return F.conv2d(maps, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    first = convolve("conv_first", image)
    trunk = first
    for block in range(BLOCKS):
        before = trunk
        for part in (1, 2, 3):
            known = trunk
            for number in range(1, 5):
                grown = F.leaky_relu(convolve(f"body.{block}.rdb{part}.conv{number}", known), 0.2)
                known = torch.cat([known, grown], 1)
            trunk = trunk + 0.2 * convolve(f"body.{block}.rdb{part}.conv5", known)
        trunk = before + 0.2 * trunk
    maps = first + convolve("conv_body", trunk)
    for number in range(1, 4):
        if f"conv_up{number}.weight" in tensors:
            twice = maps.repeat_interleave(2, 2).repeat_interleave(2, 3)
            maps = F.leaky_relu(convolve(f"conv_up{number}", twice), 0.2)
    return convolve("conv_last", F.leaky_relu(convolve("conv_hr", maps), 0.2))


def as_repository(tensors):
    """The names of ESRGAN's repository."""
    renamed = {}
    for name, value in tensors.items():
        changed = re.sub(r"body\.(\d+)\.rdb", r"RRDB_trunk.\1.RDB", name)
        for new, old in (("conv_body", "trunk_conv"), ("conv_up", "upconv"), ("conv_hr", "HRconv")):
            changed = changed.replace(new, old)
        renamed[changed] = value
    return renamed


def as_first_version(tensors):
    """The names of its first version, in which layers have numbers."""
    doublings = sum(name.startswith("conv_up") for name in tensors) // 2
    numbers = {"conv_first": "0", "conv_body": f"1.sub.{BLOCKS}"}
    numbers |= {f"conv_up{number + 1}": str(3 + 3 * number) for number in range(doublings)}
    numbers |= {"conv_hr": str(3 * doublings + 2), "conv_last": str(3 * doublings + 4)}
    renamed = {}
    for name, value in tensors.items():
        layer, _, key = name.rpartition(".")
        if match := re.fullmatch(r"body\.(\d+)\.rdb(\d)\.conv(\d)", layer):
            renamed[f"model.1.sub.{match[1]}.RDB{match[2]}.conv{match[3]}.0.{key}"] = value
        else:
            renamed[f"model.{numbers[layer]}.{key}"] = value
    return renamed


def saved(path, tensors):
    torch.save(tensors, path)
    return path


LAYOUTS = {
    "BasicSR": lambda tensors: {"params_ema": tensors, "params": {}},
    "without averages": lambda tensors: {"params": tensors},
    "repository": as_repository,
    "first version": as_first_version,
    "parallel": lambda tensors: {f"module.{name}": value for name, value in as_repository(tensors).items()},
}


@pytest.mark.parametrize(
    ("layout", "doublings", "channels"),
    [
        ("BasicSR", 2, 1),
        ("first version", 1, 3),
        pytest.param("first version", 3, 3, marks=pytest.mark.slow),
        *(pytest.param(name, 2, 1, marks=pytest.mark.slow) for name in list(LAYOUTS)[1:]),
    ],
)
def test_every_layout_becomes_an_artifact_with_the_same_pictures(layout, doublings, channels, tmp_path):
    tensors = weights(doublings, channels)
    file = saved(tmp_path / "weights.pth", LAYOUTS[layout](tensors))
    manifest = import_esrgan((file,), tmp_path / "artifact")
    scale = 2**doublings
    assert manifest.graphs["upscale"].scale == scale
    assert manifest.hyperparameters["blocks"] == BLOCKS
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 12, channels), np.uint8)
    unit = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    wanted = (enlarge(tensors, unit) * 255).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    found = load(tmp_path / "artifact").translate(pixels)
    assert found.shape == (2, scale * 9, scale * 12, channels)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert len(np.unique(found)) > 20, "a picture, not a constant"
    assert read_manifest(tmp_path / "artifact").training.layout == "RRDBNet"


def test_safetensors_are_read_too(tmp_path):
    safetensors.torch.save_file(weights(), tmp_path / "weights.safetensors")
    import_esrgan((tmp_path / "weights.safetensors",), tmp_path / "artifact")
    assert read_manifest(tmp_path / "artifact").entry == "esrgan"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {}, "must contain the convolutions"),
        (lambda t: t | {"fc.weight": torch.zeros(1)}, "fc.weight is not a tensor of an RRDBNet"),
        (lambda t: {n: v for n, v in t.items() if n != "conv_hr.bias"}, "a weight and a bias"),
        (lambda t: {n: v for n, v in t.items() if "rdb2" not in n}, "blocks of 3 dense blocks"),
        (lambda t: {n: v for n, v in t.items() if "conv_up" not in n}, "must contain the convolutions"),
        (lambda t: t | {"conv_last.weight": torch.zeros(4, WIDTH, 3, 3)}, "must have the shape"),
        (lambda t: t | {"body.1.rdb1.conv3.weight": torch.zeros(3, 5, 3, 3)}, "layers.2.weight must have"),
        (lambda t: weights(ends=12), "rearranges pixels first"),
    ],
    ids=range(8),
)
def test_other_contents_are_named_and_refused(change, message, tmp_path):
    file = saved(tmp_path / "weights.pth", change(weights()))
    with pytest.raises(ValueError, match=message) as refusal:
        import_esrgan((file,), tmp_path / "artifact")
    assert str(file) in str(refusal.value)
    assert not (tmp_path / "artifact").exists()


def test_one_file_is_wanted(tmp_path):
    with pytest.raises(ValueError, match="must be one file; got 2"):
        import_esrgan((tmp_path / "a", tmp_path / "b"), tmp_path / "artifact")
