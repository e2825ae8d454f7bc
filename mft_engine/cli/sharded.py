"""Train one network in several processes; `mft-lab run --resume` goes on with foreground and comparison.

torchrun --nproc-per-node 2 -m mft_engine.cli.sharded clover --set network.n_neurons=1000000 --out runs
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from mft_engine.cli.program import recipe_of
from mft_engine.recipe import RecipeError


class _Once(argparse.Action):
    """An option with one value is refused where it is given again, as by every command of the program."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{self.option_strings[0]} is given twice: it can have one value")
        setattr(namespace, self.dest, values)


def main() -> None:
    """Parse, train, tell in the first process where the run lies."""
    from mft_engine.dynamics import Diverged
    from mft_engine.experiment.storage import RunError
    from mft_engine.runs.sharded import train_sharded

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a preset, a recipe file or a run folder")
    parser.add_argument(
        "--set", dest="changes", action="append", metavar="NAME=VALUE", help="change a value; repeatable"
    )
    parser.add_argument("--out", action=_Once, type=Path, help="folder in which a new one is made for the run")
    parser.add_argument("--resume", action=_Once, type=Path, metavar="RUN", help="go on with this run folder")
    arguments = parser.parse_args()
    if not dist.is_torchelastic_launched():
        parser.error(
            "start it with torchrun: torchrun --nproc-per-node 2 -m mft_engine.cli.sharded " + arguments.recipe
        )
    try:
        recipe = recipe_of(arguments.recipe, arguments.changes)
        folder, shards = train_sharded(recipe, arguments.out, resume=arguments.resume)
    except (RecipeError, RunError, Diverged) as error:
        sys.exit(f"mft-lab: {error}")
    if shards.rank == 0:
        print(folder)
        print(f"{shards.n_processes} processes, {shards.bytes_summed / max(1, shards.n_sums):.0f} bytes a sum")


if __name__ == "__main__":
    main()
