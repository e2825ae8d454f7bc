"""What a network makes of data that it has not seen: its test loss, and how far that is above its training loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mft_engine.device import double_device
from mft_engine.estimates import Estimate, averaged
from mft_engine.points.loss import LOSS, awaited_loss
from mft_engine.points.measure import judging_measure
from mft_engine.sections import TrainingSection

if TYPE_CHECKING:
    from mft_engine.experiment.setting import Setting


@dataclass(frozen=True)
class TestPoints:
    """Points apart from the training set.

    Attributes:
        inputs: (n_points, n_inputs) on the device; targets, weights: (n_points,) on the host, and there.
        is_sample: data held back, which stand for more of their kind; else a rule for infinite data.
    """

    __test__ = False  # to pytest it is no test

    inputs: Tensor
    targets: np.ndarray
    weights: np.ndarray
    is_sample: bool

    @classmethod
    def of(cls, training: TrainingSection, setting: Setting, seed: int) -> TestPoints | None:
        """The points for a recipe; None where it trains on infinite data, or on all data that there are."""
        own = setting.task.points
        if not (len(own.test_targets) if own else training.n_points):
            return None
        measure = judging_measure(training, setting.task, seed)
        return cls(setting.tensor(measure.inputs), setting.targets(measure), measure.weights, own is not None)

    def loss(self, prediction: np.ndarray) -> float:
        """E |y - f|^2 of (n_points,) or (n_points, n_out) predictions."""
        return float(self.awaited_loss(torch.as_tensor(prediction)))

    @cached_property
    def targets_there(self) -> Tensor:
        """The targets in float64 where the run lives, or on the host where its device has none."""
        return torch.as_tensor(self.targets, dtype=torch.float64, device=double_device(self.inputs.device))

    @cached_property
    def _weights_there(self) -> Tensor:
        return torch.as_tensor(self.weights, dtype=torch.float64, device=self.targets_there.device)

    def awaited_loss(self, prediction: Tensor) -> Tensor:
        """`loss` of predictions on the device, 0-dim; not waited for yet."""
        return awaited_loss(self._weights_there, self.targets_there, prediction.to(self.targets_there))

    def sampling_error(self, prediction: np.ndarray) -> float:
        """Standard error of the test loss over other draws of the data held back; 0 for infinite data."""
        n = len(self.targets)
        if not self.is_sample:
            return 0.0
        if n < 2:
            return math.nan
        return float(np.std(self._squares(prediction), ddof=1) / math.sqrt(n) * self.weights.sum())

    def _squares(self, prediction: np.ndarray) -> np.ndarray:
        return np.asarray(LOSS.values(self.targets, prediction).reshape(len(self.targets), -1).sum(axis=1))


def generalisation_gap(rows: Sequence[dict[str, float]], sampling_error: float) -> Estimate:
    """Test loss minus training loss, for the training set at hand.

        mean over the averaging window of (test - train);   error^2 = (error of that mean)^2 + (sampling error)^2

    The error says nothing of other training sets, which differ by more: train with another seed to see that. The
    window's error is of an autocorrelated series (`estimates.averaged`), nan while that is too short.

    Args:
        rows: records with loss, test_loss and is_averaged. Those since the last one outside of the window count: a
            change of parameters begins it anew. Before it begins, the last one alone counts.
        sampling_error: of the test loss, over draws of the test data.
    """
    first = next((k + 1 for k in reversed(range(len(rows))) if not rows[k]["is_averaged"]), 0)
    windowed = rows[first:] or rows[-1:]
    mean, error = averaged(np.array([row["test_loss"] - row["loss"] for row in windowed]))
    return Estimate(mean, math.hypot(error, sampling_error))
