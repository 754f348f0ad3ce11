"""The command `ganzoo`: set up Python's path, name packages that hide this project's, and run the verb."""

import importlib.util
import sys
from pathlib import Path

PACKAGES = ("serving", "training", "zoo")


def main() -> int:
    """Run the command, unless another package of the same name would be imported in place of ours.

    The working directory is the last place on Python's path: entries of your own, such as `my_lab:MyGAN`, are
    found there, and it hides no package.
    """
    here = Path(__file__).resolve().parent
    sys.path.append(str(Path.cwd()))
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != here / package:
            print(
                f"ganzoo: {found or package} hides the package `{package}` of gan-zoo: it comes first on "
                "Python's path; remove its folder from PYTHONPATH",
                file=sys.stderr,
            )
            return 2
    from training.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
