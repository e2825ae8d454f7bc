"""The program as a person meets it: `run clover` from a cold process, its loss against theory, and peak memory.

python -m benchmarks.program [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

CASES = {
    "run clover": ["clover"],
    "run clover-wrong": ["clover-wrong"],
    "run clover-sharp": ["clover-sharp"],
    # The cost of width: a short run of a million neurons, with everything that follows the training.
    "run clover, 1,000,000 neurons, 20 steps": [
        "clover",
        *("--set", "network.n_neurons=1000000", "--set", "foreground.n_neurons=1000000"),
        *("--set", "training.n_steps=20"),
    ],
}

LIMIT_SECONDS = 600

# The system's own high-water mark: `ru_maxrss` of a child begins at what its parent held.
PROGRAM = """
import resource, sys
from pathlib import Path
from mft_engine.cli import main
try:
    main(sys.argv[1:])
finally:
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(int(s.split()[1]) / 1024 for s in status.read_text().splitlines() if s.startswith("VmHWM"))
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    sys.stderr.write(f"peak {peak}\\n")
"""


def _processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _run(arguments: list[str]) -> dict[str, Any]:
    """Wall and processor seconds, peak resident memory in MB and summary of one cold process."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = _processor_seconds(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "run", *arguments, "--out", folder, "--json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=LIMIT_SECONDS,
        )
        seconds, cpu_seconds = time.perf_counter() - start, _processor_seconds() - before
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": float(done.stderr.rsplit("peak ", 1)[1].split()[0]),
        "summary": json.loads(done.stdout),
    }


def measure(*, quick: bool = False) -> dict[str, Any]:
    """One row per case: median and extremes of the wall time, peak memory, and what the run found."""
    rows = []
    for name, arguments in list(CASES.items())[: 1 if quick else None]:
        runs = [_run(arguments) for _ in range(1 if quick else 3)]
        seconds = [run["seconds"] for run in runs]
        summary = runs[-1]["summary"]
        theory = summary["theory"]
        rows.append(
            {
                "name": name,
                "seconds_median": statistics.median(seconds),
                "seconds_min": min(seconds),
                "seconds_max": max(seconds),
                "cpu_seconds_median": statistics.median(run["cpu_seconds"] for run in runs),
                "peak_mb": max(run["peak_mb"] for run in runs),
                "steps_per_second": summary["background"]["steps_per_second"],
                "loss": summary["background"]["loss"],
                "loss_theory": theory["loss"] if theory else None,
                "verdict": summary["comparison"]["verdict"],
            }
        )
    return {"schema": "mft-lab/benchmark/program/1", "cores": os.cpu_count(), "rows": rows}


def markdown(document: dict[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        "| command | s (median) | s (min - max) | CPU s | steps/s | peak MB | loss | infinite width | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        theory = f"{row['loss_theory']:.4f}" if row["loss_theory"] is not None else ""
        seconds = f"{row['seconds_median']:.1f} | {row['seconds_min']:.1f} - {row['seconds_max']:.1f}"
        lines.append(
            f"| {row['name']} | {seconds} | {row['cpu_seconds_median']:.1f} | {row['steps_per_second']:,.0f} | "
            f"{row['peak_mb']:.0f} | {row['loss']:.4f} | {theory} | {row['verdict']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    print(markdown(measure(quick=parser.parse_args().quick)))


if __name__ == "__main__":
    main()
