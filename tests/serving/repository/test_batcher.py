"""The batcher by itself, over functions of arrays."""

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serving.errors import APIError
from serving.repository.batcher import Batcher


class Double:
    """Doubles numbers, slowly if told so, and notes the sizes of its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.sizes = seconds, []

    def __call__(self, inputs):
        self.sizes.append(len(inputs["x"]))
        time.sleep(self.seconds)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return inputs["x"] * 2


class Blocked:
    """Gives back what it is given, once it is let go."""

    def __init__(self) -> None:
        self.started, self.let_go = threading.Event(), threading.Event()

    def __call__(self, inputs):
        self.started.set()
        self.let_go.wait(10)
        return inputs["x"]


def rows(*values: float):
    return {"x": np.array(values)}


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=20), st.integers(1, 8)
)
@settings(max_examples=60, deadline=None)
def test_everyone_gets_their_own_rows_in_order(requests, max_rows):
    double = Double()

    async def ask():
        batcher = Batcher(double, max_rows=max_rows)
        answers = await asyncio.gather(*(batcher.submit(rows(*request)) for request in requests))
        batcher.close()
        return answers

    for request, answer in zip(requests, asyncio.run(ask()), strict=True):
        assert answer.tolist() == [2 * value for value in request]
    assert max(double.sizes) <= max_rows
    assert sum(double.sizes) == sum(map(len, requests))


def test_what_waits_together_runs_together():
    double = Double(0.05)

    async def ask():
        batcher = Batcher(double, max_rows=16)
        first = asyncio.create_task(batcher.submit(rows(0)))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, *(batcher.submit(rows(i)) for i in range(33)))
        batcher.close()

    asyncio.run(ask())
    assert double.sizes == [1, 16, 16, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_request_alone_is_shared_out_between_the_threads(threads):
    double = Double(0.05)

    async def ask(count):
        batcher = Batcher(double, batches=threads)
        answer = await batcher.submit(rows(*range(count)))
        batcher.close()
        return answer

    assert asyncio.run(ask(60)).tolist() == [2 * i for i in range(60)]
    assert double.sizes == [60 // threads] * threads
    asyncio.run(ask(8))
    assert double.sizes[threads:] == [8], "so few are not worth parting"


def test_what_waits_is_shared_out_between_the_idle_threads():
    double, mine = Double(0.05), set[int]()

    def run(inputs):
        mine.add(threading.get_ident())
        return double(inputs)

    async def ask():
        batcher = Batcher(run, max_rows=64, batches=2)
        first = [asyncio.create_task(batcher.submit(rows(i))) for i in range(2)]
        await asyncio.sleep(0.02)
        await asyncio.gather(*first, *(batcher.submit(rows(i)) for i in range(40)))
        batcher.close()

    asyncio.run(ask())
    assert double.sizes[:2] == [1, 1]
    assert sum(double.sizes[2:]) == 40
    assert len(double.sizes) <= 5
    assert len(mine) == 2


def test_an_idle_batcher_answers_at_once():
    async def ask():
        batcher = Batcher(Double())
        await batcher.submit(rows(1))
        start = time.perf_counter()
        for _ in range(20):
            await batcher.submit(rows(1))
        batcher.close()
        return time.perf_counter() - start

    assert asyncio.run(ask()) < 0.2


def test_a_failing_job_leaves_its_neighbours_unharmed():
    async def ask():
        batcher = Batcher(Double(0.001))
        jobs = [batcher.submit(rows(-1 if i == 5 else i, i)) for i in range(10)]
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        batcher.close()
        return answers

    answers = asyncio.run(ask())
    assert isinstance(answers.pop(5), ValueError)
    assert [answer.tolist() for answer in answers] == [[2 * i, 2 * i] for i in range(10) if i != 5]


def test_a_job_of_another_shape_fails_alone():
    async def ask():
        batcher = Batcher(lambda inputs: inputs["x"] @ np.ones((2, 1)))
        good, bad = {"x": np.ones((1, 2))}, {"x": np.ones((1, 3))}
        answers = await asyncio.gather(*map(batcher.submit, (good, bad, good)), return_exceptions=True)
        batcher.close()
        return answers

    first, second, third = asyncio.run(ask())
    assert first.tolist() == third.tolist() == [[2.0]]
    assert isinstance(second, ValueError)


def test_a_full_queue_refuses_at_once_and_serves_what_it_accepted():
    blocked = Blocked()

    async def ask():
        batcher = Batcher(blocked, max_rows=8, max_queue=4)
        running = asyncio.create_task(batcher.submit(rows(1, 2)))
        await asyncio.to_thread(blocked.started.wait)
        waiting = asyncio.create_task(batcher.submit(rows(3, 4, 5)))
        await asyncio.sleep(0)
        assert batcher.waiting == 3
        with pytest.raises(APIError) as refused:
            await batcher.submit(rows(6, 7))
        last = asyncio.create_task(batcher.submit(rows(8)))
        await asyncio.sleep(0)
        blocked.let_go.set()
        answers = [answer.tolist() for answer in await asyncio.gather(running, waiting, last)]
        batcher.close()
        return refused.value, answers

    refusal, answers = asyncio.run(ask())
    assert (refusal.status, refusal.code) == (429, "busy")
    assert answers == [[1, 2], [3, 4, 5], [8]]


def test_what_nobody_waits_for_any_more_is_not_run():
    double = Double(0.05)

    async def ask():
        batcher = Batcher(double, max_rows=16)
        running = asyncio.create_task(batcher.submit(rows(1)))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(batcher.submit(rows(*range(8))))
        staying = asyncio.create_task(batcher.submit(rows(7)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        waiting = batcher.waiting
        answers = await asyncio.gather(running, staying)
        batcher.close()
        return [answer.tolist() for answer in answers], waiting

    answers, waiting = asyncio.run(ask())
    assert answers == [[2], [14]]
    assert double.sizes == [1, 1]
    assert waiting == 1, "the rows of a caller who is gone make room at once"


def test_the_engine_does_not_wait_for_the_event_loop():
    """The loop is kept busy: what waits is run all the same."""
    double = Double(0.01)

    async def ask():
        batcher = Batcher(double, max_rows=4)
        jobs = [asyncio.create_task(batcher.submit(rows(i))) for i in range(10)]
        await asyncio.sleep(0.001)
        time.sleep(0.2)
        ran = list(double.sizes)
        await asyncio.gather(*jobs)
        batcher.close()
        return ran

    assert sum(asyncio.run(ask())) == 10
    assert max(double.sizes) == 4


class BatchMetrics:
    """Gives back what it is given, and notes the shapes of its batches."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.shapes = seconds, []

    def __call__(self, inputs):
        self.shapes.append(inputs["x"].shape)
        time.sleep(self.seconds)
        return inputs["x"]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=20),
    st.integers(1, 4),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_only_rows_of_one_shape_share_a_batch(requests, max_rows, max_numbers):
    """Whatever the sizes and the limits: each gets its own back, and no batch is over a limit or mixed."""
    notes = BatchMetrics()
    given = [np.full((rows, width), index) for index, (rows, width) in enumerate(requests)]

    async def ask():
        batcher = Batcher(notes, max_rows=max_rows, max_numbers=max_numbers)
        answers = await asyncio.gather(*(batcher.submit({"x": array}) for array in given))
        assert batcher.waiting == 0
        batcher.close()
        return answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.repository.batcher.FULL_BATCHES", 10**6)
        answers = asyncio.run(ask())
    for array, answer in zip(given, answers, strict=True):
        assert np.array_equal(array, answer)
    for rows, width in notes.shapes:
        assert rows <= max_rows
        assert rows == 1 or rows * width <= max_numbers
    assert sum(rows for rows, _ in notes.shapes) == sum(rows for rows, _ in requests)


