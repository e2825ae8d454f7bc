"""What is remembered along a watched training: clouds at a few steps, and losses with other neurons in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mft_engine.device import to_host

# Clouds kept of a training of any length, and bytes that all of them may take.
MOST_CLOUDS = 24
BYTES = 48_000_000
FEWEST_NEURONS = 64


@dataclass(frozen=True)
class Exchange:
    """The model's loss with other neurons in the layer's place, at one step; nan where there was no way to ask.

    Attributes:
        step: of the optimiser since the watch began.
        network: the loss as it is; riders: with the riders as the layer, the mean-field prediction.
        thinned: {k: loss with k of the layer's neurons, each for n/k}.
    """

    step: int
    network: float
    riders: float
    thinned: dict[int, float]

    @property
    def sentence(self) -> str:
        """In words: the losses, and how many neurons do as well as all."""
        enough = [k for k, loss in self.thinned.items() if loss <= self.network + 0.1 * abs(self.network)]
        needed = f"; {min(enough)} of its neurons come within a tenth of it" if enough else ""
        return f"loss {self.network:.4g}, with riders as the layer {self.riders:.4g}{needed}"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<p>{self.sentence}</p>"


class Record:
    """Clouds along the training. The spacing of the steps doubles whenever there are more than MOST_CLOUDS of them.

    Args:
        n_neurons, n_riders, n_params: of the clouds; of large ones only the first neurons are kept.
    """

    def __init__(self, n_neurons: int, n_riders: int, n_params: int) -> None:
        n_kept = max(FEWEST_NEURONS, BYTES // (2 * 4 * MOST_CLOUDS * n_params))
        self._kept = min(n_neurons, n_kept), min(n_riders, n_kept)
        self._spacing = 1
        self.steps: list[int] = []
        self._clouds: list[tuple[np.ndarray, np.ndarray]] = []
        self._moved: list[tuple[float, float]] = []
        self.exchanges: list[Exchange] = []

    def wants(self, step: int) -> bool:
        """Whether the clouds of this step belong into the series."""
        return step % self._spacing == 0 and (not self.steps or self.steps[-1] < step)

    def add(self, step: int, neurons: Tensor, riders: Tensor, moved: tuple[float, float]) -> None:
        """Keep both clouds, (n, n_params), and how far they have moved."""
        self._clouds.append((_kept(neurons, self._kept[0]), _kept(riders, self._kept[1])))
        self.steps.append(step)
        self._moved.append(moved)
        if len(self.steps) > MOST_CLOUDS:
            self._spacing *= 2
            places = [place for place, kept in enumerate(self.steps) if kept % self._spacing == 0]
            self.steps = [self.steps[place] for place in places]
            self._clouds = [self._clouds[place] for place in places]
            self._moved = [self._moved[place] for place in places]

    def clouds(self) -> tuple[np.ndarray, np.ndarray]:
        """(n_stored, n_shown, n_params) float32 clouds of the neurons and of the riders."""
        return np.stack([pair[0] for pair in self._clouds]), np.stack([pair[1] for pair in self._clouds])

    def moved(self) -> np.ndarray:
        """(n_stored, 2) how far neurons and riders had moved."""
        return np.array(self._moved, dtype=np.float64).reshape(-1, 2)


def _kept(cloud: Tensor, n: int) -> np.ndarray:
    return to_host(cloud[:n].float())
