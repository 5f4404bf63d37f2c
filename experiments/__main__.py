"""`python -m experiments`: see `harness/cli.py`."""

import sys

from experiments.harness.cli import main

if __name__ == "__main__":
    sys.exit(main())
