"""The command `ganzoo`: its verbs, and what becomes of errors.

Flags come from the verbs' signatures and docstrings. A verb imports what it needs when it is called: most
need no torch.
"""

import functools
import signal
import sys

from tyro.conf import OmitArgPrefixes
from tyro.extras import SubcommandApp

from serving import settings
from serving.settings import Settings
from training.cli.artifacts import evaluate, export, import_weights, list_entries, verify
from training.cli.errors import exit_status
from training.cli.inference import sample, translate
from training.cli.serve import demo, serve
from training.cli.train import compare, run_train, train, validate_data


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; a user's error is one line on standard error."""
    arguments = _with_present_names(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["train"] and arguments[1:] and not arguments[1].startswith("-"):
            run_train(arguments[1], arguments[2:])
        else:
            # Only the server's own verb minds the server's environment.
            chosen = Settings.from_environment() if arguments[:1] == ["serve"] else Settings()
            _app(chosen).cli(prog="ganzoo", args=arguments, config=(OmitArgPrefixes,))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        return exit_status(error)
    return 0


RENAMED = {
    "train": {"--keep": "--keep-checkpoints"},
    "sample": {"--shards": "--shard-size"},
    "serve": {f"--{old}": f"--{new}".replace("_", "-") for old, new in settings.RENAMED.items()},
}
"""Former names of flags, by verb, which go on working for a version."""


def _with_present_names(arguments: list[str]) -> list[str]:
    """Give flags their present names, with a warning each."""
    renamed = RENAMED.get(arguments[0], {}) if arguments else {}
    found = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in renamed:
            print(f"warning: {flag} is now called {renamed[flag]}; the old name will go", file=sys.stderr)
        found.append(renamed.get(flag, flag) + equals + value)
    return found


def _app(chosen: Settings) -> SubcommandApp:
    """Gather the verbs; their signatures and docstrings are the flags and the help."""
    app = SubcommandApp()
    app.command(name="list")(list_entries)
    for verb in (train, sample, translate, export, verify, evaluate, compare):
        app.command(verb)
    app.command(name="validate-data")(validate_data)
    app.command(name="import")(import_weights)
    app.command(name="serve")(functools.partial(serve, settings=chosen))
    app.command(demo)
    return app
