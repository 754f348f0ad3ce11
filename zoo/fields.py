"""Checks of the fields of a configuration, a dataclass: what is impossible is refused by name."""

import dataclasses
import math
from typing import Any, Literal, get_args, get_origin

from zoo.errors import ConfigError


def must_be_choices(config: Any) -> None:
    """Check every field that is typed as a Literal, or as a tuple of one.

    Raises:
        ConfigError: a value is not one of the field's choices; they are listed.
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
    """Check that fields are above 0 and finite.

    Raises:
        ConfigError: one is not; it is named.
    """
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be positive; got {getattr(config, name)}")


def must_be_at_least(config: Any, least: float, *names: str) -> None:
    """Check that fields are no less than a number, and finite.

    Raises:
        ConfigError: one is not; it is named.
    """
    for name in names:
        if not least <= getattr(config, name) < math.inf:
            raise ConfigError(f"{name} must be at least {least}; got {getattr(config, name)}")
