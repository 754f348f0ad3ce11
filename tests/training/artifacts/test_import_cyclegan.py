"""Weights in the layout of the original PyTorch CycleGAN, from a network with that layout's names."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from serving.runtime.artifact import read_manifest
from serving.runtime.load import load
from serving.runtime.origin import Imported
from training.artifacts.import_cyclegan import import_cyclegan
from training.graphs.pixels import as_fed, as_served


class Block(nn.Module):
    """A residual block with the original's names; with dropout, its second convolution stands one further."""

    def __init__(self, width: int, dropout: bool) -> None:
        super().__init__()
        between = [nn.Dropout(0.5)] if dropout else []
        first = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width), nn.ReLU()]
        second = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)]
        self.conv_block = nn.Sequential(*first, *between, *second)

    def forward(self, features):
        return features + self.conv_block(features)


class Original(nn.Module):
    """A generator whose state dict has the original's names."""

    def __init__(
        self, width: int = 4, blocks: int = 6, dropout: bool = False, ends: tuple[int, int] = (3, 3)
    ) -> None:
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(ends[0], width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
        for factor in (1, 2):
            down = nn.Conv2d(factor * width, 2 * factor * width, 3, stride=2, padding=1)
            layers += [down, nn.InstanceNorm2d(2 * factor * width), nn.ReLU()]
        layers += [Block(4 * width, dropout) for _ in range(blocks)]
        for factor in (4, 2):
            after = factor * width // 2
            up = nn.ConvTranspose2d(factor * width, after, 3, stride=2, padding=1, output_padding=1)
            layers += [up, nn.InstanceNorm2d(after), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, ends[1], 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, image):
        return self.model(image)


def saved(path, network, change=lambda state: state):
    torch.save(change(dict(network.state_dict())), path)
    return path


def with_statistics(state):
    """What versions of torch before 0.4 kept beside instance normalisation's nothing."""
    return state | {"model.2.running_mean": torch.zeros(4), "model.2.num_batches_tracked": torch.tensor(7)}


def parallel(state):
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ({}, dict),
        pytest.param({}, with_statistics, marks=pytest.mark.slow),
        pytest.param({}, parallel, marks=pytest.mark.slow),
        ({"blocks": 9, "width": 2}, dict),
        pytest.param({"dropout": True}, dict, marks=pytest.mark.slow),
    ],
    ids=["plain", "statistics", "parallel", "nine", "dropout"],
)
def test_an_artifact_gives_what_the_original_network_gives(kind, change, tmp_path):
    torch.manual_seed(0)
    network = Original(**kind).eval()
    manifest = import_cyclegan((saved(tmp_path / "a.pth", network, change),), tmp_path / "artifact")
    assert (manifest.task, set(manifest.graphs)) == ("translate", {"a2b"})
    assert manifest.hyperparameters["translator"] == f"resnet-{kind.get('blocks', 6)}"
    pixels = np.random.default_rng(0).integers(0, 256, (1, 24, 36, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = as_served(network(as_fed(torch.from_numpy(pixels))))
    found = load(tmp_path / "artifact").translate(pixels, "a2b")
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert expected.std() > 1, "the network does something"


def test_the_ends_may_have_other_channels(tmp_path):
    torch.manual_seed(0)
    there, back = Original(ends=(1, 3)).eval(), Original(ends=(3, 1))
    files = (saved(tmp_path / "there.pth", there), saved(tmp_path / "back.pth", back))
    manifest = import_cyclegan(files, tmp_path / "artifact")
    ends = {name: (graph.inputs["image"].size, graph.output.size) for name, graph in manifest.graphs.items()}
    assert ends == {"a2b": (1, 3), "b2a": (3, 1)}
    assert [manifest.hyperparameters[f"channels_{domain}"] for domain in "ab"] == [1, 3]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 24, 36, 1), dtype=np.uint8)
    with torch.no_grad():
        expected = as_served(there(as_fed(torch.from_numpy(pixels))))
    assert np.abs(load(tmp_path / "artifact").translate(pixels, "a2b").astype(int) - expected).max() <= 1
    with pytest.raises(ValueError, match=r"opposite directions; got a2b of 1 to 3 channels.* b2a of 1 to 3"):
        import_cyclegan((files[0], files[0]), tmp_path / "artifact")


