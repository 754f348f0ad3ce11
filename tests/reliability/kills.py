"""SIGKILL of a process that saves checkpoints: every acknowledged checkpoint must exist afterwards.

To run it alone: `python -m tests.reliability.kills 2000`; add `--naive` for the control.
"""

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from serving.system.files import sweep
from tests.reliability.finding import Finding
from training.run import checkpoint

ROOT = Path(__file__).parents[2]

SIZE = 2**20
"""Elements of a checkpoint (4 MB): large enough that a kill can interrupt the write."""

LONGEST = 0.15
"""Maximum seconds before a kill; enough for several saves."""

POINTS: tuple[tuple[Any, str], ...] = ((os, "fsync"), (Path, "replace"), (Path, "unlink"))
"""Calls made by a save; some kills come directly before or after one of them."""


def kill_while_saving(count: int, seed: int = 0, naive: bool = False) -> tuple[int, int]:
    """Kill a saving process repeatedly; each new process resumes from the files of the last one.

    Args:
        count: the number of kills.
        seed: the seed of the moments of the kills.
        naive: overwrite one file in place, as the control.

    Returns:
        The number of kills, and how often the newest acknowledged checkpoint was lost.
    """
    command = [sys.executable, "-m", "tests.reliability.kills", str(count), "--seed", str(seed)]
    # A new process, because a process whose torch has threads cannot be forked.
    done = subprocess.run(
        command + ["--naive"] * naive, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    kills, lost = map(int, done.stdout.split())
    return kills, lost


def _kill_many(folder: Path, count: int, chance: random.Random, naive: bool) -> tuple[int, int]:
    kills = lost = newest = 0
    for _ in range(count):
        acknowledged = _kill_one(folder, chance, naive) or newest
        kills += 1
        newest = _load(folder, naive)
        lost += newest < acknowledged
    return kills, lost


def _kill_one(folder: Path, chance: random.Random, naive: bool) -> int:
    """Let a process save until it is killed; return the last acknowledged step, or 0."""
    point = None
    if not naive and chance.random() < 0.5:
        point = (*chance.choice(POINTS), chance.random() < 0.5, chance.randint(1, 6))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _save_for_ever(folder, naive, point, write)
    os.close(write)
    with open(read) as acknowledged:  # noqa: PTH123
        acknowledged.readline()
        if point is None:
            time.sleep(chance.uniform(0, LONGEST))
            os.kill(child, signal.SIGKILL)
        steps = acknowledged.read().split()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process was not killed by a signal"
    return int(steps[-1]) if steps else 0


def _save_for_ever(folder: Path, naive: bool, point: tuple[Any, ...] | None, acknowledge: int) -> None:
    """Resume from the last checkpoint and acknowledge every save. The function never returns."""
    try:
        sweep(folder)
        first = 1 + _load(folder, naive)
        os.write(acknowledge, b"ready\n")
        if point:
            _die_at(*point)
        for step in itertools.count(first):
            state = {"weights": torch.full((SIZE,), float(step))}
            if naive:
                (folder / "checkpoint").write_bytes(safetensors.torch.save(state))
            else:
                checkpoint.save(folder, step, state, keep=2)
            os.write(acknowledge, f"{step}\n".encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _die_at(owner: Any, name: str, after: bool, number: int) -> None:
    """Make the process kill itself at a given call of a function, before or after the call."""
    function: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def deadly(*arguments: Any, **options: Any) -> Any:
        last = next(calls) == number
        if last and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def _load(folder: Path, naive: bool) -> int:
    """Return the step of the stored checkpoint, or 0 if there is no valid one."""
    try:
        if naive:
            weights = safetensors.torch.load((folder / "checkpoint").read_bytes())["weights"]
            step = int(weights[0])
        else:
            found = checkpoint.load(folder)
            if found is None:
                return 0
            step, weights = found[0], found[1]["weights"]
    except (OSError, ValueError, safetensors.SafetensorError):
        return 0
    return step if bool((weights == step).all()) else 0


def kills(artifacts: Path, scratch: Path, long: bool) -> Finding:
    """Kill a process that saves with our function, and one that overwrites its file in place."""
    killed, lost = kill_while_saving(2000 if long else 60)
    ended, gone = kill_while_saving(60, naive=True)
    return Finding(
        f"SIGKILL at a random moment of saving a checkpoint, {killed:,} times: "
        "no checkpoint is lost after its save was reported",
        f"{lost} of {killed:,} lost",
        f"a save that overwrites the file in place: {gone} of {ended} lost",
        lost == 0 and gone > 0,
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--naive", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(*_kill_many(Path(folder), arguments.count, random.Random(arguments.seed), arguments.naive))


if __name__ == "__main__":
    _main()
