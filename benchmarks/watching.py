"""What `mft.watch` finds over many seeds, what it costs, and whether it agrees with the lab's own replay.

python -m benchmarks.watching cost
python -m benchmarks.watching verdicts --task product --rule Adam --neurons 256 --seeds 20
python -m benchmarks.watching replay --seeds 10
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import mft_engine as mft
from mft_engine.compare.clouds import ComparisonError
from mft_engine.experiment.experiment import Experiment
from mft_engine.riders import record as riding_record
from mft_engine.riders import riding
from mft_engine.riders.watch import Watch

BATCH = 64
N_STEPS = 250


def sgd_rate(task: str, n: int) -> float:
    """Of a squared loss the rate must stay below about 1/(sum of phi^2), a third of a layer of n tanh neurons."""
    return 1.0 / n if task == "product" else 0.05


RULES: dict[str, Callable[[Any, str, int], torch.optim.Optimizer]] = {
    "SGD": lambda p, task, n: torch.optim.SGD(p, sgd_rate(task, n)),
    "Adam": lambda p, task, n: torch.optim.Adam(p, 1e-2),
    "AdamW": lambda p, task, n: torch.optim.AdamW(p, 1e-2, weight_decay=0.1),
}


def product(model: nn.Module, x: Tensor) -> Tensor:
    """Regression on x1 x2."""
    return (model(x)[:, 0] - x[:, 0] * x[:, 1]).square().mean()


def quadrants(model: nn.Module, x: Tensor) -> Tensor:
    """Classes by the sign of x1 x2."""
    return nn.functional.cross_entropy(model(x), (x[:, 0] * x[:, 1] > 0).long())


TASKS = {"product": (product, 1), "quadrants": (quadrants, 2)}


def network(n: int, n_out: int, seed: int) -> nn.Sequential:
    """2 inputs, n tanh neurons, as torch initialises them."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, n), nn.Tanh(), nn.Linear(n, n_out))


def batches(seed: int, n_steps: int) -> Tensor:
    """(n_steps, BATCH, 2) inputs of one training."""
    return torch.randn(n_steps, BATCH, 2, generator=torch.Generator().manual_seed(seed + 10_000))


def doubled(model: nn.Sequential) -> Callable[[int], Tensor]:
    """Neurons drawn by torch's own rules, everything twice as large."""

    def draw(n: int) -> Tensor:
        with torch.random.fork_rng([]):
            torch.manual_seed(777)
            fresh = [nn.Linear(2, n), nn.Linear(n, model[2].out_features)]
        return 2.0 * torch.cat([fresh[0].weight, fresh[0].bias[:, None], fresh[1].weight.T], dim=1).detach()

    return draw


def train(
    task: str, rule: str, n: int, seed: int, *, is_frozen: bool = False, signals: list[Tensor] | None = None
) -> tuple[dict[str, Watch], list[Tensor]]:  # fmt: skip
    """One training with right riders, riders of a doubled start and riders of other error signals beside it.

    Args:
        is_frozen: half of the neurons are put back to their start after every step, and only right riders ride along.
        signals: error signals of another training, one a step.

    Returns:
        the watches by name, and the error signals of every step.
    """
    loss, n_out = TASKS[task]
    model = network(n, n_out, seed)
    optimizer = RULES[rule](model.parameters(), task, n)
    options: dict[str, Any] = {"optimizer": optimizer, "activation": model[1], "seed": seed}
    watches = {"right": mft.watch(model[0], model[2], **options)}
    if not is_frozen:
        watches["doubled"] = mft.watch(model[0], model[2], initial=doubled(model), **options)
    if signals is not None:
        wrong = watches["wrong signals"] = mft.watch(model[0], model[2], **options)
        # The watch finds at once that these are not the network's own, and stops; here its verdict is asked for.
        riders, own = wrong._riders, wrong._riders._on_delta
        riders._n_backward = 1
        riders._on_delta = lambda inputs, features, delta: own(inputs, features, signals[wrong.n_steps])  # type: ignore[method-assign]
    kept: list[Tensor] = []
    model[2].register_forward_hook(lambda module, inputs, output: output.register_hook(kept.append) and None)
    start, half = [part.detach().clone() for part in model.parameters()], n // 2
    for x in batches(seed, N_STEPS):
        optimizer.zero_grad()
        loss(model, x).backward()
        optimizer.step()
        if is_frozen:
            with torch.no_grad():
                model[0].weight[:half], model[0].bias[:half] = start[0][:half], start[1][:half]
                model[2].weight[:, :half] = start[2][:, :half]
    return watches, kept


