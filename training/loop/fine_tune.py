"""Fine-tuning: a run that starts from the networks of another one, with layers that may be frozen."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from serving.errors import UserError
from serving.runtime.manifest import Ancestor
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
        UserError: the other run can't be used.
        OSError: a file can't be read.
    """
    if config.train.start_from is None:
        state = TrainState(config, world)
    else:
        lineage, players = read_parent(config.train.start_from, world)
        state = TrainState(dataclasses.replace(config, lineage=lineage), world)
        inherit(state, players)
    state.draw_preview(data)
    return state


def read_parent(spec: str, world: World) -> tuple[tuple[Ancestor, ...], checkpoint.State]:
    """Return the lineage of a run that starts from another one, the parent first, and the parent's state.

    Args:
        spec: folder of the parent, or FOLDER@STEP; by default its newest checkpoint is used.
        world: the processes of the new run; rank 0 reads the checkpoint.

    Raises:
        UserError: there is no such run or checkpoint, or it is damaged.
        OSError: a file can't be read.
    """

    def read() -> tuple[int, checkpoint.State]:
        folder, _, which = spec.partition("@")
        if which and not which.isdecimal():
            raise UserError(f"--from must be RUN or RUN@STEP; got {spec}")
        config = RunConfig.read(Path(folder))
        found = checkpoint.load(Path(folder, "checkpoints"), **({"latest": int(which)} if which else {}))
        if found is None or (which and found[0] != int(which)):
            kept = ", ".join(map(str, checkpoint.steps(Path(folder, "checkpoints")))) or "none"
            raise UserError(f"the run {folder} has no checkpoint of {which or 'any step'}; it has {kept}")
        step, state = found
        parent = Ancestor(
            run=Path(folder).resolve().name,
            entry=config.name,
            data=config.data_name,
            steps=step,
            sha256=checkpoint.digest_of(Path(folder, "checkpoints"), step),
        )
        lineage = [each.model_dump() for each in (parent, *config.lineage)]
        players = {name: state[name] for name in ("generators", "discriminators", "average")}
        return step, {"lineage": lineage, "players": players}

    sent = world.broadcast(world.on_main(read))
    assert sent is not None
    lineage = tuple(Ancestor.model_validate(each) for each in sent[1]["lineage"])
    return lineage, sent[1]["players"]


def inherit(state: TrainState, players: checkpoint.State) -> None:
    """Copy the weights of a parent's networks; those that it lacks, or that have another shape, start anew.

    Rank 0 names these on standard error.

    Raises:
        UserError: nothing of a network fits.
    """
    trainer = state.trainer
    own = {
        "generators": trainer.generators,
        "discriminators": trainer.discriminators,
        "average": state.average.generators,
    }
    for kind, network in own.items():
        anew = _copy(network, players[kind])
        if len(anew) == len([*network.parameters()]):
            raise UserError(
                f"the {kind} of the run to start from have no weights in common with those of "
                f"{state.config.name}; use a run of a more similar entry"
            )
        if anew and kind != "average" and state.world.is_main:
            more = f" and {len(anew) - MOST_NAMED} more" if len(anew) > MOST_NAMED else ""
            print(f"{kind}: these weights start anew: {'; '.join(anew[:MOST_NAMED])}{more}", file=sys.stderr)


@torch.no_grad()
def _copy(network: nn.Module, saved: dict[str, Tensor]) -> list[str]:
    """Copy the weights and statistics that fit, and return texts about the weights that do not."""
    weights, anew = dict(network.named_parameters()), []
    for name, own in network.state_dict().items():
        given = saved.get(name)
        if ".augment." in name:  # the probability of transforms belongs to a run
            continue
        if given is not None and given.shape == own.shape:
            own.copy_(given)
        elif name in weights:
            there = "absent" if given is None else "x".join(map(str, given.shape))
            anew.append(f"{name} ({'x'.join(map(str, own.shape))}; there {there})")
    return anew


def freeze(discriminators: nn.ModuleDict, number: int) -> None:
    """Freeze the first layers of every discriminator (Mo et al. 2020), with the normalisations after them.

    Layers are those with a matrix of weights, in the order of their definition.

    Raises:
        UserError: a discriminator has fewer layers.
    """
    for name, discriminator in discriminators.items():
        count = 0
        for layer in _layers(discriminator):
            count += any(weight.ndim > 1 for weight in layer.parameters())
            if count > number:
                break
            layer.requires_grad_(False).eval()
        if count < number:
            raise UserError(f"--freeze-discriminator must be at most {count} for {name}; got {number}")


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that have weights of their own, in the order of their definition."""
    if nn.utils.parametrize.is_parametrized(module) or any(True for _ in module.parameters(recurse=False)):
        yield module
    else:
        for child in module.children():
            yield from _layers(child)
