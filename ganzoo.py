"""The command `ganzoo`. Its only task is to name a package that hides one of this project's packages."""

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("serving", "training", "zoo")


def main() -> int:
    """Run the command, unless another package of the same name would be imported in place of ours."""
    here = Path(__file__).resolve().parent
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != here / package:
            print(
                f"ganzoo: {found or package} hides gan-zoo's own package `{package}`: it comes first on "
                "Python's path; remove its folder from PYTHONPATH",
                file=sys.stderr,
            )
            return 2
    from training.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