def verdicts(task: str, rule: str, n: int, n_seeds: int) -> dict[str, Any]:
    """Right and wrong riders over the seeds: how often each is called consistent."""
    riding.N_CHECKED, riding.CHECKED_EVERY = 0, 10**9
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    moved, p_values, ratios, resolutions = [], [], [], []
    _, signals = train(task, rule, n, n_seeds + 500)
    for seed in range(n_seeds):
        watches, own = train(task, rule, n, seed, signals=signals)
        signals = own
        watches["half frozen"] = train(task, rule, n, seed, is_frozen=True)[0]["right"]
        for name, watch in watches.items():
            try:
                found = watch.compare()
            except ComparisonError:  # riders that run away in a field that is not theirs
                counts[name]["not finite"] += 1
                continue
            counts[name][str(found.verdict)] += 1
            if name == "right":
                moved.append(watch.moved[0])
                p_values.append(found.p_value_all)
                ratios.append(found.ratio)
                resolutions.append(found.resolution.prior_share or 1.0 if found.resolution else 1.0)
        print(task, rule, n, seed, {k: dict(v) for k, v in counts.items()}, file=sys.stderr, flush=True)
    return {
        "task": task, "rule": rule, "n_neurons": n, "n_seeds": n_seeds,
        "consistent": counts["right"]["consistent"],
        **{f"noticed {k}": n_seeds - counts[k]["consistent"] for k in ("wrong signals", "doubled", "half frozen")},
        "moved": float(np.median(moved)), "median_p": float(np.median(p_values)),
        "median_ratio": float(np.median(ratios)), "untrained_share_noticed": float(np.median(resolutions)),
    }  # fmt: skip


def replay(n_seeds: int) -> dict[str, Any]:
    """The lab's gradient descent as a torch model: the watch's verdict on the cloud beside that of `replay`."""
    from mft_engine.network.two_layer import initial_cloud
    from mft_engine.rng import Stream

    rows = []
    for seed in range(n_seeds):
        recipe = mft.load_recipe("sgd-clover-replay").replace(
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
        optimizer = torch.optim.SGD(groups, recipe.training.step_size)
        between = nn.Sequential(nn.Tanh(), nn.ReLU())
        watch = mft.watch(hidden, readout, optimizer=optimizer, activation=between, initial=lambda n, f=fresh: f)
        for _ in range(recipe.training.n_steps):
            residual = points[1] - readout(between(hidden(points[0])))[:, 0] / 512
            optimizer.zero_grad()
            (512 / 2 * (weights * residual**2).sum()).backward()
            optimizer.step()
        found = watch.compare()
        assert run.foreground is not None and run.comparison is not None
        apart = float((watch.foreground - torch.from_numpy(run.foreground.theta)).abs().max())
        rows.append(
            {
                "seed": seed,
                "watch": found.verdict,
                "lab": run.comparison.verdict,
                "riders_apart": apart,
                "moved": watch.moved[0],
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return {"same": sum(row["watch"] == row["lab"] for row in rows), "n_seeds": n_seeds, "rows": rows}


def cost(width: int = 512, n: int = 2048, batch: int = 1024, n_steps: int = 12) -> dict[str, Any]:
    """CPU seconds of a step of one MLP block (median), without and with riders, and of the watched layer alone."""

    def step_seconds(n_riders: int | None) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(width, n), nn.GELU(), nn.Linear(n, width))
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        if n_riders:
            mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], n_foreground=n_riders)
            # What is done in the first steps only (checks and records of each) is not the cost of a step.
        x, y = torch.randn(batch, width), torch.randn(batch, width)
        seconds = []
        for number in range(n_steps + 4):
            begin = time.process_time()
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
            if number >= 4:
                seconds.append(time.process_time() - begin)
        return float(np.median(seconds))

    riding_record.MOST_CLOUDS = 1
    alone = step_seconds(None)
    return {
        "layer": alone,
        **{f"{share} riders a neuron": (step_seconds(int(n * share)) - alone) / alone for share in (1, 0.1)},
    }


def main() -> None:
    """One JSON document on standard output, progress on standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "verdicts", "replay"))
    parser.add_argument("--task", choices=TASKS, default="product")
    parser.add_argument("--rule", choices=RULES, default="Adam")
    parser.add_argument("--neurons", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=20)
    chosen = parser.parse_args()
    if chosen.what == "cost":
        document = cost()
    elif chosen.what == "replay":
        document = replay(chosen.seeds)
    else:
        document = verdicts(chosen.task, chosen.rule, chosen.neurons, chosen.seeds)
    print(json.dumps(document))


if __name__ == "__main__":
    main()
