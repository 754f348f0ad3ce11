"""Validation of the fields of a configuration dataclass."""

import dataclasses
import math
from typing import Any, Literal, get_args, get_origin

from zoo.errors import ConfigError

LIMIT = 2**31
"""Integers, which are sizes and counts, must be below this; larger ones overflow in PyTorch."""


def must_be_choices(config: Any) -> None:
    """Check every field whose type is a Literal or a tuple of a Literal.

    Raises:
        ConfigError: a value is not one of the field's choices. The message lists them.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        choices, values = _choices(field.type), (value,)
        if get_origin(field.type) is tuple and not choices:
            choices, values = _choices(get_args(field.type)[0]), value
        for each in values if choices else ():
            if each not in choices:
                raise ConfigError(f"{field.name} must be one of {', '.join(choices)}; got {each}")


def _choices(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def must_be_positive(config: Any, *names: str) -> None:
    """Check that the named fields are above 0, and below LIMIT if they are integers, else finite.

    Raises:
        ConfigError: a field is not. The message names it.
    """
    for name in names:
        value = getattr(config, name)
        limit, words = (LIMIT, f"below {LIMIT}") if isinstance(value, int) else (math.inf, "finite")
        if not 0 < value < limit:
            raise ConfigError(f"{name} must be positive and {words}; got {value}")


def must_be_at_least(config: Any, least: float, *names: str) -> None:
    """Check that the named fields are at least `least` and finite.

    Raises:
        ConfigError: a field is not. The message names it.
    """
    for name in names:
        if not least <= getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be at least {least}; got {getattr(config, name)}")


def must_be_decays(config: Any, *names: str) -> None:
    """Check that all values of the named fields are at least 0 and below 1.

    Raises:
        ConfigError: a value is not. The message names the field.
    """
    for name in names:
        if not all(0 <= value < 1 for value in getattr(config, name)):
            raise ConfigError(f"{name} must be at least 0 and below 1; got {getattr(config, name)}")
