"""The memory of the machine, of the process and of its container; and sizes in messages."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from serving.errors import is_out_of_memory
from serving.system.memory import available, in_units, requested

GIB = 2**30


def system(folder, **files):
    """A file system with some files, whose names have two underlines for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


MACHINE = {"proc__meminfo": f"MemTotal: 999 kB\nMemAvailable:   {8 * 2**20} kB\n"}


def test_the_machines_memory_is_the_most(tmp_path):
    assert available(system(tmp_path, **MACHINE)) == 8 * GIB


@pytest.mark.parametrize(("limit", "left"), [(str(4 * GIB), 4 * GIB - 4096 * 256), ("unlimited", 8 * GIB)])
def test_a_limit_of_the_process_may_leave_less(limit, left, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.system.memory._page", lambda: 4096)
    text = (
        f"Max cpu time     unlimited  unlimited  seconds\nMax address space    {limit}    unlimited  bytes\n"
    )
    assert (
        available(system(tmp_path, **MACHINE, proc__self__limits=text, proc__self__statm="256 9 9")) == left
    )


@pytest.mark.parametrize(
    ("folder", "most", "usage", "stat"),
    [
        ("sys__fs__cgroup__", "memory_max", "memory_current", "memory_stat"),
        ("sys__fs__cgroup__memory__", "memory_limit_in_bytes", "memory_usage_in_bytes", "memory_stat"),
    ],
)
def test_a_containers_limit_may_leave_less_and_its_cache_does_not_count(folder, most, usage, stat, tmp_path):
    files = {
        folder + most: f"{2 * GIB}\n",
        folder + usage: f"{GIB}\n",
        folder + stat: f"anon 5\ninactive_file {GIB // 2}\ntotal_inactive_file 1\n",
    }
    assert available(system(tmp_path, **MACHINE, **files)) == 3 * GIB // 2
    unlimited = system(tmp_path, **{folder + most: "max\n"})
    assert available(unlimited) == 8 * GIB


def test_more_used_than_allowed_is_none_left_and_a_system_that_says_nothing_is_unknown(tmp_path):
    assert available(tmp_path) is None
    full = {"sys__fs__cgroup__memory_max": "5", "sys__fs__cgroup__memory_current": "9"}
    assert available(system(tmp_path, **full)) == 0


def test_sizes_have_units():
    sizes = (0, 800, 1024, 1_500_000, 1023 * 2**20, 512 * 2**20, 3 * GIB // 2, 2**43)
    assert [in_units(size) for size in sizes] == [
        *("0 bytes", "800 bytes", "1 KiB", "1.43 MiB", "1023 MiB", "512 MiB", "1.5 GiB", "8 TiB")
    ]


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (
            "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 536870912",
            2**29,
        ),
        (
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total of 79 GiB",
            5 * GIB // 2,
        ),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12", 4096),
        ("std::bad_alloc", None),
    ],
)
def test_the_size_that_a_message_names_is_found(message, size):
    assert requested(message) == size


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited as on Linux")
def test_real_messages_are_understood():
    """Of NumPy, of torch and of Python's threads, each without memory in a process of its own."""
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**55, np.uint8)
    with pytest.raises(RuntimeError) as torch_error:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(numpy_error.value)
    assert is_out_of_memory(torch_error.value)
    assert requested(str(torch_error.value)) == 2**55
    code = "from serving.system.memory import available; print(available())"
    limited = ["bash", "-c", 'ulimit -v 500000; exec "$@"', "-", sys.executable, "-c", code]
    assert 10**8 < int(subprocess.run(limited, capture_output=True, check=True).stdout) < 5 * 10**8
