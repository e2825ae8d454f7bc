"""What is remembered along a run: one row of metrics per record, and a thinned series of clouds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mft_engine.awaited import Kept
from mft_engine.device import double_device, to_host

MAX_STORED = 96
N_STORED_NEURONS = 4096


class History:
    """Metrics and snapshots of one training run.

    The spacing of the snapshots doubles whenever there are more than MAX_STORED of them, so that a run of any length
    keeps an even series; which ones are kept depends on the steps alone.

    Args:
        spacing: steps between snapshots at the start.
    """

    def __init__(self, spacing: int) -> None:
        self.rows: list[dict[str, float]] = []
        self._test_sum = torch.zeros(0, dtype=torch.float64)
        self._n_tests = 0
        self._spacing = spacing
        self._clouds = Kept()
        self._steps: list[int] = []

    def add_rows(self, rows: Iterable[dict[str, float]]) -> None:
        """Append metrics."""
        self.rows.extend(rows)

    def add_test(self, prediction: Tensor, *, is_averaged: bool) -> None:
        """Average (n_test,) predictions on unseen data over the window; outside of it the average begins anew."""
        found = prediction.to(double_device(prediction.device)).double()
        if is_averaged and self._n_tests:
            self._test_sum, self._n_tests = self._test_sum.to(found.device) + found, self._n_tests + 1
        else:
            self._test_sum, self._n_tests = found, int(is_averaged)

    def mean_test_prediction(self) -> np.ndarray | None:
        """(n_test,) average of the predictions on unseen data over the window; None before it has begun."""
        return to_host(self._test_sum / self._n_tests) if self._n_tests else None

    def wants_cloud(self, step: int) -> bool:
        """Whether the cloud of this step belongs into the series."""
        return step % self._spacing == 0 and (not self._steps or self._steps[-1] < step)

    def add_cloud(self, step: int, theta: Tensor) -> None:
        """Append a cloud, (n_neurons, n_params); only the first N_STORED_NEURONS are kept, where they were made."""
        self._clouds.append(theta[:N_STORED_NEURONS].to(torch.float32, copy=True))
        self._steps.append(step)
        if len(self._clouds) > MAX_STORED:
            self._spacing *= 2
            kept = [i for i, s in enumerate(self._steps) if s % self._spacing == 0]
            self._clouds.thin(kept)
            self._steps = [self._steps[i] for i in kept]

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns over the records: step, time, loss, step_size, eta_theta, cos4, ..."""
        return {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]} if self.rows else {}

    def clouds(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_stored, n_shown, n_params) float32 clouds and their (n_stored,) steps."""
        clouds = np.stack(self._clouds.on_host()) if len(self._clouds) else np.zeros((0, 0, 0), np.float32)
        return clouds, np.array(self._steps, dtype=np.int64)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values for a checkpoint."""
        clouds, steps = self.clouds()
        arrays = {"history_clouds": clouds, "history_steps": steps, "history_tests": to_host(self._test_sum)}
        metrics = self.metrics()
        values = {"spacing": self._spacing, "n_tests": self._n_tests, "columns": list(metrics)}
        return arrays | {f"metric_{k}": v for k, v in metrics.items()}, values

    def unpack(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        """Become what `pack` described."""
        columns = {k.removeprefix("metric_"): v for k, v in arrays.items() if k.startswith("metric_")}
        # A file has its arrays in any order, a summary names them in the order of the first record.
        columns = {name: columns[name] for name in values.get("columns", columns)}
        n_rows = len(next(iter(columns.values()), ()))
        self.rows = [{name: float(column[i]) for name, column in columns.items()} for i in range(n_rows)]
        self._spacing = int(values["spacing"])
        self._test_sum = torch.as_tensor(arrays.get("history_tests", np.zeros(0)))
        self._n_tests = int(values.get("n_tests", 0))
        self._clouds = Kept(arrays["history_clouds"])
        self._steps = [int(step) for step in arrays["history_steps"]]
