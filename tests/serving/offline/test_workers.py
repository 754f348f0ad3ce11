import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.offline.shards import Samples, pack
from serving.offline.workers import packing

ROOT = Path(__file__).parents[3]


def batches(count: int, drawn: list[int]):
    """Batches of two pictures; how many have been drawn is counted."""
    chance = np.random.default_rng(0)
    for index in range(count):
        drawn.append(index)
        pictures = chance.integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
        yield Samples(range(2 * index, 2 * index + 2), pictures, [])


@pytest.mark.parametrize("processes", [0, 2])
def test_parts_come_in_order_and_only_so_many_are_under_way(processes):
    drawn: list[int] = []
    ahead = []
    with packing(processes) as packs:
        for index, (seeds, part) in enumerate(packs(batches(40, drawn))):
            ahead.append(len(drawn) - index)
            assert seeds.start == 2 * index
            (expected,) = list(batches(index + 1, []))[index:]
            assert part == pack(expected)
    assert index == 39
    assert max(ahead) == max(1, 2 * processes)


def test_an_executor_as_it_comes_would_hold_everything():
    """The control."""
    drawn: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        next(pool.map(pack, batches(40, drawn)))
    assert len(drawn) == 40


def test_what_fails_in_a_process_is_told(capfd):
    with pytest.raises(ValueError, match="zip"), packing(1) as packs:
        list(packs([Samples(range(3), np.zeros((2, 8, 8, 1), np.uint8), [])]))


def test_a_process_that_packs_does_not_load_torch():
    code = "import sys, training.packing\nprint({'torch', 'onnx', 'zoo'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
