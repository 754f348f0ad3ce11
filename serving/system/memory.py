"""The memory that this process can still get, and the size that an out-of-memory message names."""

import os
import re
from pathlib import Path

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")

SMALLER = "use smaller images or a smaller batch"
"""What to do without enough memory."""

REQUESTED = re.compile(rf"(?:of size|allocate) (\d+(?:\.\d+)?)(?: ({'|'.join(UNITS)}))?\b")
"""The size in messages of ONNX Runtime, torch and NumPy; without a unit, in bytes."""

CGROUPS = (
    ("sys/fs/cgroup", "memory.max", "memory.current"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Folder and files of a container's limit and usage: version 2, and version 1."""


def available(system: Path = Path("/")) -> int | None:
    """Return the bytes that this process can still get, or None if the system does not say.

    This is the memory available on the machine, or what is left of the limits of the process (`ulimit -v`)
    or of its container (cgroups), if that is less.

    Args:
        system: root of the file system.
    """
    left = [_number(system / "proc/meminfo", r"^MemAvailable: +(\d+)", 1024)]
    limit = _number(system / "proc/self/limits", r"^Max address space +(\d+)")
    left.append(_difference(limit, _number(system / "proc/self/statm", r"(\d+)", _page())))
    for folder, most, usage in CGROUPS:
        # The cache of files counts as used, and is given up on demand.
        cached = _number(system / folder / "memory.stat", r"^inactive_file (\d+)")
        used = _difference(_number(system / folder / usage), cached or 0)
        left.append(_difference(_number(system / folder / most), used))
    known = [each for each in left if each is not None]
    return max(0, min(known)) if known else None


def requested(message: str) -> int | None:
    """Return the bytes that an out-of-memory message says were requested at once, or None."""
    found = REQUESTED.search(message)
    return int(float(found[1]) * 1024 ** UNITS.index(found[2] or "bytes")) if found else None


def in_units(size: int) -> str:
    """Return a number of bytes as text, such as `1.5 GiB`."""
    power = min(max(size.bit_length() - 1, 0) // 10, len(UNITS) - 1)
    value = size / 1024**power
    return f"{value:.{3 if value < 1000 else 4}g} {UNITS[power]}"


def _number(path: Path, pattern: str = r"^(\d+)$", unit: int = 1) -> int | None:
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * unit if found else None


def _difference(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one - other


def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
