"""A process that saves checkpoints, killed at any moment: what it acknowledged must be there afterwards.

By hand: `python -m tests.reliability.kills 2000`, and with `--naive` the control.
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
"""Numbers in a checkpoint, which is 4 MB: it takes long enough to write that kills find it half written."""

LONGEST = 0.15
"""Seconds before a kill, at most; several saves."""

POINTS: tuple[tuple[Any, str], ...] = ((os, "fsync"), (Path, "replace"), (Path, "unlink"))
"""Calls that a save is made of, before and after which a process is killed, too."""


def kill_while_saving(count: int, seed: int = 0, naive: bool = False) -> tuple[int, int]:
    """Kill a process that saves, again and again, each time going on with what the last one left.

    Args:
        count: how many times.
        seed: of the moments.
        naive: save by writing over one file, as a control.

    Returns:
        How often it was killed, and how often the newest save that it had acknowledged was lost.
    """
    command = [sys.executable, "-m", "tests.reliability.kills", str(count), "--seed", str(seed)]
    # A process of its own: one whose torch has threads can't be forked.
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
    """Let a process save until it is killed; give the last step that it acknowledged, 0 for none."""
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
    assert os.WIFSIGNALED(status), "it ended by itself"
    return int(steps[-1]) if steps else 0


def _save_for_ever(folder: Path, naive: bool, point: tuple[Any, ...] | None, acknowledge: int) -> None:
    """Go on with what is there, and acknowledge every save; a process that comes here does not return."""
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
    """Have the process kill itself at so manyth call of a function, before or after that is done."""
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
    """Give the step of what is there, 0 where nothing sound is."""
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
    """Kill a process that saves as we do, and one that writes over its file."""
    killed, lost = kill_while_saving(2000 if long else 60)
    ended, gone = kill_while_saving(60, naive=True)
    return Finding(
        f"SIGKILL at any moment of a save, {killed:,} times: nothing acknowledged is lost",
        f"{lost} of {killed:,} lost",
        f"written over in place: {gone} of {ended} lost",
        lost == 0 and gone > 0,
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--naive", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(*_kill_many(Path(folder), arguments.count, random.Random(arguments.seed), arguments.naive))


if __name__ == "__main__":
    _main()
