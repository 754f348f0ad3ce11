"""`python -m training`: the command `ganzoo`, for torchrun and for use without installation."""

import sys

from training.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