def test_rows_of_other_shapes_do_not_part_those_of_one():
    notes = BatchMetrics(0.02)

    async def ask():
        batcher = Batcher(notes)
        widths = (1, 2, 3, 2, 3, 2, 3)
        await asyncio.gather(*(batcher.submit({"x": np.zeros((1, width))}) for width in widths))
        batcher.close()

    asyncio.run(ask())
    assert sorted(notes.shapes) == [(1, 1), (3, 2), (3, 3)]


async def _slow(patience: float) -> Batcher:
    """Return a batcher that knows its pace, 20 rows a second."""
    batcher = Batcher(Double(0.05), max_rows=1, max_seconds=patience)
    for _ in range(20):
        await batcher.submit(rows(1))
    return batcher


def test_who_would_wait_too_long_is_refused_by_the_pace_of_the_last_batches():
    async def ask(patience):
        batcher = await _slow(patience)
        jobs = [asyncio.create_task(batcher.submit(rows(i))) for i in range(12)]
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        batcher.close()
        return [isinstance(answer, APIError) and answer.status for answer in answers]

    refused = asyncio.run(ask(0.2))
    assert refused[0] is False
    assert 4 <= refused.count(429) <= 9
    assert asyncio.run(ask(10)) == [False] * 12, "the control"


def test_who_is_admitted_is_not_refused_later_and_keeps_others_away():
    async def ask():
        batcher = await _slow(0.2)

        async def call(index):
            with batcher.expect():
                await asyncio.sleep(0.05)  # all are expected before the first has rows
                return await batcher.submit(rows(index), admitted=True)

        answers = await asyncio.gather(*(call(i) for i in range(12)), return_exceptions=True)
        assert len(await batcher.submit(rows(1))) == 1, "none is expected any longer"
        batcher.close()
        return [isinstance(answer, APIError) and answer.status for answer in answers]

    refused = asyncio.run(ask())
    assert 4 <= refused.count(429) <= 9
    assert refused == sorted(refused), "the first are admitted"


