"""Everything that a recipe asks after its training, without anybody who waits between two slices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from mft_engine.device import host_device, side_by_side
from mft_engine.experiment.events import Event
from mft_engine.experiment.experiment import STAGES, Experiment
from mft_engine.questions.theory import is_planar


def answer_all(experiment: Experiment, tell: Callable[[Event], None] = lambda event: None) -> None:
    """Ask the stages, in order; the comparison beside the questions of the background where no law keeps all cores.

    The numbers are the same either way. A law found by particles shares its work out itself, and a device has one
    queue.

    Args:
        tell: called with every event, by one thread at a time.
    """
    lock = threading.Lock()

    def ask(*stages: Callable[[Experiment], Iterator[Event]]) -> None:
        for stage in stages:
            for event in stage(experiment):
                with lock:
                    tell(event)

    foreground, compare, *others = STAGES
    ask(foreground)
    if experiment.background.device == host_device() and is_planar(experiment.recipe, experiment.task):
        side_by_side(lambda: ask(compare), lambda: ask(*others))
    else:
        ask(compare, *others)
