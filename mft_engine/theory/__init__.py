"""Infinite-width and finite-width theory: the planar dual, neuron laws, certificates, limits."""

from mft_engine.theory.dual import SolveStopped
from mft_engine.theory.harmonics import SuperlinearActivationError
from mft_engine.theory.law import PlanarLaw
from mft_engine.theory.planar import PlanarTheory, solve_planar
from mft_engine.theory.projection import NonFiniteTargetError

__all__ = [
    "NonFiniteTargetError",
    "PlanarLaw",
    "PlanarTheory",
    "SolveStopped",
    "SuperlinearActivationError",
    "solve_planar",
]
