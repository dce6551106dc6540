"""`python -m hyperx` is `hyperx`."""

import sys

from hyperx import cli

if __name__ == "__main__":
    sys.exit(cli.main())
