"""A part of a request's rows, which waits for a batch."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from serving.arrays import Array
from serving.system.stopwatch import Lap

Inputs = Mapping[str, Array]


@dataclass(eq=False)
class Job:
    """Rows to run, and the future of their output."""

    inputs: Inputs
    rows: int
    numbers: int
    result: "asyncio.Future[Array]"
    since: float = field(default_factory=time.perf_counter)
    """When it began to wait."""

    laps: tuple[Lap, ...] = ()
    """How long it waited, and was in a batch and in the engine."""

    @cached_property
    def shape(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of a row's inputs."""
        return tuple(array.shape[1:] for array in self.inputs.values())


def resolve(batch: Sequence[Job], outputs: Sequence[Array | BaseException]) -> None:
    """Set the results of a batch's jobs, except for those already cancelled."""
    for job, output in zip(batch, outputs, strict=True):
        if job.result.done():
            continue
        if isinstance(output, BaseException):
            job.result.set_exception(output)
        else:
            job.result.set_result(output)
