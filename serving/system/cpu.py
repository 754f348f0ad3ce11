"""The CPU cores that a process may use."""

import math
import os
from pathlib import Path


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the number of cores of this process: its CPU affinity, limited by its quota (cgroup 2)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return min(count, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError):  # no cgroups, or the word `max` for no quota
        return count
