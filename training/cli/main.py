"""Entry point of the command line `ganzoo`: the verbs of training beside those of `serving`.

Flags and help are generated from the signatures and docstrings of the commands. Each command imports its
dependencies when it is called, because most commands do not need torch.
"""

import sys
from collections.abc import Callable

from serving.cli import main as serving
from serving.cli.errors import status_of
from serving.cli.main import call, with_present_names
from training.cli.artifacts import evaluate, export, import_weights, list_entries
from training.cli.demo import demo
from training.cli.inference import sample, translate, verify
from training.cli.train import compare, run_train, train, validate_data

RENAMED = {"train": {"--keep": "--keep-checkpoints"}, **serving.RENAMED}
"""Former to present names of flags, by command; former names are accepted for one more version."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; user errors print one line on standard error."""
    given = with_present_names(sys.argv[1:] if arguments is None else arguments, RENAMED)
    return status_of(lambda: _run(given))


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["train"] and arguments[1:] and not arguments[1].startswith("-"):
        run_train(arguments[1], arguments[2:])
        return
    verbs: dict[str, Callable[..., None]] = {
        "list": list_entries,
        "train": train,
        "export": export,
        "evaluate": evaluate,
        "compare": compare,
        "validate-data": validate_data,
        "import": import_weights,
        **serving.verbs(arguments),
        "sample": sample,
        "translate": translate,
        "verify": verify,
        "demo": demo,
    }
    call("ganzoo", verbs, arguments)
