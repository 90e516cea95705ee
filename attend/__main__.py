"""`python -m attend`: the command `attend`, where its script is not on the path."""

import sys

from attend.cli import main

if __name__ == "__main__":
    sys.exit(main())
