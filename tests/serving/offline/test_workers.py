import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from serving.offline.sample import write_samples
from serving.offline.shards import pack
from serving.offline.workers import packing, worker_pool, write_alone
from serving.runtime.artifact import read_manifest
from serving.runtime.load import load
from serving.runtime.pipeline import Samples

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


def test_a_worker_does_not_load_torch():
    code = "import sys, serving.offline.workers\nprint({'torch', 'onnx', 'zoo'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_workers_run_beside_one_another():
    with worker_pool(2) as pool:
        first, second = pool.submit(os.getpid), pool.submit(os.getpid)
        assert os.getpid() not in (first.result(), second.result())


def test_their_work_is_abandoned_where_the_block_fails():
    before = time.monotonic()
    with pytest.raises(KeyError), worker_pool(1) as pool:
        pool.submit(os.getpid).result()
        pool.submit(time.sleep, 60)
        raise KeyError
    assert time.monotonic() - before < 30


def test_an_error_in_a_worker_is_raised_here():
    with worker_pool(1) as pool, pytest.raises(FileNotFoundError):
        pool.submit(os.listdir, "/nowhere").result()


def test_a_worker_writes_what_the_command_writes(artifacts, tmp_path):
    write_samples(load(artifacts / "classes"), 30, 5, tmp_path / "one.tar", label="B")
    version = read_manifest(artifacts / "classes").version
    for name in ("two.tar", "again.tar"):
        write_alone(artifacts / "classes", version, range(5, 35), 1, tmp_path / name)
        assert (tmp_path / name).read_bytes() == (tmp_path / "one.tar").read_bytes()


def test_an_artifact_that_was_exchanged_is_told(artifacts, tmp_path):
    with pytest.raises(ValueError, match="must keep the version 0123456789ab"):
        write_alone(artifacts / "pictures", "0123456789ab", range(3), None, tmp_path / "one.tar")
    assert list(tmp_path.iterdir()) == []
