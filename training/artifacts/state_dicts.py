"""State dicts that were saved elsewhere: files are read as tensors only, and no code in them is run."""

import hashlib
import io
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from serving.errors import UserError
from serving.system.files import read_regular

WRAPPERS = ("params_ema", "params")
"""Keys under which BasicSR saves a state dict; the averaged weights come first."""


def read_tensors(file: Path) -> tuple[dict[str, Tensor], str]:
    """Read a state dict from safetensors or, restricted to tensors, from a pickle; also return its SHA-256.

    Raises:
        UserError: the file does not hold a state dict of dense tensors.
        OSError: the file can't be read.
    """
    data = read_regular(file)
    return _tensors(file, data), hashlib.sha256(data).hexdigest()


def _tensors(file: Path, data: bytes) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load(data)
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # readers raise many types of exceptions on malformed files
        raise UserError(f"{file} must contain only a state dict of tensors") from error
    if isinstance(found, dict) and found and found.keys() <= set(WRAPPERS):
        found = next(found[key] for key in WRAPPERS if key in found)
    if not isinstance(found, dict) or not all(_is_plain(*item) for item in found.items()):
        raise UserError(f"{file} must contain only a state dict of dense tensors")
    return found


def _is_plain(name: object, value: object) -> bool:
    """Return whether an item is a named, dense, real tensor with storage for all its elements."""
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_complex()
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
