"""Entry point of the command line `ganzoo`.

Flags and help are generated from the signatures and docstrings of the commands. Each command imports its
dependencies when it is called, because most commands do not need torch.
"""

import functools
import os
import signal
import sys

from tyro.conf import OmitArgPrefixes
from tyro.extras import SubcommandApp

from serving import settings
from serving.settings import Settings, warn_renamed
from training.cli.artifacts import evaluate, export, import_weights, list_entries, verify
from training.cli.errors import exit_status
from training.cli.inference import sample, translate
from training.cli.serve import demo, serve
from training.cli.train import compare, run_train, train, validate_data


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; user errors print one line on standard error."""
    arguments = _with_present_names(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["train"] and arguments[1:] and not arguments[1].startswith("-"):
            run_train(arguments[1], arguments[2:])
        else:
            # Only `serve` reads the server's environment variables.
            chosen = Settings.from_environment() if arguments[:1] == ["serve"] else Settings()
            _app(chosen).cli(prog="ganzoo", args=arguments, config=(OmitArgPrefixes,))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Python would flush into it once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return exit_status(error)
    return 0


RENAMED = {
    "train": {"--keep": "--keep-checkpoints"},
    "sample": {"--shards": "--shard-size"},
    "serve": {f"--{old}": f"--{new}".replace("_", "-") for old, new in settings.RENAMED.items()},
}
"""Former to present names of flags, by command; former names are accepted for one more version."""


def _with_present_names(arguments: list[str]) -> list[str]:
    """Replace former names of flags by the present ones, with a warning for each."""
    renamed = RENAMED.get(arguments[0], {}) if arguments else {}
    found = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in renamed:
            warn_renamed(flag, renamed[flag])
        found.append(renamed.get(flag, flag) + equals + value)
    return found


def _app(chosen: Settings) -> SubcommandApp:
    """Return the command line application with all commands."""
    app = SubcommandApp()
    app.command(name="list")(list_entries)
    for verb in (train, sample, translate, export, verify, evaluate, compare):
        app.command(verb)
    app.command(name="validate-data")(validate_data)
    app.command(name="import")(import_weights)
    app.command(name="serve")(functools.partial(serve, settings=chosen))
    app.command(demo)
    return app
