"""Level and power of the verdicts of `mft.watch` over seeds: right riders, wrong riders, and neurons that are tied.

Every command prints one JSON line a seed, so that it can be run in pieces and resumed; `sum` puts the lines together.

    python -m benchmarks.riders measure --tasks product --rules Adam --sizes 256 --seeds 3-23 >> riders.jsonl
    python -m benchmarks.riders sum riders.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import mft_engine as mft
from mft_engine.compare.clouds import ComparisonError
from mft_engine.riders import riding
from mft_engine.riders.watch import Watch

BATCH = 64
N_STEPS = 250
WRONG = ("wrong signals", "doubled", "half frozen")


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


def doubled(n_out: int, seed: int) -> Callable[[int], Tensor]:
    """Draws neurons by torch's own rules, everything twice as large."""

    def draw(n: int) -> Tensor:
        with torch.random.fork_rng([]):
            fresh = network(n, n_out, seed + 20_000)
        return 2.0 * torch.cat([fresh[0].weight, fresh[0].bias[:, None], fresh[2].weight.T], dim=1).detach()

    return draw


def tie(model: nn.Sequential) -> None:
    """The second half of the neurons becomes a copy of the first; gradients keep it so."""
    with torch.no_grad():
        for parameter, cut in ((model[0].weight, 0), (model[0].bias, 0), (model[2].weight, 1)):
            first, second = parameter.chunk(2, dim=cut)
            second.copy_(first)


def freeze_half(model: nn.Sequential, start: Sequence[Tensor]) -> None:
    """Half of the neurons are put back to their start."""
    half = model[0].out_features // 2
    with torch.no_grad():
        model[0].weight[:half], model[0].bias[:half] = start[0][:half], start[1][:half]
        model[2].weight[:, :half] = start[2][:, :half]


def train(
    task: str, rule: str, n: int, seed: int, *, kind: str = "right", signals: list[Tensor] | None = None
) -> tuple[dict[str, Watch], list[Tensor]]:  # fmt: skip
    """One training with riders.

    Args:
        kind: "right": an ordinary network, with right riders and riders of a doubled start; "half frozen": half of the
            neurons never leave their start; "tied": neurons in pairs of copies.
        signals: error signals of another training, one a step: riders ride along that are fed these.

    Returns:
        the watches by name, and the error signals of every step.
    """
    loss, n_out = TASKS[task]
    model = network(n, n_out, seed)
    if kind == "tied":
        tie(model)
    optimizer = RULES[rule](model.parameters(), task, n)
    options: dict[str, Any] = {"optimizer": optimizer, "activation": model[1], "seed": seed}
    watches = {kind: mft.watch(model[0], model[2], **options)}
    if kind == "right":
        watches["doubled"] = mft.watch(model[0], model[2], initial=doubled(n_out, seed), **options)
    if signals is not None:
        wrong = watches["wrong signals"] = mft.watch(model[0], model[2], **options)
        # The watch finds at once that these are not the network's own, and stops; here its verdict is asked for.
        riders, own = wrong._riders, wrong._riders._on_delta
        riders._n_backward = 1
        riders._on_delta = lambda inputs, features, delta: own(inputs, features, signals[wrong.n_steps])  # type: ignore[method-assign]
    kept: list[Tensor] = []
    model[2].register_forward_hook(lambda module, inputs, output: output.register_hook(kept.append) and None)
    start = [part.detach().clone() for part in model.parameters()]
    for x in batches(seed, N_STEPS):
        optimizer.zero_grad()
        loss(model, x).backward()
        optimizer.step()
        if kind == "half frozen":
            freeze_half(model, start)
    return watches, kept


def told(watch: Watch) -> dict[str, Any]:
    """What a watch says at the end."""
    try:
        found = watch.compare()
    except ComparisonError:  # riders that run away in a field that is not theirs
        return {"verdict": "not finite"}
    alone = watch.independence()
    return {
        "verdict": found.verdict, "p": found.p_value_all, "ratio": found.decisive.ratio, "moved": watch.moved[0],
        "share": found.resolution.prior_share if found.resolution else None,
        "independence": alone.p_value, "spacing": alone.spacing,
    }  # fmt: skip


def measured(task: str, rule: str, n: int, seed: int) -> dict[str, Any]:
    """One seed: right and wrong riders of one training, and of one with frozen and one with tied neurons."""
    riding.N_CHECKED, riding.CHECKED_EVERY = 0, 10**9
    _, signals = train(task, rule, n, seed + 500)
    watches, _ = train(task, rule, n, seed, signals=signals)
    for kind in ("half frozen", "tied"):
        watches |= train(task, rule, n, seed, kind=kind)[0]
    row: dict[str, Any] = {"task": task, "rule": rule, "n_neurons": n, "seed": seed}
    return row | {name: told(watch) for name, watch in watches.items()}


def summed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counts over the seeds, a row for every task, rule and number of neurons."""
    groups: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        groups[row["task"], row["rule"], row["n_neurons"]][row["seed"]] = row
    return [summary(list(groups[key].values())) for key in sorted(groups)]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over the seeds of one setting."""

    def median(key: str) -> float:
        return float(np.median([np.nan if row["right"][key] is None else row["right"][key] for row in rows]))

    def tied_said(row: dict[str, Any]) -> bool:
        return bool(row["tied"]["independence"] <= 0.01)

    return {
        **{key: rows[0][key] for key in ("task", "rule", "n_neurons")},
        "n_seeds": len(rows),
        "consistent": sum(row["right"]["verdict"] == "consistent" for row in rows),
        "no groups": sum(row["right"]["independence"] > 0.01 for row in rows),
        **{f"noticed {kind}": sum(row[kind]["verdict"] != "consistent" for row in rows) for kind in WRONG},
        "tied: law kept": sum(row["tied"]["verdict"] == "consistent" for row in rows),
        "tied: said": sum(map(tied_said, rows)),
        "moved": median("moved"), "median_p": median("p"), "median_ratio": median("ratio"),
        "untrained_share_noticed": median("share"),
    }  # fmt: skip


def main() -> None:
    """Measure and print lines, or put lines together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="one JSON line a seed")
    measure.add_argument("--tasks", default=",".join(TASKS))
    measure.add_argument("--rules", default=",".join(RULES))
    measure.add_argument("--sizes", default="256,1024")
    measure.add_argument("--seeds", default="3-23", help="from-to, without the last")
    together = commands.add_parser("sum", help="counts over the seeds of all lines")
    together.add_argument("names", nargs="+")
    options = parser.parse_args()
    if options.command == "sum":
        lines = [line for name in options.names for line in Path(name).read_text().splitlines()]
        for row in summed([json.loads(line) for line in lines]):
            print(json.dumps(row))
        return
    first, last = map(int, options.seeds.split("-"))
    for seed in range(first, last):
        for task in options.tasks.split(","):
            for rule in options.rules.split(","):
                for n in map(int, options.sizes.split(",")):
                    print(json.dumps(measured(task, rule, n, seed)), flush=True)


if __name__ == "__main__":
    main()
