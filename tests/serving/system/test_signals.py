import os
import signal

import pytest

from serving.system.signals import Interrupted, stoppable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_block_in_order(number):
    before = signal.getsignal(number)
    ended = []
    with pytest.raises(Interrupted, match=f"{number.name}; all is kept") as stopped, stoppable("all is kept"):
        try:
            os.kill(os.getpid(), number)
            ended.append("too late")
        finally:
            ended.append("in order")
            assert signal.getsignal(number) == signal.SIG_DFL, "a second one ends the process at once"
    assert ended == ["in order"]
    assert stopped.value.exit_status == 128 + number
    assert signal.getsignal(number) == before


def test_without_one_nothing_is_different():
    before = signal.getsignal(signal.SIGTERM)
    with stoppable("all is kept"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
