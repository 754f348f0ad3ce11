import asyncio
import threading
import time

import pytest

from serving.errors import APIError
from serving.repository.pool import Pool


def test_work_is_admitted_by_the_time_that_it_takes():
    pool = Pool("test", 1, 0.2)

    async def ask(amount: int) -> int:
        with pool.hold("sleep", amount) as do:
            return await do(lambda: time.sleep(amount / 100) or amount)

    async def go(count: int) -> list[object]:
        return await asyncio.gather(*(ask(5) for _ in range(count)), return_exceptions=True)

    assert asyncio.run(go(1)) == [5]  # now the pace is known: a hundredth of a second each
    answers = asyncio.run(go(12))
    refused = [each.status for each in answers if isinstance(each, APIError)]
    assert 4 <= len(refused) <= 8
    assert set(refused) == {429}
    assert asyncio.run(go(1)) == [5], "what is done is no longer counted"


def test_the_work_of_callers_that_left_is_dropped():
    pool, begin, done = Pool("test", 1, 10), threading.Event(), []

    async def ask(number: int) -> None:
        with pool.hold("note", 1) as do:
            await do(lambda: (begin.wait(5), done.append(number)))

    async def go() -> None:
        tasks = [asyncio.create_task(ask(number)) for number in range(5)]
        await asyncio.sleep(0.05)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.sleep(0.05)
        begin.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(go())
    assert done == [0]


def test_errors_reach_the_caller_and_free_the_place():
    pool = Pool("test", 1, 0.01)

    async def fail() -> None:
        with pool.hold("fail", 10**9) as do:
            await do(lambda: 1 / 0)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(fail())


def test_the_limit_of_work_counts_from_its_start_and_its_place_is_held_until_its_end():
    pool, begin = Pool("test", 1, 10), threading.Event()

    async def ask(work) -> None:
        with pool.hold("wait", 1, limit=0.2) as do:
            await do(work)

    async def go() -> None:
        waits = asyncio.create_task(ask(lambda: begin.wait(5)))
        later = asyncio.create_task(ask(lambda: None))
        with pytest.raises(TimeoutError):
            await waits
        await asyncio.sleep(0.3)
        assert not later.done(), "no thread is free for it yet"
        assert pool._held == 2
        begin.set()
        await later
        await asyncio.sleep(0.01)
        assert (pool._held, pool._seconds) == (0, pytest.approx(0))

    asyncio.run(go())
