"""Entry point of `python -m serving`: the verbs that need only the server's packages.

Flags and help are generated from the signatures and docstrings of the commands. Each command imports its
dependencies when it is called, so that help and errors appear at once.
"""

import functools
import sys
from collections.abc import Callable, Mapping

from tyro.conf import OmitArgPrefixes
from tyro.extras import SubcommandApp

from serving import settings
from serving.cli.errors import status_of
from serving.cli.inference import identify, sample, translate, verify
from serving.cli.serve import serve
from serving.settings import Settings, warn_renamed

Verbs = Mapping[str, Callable[..., None]]

RENAMED = {
    "sample": {"--shards": "--shard-size"},
    "serve": {f"--{old}": f"--{new}".replace("_", "-") for old, new in settings.RENAMED.items()},
}
"""Former to present names of flags, by command; former names are accepted for one more version."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; user errors print one line on standard error."""
    given = with_present_names(sys.argv[1:] if arguments is None else arguments, RENAMED)
    return status_of(lambda: call("python -m serving", verbs(given), given))


def verbs(arguments: list[str]) -> Verbs:
    """Return the commands by name. Only `serve` reads the server's environment variables.

    Raises:
        UserError: the command is `serve`, and a variable is invalid.
    """
    chosen = Settings.from_environment() if arguments[:1] == ["serve"] else Settings()
    served = functools.partial(serve, settings=chosen)
    return {
        "sample": sample,
        "translate": translate,
        "identify": identify,
        "verify": verify,
        "serve": served,
    }


def call(program: str, commands: Verbs, arguments: list[str]) -> None:
    """Parse the arguments and call the command that they name.

    Raises:
        SystemExit: the arguments can't be parsed (status 2), or help was requested (0).
    """
    app = SubcommandApp()
    for name, command in commands.items():
        app.command(name=name)(command)
    app.cli(prog=program, args=arguments, config=(OmitArgPrefixes,))


def with_present_names(arguments: list[str], renamed: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Replace former names of a command's flags by the present ones, with a warning for each."""
    names = renamed.get(arguments[0], {}) if arguments else {}
    found = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if flag in names:
            warn_renamed(flag, names[flag])
        found.append(names.get(flag, flag) + equals + value)
    return found
