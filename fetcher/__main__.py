"""`python -m fetcher`, and the console script `fetcher`: the command line."""

import os
import sys

# numpy would start a thread per core for linear algebra that is never done here: 0.05 s of every cron start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from fetcher.cli import main

if __name__ == "__main__":
    sys.exit(main())
