"""Checks of a checkpoint's content: optimizers and preview must fit the networks that they belong to.

The hash of a checkpoint tells damage, not that its content is that of this run. Fused optimizers read as many
numbers of a state as the weights have, whatever its size.
"""

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.entry import Inputs


def restore_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Restore the state of an optimizer.

    Raises:
        ValueError: the options or the state are not those of such an optimizer.
        KeyError: a part is missing. The optimizer and its networks may raise other types.
    """
    before = [dict(group) for group in optimizer.param_groups]
    kinds = _kinds_of_state(optimizer)
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, before, strict=True):
        for name in own.keys() - {"params"}:
            # Which machines have fused updates differs, and `settle` decides anew.
            is_free = name in ("fused", "foreach") and group[name] in (None, True, False)
            if not (is_free or _is_alike(group[name], own[name])):
                raise ValueError(f"the optimizer's {name} must be like {own[name]}; got {group[name]}")
        for parameter in group["params"]:
            _must_fit(optimizer.state.get(parameter, {}), parameter, kinds)


def _is_alike(value: object, own: object) -> bool:
    """Return whether a value can stand for another one of an optimizer's options."""
    match own:
        case bool():
            return isinstance(value, bool)
        case int() | float():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case tuple() | list():
            same = isinstance(value, tuple | list) and len(value) == len(own)
            return same and all(map(_is_alike, value, own))  # type: ignore[call-overload]
    return isinstance(value, type(own))


def _kinds_of_state(optimizer: Optimizer) -> dict[str, bool]:
    """Return the names of what such an optimizer keeps of each weight, and whether it has the weight's shape.

    They are those of an optimizer of two numbers. They are empty if that can't be made.
    """
    kinds: dict[str, bool] = {}
    with suppress(Exception):  # optimizers from elsewhere may be made in any way
        weight = nn.Parameter(torch.zeros(2))
        options = {**optimizer.param_groups[0], "params": [weight], "fused": None, "foreach": None}
        known = {name: options[name] for name in optimizer.param_groups[0]}
        make: Any = type(optimizer)
        twin = make([known])
        weight.grad = torch.zeros(2)
        twin.step()
        kinds = {name: value.ndim > 0 for name, value in twin.state[weight].items() if value is not None}
    return kinds


def _must_fit(state: dict[str, Any], parameter: Tensor, kinds: dict[str, bool]) -> None:
    if state and kinds and not kinds.keys() <= state.keys():
        raise ValueError(f"an optimizer's state must have {sorted(kinds)}; got {sorted(state)}")
    for name, value in state.items():
        shape = parameter.shape if kinds.get(name, True) else ()
        is_right = isinstance(value, Tensor) and value.dtype in (parameter.dtype, torch.float32)
        if (value is not None or name in kinds) and not (is_right and (value.shape == shape or not kinds)):
            said = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else value
            raise ValueError(f"an optimizer's {name} must be float32 {tuple(shape)}; got {said}")


@torch.no_grad()
def must_be_inputs(preview: Inputs, generators: nn.ModuleDict, classes: int) -> None:
    """Check that generators in evaluation mode accept their preview inputs.

    Raises:
        ValueError: they are not those of these generators. The generators may raise other types.
    """
    if preview.keys() != dict(generators.items()).keys():
        raise ValueError(f"the preview must be of {[*generators]}; got {[*preview]}")
    for name, generator in generators.items():
        inputs = preview[name]
        if not all(isinstance(value, Tensor) and value.isfinite().all() for value in inputs.values()):
            raise ValueError("the preview must have finite tensors")
        rows = {len(value) for value in inputs.values()}
        if len(rows) != 1 or rows == {0}:
            raise ValueError(f"the inputs of the preview must have one length; got {sorted(rows)}")
        if "label" in inputs and not 0 <= inputs["label"].min() <= inputs["label"].max() < classes:
            raise ValueError(f"the labels of the preview must be from 0 to {classes - 1}")
        generator(**inputs)
