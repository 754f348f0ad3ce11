"""The flags of `ganzoo train ENTRY`: the fields of the run and of the entry, side by side."""

from typing import Any

import tyro
from tyro.conf import OmitArgPrefixes

from training.run.config import Card, Run
from zoo import registry


def parse(name: str, arguments: list[str]) -> tuple[Card, bool]:
    """Read a training's flags: what to train, and whether only to print it.

    Raises:
        ValueError: there is no such entry, or a field refuses its value.
        SystemExit: a flag is unknown or its value is not of its type (status 2), or help was asked for (0).
    """
    kind = registry.load(name)
    any_run, any_entry = _unchecked(Run), _unchecked(kind)

    def flags(run: any_run, entry: any_entry, *, dry_run: bool = False) -> tuple[Any, Any, bool]:  # type: ignore[valid-type]
        """Gather the flags.

        Args:
            run: What the lab decides.
            entry: What the paper says.
            dry_run: Print what would be trained, and do nothing.
        """
        return run, entry, dry_run

    run, entry, dry_run = tyro.cli(
        flags,
        prog=f"ganzoo train {name}",
        args=arguments,
        description=kind.__doc__,
        config=(OmitArgPrefixes,),
    )
    return Card(name=name, run=Run(**vars(run)), entry=kind(**vars(entry))), dry_run


def _unchecked(kind: type) -> Any:
    """Make a dataclass's twin that takes any values, so that the parser leaves it to us to refuse them."""
    return type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "__post_init__": lambda self: None})
