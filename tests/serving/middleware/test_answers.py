"""The memory of answers: what is kept, what is forgotten, and that no more is kept than may be."""

import time

import pytest

from serving.metrics import CACHE_BYTES, CACHE_MISSES
from serving.middleware.answers import OVERHEAD, PART, Answer, Answers

HEADERS = [(b"content-length", b"3"), (b"x-request-id", b"a"), (b"server-timing", b"b"), (b"etag", b"c")]
SCOPE = {"method": "GET", "path": "/x", "endpoint": len, "model": "m", "headers": [], "state": {}}


def answer(body: bytes = b"abc", current: bool = True) -> Answer:
    return Answer.of(HEADERS, body, SCOPE, lambda: current)


def asked(number: int) -> tuple[bytes, bytes, bytes]:
    return b"GET", b"/%d" % number, b""


def test_an_answer_has_its_own_headers_for_each_request():
    kept = answer()
    assert kept.scope == {"method": "GET", "path": "/x", "endpoint": len, "model": "m"}
    head, _, body = kept.to("r7", {"vary": "Origin"}, time.perf_counter()).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    found = dict(line.split(": ", 1) for line in lines)
    assert (status, body, len(lines)) == ("HTTP/1.1 200 OK", b"abc", 6)
    assert found["content-length"] == "3"
    assert found["etag"] == "c"
    assert found["vary"] == "Origin"
    assert found["x-request-id"] == "r7"
    assert found["server-timing"].startswith("cache;dur=0.")
    assert found["date"].endswith(" GMT")


def test_what_is_not_current_is_forgotten():
    answers = Answers(2**20)
    answers.keep(1, asked(1), kept := answer())
    answers.keep(2, asked(2), answer(current=False))
    assert answers.find(1) is kept
    assert answers.find(2) is None
    assert answers.find(3) is None
    size = CACHE_BYTES._value.get()
    answers.keep(1, asked(1), answer())
    assert CACHE_BYTES._value.get() == size, "the answer took the place of the first"


def test_no_more_is_kept_than_may_be():
    size = len(answer(bytes(5000)).head) + 5000 + sum(map(len, asked(1))) + OVERHEAD
    answers = Answers(20 * size)
    for number in range(20):
        answers.keep(number, asked(1), answer(bytes(5000)))
    assert all(answers.find(number) for number in range(20))
    answers.find(0)  # which was asked for last
    answers.keep(20, asked(1), answer(bytes(5000)))
    assert [number for number in range(21) if not answers.find(number)] == [1]
    assert CACHE_BYTES._value.get() == 20 * size


@pytest.mark.parametrize("most", [0, 100, PART * OVERHEAD])
def test_what_is_too_large_is_not_kept(most):
    answers, before = Answers(most), CACHE_MISSES._value.get()
    answers.keep(1, asked(1), answer())
    assert answers.find(1) is None
    assert CACHE_MISSES._value.get() == before + 1