def test_who_would_be_refused_can_know_before_its_rows_are_made():
    batcher = Batcher(Double(0), max_rows=1, max_seconds=0.2)
    batcher._pace, batcher._numbers = 0.1, 1
    assert batcher.admits(1)
    batcher._numbers = 3
    assert not batcher.admits(1)
    batcher.close()


def test_light_traffic_teaches_no_pace():
    """Where a row alone takes as long as many, as on a GPU, it says nothing of a burst."""
    double = Double(0.03)

    async def ask():
        batcher = Batcher(double, max_rows=64, max_seconds=0.1)
        for _ in range(10):
            await batcher.submit(rows(1))
        answers = await asyncio.gather(*(batcher.submit(rows(i)) for i in range(100)), return_exceptions=True)
        batcher.close()
        return answers

    assert not [answer for answer in asyncio.run(ask()) if isinstance(answer, APIError)]


def test_who_is_told_of_batches_can_not_end_them():
    class Broken:
        def waiting(self, rows):
            pass

        def batch(self, rows, seconds):
            raise OSError("no space for metrics")

    async def ask():
        batcher = Batcher(Double(), notes=Broken())
        answers = [await asyncio.gather(batcher.submit(rows(i)), return_exceptions=True) for i in range(3)]
        batcher.close()
        return answers

    assert all(isinstance(answer[0], OSError) for answer in asyncio.run(asyncio.wait_for(ask(), 10)))


def test_what_waits_is_bounded_by_its_numbers_too():
    blocked = Blocked()

    async def ask():
        batcher = Batcher(blocked, max_numbers=10)
        running = asyncio.create_task(batcher.submit({"x": np.zeros((1, 10))}))
        await asyncio.to_thread(blocked.started.wait)
        waiting = []
        for _ in range(2):
            waiting.append(asyncio.create_task(batcher.submit({"x": np.zeros((1, 80))})))
            await asyncio.sleep(0)
        with pytest.raises(APIError, match="at its limit"):
            await batcher.submit({"x": np.zeros((1, 1))})
        blocked.let_go.set()
        await asyncio.gather(running, *waiting)
        assert len(await batcher.submit({"x": np.zeros((1, 1))})) == 1
        alone = await batcher.submit({"x": np.zeros((1, 1000))})
        assert alone.shape == (1, 1000), "one caller alone is never too many"
        batcher.close()

    asyncio.run(ask())


POISON = -1.0


class Gated:
    """An engine that runs a batch for each permit, and notes what it ran; poison fails a whole batch."""

    def __init__(self) -> None:
        self.permits, self.ran = threading.Semaphore(0), []

    def __call__(self, inputs):
        assert self.permits.acquire(timeout=20)
        self.ran.append(inputs["x"])
        if (inputs["x"] == POISON).any():
            raise ValueError("poison")
        return inputs["x"] * 2


class Noted:
    """What a batcher tells."""

    def __init__(self) -> None:
        self.rows, self.batches = 0, []

    def batch(self, rows, seconds):
        self.batches.append(rows)

    def waiting(self, rows):
        self.rows = rows


