"""The times of a request's stages."""

import re
import time

from serving.system.stopwatch import Stopwatch


def test_stages_follow_one_another_and_add_up():
    start = time.perf_counter()
    stopwatch = Stopwatch()
    time.sleep(0.02)
    stopwatch.lap("parse")
    stopwatch.lap("engine")
    end = time.perf_counter()
    first, second = stopwatch.laps
    assert (first.name, second.name) == ("parse", "engine")
    assert start <= first.start < first.end == second.start <= second.end <= end
    assert first.end - first.start >= 0.02 > second.end - second.start
    found = re.fullmatch(r"parse;dur=(\d+\.\d\d), engine;dur=(\d+\.\d\d)", stopwatch.header())
    assert abs(float(found[1]) - 1e3 * (first.end - first.start)) < 0.01
