import pytest
import torch

from training.data.dataset import open_data
from training.loop.train import TrainState
from training.run.config import RunConfig
from training.run.train_config import TrainConfig
from zoo.models.mlp_gan import MLPGAN, MLPGANCompact, MLPGANDeep, MLPGANVector, MLPGANVectorSGD


def test_sizes_are_the_tutorials():
    trainer = MLPGAN().build()
    sizes = [tuple(p.shape) for p in trainer.generator.parameters() if p.ndim == 2]
    assert sizes == [(256, 100), (512, 256), (784, 512)]
    sizes = [tuple(p.shape) for p in trainer.discriminator.parameters() if p.ndim == 2]
    assert sizes == [(512, 784), (256, 512), (1, 256)]


def sizes_of(player) -> list[int]:
    weights = [tuple(p.shape) for p in player.parameters() if p.ndim == 2]
    return [weights[0][1], *(after for after, _ in weights)]


def test_the_presets_are_their_sources():
    compact, deep = MLPGANCompact().build(), MLPGANDeep().build()
    assert sizes_of(compact.generator) == [100, 128, 256, 784]
    assert sizes_of(compact.discriminator) == [784, 256, 128, 1]
    assert sizes_of(deep.generator) == [100, 128, 256, 512, 1024, 784]
    assert sizes_of(deep.discriminator) == [784, 1024, 512, 256, 128, 1]
    weight = next(p for p in compact.generator.parameters() if p.ndim == 2)
    assert weight.std().item() == pytest.approx(0.01, rel=0.05)
    rates = [deep.optimizers[name].param_groups[0]["lr"] for name in ("generator", "discriminator")]
    assert rates == [2e-4, 1e-4]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 12), (16,)])
def test_images_and_vectors(shape):
    trainer = MLPGAN(shape=shape).build()
    samples = trainer.generator(torch.randn(5, 100))
    assert samples.shape == (5, *shape)
    assert samples.abs().max() <= 1
    assert trainer.discriminator(samples).shape == (5, 1)


@pytest.mark.parametrize("shape", [(), (28, 28), (0,), (1, 28, -1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        MLPGAN(shape=shape)


def test_vectors_are_points_of_the_plane_unless_asked_otherwise():
    assert MLPGANVector().sample_shape == (2,)
    assert MLPGANVector(shape=(16,)).build().generator(torch.randn(3, 2)).shape == (3, 16)


def scores(entry: MLPGANVector, steps: int) -> dict[str, float]:
    """Train on the ring, and score 10,000 samples against its truth."""
    run = TrainConfig(data="ring8", device="cpu", steps=steps)
    state = TrainState(RunConfig(name="mlp-gan-vector", entry=entry, train=run))
    data = open_data("ring8", (2,), 0)
    state.draw_preview(data)
    for _ in range(steps):
        state.step(data)
    return data.truth.score(state.pipeline.sample(10_000))


@pytest.mark.slow
def test_the_vector_gan_finds_every_mode_of_the_ring():
    found = scores(MLPGANVector(), 5000)
    assert found["modes_covered"] == 8
    assert found["high_quality"] > 0.85


@pytest.mark.slow
def test_as_small_as_its_source_it_does_not():
    """The control: as many steps of the source's networks and descent."""
    found = scores(MLPGANVectorSGD(), 5000)
    assert found["high_quality"] < 0.5
    assert found["total_variation"] > 0.5


def test_the_small_one_is_its_sources():
    trainer = MLPGANVectorSGD(shape=(16,)).build()
    assert sizes_of(trainer.generator) == [4, 8, 8, 16]
    assert sizes_of(trainer.discriminator) == [16, 32, 32, 1]
    optimizer = trainer.optimizers["generator"]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.1, 0.0)
