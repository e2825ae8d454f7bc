"""What `mft.watch` costs, and whether it agrees with the lab's own replay.

python -m benchmarks.watching cost
python -m benchmarks.watching replay --seeds 10
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

import mft_engine as mft
from mft_engine.experiment.experiment import Experiment
from mft_engine.network.two_layer import initial_cloud
from mft_engine.riders import record as riding_record
from mft_engine.rng import Stream

RECIPES = ("sgd-clover-replay", "adam-clover")


def replay(n_seeds: int, names: Sequence[str] = RECIPES) -> dict[str, Any]:
    """The lab's gradient descent and Adam as torch models: the verdict of the watch beside that of `replay`."""
    rows = []
    for name in names:
        for seed in range(n_seeds):
            rows.append(replayed(name, seed))
            print(rows[-1], file=sys.stderr, flush=True)
    return {"same": sum(row["watch"] == row["lab"] for row in rows), "n_runs": len(rows), "rows": rows}


def replayed(name: str, seed: int) -> dict[str, Any]:
    """One recipe and seed, 200 steps of 512 neurons."""
    recipe = mft.load_recipe(name).replace(
        {"engine.dtype": "float64", "engine.device": "cpu", "seed": seed, "network.n_neurons": 512,
         "foreground.n_neurons": 512, "training.n_steps": 200}
    )  # fmt: skip
    lab = Experiment(recipe)
    lab.advance(recipe.training.n_steps)
    for _ in (*lab.foreground(), *lab.compare()):
        pass
    run = lab.outcome()
    points = [torch.from_numpy(part) for part in (run.points.inputs, run.points.targets)]
    weights = torch.from_numpy(run.points.weights)
    start, fresh = (
        initial_cloud(recipe, 2, 512, stream=stream, device=weights.device, dtype=weights.dtype).theta
        for stream in (Stream.INITIAL, Stream.FOREGROUND_INITIAL)
    )
    hidden, readout = nn.Linear(2, 512, bias=False).double(), nn.Linear(512, 1, bias=False).double()
    with torch.no_grad():
        hidden.weight.copy_(start[:, :2])
        readout.weight.copy_(start[:, 2:].T)
    pairs = [(hidden.weight, recipe.lambda_w), (readout.weight, recipe.lambda_a)]
    groups = [{"params": [weight], "weight_decay": decay} for weight, decay in pairs]
    rule = torch.optim.AdamW if recipe.training.dynamics == "adam" else torch.optim.SGD
    optimizer = rule(groups, float(recipe.training.step_size))
    between = nn.Sequential(nn.Tanh(), nn.ReLU())
    watch = mft.watch(hidden, readout, optimizer=optimizer, activation=between, initial=lambda n: fresh, seed=seed)
    for _ in range(recipe.training.n_steps):
        residual = points[1] - readout(between(hidden(points[0])))[:, 0] / 512
        optimizer.zero_grad()
        (512 / 2 * (weights * residual**2).sum()).backward()
        optimizer.step()
    found = watch.compare()
    assert run.foreground is not None and run.comparison is not None
    assert found.way is not None and run.comparison.way is not None
    apart = (watch.foreground - torch.from_numpy(run.foreground.theta)).abs()
    return {
        "recipe": name,
        "seed": seed,
        "watch": found.verdict,
        "lab": run.comparison.verdict,
        "p_values": [found.p_value, found.way.p_value],
        "lab_p_values": [run.comparison.p_value, run.comparison.way.p_value],
        "riders_apart": [float(apart.median()), float(apart.max())],
        "moved": watch.moved[0],
    }


def cost(width: int = 512, n: int = 2048, batch: int = 1024, n_steps: int = 40) -> dict[str, Any]:
    """What riders cost in the MLP of a transformer block, in units of the watched layer's own step.

    Layers without riders, with as many as neurons and with a tenth as many take steps in turn (process CPU seconds,
    medians), so that whatever else the machine does is the same for all. Inside a block the stream needs its gradient.
    """
    # What is done in the first steps only (checks and records of each) is not the cost of a step.
    riding_record.MOST_CLOUDS = 1
    takers = [one_step(width, n, batch, n_riders) for n_riders in (0, n, n // 10)]
    seconds = np.array([[take() for take in takers] for _ in range(n_steps + 4)])[4:]
    alone, *watched = np.median(seconds, axis=0)
    quarters = np.quantile((seconds[:, 1:] - seconds[:, :1]) / seconds[:, :1], (0.25, 0.75), axis=0)
    return {
        "layer": float(alone),
        **{
            f"{share} riders a neuron": [float(value / alone - 1), *map(float, quarters[:, k])]
            for k, (share, value) in enumerate(zip((1, 0.1), watched, strict=True))
        },
    }


def one_step(width: int, n: int, batch: int, n_riders: int) -> Callable[[], float]:
    """A layer, and what takes a step of it and returns the CPU seconds of that."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, n), nn.GELU(), nn.Linear(n, width))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    if n_riders:
        mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], n_foreground=n_riders)
    x, y = torch.randn(batch, width, requires_grad=True), torch.randn(batch, width)

    def take() -> float:
        begin = time.process_time()
        optimizer.zero_grad()
        x.grad = None
        (model(x) - y).square().mean().backward()
        optimizer.step()
        return time.process_time() - begin

    return take


def main() -> None:
    """One JSON document on standard output, progress on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "replay"))
    parser.add_argument("--seeds", type=int, default=20)
    chosen = parser.parse_args()
    document = cost() if chosen.what == "cost" else replay(chosen.seeds)
    print(json.dumps(document))


if __name__ == "__main__":
    main()
