"""One run on several processes (`torchrun`): each computes the players on its own part of every batch.

All take the same steps on the same whole batches with the same random numbers. What costs time, the players'
networks, each runs on its part alone; what comes out is put together again, and the gradients of the weights
are summed before every update. So a step's losses, pairs, penalties and pools of fakes are those of one
process, no entry knows of any of this, and a run may go on with another number of processes.

Only the first process touches the run's folder; what it reads there it tells the others.
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
from training.loop.monitor import Diverged
from training.run import checkpoint
from zoo.entry import Trainer

PATIENCE = timedelta(hours=1)
"""How long the others wait for the first, which scores and saves alone."""

SOUND, BROKEN = -1, -2
"""What the first process says of its work where it is not the step at which a run went wrong."""


Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """The processes of a run, as one of them sees them."""

    rank: int = 0
    """Which of them this one is, counted from 0."""

    size: int = 1
    """How many there are."""

    @property
    def is_main(self) -> bool:
        """Whether this one keeps the run's folder."""
        return self.rank == 0

    def device_for(self, device: torch.device) -> torch.device:
        """Give the device of this process, where the run's is any GPU: a GPU for each process of a machine.

        Raises:
            ValueError: there are not as many.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device.index is not None or local >= there:
            raise UserError(
                f"several processes want a GPU each: use --device cuda and at most {there} processes a "
                f"machine; got {device} and process {local}"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def must_divide(self, batch_size: int) -> None:
        """Refuse a batch that can't be parted evenly.

        Raises:
            ValueError: it can't.
        """
        if batch_size % self.size:
            raise UserError(
                f"batch_size is that of all processes together and must be a multiple of their number, "
                f"{self.size}; got {batch_size}"
            )

    def any(self, said: bool) -> bool:
        """Tell whether any process says so; all wait for all."""
        if self.size == 1:
            return said
        answer = torch.tensor(int(said))
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        return bool(answer)

    def on_main(self, work: Callable[[], Result]) -> Result | None:
        """Do some work in the first process alone, which has its result; what stops it stops all.

        Raises:
            Diverged: the first process found that the run went wrong.
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
        """Wait for the first process to do its work.

        Raises:
            Diverged: it found that the run went wrong.
            SystemExit: it could not do it, and says why.
        """
        said = torch.empty((), dtype=torch.int64)
        dist.broadcast(said, 0)
        if int(said) == BROKEN:
            sys.exit(1)
        if int(said) != SOUND:
            raise Diverged("the first process found trouble", int(said))

    def broadcast(self, found: tuple[int, checkpoint.State] | None) -> tuple[int, checkpoint.State] | None:
        """Give every process what the first has found: a step and a state, or None."""
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
        """Take this process's rows of what all have alike; gradients are put together again."""
        part: Tensor = _Scatter.apply(whole, self) if self.size > 1 else whole
        return part

    def gather(self, part: Tensor) -> Tensor:
        """Put the rows of all processes together, in their order; gradients are cut."""
        whole: Tensor = _Gather.apply(part, self) if self.size > 1 else part
        return whole

    def average(self, value: Tensor) -> Tensor:
        """Average a tensor over the processes; gradients are averaged too."""
        average: Tensor = _Average.apply(value, self) if self.size > 1 else value
        return average

    def shared_random(self, rows: int) -> AbstractContextManager[object]:
        """Have what is drawn for this process's rows be its part of what one process would draw for all."""
        return nullcontext() if self.size == 1 else _SharedRandom(self, rows)

    def all_reduce_gradients(self, trainer: Trainer) -> None:
        """Have every optimizer sum the gradients of all processes before each of its steps."""
        if self.size > 1:
            for optimizer in trainer.optimizers.values():
                optimizer.register_step_pre_hook(_all_reduce_gradients)


SINGLE = World()


def _all_reduce_gradients(optimizer: torch.optim.Optimizer, arguments: Any, options: Any) -> None:
    """Sum an optimizer's gradients over the processes, as one tensor: each has what its own part gave."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    gradients = [each.grad for each in parameters if each.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    sums = torch.split(together, [gradient.numel() for gradient in gradients])
    shaped = [total.view(gradient.shape) for total, gradient in zip(sums, gradients, strict=True)]
    torch._foreach_copy_(gradients, shaped)


class _Scatter(torch.autograd.Function):
    """Rows of a whole, whose gradient is a whole again; with `_Join` it can be differentiated without end."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, world: World) -> Tensor:
        ctx.world = world
        rows = len(whole) // world.size
        return whole[world.rank * rows : (world.rank + 1) * rows].clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.world.gather(gradient), None


class _Gather(torch.autograd.Function):
    """A whole of the processes' rows, whose gradient each of them has in whole, and takes its rows of."""

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
    """An average over the processes, each of which goes on from it on its own; so is that of gradients."""

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
    """Draws random tensors of so many rows for all processes alike, and gives each its own rows."""

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
    """Meet the other processes that torchrun has started, where it has; the first alone talks.

    Raises:
        SystemExit: what the first process says has ended the run.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield SINGLE
        return
    # Torch imports it on the way; then its defaults would keep the processes' threads alive beyond the end.
    importlib.import_module("torch.distributed.nn")
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backends, timeout=PATIENCE)
    world = World(dist.get_rank(), dist.get_world_size())
    try:
        with _only_main_prints(world.is_main):
            yield world
    except Exception as error:
        if world.is_main or not hasattr(error, "exit_status"):
            raise
        sys.exit(error.exit_status)
    finally:
        dist.destroy_process_group()


@contextmanager
def _only_main_prints(aloud: bool) -> Iterator[None]:
    """Leave what is printed while the block runs, or drop it."""
    with ExitStack() as stack:
        if not aloud:
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
