"""What a trial of a promise came to."""

from typing import NamedTuple


class Finding(NamedTuple):
    """A promise, what was found, and what the same trial found where the promise is not kept."""

    promise: str
    found: str
    control: str
    kept: bool
    """Whether the promise was kept, and the control broke: a trial that can't fail shows nothing."""