@pytest.mark.slow
def test_two_files_are_two_directions(tmp_path):
    torch.manual_seed(0)
    there, back = Original(), Original()
    safetensors.torch.save_file(back.state_dict(), tmp_path / "back.safetensors")
    files = (saved(tmp_path / "there.pth", there), tmp_path / "back.safetensors")
    import_cyclegan(files, tmp_path / "artifact")
    manifest = read_manifest(tmp_path / "artifact")
    assert list(manifest.graphs) == ["a2b", "b2a"]
    assert isinstance(manifest.training, Imported)
    assert manifest.training.files["b2a"] != manifest.training.files["a2b"]
    assert "layout of pytorch-CycleGAN" in (tmp_path / "artifact" / "README.md").read_text()
    assert (tmp_path / "artifact" / "b2a.png").exists()


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('it was run')",))


def zero_padded(state):
    """With padding of zeros there is no module for it, and all that follows moves up."""
    moved = {"conv_block.1.": "conv_block.0.", "conv_block.5.": "conv_block.3."}
    return {
        next((name.replace(a, b) for a, b in moved.items() if a in name), name): value
        for name, value in state.items()
    }


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: {"model.1.weight": Trap()}, "only a state dict"),
        (lambda state: [1, 2], "only a state dict"),
        (lambda state: {}, "at no layer"),
        (lambda state: {7: torch.ones(1)}, "only a state dict"),
        (lambda state: state | {"model.1.weight": state["model.1.weight"].to_sparse()}, "only a state dict"),
        (lambda state: state | {"model.1.bias": torch.zeros(4, dtype=torch.complex64)}, "dense tensors"),
        (lambda state: state | {"model.1.bias": torch.zeros(1).expand(10**9)}, "dense tensors"),
        (lambda state: state | parallel(state), "once"),
        (zero_padded, "reflection padding"),
        (lambda state: state | {"model.1.weight": state["model.1.weight"][:2]}, r"model\.1 must have"),
        (lambda state: state | {"model.2.weight": torch.ones(4)}, "batch normalisation"),
        (
            lambda state: state | {"discriminator.1.weight": torch.ones(4)},
            "not a tensor of a ResNet",
        ),
        (without("model.4.bias"), r"model\.4 must be a convolution with a bias"),
    ],
)
def test_other_files_are_refused_and_nothing_of_them_is_run(change, reason, tmp_path):
    file = saved(tmp_path / "a.pth", Original(), change)
    with pytest.raises(ValueError, match=reason):
        import_cyclegan((file,), tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


def test_the_trap_would_spring_elsewhere(tmp_path):
    """The control: read without care, the same file runs what it holds."""
    file = saved(tmp_path / "a.pth", Original(), lambda state: {"model.1.weight": Trap()})
    with pytest.raises(SystemExit, match="it was run"):
        torch.load(file, weights_only=False)


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({"a": 1})])
def test_garbage_is_refused(content, tmp_path):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            import_cyclegan((tmp_path / name,), tmp_path / "artifact")


def test_other_kinds_of_generators_are_refused(tmp_path):
    files = tuple(saved(tmp_path / f"{width}.pth", Original(width)) for width in (4, 2))
    with pytest.raises(ValueError, match="must have the same width"):
        import_cyclegan(files, tmp_path / "artifact")
    with pytest.raises(ValueError, match="resnet_9blocks or resnet_6blocks"):
        import_cyclegan((saved(tmp_path / "x.pth", Original(blocks=3)),), tmp_path / "artifact")
    with pytest.raises(ValueError, match="one file"):
        import_cyclegan((), tmp_path / "artifact")
