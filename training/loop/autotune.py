"""The choice of the precision `auto` of a run, and of the memory format, by measured steps."""

import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
from training.run.train_config import MemoryFormat, PrecisionName
from zoo.entry import Batch

GAIN = 1.05
"""Relative speed from which a way to compute is chosen instead of an earlier one."""

SECONDS, MOST_ROUNDS = 1.5, 20
"""Time after which no third or later round of steps begins, and the largest number of rounds."""

LONG = 10.0
"""Seconds of a first round after which there is no second one."""

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16")
FORMATS: tuple[MemoryFormat, ...] = ("contiguous", "channels_last")

Clock = Callable[[], float]


class Way(NamedTuple):
    """A way to compute the steps of a run."""

    precision: PrecisionName
    memory_format: MemoryFormat

    def __str__(self) -> str:
        return f"{self.precision}, {self.memory_format}"


def autotune(
    config: RunConfig,
    world: World,
    data: Loader,
    clock: Clock = time.perf_counter,
    supports: Callable[[torch.device], bool] | None = None,
) -> RunConfig:
    """Return the configuration with the precision and the memory format of the fastest steps.

    A precision that is not `auto` is kept, and nothing is measured. All processes must call this. Rank 0
    measures steps on its share of a batch, for all processes. Its networks are not those of the run, and
    torch's random state does not change.

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
    run = config.train
    if run.precision != "auto":
        return config
    device = world.device_for(device_named(run.device))
    low = not world.any(not (supports or has_bf16)(device))
    ways = [
        Way(precision, memory)
        for precision in (PRECISIONS if low else PRECISIONS[:1])
        for memory in (FORMATS if run.memory_format == "auto" else [run.memory_format])
    ]
    sent = world.broadcast(world.on_main(lambda: (0, {"way": _fastest(config, ways, world, data, clock)})))
    assert sent is not None
    return config.computed(*sent[1]["way"])


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


def _fastest(config: RunConfig, ways: Sequence[Way], world: World, data: Loader, clock: Clock) -> Way:
    """Measure steps in every way, print the result, and return the fastest way.

    A way in which a step fails, or whose numbers are not finite, is left out; the first one is not.
    """
    # Batch normalisation needs two examples; a process may have one, with the statistics of all.
    share = min(config.entry.batch_size, max(2, config.entry.batch_size // world.size))
    entry = dataclasses.replace(config.entry, batch_size=share)
    # Compilation would take minutes in each way.
    config = dataclasses.replace(
        config, entry=entry, train=dataclasses.replace(config.train, compile=False, sync_batch_norm=False)
    )
    batch = data.batch(0, entry.examples_per_step)
    device = device_named(config.train.device)
    before = checkpoint.random_state(device)
    try:
        with only_deterministic():
            times = measure(_trials(config, ways, batch), clock)
    finally:
        checkpoint.restore_random_state(before, device)
        gc.collect()  # prepared networks refer to themselves
    chosen = first = ways[0]
    for way in ways[1:]:
        if chosen in times and way in times and times[chosen] >= GAIN * times[way]:
            chosen = way
    if chosen != first:
        speed = times[first] / times[chosen]
        print(f"note: precision {chosen}: steps are {speed:.2f} times as fast as in {first}", file=sys.stderr)
    elif len(times) > 1:
        print(f"note: precision {chosen}: no other steps are {GAIN} times as fast", file=sys.stderr)
    return chosen


def _trials(config: RunConfig, ways: Sequence[Way], batch: Batch) -> dict[Way, "_Trial"]:
    """Return a trial of each way; without convolutions, the memory format makes no difference."""
    trials: dict[Way, _Trial] = {}
    for way in ways:
        if way.memory_format == ways[0].memory_format or next(iter(trials.values())).has_images:
            trials[way] = _Trial(config.computed(*way), batch)
    return trials if len(trials) > 1 else {}


def measure(trials: "dict[Way, _Trial]", clock: Clock) -> dict[Way, float]:
    """Run steps in turns, and return the time in seconds of the fastest step of each way that does not fail.

    The first round warms up. It counts only if its steps take so long that there is no other one.
    """
    times: dict[Way, list[float]] = {way: [] for way in trials}
    begin = clock()
    for number in range(MOST_ROUNDS):
        if number and clock() - begin >= (LONG if number == 1 else SECONDS):
            break
        for way in list(times):
            before = clock()
            try:
                trials[way].step()
            except UserError:
                raise
            except Exception as error:  # torch and trainers raise many types
                del times[way]
                if not is_out_of_memory(error):  # the run says so itself, if it lacks memory too
                    reason = " ".join(str(error).split())[:200]
                    print(f"note: steps in {way} could not be measured: {reason}", file=sys.stderr)
            else:
                times[way].append(clock() - before)
    return {way: min(each[1:] or each) for way, each in times.items()}


class _Trial:
    """Networks of their own that repeat a step on one batch.

    Args:
        config: configuration with the way to compute.
        batch: the batch of every step, on any device.
    """

    def __init__(self, config: RunConfig, batch: Batch) -> None:
        self.state = TrainState(config, SINGLE)
        freeze(self.state.trainer.discriminators, config.train.freeze_discriminator)
        self._batch = {name: value.to(self.state.device) for name, value in batch.items()}

    @property
    def has_images(self) -> bool:
        """Whether the generators have weights of convolutions of images."""
        return any(weight.ndim == 4 for weight in self.state.trainer.generators.parameters())

    def batch(self, step: int, size: int) -> Batch:
        """Return the batch, whichever the step."""
        return self._batch

    def step(self) -> None:
        """Train on the batch, and wait for the device.

        Raises:
            Diverged: a scalar or a weight is not finite. Trainers may raise other types.
        """
        scalars = {name: float(value) for name, value in self.state.step(self).items()}
        trainer = self.state.trainer
        must_be_finite(self.state.done, scalars, trainer.generators, trainer.discriminators, trainer.helpers)
