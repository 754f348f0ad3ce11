"""How many bytes of examples a device may hold."""

import os
import re
from pathlib import Path

import torch

LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux tells a container how much memory it may have (cgroup 2)."""


def room(device: torch.device) -> float:
    """Give half of what a GPU has free, or this process's part of half the memory.

    `GANZOO_DATA_MEMORY`, in GiB, says it otherwise for memory.

    Raises:
        ValueError: it says no number.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    told = os.environ.get("GANZOO_DATA_MEMORY")
    if not told:
        return _memory() / 2 / runs_here()
    if not re.fullmatch(r"\d*\.?\d+", told):
        raise ValueError(f"GANZOO_DATA_MEMORY must be a number of GiB, such as 0.5; got {told}")
    return float(told) * 2**30


def runs_here() -> int:
    """Count the processes of the run on this machine, as torchrun tells."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _memory() -> int:
    """Count the bytes of memory that this process may have."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(there, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no Linux, or no limit
        return there
