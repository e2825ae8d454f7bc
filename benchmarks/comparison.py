"""The comparison of two clouds against what a user would write, in one run: time, longest slice, memory, agreement.

    python -m benchmarks.comparison [--quick] [--json]

Peers compute the same statistic over (w, a) alone with the same number of permutations: the distance matrix held
whole and indexed once a permutation, and the same matrix multiplied by all permutations at once in float64. One
thread. A case of ours computes twice as much, (w, a) and w alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil
import torch
from scipy.spatial.distance import cdist

from mft_engine import rng
from mft_engine.compare.clouds import Comparison, compare_clouds
from mft_engine.rng import Stream

SIZES = ((2048, False), (20_000, False), (20_000, True), (100_000, True))
N_PERMUTATIONS = 500
# The peers hold the whole matrix and take this long already here.
MAX_PEER_NEURONS = 2048
MEMORY_POLL_SECONDS = 0.002
# One permutation of the indexed peer is timed this often and counted N_PERMUTATIONS times.
N_TIMED_PERMUTATIONS = 10


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Appends the largest resident memory above the start, in MB, when it ends."""
    found: list[float] = []
    rss, over, process = [], threading.Event(), psutil.Process()

    def watch() -> None:
        while not over.wait(MEMORY_POLL_SECONDS):
            rss.append(process.memory_info().rss)

    start = process.memory_info().rss
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        found.append((max(rss, default=start) - start) / 1e6)


def clouds(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two samples of one law, (n, 3) each."""
    first, second = (rng.normal(0, Stream.TEST_POINTS, k, n, 3, device="cpu") for k in range(2))
    return first, second


def ours(n: int, is_sliced: bool) -> dict[str, Any]:
    """Seconds of CPU, slices, longest slice and memory of one comparison."""
    x, y = clouds(n)
    slices, answer = [], None
    with peak_memory() as memory:
        start = before = time.process_time()
        limit = 0 if is_sliced else 10**9
        for answer in compare_clouds(x, y, 2, n_permutations=N_PERMUTATIONS, exact_limit=limit):  # noqa: B007
            now = time.process_time()
            slices.append(1000 * (now - before))
            before = now
        seconds = time.process_time() - start
    assert isinstance(answer, Comparison)
    return {
        "name": f"mft-lab, {answer.method}",
        "n": n,
        "cpu_seconds": seconds,
        "slice_ms_p50": float(np.median(slices)),
        "slice_ms_p95": float(np.quantile(slices, 0.95)),
        "slice_ms_max": max(slices),
        "peak_mb": memory[0],
        "energy_distance": answer.energy_distance,
        "null_mean": answer.null_mean,
    }


def _standardised(n: int) -> np.ndarray:
    pool = np.concatenate([cloud.double().numpy() for cloud in clouds(n)])
    return pool / pool.std(axis=0)


def _splits(n: int, count: int) -> np.ndarray:
    labels = np.empty((count, 2 * n), dtype=np.float64)
    labels[:, :n], labels[:, n:] = 1 / n, -1 / n
    return rng.host_generator(1, Stream.PERMUTATION).permuted(labels, axis=1)


def indexed(n: int) -> tuple[float, float, float]:
    """One permutation after the other: three means of the whole matrix, by index."""
    start = time.process_time()
    pool = _standardised(n)
    matrix = cdist(pool, pool)
    made = time.process_time() - start
    generator = rng.host_generator(1, Stream.PERMUTATION)
    start = time.process_time()
    values = []
    for _ in range(N_TIMED_PERMUTATIONS):
        order = generator.permutation(2 * n)
        one, other = order[:n], order[n:]
        mixed = matrix[np.ix_(one, other)].mean()
        values.append(2 * mixed - matrix[np.ix_(one, one)].mean() - matrix[np.ix_(other, other)].mean())
    each = (time.process_time() - start) / N_TIMED_PERMUTATIONS
    distance = 2 * matrix[:n, n:].mean() - matrix[:n, :n].mean() - matrix[n:, n:].mean()
    return made + N_PERMUTATIONS * each, float(distance), float(np.mean(values))


def multiplied(n: int) -> tuple[float, float, float]:
    """All permutations as one product with the whole matrix, in float64."""
    start = time.process_time()
    pool = _standardised(n)
    matrix = cdist(pool, pool)
    labels = _splits(n, N_PERMUTATIONS)
    null = -np.einsum("bi,bi->b", labels @ matrix, labels)
    observed = np.repeat([1 / n, -1 / n], n)
    return time.process_time() - start, float(-observed @ matrix @ observed), float(null.mean())


def peer(name: str, run: Callable[[int], tuple[float, float, float]], n: int) -> dict[str, Any]:
    """A peer's row."""
    with peak_memory() as memory:
        seconds, distance, null_mean = run(n)
    return {
        "name": name,
        "n": n,
        "cpu_seconds": seconds,
        "peak_mb": memory[0],
        "energy_distance": distance,
        "null_mean": null_mean,
    }


def measure(*, quick: bool = False) -> dict[str, Any]:
    """All rows, each ratio against ours of the same size."""
    torch.set_num_threads(1)
    rows = []
    ours(500, False)
    for n, is_sliced in SIZES[: 1 if quick else None]:
        rows.append(ours(n, is_sliced))
        if n <= MAX_PEER_NEURONS:
            found = [
                peer("matrix held, indexed once a permutation", indexed, n),
                peer("matrix held, one product in float64", multiplied, n),
            ]
            rows += [{**row, "ratio": row["cpu_seconds"] / rows[-1]["cpu_seconds"]} for row in found]
    return {
        "schema": "mft-lab/benchmark/comparison/1",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "n_permutations": N_PERMUTATIONS,
        "rows": rows,
    }


def markdown(document: dict[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        "| neurons | method | CPU s | against ours | slice ms p50 / p95 / max | peak MB | distance | null mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        slices = (
            ""
            if "slice_ms_p50" not in row
            else " / ".join(f"{row[f'slice_ms_{part}']:.0f}" for part in ("p50", "p95", "max"))
        )
        ratio = f"{row['ratio']:.1f} times" if "ratio" in row else ""
        lines.append(
            f"| {row['n']:,} | {row['name']} | {row['cpu_seconds']:.2f} | {ratio} | {slices} | {row['peak_mb']:.0f} | "
            f"{row['energy_distance']:.4g} | {row['null_mean']:.4g} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table, or the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="2,048 neurons only")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    document = measure(quick=options.quick)
    print(json.dumps(document, indent=2) if options.json else markdown(document))


if __name__ == "__main__":
    main()
