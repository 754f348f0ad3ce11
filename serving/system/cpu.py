"""The processors that a process may use."""

import math
import os
from pathlib import Path


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Count the cores this process may use: those it may run on, or what its container has (cgroup 2)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return min(count, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError):  # no control groups, or no quota, which is written as a word
        return count
