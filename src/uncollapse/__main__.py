"""`python -m uncollapse`, for `accelerate launch -m uncollapse`."""
import sys

from uncollapse.cli import main

sys.exit(main())