class Callers(RuleBasedStateMachine):
    """Callers come, leave and are served in any order; what holds is what a batcher promises."""

    MAX_ROWS, MAX_QUEUE, BATCHES = 4, 12, 1

    def __init__(self) -> None:
        super().__init__()
        self.loop, self.engine = asyncio.new_event_loop(), Gated()
        self.notes = Noted()
        self.batcher = self.call(self.make)
        self.callers, self.left, self.next = [], [], 1

    async def make(self) -> Batcher:
        return Batcher(self.engine, self.MAX_ROWS, self.MAX_QUEUE, batches=self.BATCHES, notes=self.notes)

    def call(self, make):
        return self.loop.run_until_complete(asyncio.wait_for(make(), 20))

    def turn(self) -> None:
        """Let everything happen that can: threads are at rest, or in the engine and wait for a permit."""

        async def some() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            while self.batcher._workers != self.batcher._running:
                await asyncio.sleep(0.0005)
            for _ in range(5):
                await asyncio.sleep(0)

        self.call(some)

    @rule(rows=st.integers(1, 9), width=st.integers(1, 2), poisoned=st.booleans())
    def come(self, rows, width, poisoned):
        asked = np.arange(self.next, self.next + rows * width, dtype=float).reshape(rows, width)
        self.next += rows * width
        if poisoned:
            asked[0, 0] = POISON
        room = self.MAX_QUEUE - self.batcher.waiting

        async def start():
            return asyncio.get_running_loop().create_task(self.batcher.submit({"x": asked}))

        task = self.call(start)
        self.turn()
        if rows > room:
            assert task.done()
            assert task.exception().status == 429
        else:
            self.callers.append((task, asked, poisoned))

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def leave(self, data):
        caller = data.draw(st.sampled_from(self.callers))
        self.callers = [each for each in self.callers if each is not caller]
        self.left.append((caller[0], caller[1], len(self.engine.ran)))
        caller[0].cancel()
        self.turn()

    @rule()
    def serve(self):
        """Permit a batch, and wait until it was run if there is one."""
        before = len(self.engine.ran)
        if not self.batcher._running:
            return
        self.engine.permits.release()

        async def ran() -> None:
            while len(self.engine.ran) == before:
                await asyncio.sleep(0.0005)

        self.call(ran)
        time.sleep(0.002)
        self.turn()

    @invariant()
    def what_waits_is_bounded(self):
        assert 0 <= self.batcher.waiting <= self.MAX_QUEUE
        assert self.notes.rows == self.batcher.waiting

    @invariant()
    def batches_are_of_one_shape_and_not_too_large(self):
        assert all(len(batch) <= self.MAX_ROWS for batch in self.engine.ran)

    def teardown(self):
        for _ in range(200):
            self.engine.permits.release()

        async def end():
            return await asyncio.gather(*(task for task, _, _ in self.callers), return_exceptions=True)

        for answer, (_, asked, poisoned) in zip(self.call(end), self.callers, strict=True):
            if poisoned:
                assert isinstance(answer, ValueError)
            else:
                assert np.array_equal(answer, asked * 2)
        assert self.batcher.waiting == 0
        for task, asked, ran in self.left:
            assert task.done()
            # At most the batch that was being run when its caller left has rows of it, and its repetitions.
            later = [batch for batch in self.engine.ran[ran:] if np.isin(asked[asked != POISON], batch).any()]
            assert len(later) <= self.BATCHES * (1 + self.MAX_ROWS)
        self.batcher.close()
        self.call(self.loop.shutdown_default_executor)
        self.loop.close()


class ManyThreads(Callers):
    """The same, of a batcher of more than one thread."""

    BATCHES = 3


TestCallers, TestManyThreads = Callers.TestCase, ManyThreads.TestCase
TestCallers.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestManyThreads.settings = TestCallers.settings


def test_an_engine_that_loses_rows_fails_its_callers():
    async def ask():
        batcher = Batcher(lambda inputs: inputs["x"][:-1])
        answers = await asyncio.gather(
            *(batcher.submit(rows(i, i)) for i in range(3)), return_exceptions=True
        )
        batcher.close()
        return answers

    assert all(isinstance(answer, RuntimeError) for answer in asyncio.run(ask()))


def test_two_batchers_share_the_time():
    """A flood of one model's work does not starve another's: each has its own thread and queue."""

    async def ask():
        flooded, calm = Batcher(Double(0.02), max_rows=1), Batcher(Double(0.02), max_rows=1)
        flood = [asyncio.create_task(flooded.submit(rows(i))) for i in range(60)]
        await asyncio.sleep(0.01)
        start = time.perf_counter()
        for _ in range(5):
            await calm.submit(rows(1))
        seconds = time.perf_counter() - start
        left = sum(not task.done() for task in flood)
        await asyncio.gather(*flood)
        flooded.close()
        calm.close()
        return seconds, left

    seconds, left = asyncio.run(ask())
    assert seconds < 0.5
    assert left > 20, "the control: the flood was still on"
