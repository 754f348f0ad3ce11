"""Resumable state as one safetensors file, named by its step and its own hash; nothing is unpickled.

The tensors of any nested state are its leaves; what is left when they are taken out is JSON in the file's
header. The file's name carries the first half of its SHA-256, so one rename makes it both there and verified.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from serving.errors import UserError
from serving.system.files import write_file

NAME = re.compile(r"(\d{8})-([0-9a-f]{32})\.safetensors")

State = dict[str, Any]
"""Nested dicts and lists of tensors, numbers, strings, truth values and None."""


def save(folder: Path, step: int, state: State, keep: int) -> Path:
    """Write a checkpoint; then keep it and the ones of earlier steps, `keep` in all.

    Another of its own step, or one of a later step, is from before a fall back, and goes too.

    Raises:
        OSError: it can't be written; the checkpoints before it are as they were.
    """
    data = pack(state)
    path = folder / f"{step:08d}-{_digest(data)}.safetensors"
    folder.mkdir(exist_ok=True)
    write_file(path, data)
    paths = _newest_first(folder)
    kept = {path, *[other for other in paths if _parts(other)[0] < step][: keep - 1]}
    for other in set(paths) - kept:
        other.unlink()
    return path


def load(folder: Path, latest: int = sys.maxsize) -> tuple[int, State] | None:
    """Read the newest checkpoint that is sound: its step and its state, or None where there is none.

    One that is damaged is named in a warning and passed over; one after the step `latest` is not looked at.

    Raises:
        UserError: there are checkpoints, and none is sound.
    """
    paths = [path for path in _newest_first(folder) if _parts(path)[0] <= latest]
    for path in paths:
        data = path.read_bytes()
        step, digest = _parts(path)
        if _digest(data) == digest:
            return step, unpack(data)
        print(f"warning: {path} is damaged (SHA-256 differs); trying the one before", file=sys.stderr)
    if paths:
        raise UserError(f"every checkpoint in {folder} is damaged; remove them to start anew")
    return None


def drop(folder: Path, after: int) -> None:
    """Remove the checkpoints of later steps than that one, the last first."""
    for path in _newest_first(folder):
        if _parts(path)[0] > after:
            path.unlink()


def steps(folder: Path) -> list[int]:
    """List the steps that have a checkpoint."""
    return [_parts(path)[0] for path in _newest_first(folder)]


def pack(state: State) -> bytes:
    """Give a state as the bytes of a file."""
    tensors: dict[str, Tensor] = {}
    tree = _take_out(state, "", tensors)
    data: bytes = safetensors.torch.save(tensors, {"tree": json.dumps(tree)})
    return data


def unpack(data: bytes) -> State:
    """Take a state out of the bytes of a file."""
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    state: State = _put_back(json.loads(header["__metadata__"]["tree"]), tensors)
    return state


def _take_out(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Move tensors into a flat dict by their paths, and describe the rest as JSON."""
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
            raise TypeError(f"a checkpoint can't hold {path}, a {type(value).__name__}")


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
    """Take torch's random state, the CPU's and the device's."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: State, device: torch.device) -> None:
    """Put torch's random state back."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
