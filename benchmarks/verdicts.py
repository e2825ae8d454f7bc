"""How often the verdict is right: many seeds of a recipe, one line each, then a summary.

python benchmarks/verdicts.py clover clover-warm clover-wrong --seeds 20
python benchmarks/verdicts.py continuous-xor continuous-xor-wrong --seeds 4
"""

from __future__ import annotations

import argparse
import collections
import json
import sys

import numpy as np

from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import load_recipe


def verdict_of(name: str, changes: dict[str, object]) -> dict[str, float | str]:
    """The numbers of one run that a reader of verdicts wants."""
    *_, finished = Experiment(load_recipe(name).replace(changes))
    summary = finished.summary
    comparison, background, theory = summary["comparison"], summary["background"], summary["theory"]
    orders, errors = (
        summary["feature_learning"][k].get("cos4") for k in ("order_parameters", "order_parameters_error")
    )
    return {
        "seed": summary["seed"],
        "verdict": comparison["verdict"],
        "p_value": comparison["p_value"],
        "ratio": comparison["ratio"],
        "ratio_weights": comparison["ratio_weights"],
        "loss": background["loss"],
        "loss_theory": theory["loss"] if theory else None,
        "cos4": orders,
        "cos4_error": errors,
        "cos4_theory": theory["order_parameters"]["cos4"] if theory else None,
        "foreground_loss": summary["foreground"]["loss"],
        "expected_loss_difference": comparison["expected_loss_difference"],
        "eta_theta": background["eta_theta"],
        **{
            f"layer{number}_{key}": layer[key]
            for number, layer in enumerate(summary["layers"], start=1)
            for key in ("verdict", "ratio", "p_value")
            if len(summary["layers"]) > 1
        },
        "seconds": background["seconds"] + summary["foreground"]["seconds"],
    }


def main() -> None:
    """Run and print; progress on standard error, one JSON document on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--method", help="of the foreground; the recipe's own where it is not given")
    arguments = parser.parse_args()
    document = {}
    for name in arguments.recipes:
        rows = []
        for seed in range(arguments.seeds):
            method = {"foreground.method": arguments.method} if arguments.method else {}
            rows.append(verdict_of(name, {"seed": seed, **method}))
            print(name, rows[-1], file=sys.stderr, flush=True)
        ratios = np.array([row["ratio"] for row in rows])
        document[name] = {
            "verdicts": dict(collections.Counter(row["verdict"] for row in rows)),
            "p_above_0.01": int(sum(row["p_value"] > 0.01 for row in rows)),
            "ratio_min_median_max": [float(f(ratios)) for f in (np.min, np.median, np.max)],
            "rows": rows,
        }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
