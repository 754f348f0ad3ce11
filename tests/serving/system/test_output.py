"""Lines for a reader who reads, who does not, and who has gone."""

import logging
import os
import sys
import time

from serving.system.output import Output, log_through


def test_lines_are_written_in_order():
    read, write = os.pipe()
    output = Output(write)
    for number in range(100):
        output.write([str(number), "é\ud800"])
    output.flush()
    os.close(write)
    lines = os.read(read, 2**16).decode().splitlines()
    assert lines[::2] == [str(number) for number in range(100)]
    assert lines[1] == "é\\ud800"


def test_a_reader_who_does_not_read_stops_nobody():
    read, write = os.pipe()
    lost = []
    output = Output(write, limit=10_000, dropped=lost.append)
    start = time.monotonic()
    for _ in range(1000):
        output.write(["x" * 999] * 2)
    output.flush(0.1)
    assert time.monotonic() - start < 2
    assert sum(lost) > 1000
    taken = 2000 - sum(lost)
    got = 0
    while got < taken:  # what was not dropped comes when the reader reads
        got += os.read(read, 2**16).count(b"\n")
    assert got == taken


def test_a_reader_who_has_gone_costs_lines_only():
    read, write = os.pipe()
    os.close(read)
    lost = []
    output = Output(write, dropped=lost.append)
    output.write(["one", "two"])
    output.flush()
    assert lost == [2]


def test_loggers_write_through_the_output():
    read, write = os.pipe()
    logger, handler = logging.getLogger("tests.output"), logging.StreamHandler(sys.stdout)
    logger.propagate = False  # the tests' own handler would raise for the second record
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    logger.addHandler(handler)
    output = Output(write)
    log_through(output)
    logger.warning("hello %s", "there")
    logger.warning("a record that can't be formatted: %d", "x")
    output.flush()
    assert os.read(read, 100) == b"[WARNING] hello there\n"
    logger.handlers.clear()
