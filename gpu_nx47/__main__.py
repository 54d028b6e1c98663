"""`python -m gpu_nx47` is `nx47`."""

import sys

from gpu_nx47.cli import main

if __name__ == "__main__":
    sys.exit(main())
