"""The result of a reliability trial."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A promise, the result of its trial, and the result of the same trial on the control."""

    promise: str
    found: str
    control: str
    kept: bool
    """Whether the promise was kept and the control broke; a trial that cannot fail proves nothing."""
