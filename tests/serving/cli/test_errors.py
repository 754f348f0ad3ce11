"""A user's error is one line and status 2; a bug is a traceback, status 1 and how to report it."""

import numpy as np
import pytest
import torch

from serving.cli.errors import exit_status
from serving.errors import APIError, EngineError, OutOfMemory, UserError
from serving.offline.verify import VerifyError
from serving.runtime.golden import ParityError
from serving.runtime.manifest import ManifestError
from serving.system.locks import InUseError
from serving.system.signals import Interrupted
from training.cli.main import main
from training.data.validate import BadData
from training.graphs.trace import GraphError
from training.loop.monitor import Diverged
from zoo.errors import ConfigError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("no such thing"), 2),
        (ConfigError("no such thing"), 2),
        *[(kind("no such thing"), 2) for kind in (EngineError, ManifestError, InUseError, VerifyError)],
        *[(kind("no such thing"), 2) for kind in (GraphError, ParityError)],
        (FileNotFoundError(2, "no such thing", "photo.png"), 2),
        (OutOfMemory("no such thing"), 2),
        (torch.OutOfMemoryError("Tried to allocate 9 GiB: no such thing"), 2),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]: no such thing"), 2),
        (BadData("no such thing"), 1),
        (Diverged("no such thing", 3), 3),
        (Interrupted(15, "no such thing"), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_a_user_can_correct_is_one_line(error, status, capsys):
    assert exit_status(error) == status
    said = capsys.readouterr().err
    assert said.startswith("ganzoo: ")
    assert said.count("\n") == 1
    assert "no such thing" in said


def test_without_memory_it_says_what_there_is(monkeypatch, capsys):
    monkeypatch.setattr("serving.cli.errors.available", lambda: 300 * 2**20)
    end = "use smaller images or a smaller batch\n"
    for error, said in (
        (MemoryError(), "300 MiB are available"),
        (RuntimeError("tried to allocate 9 bytes"), "tried to allocate 9 bytes; 300 MiB are available"),
        (torch.OutOfMemoryError("CUDA out of memory. GPU 0 is full"), "CUDA out of memory. GPU 0 is full"),
    ):
        assert exit_status(error) == 2
        assert capsys.readouterr().err == f"ganzoo: not enough memory: {said}; {end}"


def misanswer() -> None:
    raise APIError(400, "code", "an answer to nobody")


BUGS = [
    lambda: np.zeros(3) + np.zeros(4),
    lambda: int("three"),
    lambda: torch.zeros(3) @ torch.zeros(4),
    lambda: {}["key"],
    misanswer,
]
"""Errors of the classes that users' errors are derived from, raised by what is no user's doing."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_not_the_users(bug, monkeypatch, capsys):
    """Each is raised within a verb, and comes out of the command as a bug."""
    monkeypatch.setattr("serving.runtime.pretrained.pretrained", bug)
    assert main(["list", "--pretrained"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert "test_errors.py" in said
    assert said.splitlines()[-1].startswith("ganzoo: this is a bug")


def test_a_traceback_is_there_for_who_asks(monkeypatch, capsys):
    monkeypatch.setenv("GANZOO_TRACEBACK", "1")
    assert exit_status(UserError("no such thing")) == 2
    assert "UserError: no such thing" in capsys.readouterr().err
