"""A part of a request's rows, which waits for a batch."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from serving.arrays import Array

Inputs = Mapping[str, Array]


@dataclass(eq=False)
class Job:
    """Rows to run, and the future of their output."""

    inputs: Inputs
    rows: int
    numbers: int
    result: "asyncio.Future[Array]"

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
