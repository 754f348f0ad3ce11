"""The choice of a run's precision `auto`: bf16 if the device has it and steps are faster in it."""

import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Mapping
from typing import Literal

import torch

from serving.errors import UserError, is_out_of_memory
from training.data.dataset import Loader
from training.loop.compute import device_named, only_deterministic
from training.loop.distributed import SINGLE, World
from training.loop.fine_tune import freeze
from training.loop.monitor import must_be_finite
from training.loop.state import TrainState
from training.run import checkpoint
from training.run.config import RunConfig
from zoo.entry import Batch

GAIN = 1.05
"""Speed of bf16, relative to fp32, from which it is chosen."""

SECONDS, MOST_ROUNDS = 1.5, 20
"""Time after which no third or later round of steps begins, and the largest number of rounds."""

LONG = 10.0
"""Seconds of a first round after which there is no second one."""

Clock = Callable[[], float]


def with_chosen_precision(
    config: RunConfig,
    world: World,
    data: Loader,
    clock: Clock = time.perf_counter,
    supports: Callable[[torch.device], bool] | None = None,
) -> RunConfig:
    """Return the configuration with the precision to train in, if it is `auto`; all processes must call this.

    Rank 0 measures steps on its share of a batch, for all processes. Its networks are not those of the run,
    and torch's random state does not change.

    Args:
        config: configuration of a new run.
        world: processes of the run.
        data: data of the run.
        clock: function that returns the time in seconds.
        supports: function that returns whether a device has bf16; by default `has_bf16`.

    Raises:
        UserError: the device can't be used.
        OSError: the data can't be read.
    """
    if config.train.precision != "auto":
        return config
    device = world.device_for(device_named(config.train.device))
    if world.any(not (supports or has_bf16)(device)):
        return config.with_precision("fp32")
    sent = world.broadcast(world.on_main(lambda: (0, {"precision": _measured(config, world, data, clock)})))
    assert sent is not None
    return config.with_precision(sent[1]["precision"])


def has_bf16(device: torch.device) -> bool:
    """Return whether a GPU, or the CPU by AMX or AVX-512 BF16, has instructions for bf16."""
    match device.type:
        case "cuda":
            with torch.cuda.device(device):
                return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        case "cpu":
            # Private functions, which a version of torch may lack.
            known = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
            return any(getattr(torch.cpu, name, bool)() for name in known)
    return False


def _measured(config: RunConfig, world: World, data: Loader, clock: Clock) -> Literal["fp32", "bf16"]:
    """Measure steps in both precisions, print the result, and return the precision to use."""
    # Batch normalisation needs two examples; a process may have one, with the statistics of all.
    share = min(config.entry.batch_size, max(2, config.entry.batch_size // world.size))
    entry = dataclasses.replace(config.entry, batch_size=share)
    # Compilation would take minutes in each precision.
    config = dataclasses.replace(
        config, entry=entry, train=dataclasses.replace(config.train, compile=False, sync_batch_norm=False)
    )
    batch = data.batch(0, entry.examples_per_step)
    device = device_named(config.train.device)
    before = checkpoint.random_state(device)
    try:
        full, low = (_Trial(config.with_precision(name), batch) for name in ("fp32", "bf16"))
        speed = _speed(full, low, clock)
    except UserError:
        raise
    except Exception as error:  # torch and trainers raise many types
        if not is_out_of_memory(error):  # the run says so itself, if it lacks memory too
            reason = " ".join(str(error).split())[:200]
            print(f"note: precision fp32: steps in bf16 could not be measured: {reason}", file=sys.stderr)
        return "fp32"
    finally:
        checkpoint.restore_random_state(before, device)
        gc.collect()  # prepared networks refer to themselves
    if speed < GAIN:
        print(f"note: precision fp32: steps in bf16 are {speed:.2f} times as fast", file=sys.stderr)
        return "fp32"
    print(f"note: precision bf16: steps are {speed:.2f} times as fast as in fp32", file=sys.stderr)
    return "bf16"


def _speed(full: "_Trial", low: "_Trial", clock: Clock) -> float:
    """Return the speed of steps in bf16 relative to those in fp32.

    Raises:
        Diverged: a number of a step in bf16 is not finite. Trainers may raise other types.
    """
    with only_deterministic():
        times = measure({"fp32": full.step, "bf16": low.step}, clock)
    low.must_be_finite()
    return times["fp32"] / times["bf16"]


def measure(
    steps: Mapping[Literal["fp32", "bf16"], Callable[[], object]], clock: Clock
) -> dict[Literal["fp32", "bf16"], float]:
    """Run steps in turns, and return the time in seconds of the fastest step of each.

    The first round warms up. It counts only if its steps take so long that there is no other one.
    """
    times: dict[Literal["fp32", "bf16"], list[float]] = {name: [] for name in steps}
    begin = clock()
    for number in range(MOST_ROUNDS):
        if number and clock() - begin >= (LONG if number == 1 else SECONDS):
            break
        for name, step in steps.items():
            before = clock()
            step()
            times[name].append(clock() - before)
    return {name: min(each[1:] or each) for name, each in times.items()}


class _Trial:
    """Networks of their own that repeat a step on one batch.

    Args:
        config: configuration with the precision.
        batch: the batch of every step, on any device.
    """

    def __init__(self, config: RunConfig, batch: Batch) -> None:
        self.state = TrainState(config, SINGLE)
        freeze(self.state.trainer.discriminators, config.train.freeze_discriminator)
        self._batch = {name: value.to(self.state.device) for name, value in batch.items()}
        self._scalars: dict[str, float] = {}

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch, whichever the step."""
        return self._batch

    def step(self) -> None:
        """Train on the batch, and wait for the device."""
        self._scalars = {name: float(value) for name, value in self.state.step(self).items()}

    def must_be_finite(self) -> None:
        """Check the scalars of the last step and the weights after it.

        Raises:
            Diverged: a scalar or a weight is not finite.
        """
        trainer = self.state.trainer
        must_be_finite(self.state.done, self._scalars, trainer.generators, trainer.discriminators)
