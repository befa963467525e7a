"""`python -m uncollapse`, for `torchrun --nproc-per-node 2 -m uncollapse`."""

import sys

from uncollapse.cli import main

if __name__ == "__main__":
    sys.exit(main())
