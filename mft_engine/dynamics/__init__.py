"""Dynamics of a background: `init`, `advance`; State in, (State, Info) out."""

from mft_engine.dynamics.divergence import Diverged
from mft_engine.dynamics.hyper import Hyper, step_plan
from mft_engine.dynamics.langevin import advance
from mft_engine.dynamics.problem import Problem
from mft_engine.dynamics.state import Info, State, init, restart_averages

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
