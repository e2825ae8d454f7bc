"""Dynamics of a background: `init`, `advance`; State in, (State, Info) out."""

from mft_engine.dynamics.langevin import (
    Diverged,
    Hyper,
    Info,
    Problem,
    State,
    advance,
    init,
    restart_averages,
    step_plan,
)

__all__ = [
    "Diverged",
    "Hyper",
    "Info",
    "Problem",
    "State",
    "advance",
    "init",
    "restart_averages",
    "step_plan",
]
