"""`python -m fetcher`: the command line."""

import sys

from fetcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
