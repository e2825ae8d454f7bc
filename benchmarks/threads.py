"""The fused kernel with one and two threads: the ratio by the clock on the wall, and whether the bits agree.

    python -m benchmarks.threads [--json]

Needs a quiet machine with two cores: threads that meet at every step wait for the one that another program holds up.
Runs take turns, and the fastest of each counts.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch

from mft_engine.cli.bench import load_part
from mft_engine.kernels import choose

SIZES = ((2048, 256), (16_384, 256), (131_072, 256))
GOALS = {16_384: 1.5, 131_072: 1.7}
SECONDS = 12.0
# Of a call: a tenth of a second's, as the command line takes them. Single steps are worth 1.7 where eight are 1.85.
NEURON_STEPS = 2**20


def measure_size(n_neurons: int, n_points: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Milliseconds a step with one and two threads, and whether one, two and three give the same neurons."""
    parts = load_part("kernels")
    case = parts.Case.of(n_neurons, n_points)
    kernel = choose("relu_tanh", device="cpu", dtype=torch.float32, n_inputs=2)
    n_steps = max(1, NEURON_STEPS // n_neurons)
    total = torch.zeros(n_points, dtype=torch.float64)

    def run(n_threads: int) -> torch.Tensor:
        torch.set_num_threads(n_threads)
        arguments = (case.theta, case.points, case.targets, case.weights, parts.plan(noisy=True))
        return kernel.advance_background(*arguments, 0, n_steps, total).theta

    before = torch.get_num_threads()
    found = [run(n) for n in (1, 2, 3)]
    best = {1: float("inf"), 2: float("inf")}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for n_threads in best:
            start = time.perf_counter()
            run(n_threads)
            best[n_threads] = min(best[n_threads], time.perf_counter() - start)
    torch.set_num_threads(before)
    return {
        "n_neurons": n_neurons,
        "n_points": n_points,
        "one_ms": 1e3 * best[1] / n_steps,
        "two_ms": 1e3 * best[2] / n_steps,
        "ratio": best[1] / best[2],
        "goal": GOALS.get(n_neurons),
        "same_bits": all(torch.equal(found[0], other) for other in found[1:]),
    }


def main() -> None:
    """Print the table, or the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="a JSON document instead of a table")
    arguments = parser.parse_args()
    rows = [measure_size(*size) for size in SIZES]
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    print("| neurons x points | 1 thread, ms a step | 2 threads | ratio | goal | same bits with 1, 2 and 3 |")
    print("|" + "---|" * 6)
    for row in rows:
        print(
            f"| {row['n_neurons']:,} x {row['n_points']} | {row['one_ms']:.3f} | {row['two_ms']:.3f} | "
            f"{row['ratio']:.2f} | {row['goal'] or ''} | {row['same_bits']} |"
        )


if __name__ == "__main__":
    main()
