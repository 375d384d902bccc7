"""`python -m wbsr …` is the command `wbsr …`."""

import sys

from wbsr.cli import main

if __name__ == "__main__":
    sys.exit(main())
