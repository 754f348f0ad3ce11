import math

import pytest
import torch
from torch import nn

from zoo.models.goodfellow_2014 import SATURATION, Goodfellow2014, Maxout


def test_the_networks_are_those_of_the_published_configuration():
    trainer = Goodfellow2014().build()
    linear = [m for m in trainer.discriminator.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(784, 1200), (240, 1200), (240, 1)]
    assert [m.p for m in trainer.discriminator.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.5, 0.5]
    linear = [m for m in trainer.generator.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(100, 1200), (1200, 1200), (1200, 784)]
    assert linear[0].weight.abs().max().item() == pytest.approx(0.05, rel=0.01)


def test_a_maxout_unit_is_the_greatest_of_its_pieces():
    unit = Maxout(2, units=2, pieces=3)
    with torch.no_grad():
        unit.linear.weight.copy_(torch.tensor([[1, 0], [0, 1], [-1, -1], [2, 0], [0, 0], [0, 2.0]]))
        unit.linear.bias.zero_()
    assert unit(torch.tensor([[3.0, 5.0], [-4.0, 1.0]])).tolist() == [[5, 10], [3, 2]]


def test_latents_are_uniform_of_variance_one_and_samples_fill_the_range():
    trainer = Goodfellow2014().build()
    latent = trainer.inputs({"real": torch.zeros(2000, 784)})["generator"]["latent"]
    assert latent.abs().max() <= math.sqrt(3)
    assert latent.abs().max() > 1.7
    assert latent.var().item() == pytest.approx(1, abs=0.02)
    samples = trainer.generator(10 * latent)
    assert samples.shape == (2000, 1, 28, 28)
    assert -1 <= samples.min() < -0.9
    assert 0.9 < samples.max() <= 1


def test_the_rate_falls_and_the_momentum_grows_with_every_update_and_survive_a_resume():
    entry = Goodfellow2014(shape=(2,), width=4, maxout_units=3, decay=2.0)
    trainer, batch = entry.build(), {"real": torch.zeros(4, 2)}
    group = trainer.optimizers["generator"].param_groups[0]
    rates = []
    for _ in range(3):
        group["lr"] = 0.1  # as the loop does before each step
        trainer.step(batch)
        rates.append(group["lr"])
    assert rates == pytest.approx([0.1, 0.05, 0.025])

    resumed = entry.build()
    resumed.load_state_dict({**trainer.state_dict(), "updates": SATURATION * 2})
    resumed.step(batch)
    group = resumed.optimizers["generator"].param_groups[0]
    assert group["momentum"] == pytest.approx(0.7)
    assert group["lr"] == pytest.approx(1e-6), "the decay stops"


def test_the_discriminator_steps_as_far_as_by_half_the_loss():
    """The published discriminator descends half of the sum of both cross-entropies with a rate of 0.1."""
    trainer = Goodfellow2014().build()
    rates = {name: each.param_groups[0]["lr"] for name, each in trainer.optimizers.items()}
    assert rates == {"generator": 0.1, "discriminator": 0.1 / 2}


@pytest.mark.parametrize("field", [{"decay": 0.9}, {"width": 0}, {"maxout_pieces": 0}])
def test_impossible_fields_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Goodfellow2014(**field)
