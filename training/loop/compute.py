"""Compute settings applied to any trainer: device, precision, compilation and fused optimizers."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from serving.errors import UserError
from training.loop.distributed import World
from training.run.train_config import MemoryFormat, PrecisionName, TrainConfig
from zoo.entry import Trainer

Forward = Callable[..., Tensor]


def prepare(trainer: Trainer, run: TrainConfig, device: torch.device, world: World) -> None:
    """Apply a run's precision, memory format, compilation and distribution to the networks of a new trainer.

    Args:
        trainer: the new trainer. Its networks must not be copied afterwards: a copy would call the original.
        run: configuration with the precision and the memory format, neither of them `auto`, and whether to
            compile.
        device: device of the networks.
        world: processes that share each batch.
    """
    low = run.precision == "bf16"
    trainer.double_backward = not run.compile
    for players in (trainer.generators, trainer.discriminators, trainer.helpers):
        if run.memory_format == "channels_last":
            players.to(memory_format=torch.channels_last)
        for player in players.values():
            if run.sync_batch_norm and world.size > 1:
                _synchronise(player, world)
            if low or run.compile or world.size > 1:
                player.forward = _prepared(player.forward, run, device, world)
    settle(trainer.optimizers.values())
    world.all_reduce_gradients(trainer)


def settle(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Enable fused optimizer updates and give optimizer states the memory format of their weights."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            device = group["params"][0].device.type
            if "fused" in group and device in ("cpu", "cuda"):
                group["fused"], group["foreach"] = True, False
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _prepared(plain: Forward, run: TrainConfig, device: torch.device, world: World) -> Forward:
    """Return a network's forward function with the run's precision, compilation and distribution.

    Inputs and outputs are float32, (N, ...), so that losses are computed in float32. Autocast casts the
    weights at every call, because a cache would keep weights from before an update.
    """
    compiled = torch.compile(plain, dynamic=False) if run.compile else plain

    def forward(*inputs: Tensor, **named: Tensor) -> Tensor:
        # A leaf input that requires a gradient means double backward, which compiled code does not support.
        twice = any(each.is_leaf and each.requires_grad for each in (*inputs, *named.values()))
        own = [world.scatter(each) for each in inputs]
        own_named = {name: world.scatter(each) for name, each in named.items()}
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16"),
            world.shared_random(len(own[0] if own else next(iter(own_named.values())))),
        ):
            outputs = (plain if twice else compiled)(*own, **own_named)
        return world.gather(outputs.float())

    return forward


def _synchronise(player: nn.Module, world: World) -> None:
    """Compute the statistics of batch normalisation over the whole batch instead of a process's part.

    Torch's SyncBatchNorm supports only CUDA and not double backward.
    """
    for module in player.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.forward = _whole_batch_norm(module, world)  # type: ignore[method-assign]


def _whole_batch_norm(norm: Any, world: World) -> Forward:
    alone: Forward = norm.forward

    def forward(maps: Tensor) -> Tensor:
        if not norm.training:
            return alone(maps)
        dimensions = [0, *range(2, maps.ndim)]
        shape = [1, -1, *[1] * (maps.ndim - 2)]
        features = maps.float()
        mean = world.average(features.mean(dimensions))
        centred = features - mean.view(shape)
        variance = world.average(centred.square().mean(dimensions))
        count = world.size * maps.numel() / maps.shape[1]
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
            norm.num_batches_tracked.add_(1)
        normalised: Tensor = centred * (variance + norm.eps).rsqrt().view(shape)
        if norm.affine:
            normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
        return normalised.to(maps.dtype)

    return forward


def only_deterministic() -> AbstractContextManager[None]:
    """Return a context in which cuDNN uses only deterministic algorithms."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True
    )
    return context


def usual_format(precision: PrecisionName, device: torch.device) -> MemoryFormat:
    """Return the memory format for a precision that is not measured; tensor cores prefer channels-last."""
    return "channels_last" if precision == "bf16" and device.type == "cuda" else "contiguous"


def device_named(name: str) -> torch.device:
    """Return the device of a name, where `auto` is CUDA if available, else the CPU.

    Raises:
        UserError: the device does not exist or can't be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {name} can't be used: {str(error).splitlines()[0]}") from error
    return device
