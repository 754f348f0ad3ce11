"""Fields that can't be are refused by name, with what was given and what would do."""

from dataclasses import dataclass
from typing import Literal

import pytest

from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices, must_be_positive
from zoo.models.mlp_gan import MLPGAN
from zoo.models.translate.cyclegan import CycleGAN


@dataclass
class Config:
    shape: Literal["round", "square"] = "round"
    colours: tuple[Literal["red", "blue"], ...] = ("red",)
    size: int = 3
    name: str = "any"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"shape": "flat"}, "^shape must be one of round, square; got flat$"),
        ({"colours": ("red", "green")}, "^colours must be one of red, blue; got green$"),
        ({"size": 0}, "^size must be positive and below 2147483648; got 0$"),
        ({"size": float("inf")}, "^size must be positive and finite; got inf$"),
        ({"size": float("nan")}, "^size must be positive and finite; got nan$"),
        ({"size": 2**31}, "^size must be positive and below 2147483648; got 2147483648$"),
        ({"size": 1}, "^size must be at least 2; got 1$"),
    ],
)
def test_what_cannot_be_is_refused(fields, said):
    config = Config(**fields)
    with pytest.raises(ConfigError, match=said):
        must_be_choices(config)
        must_be_positive(config, "size")
        must_be_at_least(config, 2, "size")


def test_what_can_be_passes():
    config = Config(shape="square", colours=(), size=2, name="flat")
    must_be_choices(config)
    must_be_positive(config, "size")
    must_be_at_least(config, 2, "size")


@pytest.mark.parametrize(
    "betas", [(-0.1, 0.9), (0.5, 1.0), (0.5, 1.5), (float("nan"), 0.9), (0.5, float("inf"))]
)
def test_decay_rates_that_cannot_be_are_refused(betas):
    for entry in (MLPGAN, CycleGAN):
        with pytest.raises(ConfigError, match=r"^betas must be at least 0 and below 1; got "):
            entry(betas=betas)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf")])
def test_both_learning_rates_must_be_positive(rate):
    with pytest.raises(ConfigError, match=r"^discriminator_learning_rate must be positive and finite; got "):
        MLPGAN(discriminator_learning_rate=rate)
