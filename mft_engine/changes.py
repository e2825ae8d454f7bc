"""What may change while an experiment goes on, and what it costs: the table that schedule, window and engine read."""

from __future__ import annotations

import enum


class Change(enum.IntEnum):
    """What a running experiment must do to follow a new recipe; the larger contains the smaller."""

    NOTHING = 0
    RESAMPLE = 1
    RETUNE = 2
    REBUILD = 3


CHANGES: dict[str, Change] = {
    "name": Change.NOTHING,
    "description": Change.NOTHING,
    "schedule": Change.NOTHING,
    "regularisation.scale": Change.RETUNE,
    "regularisation.input_weight": Change.RETUNE,
    "regularisation.hidden_weight": Change.RETUNE,
    "regularisation.readout": Change.RETUNE,
    "training.temperature": Change.RETUNE,
    "training.step_size": Change.RETUNE,
    "training.time": Change.RESAMPLE,
    "training.n_steps": Change.RESAMPLE,
    "foreground.n_neurons": Change.RESAMPLE,
    "foreground.n_steps": Change.RESAMPLE,
    "foreground.method": Change.RESAMPLE,
    "foreground.self_term": Change.RESAMPLE,
    "foreground.field": Change.RESAMPLE,
    "comparison.n_permutations": Change.RESAMPLE,
    "theory.n_particles": Change.RESAMPLE,
    "theory.n_replicates": Change.RESAMPLE,
}


def changes_on_the_way(path: str) -> bool:
    """Whether the value at a dotted path may change while a network is trained: what a schedule may hold."""
    return CHANGES.get(path) is Change.RETUNE
