"""``python -m fastcall``."""

import sys

from fastcall.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
