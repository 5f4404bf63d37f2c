"""`python -m experiments`: see `harness/cli.py`."""

import sys

if __name__ == "__main__":
    try:
        from experiments.harness.cli import main
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in ("experiments", "tinygrad_hw", "reference"):
            raise
        print(f"error: {missing.name} is not installed: pip install -e '.[experiments]'", file=sys.stderr)
        sys.exit(2)
    sys.exit(main())
