"""Checkpoints: one safetensors file each, named by its step and its SHA-256, without pickle.

The tensors of a nested state are stored as tensors; the structure and the other values are stored as JSON in
the file's header. The file name contains the first half of the SHA-256, so that a single rename publishes the
file and the hash to verify it by.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from serving.errors import UserError, is_out_of_memory, shown
from serving.system.files import read_regular, write_file
from training.run.scores import read_scores

NAME = re.compile(r"(\d{8})-([0-9a-f]{32})\.safetensors")

State = dict[str, Any]
"""A state: nested dicts and lists of tensors, numbers, strings, booleans and None."""


def save(folder: Path, step: int, state: State, keep: int, best: int | None = None) -> Path:
    """Write a checkpoint and remove old ones, so that the `keep` newest and that of the step `best` remain.

    Other checkpoints of the same step or of later steps are leftovers from before a rollback. They are
    removed too.

    Raises:
        OSError: the file can't be written. Existing checkpoints are unchanged.
    """
    data = pack(state)
    path = folder / f"{step:08d}-{_digest(data)}.safetensors"
    folder.mkdir(exist_ok=True)
    write_file(path, data)
    paths = _newest_first(folder)
    older = [other for other in paths if _parts(other)[0] < step]
    kept = {path, *older[: keep - 1], *[other for other in older if _parts(other)[0] == best]}
    for other in set(paths) - kept:
        other.unlink()
    return path


def load(folder: Path, latest: int = sys.maxsize) -> tuple[int, State] | None:
    """Return step and state of the newest intact checkpoint, or None if there are no checkpoints.

    Damaged checkpoints are skipped with a warning. Checkpoints after the step `latest` are ignored.

    Raises:
        UserError: all checkpoints are damaged, or the newest is of another version.
        OSError: a checkpoint can't be read.
    """
    paths = [path for path in _newest_first(folder) if _parts(path)[0] <= latest]
    for path in paths:
        if (state := _read(path)) is not None:
            return _parts(path)[0], state
        print(f"warning: {path} is damaged (SHA-256 differs); trying the previous one", file=sys.stderr)
    if paths:
        raise UserError(f"every checkpoint in {folder} is damaged; remove them, or train with --restart")
    return None


def _read(path: Path) -> State | None:
    """Read a checkpoint; return None if it is damaged.

    Raises:
        UserError: the checkpoint is of another version.
        OSError: the file can't be read.
    """
    data = read_regular(path)
    step, digest = _parts(path)
    if _digest(data) != digest:
        return None
    with restoring(path.parent, step):
        return unpack(data)


def open_checkpoint(run: Path, which: str | int = "newest") -> tuple[int, State]:
    """Return step and state of one checkpoint of a run.

    Args:
        run: folder of the run.
        which: `newest`; `best`, that of the best score; or a step.

    Raises:
        UserError: the run has no such checkpoint, or it is damaged or of another version.
        OSError: a file can't be read.
    """
    folder = run / "checkpoints"
    if which == "newest" and (newest := load(folder)):
        return newest
    kept = steps(folder)
    if not kept:
        raise UserError(f"the run {run} has no checkpoint; train it first")
    step = _best(run, kept) if which == "best" else _number(which)
    if step not in kept:
        raise UserError(
            f"the checkpoint of step {step} of the run {run} is not kept; use newest or one of the steps "
            f"{', '.join(map(str, kept))}"
        )
    path = next(path for path in _newest_first(folder) if _parts(path)[0] == step)
    if (state := _read(path)) is None:
        raise UserError(f"{path} is damaged (SHA-256 differs); use another of its run's checkpoints")
    return step, state


def _best(run: Path, kept: list[int]) -> int:
    """Return the step of the best score up to the newest checkpoint, from which a resume would continue.

    Raises:
        UserError: there are no scores, or the checkpoint of the best one is not kept.
    """
    scores = read_scores(run, latest=max(kept))
    if scores is None:
        raise UserError(
            f"the run {run} has no scores to tell its best checkpoint; use --score-every and --keep-best"
        )
    if scores.best.step not in kept:
        raise UserError(
            f"the best {scores.name} of the run {run} is that of step {scores.best.step}, whose checkpoint "
            f"is not kept; train with --keep-best, or use one of the steps {', '.join(map(str, kept))}"
        )
    return scores.best.step


def _number(which: str | int) -> int:
    if isinstance(which, str) and not (which.isascii() and which.isdecimal() and len(which) < 10):
        raise UserError(f"checkpoint must be newest, best or a step; got {shown(which)}")
    return int(which)


def parse_source(source: str | Path) -> tuple[Path, str]:
    """Parse RUN, RUN@STEP or RUN@best; return the run's folder and which checkpoint, by default `newest`.

    An existing folder is taken as it is, whatever its name.
    """
    path = Path(source)
    name, _, which = path.name.rpartition("@")
    return (path.with_name(name), which) if name and not path.exists() else (path, "newest")


@contextmanager
def restoring(folder: Path, step: int) -> Iterator[None]:
    """Convert every error of the block to one that names the checkpoint, which is intact but does not fit.

    Raises:
        UserError: the block failed, other than for lack of memory.
    """
    try:
        yield
    except Exception as error:  # safetensors, torch and trainers raise many types
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the checkpoint of step {step} in {folder} can't be restored by this version: {reason}"
        ) from error


def drop(folder: Path, after: int) -> None:
    """Remove the checkpoints after a step, newest first."""
    for path in _newest_first(folder):
        if _parts(path)[0] > after:
            path.unlink()


def steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, newest first."""
    return [_parts(path)[0] for path in _newest_first(folder)]


def digest_of(folder: Path, step: int) -> str:
    """Return the first half of the SHA-256 of the checkpoint of a step."""
    return next(digest for path in _newest_first(folder) for at, digest in [_parts(path)] if at == step)


def pack(state: State) -> bytes:
    """Serialize a state to the bytes of a file."""
    tensors: dict[str, Tensor] = {}
    tree = _take_out(state, "", tensors)
    data: bytes = safetensors.torch.save(tensors, {"tree": json.dumps(tree)})
    return data


def unpack(data: bytes) -> State:
    """Deserialize a state from the bytes of a file."""
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    state: State = _put_back(json.loads(header["__metadata__"]["tree"]), tensors)
    return state


def _take_out(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Collect the tensors of a state in a flat dict by path and return the rest as JSON values."""
    match value:
        case Tensor():
            tensors[path] = value.detach().to("cpu", copy=True).contiguous()
            return {"tensor": path}
        case dict():
            items = [[key, _take_out(item, f"{path}/{key}", tensors)] for key, item in value.items()]
            return {"dict": items}
        case list() | tuple():
            items = [_take_out(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
            return {"list": items}
        case None | bool() | int() | float() | str():
            return {"plain": value}
        case _:
            raise TypeError(f"{path} can't be saved in a checkpoint; got a {type(value).__name__}")


def _put_back(value: Any, tensors: dict[str, Tensor]) -> Any:
    match value:
        case {"tensor": path}:
            return tensors[path]
        case {"dict": items}:
            return {key: _put_back(item, tensors) for key, item in items}
        case {"list": items}:
            return [_put_back(item, tensors) for item in items]
        case _:
            return value["plain"]


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*.safetensors") if NAME.fullmatch(path.name)), reverse=True)


def _parts(path: Path) -> tuple[int, str]:
    step, _, digest = path.stem.partition("-")
    return int(step), digest


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def random_state(device: torch.device) -> State:
    """Return torch's random state of the CPU and of a CUDA device."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: State, device: torch.device) -> None:
    """Restore torch's random state of the CPU and of a CUDA device."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
