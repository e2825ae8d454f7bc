"""The command line `mft-lab`; importing the groups of commands is what registers them."""

from mft_engine.cli.commands import main

# Help lists commands in the order in which they are registered: the main job first.
from mft_engine.cli import stored, studies  # isort: skip

__all__ = ["main", "stored", "studies"]
