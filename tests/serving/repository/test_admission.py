import time

import pytest

from serving.errors import APIError
from serving.repository.admission import (
    ALWAYS,
    BURST_SECONDS,
    CALM_SECONDS,
    OWN_TIMES,
    QUEUE_SECONDS,
    Admission,
    QueueLimit,
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by its first item."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_burst_may_wait_longer_than_a_queue_that_grows(clock):
    limit = QueueLimit(0)
    assert limit.admits(BURST_SECONDS, 0, ALWAYS + 1)
    assert not limit.admits(BURST_SECONDS + 0.01, 0, ALWAYS + 1)
    assert not limit.admits(BURST_SECONDS, 0, ALWAYS + 1), "after a refusal"
    assert limit.admits(QUEUE_SECONDS, 0, ALWAYS + 1)
    clock[0] += CALM_SECONDS + 0.1
    assert limit.admits(BURST_SECONDS, 0, ALWAYS + 1)


def test_few_may_always_wait_and_long_requests_longer():
    limit = QueueLimit(0)
    assert limit.admits(3600, 0, ALWAYS)
    assert limit.admits(OWN_TIMES, 1, ALWAYS + 1)
    assert not limit.admits(OWN_TIMES + 0.1, 1, ALWAYS + 1)


def test_a_given_maximum_is_the_only_rule():
    limit = QueueLimit(1)
    assert limit.admits(1, 0, 10**6)
    assert not limit.admits(1.1, 1, 0)


def test_what_is_held_is_given_back_after_an_error():
    admission = Admission(2)
    with pytest.raises(ZeroDivisionError), admission.hold(2):
        raise ZeroDivisionError
    with admission.hold(2), pytest.raises(APIError) as refused:
        admission.take(1)
    assert (refused.value.status, admission.held) == (429, 0)
