"""Fine-tuning: a run that starts from the networks of another one, with layers that may be frozen."""

import dataclasses
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from serving.errors import UserError
from serving.runtime.origin import Ancestor
from training.data.dataset import Loader
from training.loop.distributed import World
from training.loop.state import TrainState
from training.run import checkpoint
from training.run.config import RunConfig

MOST_NAMED = 5
"""Number of weights that a message names."""


def start(config: RunConfig, world: World, data: Loader) -> TrainState:
    """Return the state of a new run, with the networks of the run that it starts from, if there is one.

    Raises:
        UserError: the other run can't be used, or so many layers can't be frozen.
        OSError: a file can't be read.
    """
    parent = read_parent(config.train.start_from, world) if config.train.start_from else None
    state = TrainState(
        config if parent is None else dataclasses.replace(config, lineage=parent.lineage), world
    )
    freeze(state.trainer.discriminators, config.train.freeze_discriminator)
    if parent is not None:
        inherit(state, parent)
    state.draw_preview(data)
    return state


class Parent(NamedTuple):
    """The run that another one starts from."""

    lineage: tuple[Ancestor, ...]
    """The run itself, and what it started from."""

    average_steps: int
    """Steps of its moving average."""

    generators: dict[str, Tensor]
    discriminators: dict[str, Tensor]
    helpers: dict[str, Tensor]
    average: dict[str, Tensor]


def read_parent(source: str, world: World) -> Parent:
    """Read the networks of a run to start from, on rank 0.

    Args:
        source: the folder of the run, RUN@STEP or RUN@best; by default its newest checkpoint is used.
        world: the processes of the new run.

    Raises:
        UserError: there is no such run or checkpoint, or it is damaged.
        OSError: a file can't be read.
    """

    def read() -> tuple[int, checkpoint.State]:
        folder, which = checkpoint.parse_source(source)
        config = RunConfig.read(folder)
        step, state = checkpoint.open_checkpoint(folder, which)
        parent = Ancestor(
            run=folder.resolve().name,
            entry=config.name,
            data=config.data_name,
            steps=step,
            sha256=checkpoint.digest_of(folder / "checkpoints", step),
            trained_against=config.entry.pretrained,
        )
        told = {
            "lineage": [each.model_dump() for each in (parent, *config.lineage)],
            "average_steps": config.average_steps + step,
        }
        networks = {name: state[name] for name in ("generators", "discriminators", "average")}
        return step, told | networks | {"helpers": state.get("helpers", {})}

    sent = world.broadcast(world.on_main(read))
    assert sent is not None
    lineage = tuple(Ancestor.model_validate(each) for each in sent[1].pop("lineage"))
    return Parent(lineage, **sent[1])


def inherit(state: TrainState, parent: Parent) -> None:
    """Copy the weights of a parent's networks; those that it lacks, or that have another shape, start anew.

    Rank 0 names these on standard error. The moving average is continued if it is whole.

    Raises:
        UserError: nothing fits, or a frozen layer does not.
    """
    trainer, anew = state.trainer, dict[str, str]()
    fits = 0
    for network, saved in (
        (trainer.generators, parent.generators),
        (trainer.discriminators, parent.discriminators),
        (trainer.helpers, parent.helpers),
    ):
        found = _copy(network, saved)
        fits += len([*network.parameters()]) - len(found)
        anew |= found
    if not fits:
        raise UserError(
            f"the run to start from has no weights in common with {state.config.name}; use a run of a more "
            "similar entry"
        )
    frozen = {name for name, weight in trainer.discriminators.named_parameters() if not weight.requires_grad}
    if lost := sorted(frozen & anew.keys()):
        raise UserError(f"the layers to freeze must be those of the run to start from; {anew[lost[0]]}")
    if not _copy(state.average.generators, parent.average):
        state.config = dataclasses.replace(state.config, average_steps=parent.average_steps)
    if anew and state.world.is_main:
        more = f" and {len(anew) - MOST_NAMED} more" if len(anew) > MOST_NAMED else ""
        named = "; ".join([*anew.values()][:MOST_NAMED])
        print(
            f"note: {len(anew)} weights differ and start from random values: {named}{more}", file=sys.stderr
        )


@torch.no_grad()
def _copy(network: nn.Module, saved: dict[str, Tensor]) -> dict[str, str]:
    """Copy the weights and statistics that fit, and return texts about the other weights, by name."""
    weights, anew = dict(network.named_parameters()), {}
    for name, own in network.state_dict().items():
        given = _named(name, saved)
        if ".augment." in name:  # the probability of transforms belongs to a run
            continue
        if given is not None and given.shape == own.shape:
            own.copy_(given)
        elif name in weights:
            there = "is absent" if given is None else f"has {'x'.join(map(str, given.shape))}"
            anew[name] = f"{name} has {'x'.join(map(str, own.shape))} here and {there} there"
    return anew


def _named(name: str, saved: dict[str, Tensor]) -> Tensor | None:
    """Return the saved tensor of a name.

    If there is none, return that of a network that is inside the other one, as `a.body.0.weight` is
    `a.0.weight` in a network `body`, if there is exactly one.
    """
    if name in saved:
        return saved[name]
    inside = _without_one(name)
    found = [each for each in saved if each in inside or name in _without_one(each)]
    return saved[found[0]] if len(found) == 1 else None


def _without_one(name: str) -> set[str]:
    """Return a tensor's name without one of the modules that have a name, not a number."""
    parts = name.split(".")
    return {
        ".".join([*parts[:place], *parts[place + 1 :]])
        for place in range(1, len(parts) - 1)
        if not parts[place].isdecimal()
    }


def freeze(discriminators: nn.ModuleDict, number: int) -> None:
    """Freeze the first layers of every discriminator (Mo et al. 2020), with the normalisations after them.

    Layers are those with a matrix of weights, in the order of their definition.

    Raises:
        UserError: no layer of a discriminator would be left to learn.
    """
    for name, discriminator in discriminators.items() if number else ():
        count = 0
        for layer in _layers(discriminator):
            count += any(weight.ndim > 1 for weight in layer.parameters())
            if count <= number:
                layer.requires_grad_(False).eval()
        if count <= number:
            raise UserError(
                f"--freeze-discriminator must be below {count}, the number of layers of {name}; got {number}"
            )


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that have weights of their own, in the order of their definition."""
    if nn.utils.parametrize.is_parametrized(module) or any(True for _ in module.parameters(recurse=False)):
        yield module
    else:
        for child in module.children():
            yield from _layers(child)
