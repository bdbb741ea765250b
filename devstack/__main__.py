"""`python -m devstack` is `silo up`."""

import sys

from devstack.run import run

if __name__ == "__main__":
    sys.exit(run())
