"""Distributed training of one run on several processes (`torchrun`).

All processes run the same steps on the same whole batches with the same random numbers. Each process runs the
networks on its own rows of the batch only. The outputs are gathered, and the gradients of the weights are
summed before every update. Losses, pairs, penalties and image pools therefore equal those of a single
process, entries need no changes, and a run can be resumed with another number of processes.

Only rank 0 accesses the run's folder. It broadcasts what it reads.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from serving.errors import UserError
from serving.system.signals import Interrupted
from training.loop.monitor import Diverged
from training.run import checkpoint
from zoo.entry import Trainer

TIMEOUT = timedelta(hours=1)
"""Timeout of the other ranks while rank 0 scores and writes checkpoints."""

SOUND, BROKEN = -1, -2
"""Status that rank 0 broadcasts after its work: success or failure; otherwise the onset of a divergence."""


Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """The processes of a run: the rank of this process and their number."""

    rank: int = 0
    """Index of this process, from 0."""

    size: int = 1
    """Number of processes."""

    @property
    def is_main(self) -> bool:
        """Whether this process is rank 0."""
        return self.rank == 0

    def device_for(self, device: torch.device) -> torch.device:
        """Return the device of this process: with several processes on CUDA, one GPU for each.

        Raises:
            UserError: the device has an index, or the machine has fewer GPUs than processes.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device.index is not None or local >= there:
            raise UserError(
                f"distributed training on GPUs needs --device cuda and one GPU per process; got {device} and "
                f"process {local + 1} on a machine with {there} GPUs"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def must_divide(self, batch_size: int) -> None:
        """Check that a batch can be split evenly over the processes.

        Raises:
            UserError: the batch size is not a multiple of the number of processes.
        """
        if batch_size % self.size:
            raise UserError(
                f"batch_size must be a multiple of the number of processes, {self.size}; got {batch_size}"
            )

    def any(self, said: bool) -> bool:
        """Return whether the argument is true on any process; all processes must call this."""
        if self.size == 1:
            return said
        answer = torch.tensor(int(said))
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return bool(answer)

    def on_main(self, work: Callable[[], Result]) -> Result | None:
        """Run a function on rank 0 and return its result there; an error stops all processes.

        Raises:
            Diverged: the function raised it on rank 0.
            SystemExit: the function failed on rank 0; raised on the other ranks.
        """
        if not self.is_main:
            self.wait_for_main()
            return None
        said = SOUND
        try:
            return work()
        except Diverged as trouble:
            said = trouble.onset
            raise
        except BaseException:
            said = BROKEN
            raise
        finally:
            if self.size > 1:
                dist.broadcast(torch.tensor(said), 0)

    def wait_for_main(self) -> None:
        """Wait until rank 0 has finished its work.

        Raises:
            Diverged: rank 0 detected that the run diverged.
            SystemExit: rank 0 failed. It prints the reason itself.
        """
        said = torch.empty((), dtype=torch.int64)
        dist.broadcast(said, 0)
        if int(said) == BROKEN:
            sys.exit(1)
        if int(said) != SOUND:
            raise Diverged("rank 0 detected that the run diverged", int(said))

    def broadcast(self, found: tuple[int, checkpoint.State] | None) -> tuple[int, checkpoint.State] | None:
        """Broadcast a step and a state, or None, from rank 0 to every process."""
        if self.size == 1:
            return found
        data = bytearray(checkpoint.pack({"found": found})) if self.is_main else bytearray()
        size = torch.tensor(len(data))
        dist.broadcast(size, 0)
        sent = (
            torch.frombuffer(data, dtype=torch.uint8)
            if self.is_main
            else torch.empty(int(size), dtype=torch.uint8)
        )
        dist.broadcast(sent, 0)
        step_and_state = checkpoint.unpack(sent.numpy().tobytes())["found"]
        return None if step_and_state is None else (step_and_state[0], step_and_state[1])

    def scatter(self, whole: Tensor) -> Tensor:
        """Return this process's rows of a tensor that all processes have; gradients are gathered."""
        part: Tensor = _Scatter.apply(whole, self) if self.size > 1 else whole
        return part

    def gather(self, part: Tensor) -> Tensor:
        """Concatenate the rows of all processes in rank order; gradients are scattered."""
        whole: Tensor = _Gather.apply(part, self) if self.size > 1 else part
        return whole

    def average(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes; gradients are averaged too."""
        average: Tensor = _Average.apply(value, self) if self.size > 1 else value
        return average

    def shared_random(self, rows: int) -> AbstractContextManager[object]:
        """Return a context that makes random draws of `rows` rows equal to those of a single process."""
        return nullcontext() if self.size == 1 else _SharedRandom(self, rows)

    def all_reduce_gradients(self, trainer: Trainer) -> None:
        """Register a hook on every optimizer that sums the gradients over the processes before each step."""
        if self.size > 1:
            for optimizer in trainer.optimizers.values():
                optimizer.register_step_pre_hook(_all_reduce_gradients)


SINGLE = World()


def _all_reduce_gradients(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
    """Sum an optimizer's gradients over the processes in a single all-reduce."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    gradients = [each.grad for each in parameters if each.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    sums = torch.split(together, [gradient.numel() for gradient in gradients])
    shaped = [total.view(gradient.shape) for total, gradient in zip(sums, gradients, strict=True)]
    torch._foreach_copy_(gradients, shaped)


class _Scatter(torch.autograd.Function):
    """The rows of this process of a whole tensor; the backward is `_Gather`, so higher derivatives work."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, world: World) -> Tensor:
        ctx.world = world
        rows = len(whole) // world.size
        return whole[world.rank * rows : (world.rank + 1) * rows].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.world.gather(gradient), None


class _Gather(torch.autograd.Function):
    """The concatenated rows of all processes; the backward is `_Scatter` of the same whole gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, world: World) -> Tensor:
        ctx.world = world
        whole = part.new_empty((world.size * len(part), *part.shape[1:]))
        dist.all_gather_into_tensor(whole, part.contiguous())
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.world.scatter(gradient), None


class _Average(torch.autograd.Function):
    """The mean over the processes; the backward is the mean of their gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, world: World) -> Tensor:
        ctx.world = world
        total = value.clone()
        dist.all_reduce(total)
        return total / world.size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.world.average(gradient), None


class _SharedRandom(TorchFunctionMode):
    """Mode in which random tensors of `rows` rows are drawn for all processes and then scattered."""

    def __init__(self, world: World, rows: int) -> None:
        super().__init__()
        self.world, self.rows = world, rows

    def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        named = named or {}
        if given and function in (torch.rand, torch.randn, torch.randint):
            before, size = (given[:-1], given[-1]) if isinstance(given[-1], tuple) else ((), given)
            if size and size[0] == self.rows:
                whole = (self.rows * self.world.size, *size[1:])
                return self.world.scatter(function(*before, whole, **named))
        if function is F.dropout and len(given[0]) == self.rows:
            features, *others = given
            kept = features.new_ones(self.rows * self.world.size, *features.shape[1:])
            return features * self.world.scatter(function(kept, *others, **named))
        return function(*given, **named)


@contextmanager
def process_group() -> Iterator[World]:
    """Join the process group of torchrun, if there is one; only rank 0 prints.

    Raises:
        SystemExit: an error ended the run. It is raised on the other ranks; rank 0 reports the error.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield SINGLE
        return
    # Imported before the process group exists: as torch's lazy import, its default arguments would keep the
    # group's threads alive after the end.
    importlib.import_module("torch.distributed.nn")
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backends, timeout=TIMEOUT)
    world = World(dist.get_rank(), dist.get_world_size())
    try:
        with _only_main_prints(world.is_main):
            yield world
    except Exception as error:
        if world.is_main or not isinstance(error, Diverged | Interrupted):
            raise
        sys.exit(error.exit_status)
    finally:
        dist.destroy_process_group()


@contextmanager
def _only_main_prints(aloud: bool) -> Iterator[None]:
    """Discard stdout and stderr within the block unless `aloud`."""
    with ExitStack() as stack:
        if not aloud:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
