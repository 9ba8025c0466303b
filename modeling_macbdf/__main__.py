"""`python -m modeling_macbdf` is the command `macbdf`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
