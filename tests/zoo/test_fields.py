"""Fields that can't be are refused by name, with what was given and what would do."""

from dataclasses import dataclass
from typing import Literal

import pytest

from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices, must_be_positive


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
        ({"size": 0}, "^size must be positive; got 0$"),
        ({"size": float("inf")}, "^size must be positive; got inf$"),
        ({"size": float("nan")}, "^size must be positive; got nan$"),
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
