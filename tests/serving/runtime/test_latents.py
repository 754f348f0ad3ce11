"""Latents made of others; how they are drawn, `test_engine.py` tests with the engine."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime.latents import draw_latents, truncate, walk


@given(st.integers(2, 5), st.integers(1, 6), st.sampled_from(["normal", "uniform"]))
def test_a_walk_passes_by_every_corner(count, between, distribution):
    corners = draw_latents(64, list(range(count)), distribution)
    steps = walk(corners, (count - 1) * between + 1, distribution)
    assert steps.dtype == np.float32
    assert np.array_equal(steps[::between], corners)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_step_of_a_walk_is_the_same_whatever_the_others_are(distribution):
    corners = draw_latents(100, [1, 2, 3], distribution)
    steps = walk(corners, 17, distribution)
    assert np.array_equal(steps[:9], walk(corners[:2], 9, distribution))
    assert np.array_equal(steps[8:], walk(corners[1:], 9, distribution))
    assert np.array_equal(steps[::4], walk(corners, 5, distribution))


def test_a_walk_between_normal_latents_stays_in_their_shell_and_turns_evenly():
    corners = draw_latents(512, [1, 2])
    steps = walk(corners, 9)
    lengths = np.linalg.norm(steps, axis=1)
    assert lengths == pytest.approx(np.linspace(lengths[0], lengths[-1], 9), rel=1e-5)
    directions = steps / lengths[:, None]
    angles = np.arccos((directions[1:] * directions[:-1]).sum(1))
    assert angles == pytest.approx(np.full(8, angles[0]), rel=1e-3)
    straight = walk(corners, 9, "uniform")
    assert np.linalg.norm(straight[4]) < 0.8 * lengths[4], "the control: a straight line leaves it"


def test_a_walk_of_uniform_latents_stays_among_them():
    corners = draw_latents(64, [3, 4], "uniform")
    steps = walk(corners, 5, "uniform")
    assert np.allclose(steps[2], corners.mean(0))
    assert np.abs(steps).max() <= np.abs(corners).max()


def test_a_walk_on_the_spot_or_through_the_middle_has_no_direction_to_turn_in():
    spot = draw_latents(8, [5])
    assert np.allclose(walk(np.concatenate([spot, spot]), 4), spot)
    assert np.isfinite(walk(np.concatenate([spot, -spot]), 3)).all()
    assert np.isfinite(walk(np.concatenate([spot, 0 * spot]), 3)).all()


def test_truncation_draws_towards_the_mean():
    latents = draw_latents(1000, [0])
    assert np.array_equal(truncate(latents, 1), latents)
    assert truncate(latents, 0.5).std() == pytest.approx(latents.std() / 2)


STARVED = """
import os, resource, sys
import numpy as np
from serving.errors import is_out_of_memory
from serving.runtime.latents import walk

def plain(corners, count):
    parts = np.linspace(0, 1, count)[:, None]
    return corners[:1] * (1 - parts) + corners[1:] * parts

work, corners, endings = {"walk": walk, "plain": plain}[sys.argv[1]], np.eye(2, 64, dtype=np.float32), []
work(corners, 64)
for free in range(0, 400_000, 5_000):
    if not (child := os.fork()):
        pages = int(open("/proc/self/statm").read().split()[0])
        spare = [bytearray(1000) for _ in range(free // 1000)]
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), -1))
        held, size = [], 2**20
        while size >= 64:
            try:
                held.append(bytearray(size))
            except MemoryError:
                size //= 2
        del spare
        try:
            work(corners, 64)
        except Exception as error:
            os._exit(1 if is_out_of_memory(error) else 2)
        os._exit(0)
    endings.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(*endings)
"""
"""Walks in processes with ever more memory left; prints how each ended."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_a_walk_without_memory_raises_and_ends_no_process():
    def endings(work: str) -> set[int]:
        command = [sys.executable, "-c", STARVED, work]
        return set(map(int, subprocess.check_output(command, text=True).split()))

    assert endings("walk") == {0, 1}
    assert -signal.SIGSEGV in endings("plain")
