"""The machine that a benchmark ran on."""

import datetime
import os
import platform
from importlib.metadata import distributions, version
from pathlib import Path


def describe_machine(*others: str) -> str:
    """Return the processor, the versions of torch, gan-zoo and `others` where installed, and the date."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    there = {distribution.metadata["Name"] for distribution in distributions()}
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "gan-zoo", *others) if name in there)
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores; {packages}; {datetime.date.today().isoformat()}"
