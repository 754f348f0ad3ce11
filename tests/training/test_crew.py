import os
import time

import pytest

from training.crew import crew


def test_they_work_beside_one_another():
    with crew(2) as pool:
        first, second = pool.submit(os.getpid), pool.submit(os.getpid)
        assert os.getpid() not in (first.result(), second.result())


def test_what_they_are_at_is_given_up_where_the_block_fails():
    before = time.monotonic()
    with pytest.raises(KeyError), crew(1) as pool:
        pool.submit(os.getpid).result()
        pool.submit(time.sleep, 60)
        raise KeyError
    assert time.monotonic() - before < 30


def test_what_fails_there_is_told_here():
    with crew(1) as pool, pytest.raises(FileNotFoundError):
        pool.submit(os.listdir, "/nowhere").result()
