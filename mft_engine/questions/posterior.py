"""Mean and variance of the function of one network at equilibrium, from samples of f along its run.

    E loss = |y - E f|^2 + Var f          (bias^2 and variance, both in mean square over x)
    N Var f -> Tr C (I + C/T)^-1          C the covariance operator of a phi(w.x) under the law of one neuron

At T > 0 the run samples the Bayesian posterior of the network, so this is the posterior mean and variance. Neurons of
one network repel through the loss: N Var f is far below Tr C, which N independent neurons have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from mft_engine.awaited import Kept
from mft_engine.estimates import autocorrelation_time, averaged
from mft_engine.points.loss import LOSS

MAX_SAMPLES = 512
MOST_POINTS = 1024
FEWEST_SAMPLES = 8


@dataclass(frozen=True)
class Posterior:
    """What the averaging window says about the function of a network.

    Attributes:
        mean_loss: |y - E f|^2, the loss of the posterior mean (bias^2), freed of the average's own scatter; a small
            negative number where that scatter is all there is.
        variance: mean over x of Var f(x), of one network of N neurons; variance_error its standard error.
        variance_theory: Tr C (I + C/T)^-1 / N at infinite width, None where it is not known.
        n_neurons: N, of the last hidden layer.
        n_samples: functions that were looked at; autocorrelation_time: in samples.
    """

    mean_loss: float
    variance: float
    variance_error: float
    variance_theory: float | None
    n_neurons: int
    n_samples: int
    autocorrelation_time: float


class FunctionSamples:
    """f on the field points at even intervals of the averaging window; forgotten when the averages begin anew.

    Args:
        spacing: steps between samples; it doubles whenever there are more than MAX_SAMPLES.
        n_points: of the field; at most MOST_POINTS of them, at a fixed stride, are looked at.
    """

    def __init__(self, spacing: int, n_points: int) -> None:
        self.first_spacing = spacing
        self.stride = -(-n_points // MOST_POINTS)
        self._begin(-1.0)

    def _begin(self, since: float) -> None:
        self._since, self._spacing = since, self.first_spacing
        self._functions = Kept()
        self._steps: list[int] = []

    def offer(self, step: int, since: float, function: Callable[[], Tensor]) -> None:
        """Take a sample if one is due.

        Args:
            since: when the present averaging window began; another value than before forgets the earlier samples.
            function: makes f, (n_looked_at,) or (n_looked_at, n_out); only called where it is taken, and
                left where it was made.
        """
        if since != self._since:
            self._begin(since)
        if step % self._spacing or (self._steps and step <= self._steps[-1]):
            return
        self._functions.append(function())
        self._steps.append(step)
        if len(self._steps) > MAX_SAMPLES:
            self._spacing *= 2
            kept = [i for i, s in enumerate(self._steps) if s % self._spacing == 0]
            self._functions.thin(kept)
            self._steps = [self._steps[i] for i in kept]

    def estimate(
        self,
        since: float,
        mean: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        n_neurons: int,
        variance_theory: float | None,
    ) -> Posterior | None:
        """Mean and variance of the function; None with fewer than FEWEST_SAMPLES.

        Args:
            since: the present window; samples of another one do not count.
            mean: the time average of f on all field points, targets there: (n_points,) or (n_points, n_out).
            weights: (n_points,) of the loss, E = sum weights.
        """
        if since != self._since or len(self._steps) < FEWEST_SAMPLES:
            return None
        looked_at = weights[:: self.stride]
        root = np.sqrt(looked_at * (weights.sum() / looked_at.sum()))
        samples = np.stack([f.reshape(len(root), -1) for f in self._functions.on_host()]).astype(np.float64)
        deviations = ((samples - samples.mean(axis=0)) * root[:, None]).reshape(len(samples), -1)
        squares = (deviations**2).sum(axis=1)
        time = min(autocorrelation_time(deviations), 0.5 * len(samples))
        # Deviations from the samples' own mean are too small by the variance of that mean.
        own = 1.0 - time / len(samples)
        variance = float(squares.mean()) / own
        losses = LOSS.values(targets, mean).reshape(len(weights), -1).sum(axis=1)
        return Posterior(
            mean_loss=float(weights @ losses) - variance * time / len(samples),
            variance=variance,
            variance_error=averaged(squares).standard_error / own,
            variance_theory=variance_theory,
            n_neurons=n_neurons,
            n_samples=len(samples),
            autocorrelation_time=time,
        )

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and plain values for a checkpoint."""
        if not self._steps:
            return {}, {"since": self._since, "spacing": self._spacing}
        arrays = {"function_samples": np.stack(self._functions.on_host()), "function_steps": np.array(self._steps)}
        return arrays, {"since": self._since, "spacing": self._spacing}

    def unpack(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        """Become what `pack` described."""
        self._begin(float(values["since"]))
        self._spacing = int(values["spacing"])
        self._functions = Kept(arrays.get("function_samples", ()))
        self._steps = [int(step) for step in arrays.get("function_steps", ())]
