"""`python -m mft_engine.cli`."""

from mft_engine.cli import main

if __name__ == "__main__":
    main()
