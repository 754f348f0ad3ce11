"""How commands end: in this process or in one of their own, and what is wrong with it."""

import contextlib
import io
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple
from unittest.mock import patch

from serving.system.folders import writable_or_temporary
from tests.training.cli.test_main import ganzoo

PATIENCE = 60
"""Seconds after which a command hangs."""

HUNG, STARTED = -1, -2
"""In place of an exit status: the command hung, or a server was started."""

WRONG = 2
"""Exit status of what the user can correct."""

BEFORE = ("warning: ", "serving the artifacts of ")
"""Lines that may come before the error."""


class Outcome(NamedTuple):
    """How a command ended: its status, and what it wrote on standard error."""

    status: int
    said: str


class Ended:
    """How many commands ended, and what was wrong with how they did."""

    def __init__(self) -> None:
        self.count, self.faults, self.said = 0, Counter[str](), list[str]()

    def add(
        self, what: object, ended: Outcome, names: Collection[str] = (), statuses: Collection[int] = (WRONG,)
    ) -> None:
        """Count a command, which ends with one of some statuses; its error has one of some names."""
        lines = [line for line in ended.said.splitlines() if not line.startswith(BEFORE)]
        checks = {
            "hung": ended.status == HUNG,
            "with a traceback": "Traceback" in ended.said,
            "with another status": ended.status not in {HUNG, *statuses},
            "without one line": ended.status == WRONG
            and not (len(lines) == 1 and lines[0].startswith("ganzoo: ")),
            "without the name": bool(names)
            and ended.status == WRONG
            and not any(name in lines[-1] for name in names if lines),
        }
        self.count += 1
        if wrong := [kind for kind, is_so in checks.items() if is_so]:
            self.faults[wrong[0]] += 1
            self.said.append(f"{wrong[0]}: {what}: {ended.status} {ended.said[-300:]}")

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.faults.items()) or "0 otherwise"
        return f"{kinds}, of {self.count:,}"


class _Started(BaseException):
    """A server was started."""


class _Hung(BaseException):
    """A command hung."""


def call(*arguments: object, environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a command in this process, whose servers are not started."""

    def start(*given: object) -> None:
        raise _Started

    def give_up(*given: object) -> None:
        raise _Hung

    writable_or_temporary.cache_clear()  # as in a new process
    before, said = signal.signal(signal.SIGALRM, give_up), io.StringIO()
    signal.alarm(PATIENCE)
    try:
        with (
            patch.object(os, "execve", start),
            patch.dict(os.environ, environment or {}),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            status = ganzoo(*arguments)
    except _Started:
        status = STARTED
    except _Hung:
        status = HUNG
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Outcome(status, said.getvalue())


def run_whole(
    command: list[str], environment: Mapping[str, str] | None = None, patience: float = PATIENCE
) -> Outcome:
    """Run a command as a process."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=patience)
    except subprocess.TimeoutExpired:
        return Outcome(HUNG, "")
    return Outcome(done.returncode, done.stderr)
