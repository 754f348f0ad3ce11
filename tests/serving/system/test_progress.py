import io
import sys

import pytest

from serving.system.progress import progress


def test_plain_lines_where_there_is_no_terminal(capsys):
    with progress(4, "reading", "images", done=2, every=0.0) as advance:
        advance()
        advance(loss=0.5)
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("reading: 3/4 images, ")
    assert "s left" in first
    assert last.startswith("reading: 4/4 images, ")
    assert last.endswith("0 s left loss=0.5")


def test_lines_are_rare_but_the_last_is_there(capsys):
    with progress(1000, "reading", "images") as advance:
        for _ in range(1000):
            advance()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(3, "training", "steps", done=1) as advance:
        advance(loss=0.25)
        advance()
    assert "training: 100%" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "loss=0.25" in terminal.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_inside_goes_through(terminal, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with pytest.raises(KeyError), progress(3, "reading", "images"):
        raise KeyError
