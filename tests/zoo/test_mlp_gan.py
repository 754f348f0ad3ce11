import pytest
import torch

from zoo.mlp_gan import MLPGAN


def test_sizes_are_the_tutorials():
    trainer = MLPGAN().build()
    sizes = [tuple(p.shape) for p in trainer.generator.parameters() if p.ndim == 2]
    assert sizes == [(256, 100), (512, 256), (784, 512)]
    sizes = [tuple(p.shape) for p in trainer.discriminator.parameters() if p.ndim == 2]
    assert sizes == [(512, 784), (256, 512), (1, 256)]


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
