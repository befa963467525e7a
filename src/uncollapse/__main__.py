"""`python -m uncollapse`, for `accelerate launch -m uncollapse`."""

import sys

from uncollapse.cli import main

if __name__ == "__main__":
    sys.exit(main())
