"""What a command that samples an artifact costs: less than PyTorch's import alone, which is the control."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[3]
MOST_MEMORY, MOST_SHARE = 130 * 2**20, 0.4
"""Bytes of memory at the peak, and CPU time as a share of what the command takes after importing PyTorch."""

SAMPLE = "import sys; from training.cli.main import main; sys.exit(main(sys.argv[1:]))"


class Cost(NamedTuple):
    memory: int
    seconds: float


# A process begins with the peak of the one that starts it, so a small one must: this has PyTorch loaded.
MEASURE = """
import json, resource, subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_maxrss, used.ru_utime + used.ru_stime]))
"""


def cost(code: str, *arguments: str, cache: Path) -> Cost:
    """Run code as a process of its own: its peak memory and its CPU time."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(cache), "OMP_NUM_THREADS": "2"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", MEASURE, code, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    peak, seconds = json.loads(done.stdout)
    return Cost(peak * (1 if sys.platform == "darwin" else 1024), seconds)


def cheapest(code: str, *arguments: str, cache: Path) -> Cost:
    """Return the smaller memory and the smaller time of two runs, because other work only adds to them."""
    costs = [cost(code, *arguments, cache=cache) for _ in range(2)]
    return Cost(*map(min, zip(*costs, strict=True)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("bytecode")


def test_sampling_an_artifact_takes_little_memory_and_time(tmp_path, cache):
    command = ("sample", "artifacts/dcgan-mnist", "--n", "4", "--out", str(tmp_path / "four.png"))
    cost(SAMPLE, *command, cache=cache)  # compiles the modules, as a first run does once
    lean = cheapest(SAMPLE, *command, cache=cache)
    assert (tmp_path / "four.png").exists()
    assert lean.memory <= MOST_MEMORY, f"{lean.memory / 2**20:.0f} MiB"
    heavy = cheapest(f"import torch; {SAMPLE}", *command, cache=cache)
    assert heavy.memory > MOST_MEMORY, "the control"
    assert lean.seconds <= MOST_SHARE * heavy.seconds
