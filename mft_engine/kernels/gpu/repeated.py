"""The launches of a step, recorded several times over where the device can, so that a call is few replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mft_engine.device import record_graph

# Steps whose losses fit into one buffer; longer calls are cut.
MAX_STEPS = 1024
# Steps in one recording; a call takes as many of the largest as fit, then of the next.
RECORDED = (64, 16, 4, 1)


class Repeated:
    """Some launches, to be made any number of times.

    Args:
        launch: makes them once; reads and writes the same memory every time.
        rewind: called before each rehearsal, whose counts must not run over.
        device: where.
        sizes: how many of them go into one recording each, the last of them 1; `RECORDED` where nothing is said.
    """

    def __init__(
        self,
        launch: Callable[[], None],
        rewind: Callable[[], object],
        device: torch.device,
        sizes: Sequence[int] = (),
    ) -> None:
        self._replays: list[tuple[int, Callable[[], None]]] = []
        for n in sizes or RECORDED:

            def work(n: int = n) -> None:
                for _ in range(n):
                    launch()

            rewind()
            self._replays.append((n, record_graph(work, device) or work))

    def run(self, n_times: int) -> None:
        """That often; waits for nothing."""
        for n, replay in self._replays:
            for _ in range(n_times // n):
                replay()
            n_times %= n
