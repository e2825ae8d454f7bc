"""`python -m app`: open the window."""

import sys

from app.application import main

if __name__ == "__main__":
    sys.exit(main())
