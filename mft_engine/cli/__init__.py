"""The command line `mft-lab`."""

from mft_engine.cli.commands import main

__all__ = ["main"]
