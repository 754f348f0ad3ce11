"""`python -m serving`: the verbs that need only the server's packages."""

import sys

from serving.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
