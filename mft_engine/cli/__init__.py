"""The command line `mft-lab`; importing the groups of commands is what registers them."""

from mft_engine.cli import stored, studies
from mft_engine.cli.commands import main

__all__ = ["main", "stored", "studies"]
