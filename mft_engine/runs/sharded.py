"""Training one network in several processes, and its checkpoint, which one process goes on with (and the reverse)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch.distributed as dist

from mft_engine.device import backend_between_processes, device_of_process
from mft_engine.dynamics.sharded import ShardedTwoLayer
from mft_engine.dynamics.two_layer import TwoLayer
from mft_engine.experiment.background import Background
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.history import N_STORED_NEURONS
from mft_engine.kernels.sharded import PartKernel, ShardedKernel, Shards
from mft_engine.recipe import Recipe, RecipeError
from mft_engine.runs import checkpoint
from mft_engine.runs.folder import Run
from mft_engine.runs.runs import default_parent

# The same in every process, so that they stop at the same steps; a clock would tell each another number.
SLICE_STEPS = 500
CHECKPOINT_SECONDS = 60.0

T = TypeVar("T")
Report = Callable[[str, float, str], None]


@contextlib.contextmanager
def sharded(background: Background) -> Iterator[Shards]:
    """Inside, each process has its part of the neurons and all take the same steps; afterwards everybody has all.

    Raises:
        RecipeError: a network whose processes would have to tell each other more than the field, or too small a one.
    """
    setting, network = background.setting, background.setting.network
    dynamics = background.recipe.training.dynamics
    if not isinstance(network, TwoLayer) or dynamics not in ("langevin", "sgd"):
        raise RecipeError(
            "Only a network of one hidden layer with Langevin dynamics or gradient descent spreads over processes: "
            f"this one has {background.recipe.network.n_layers} and training.dynamics = {dynamics!r}. Run it in one"
        )
    shards = Shards(network.n_neurons)
    if network.n_neurons < shards.n_processes * N_STORED_NEURONS:
        raise RecipeError(
            f"network.n_neurons = {network.n_neurons:,} is too small for {shards.n_processes} processes: take at least "
            f"{shards.n_processes * N_STORED_NEURONS:,}, or one process"
        )
    parts: dict[str, Any] = {
        "network": ShardedTwoLayer(network, shards),
        "kernel": ShardedKernel(cast(PartKernel, setting.kernel), shards),
    }
    background.setting = replace(setting, **parts)
    background.problem = replace(background.problem, **parts)
    background.state = replace(background.state, theta=shards.own(background.state.theta))
    try:
        yield shards
    finally:
        background.setting = setting
        background.problem = replace(background.problem, network=network, kernel=setting.kernel)
    background.state = replace(background.state, theta=shards.whole(background.state.theta))


def train_sharded(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    report: Report | None = None,
) -> tuple[Path, Shards]:
    """Train a recipe's background in the processes that `torchrun` has started; the first one writes the checkpoints.

    Each process may have a GPU of its own (`engine.device` auto or cuda), or they share the processor.

    Args:
        out: a folder in which the first process makes a new one for the run; the user's data folder by default.
        resume: a run folder of this recipe to go on with, of however many processes.
        report: called in the first process with part, fraction and a text.

    Returns:
        the run's folder, and what was told between the processes since the last checkpoint.

    Raises:
        RecipeError, RunError: as for `run`; a network that cannot be spread.
        Diverged: in all processes alike; the last checkpoint is kept.
    """
    own_device = device_of_process(recipe.engine.device)
    experiment = Experiment(recipe.replace({"engine.device": own_device}))
    background = experiment.background
    dist.init_process_group(backend_between_processes(background.device))
    try:
        is_first = dist.get_rank() == 0
        folder = Path(resume) if resume is not None else None
        if folder is None:
            made = Run.create(out if out is not None else default_parent(), recipe).folder if is_first else None
            folder = Path(_first_says(str(made)))
        else:
            Run(folder).put_back(experiment)
        while True:
            start, is_due = time.perf_counter(), False
            with sharded(background) as shards:
                while not background.is_complete and not is_due:
                    background.advance(SLICE_STEPS)
                    if is_first and report is not None:
                        report("train", background.progress, f"training, t = {background.state.time:.2f}")
                    is_due = _first_says(time.perf_counter() - start > CHECKPOINT_SECONDS)
            if is_first:
                Run(folder).save_checkpoint(*checkpoint.pack(experiment))
            if background.is_complete:
                return folder, shards
    finally:
        dist.destroy_process_group()


def _first_says(value: T) -> T:
    """What the first process says, in all of them."""
    said = [value]
    dist.broadcast_object_list(said)
    return said[0]
