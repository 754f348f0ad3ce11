"""`python -m training`: the command line `ganzoo`, for torchrun and for checkouts that are not installed."""

import sys

from training.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
