"""Infinite-width and finite-width theory: the planar dual, neuron laws, certificates, limits."""

from mft_engine.laws.planar import PlanarLaw
from mft_engine.theory.dual import SolveStopped
from mft_engine.theory.gaussian_process import GaussianProcess, solve_gaussian_process
from mft_engine.theory.harmonics import SuperlinearActivationError
from mft_engine.theory.planar import PlanarTheory, solve_planar
from mft_engine.theory.projection import NonFiniteTargetError

__all__ = [
    "GaussianProcess",
    "NonFiniteTargetError",
    "PlanarLaw",
    "PlanarTheory",
    "SolveStopped",
    "SuperlinearActivationError",
    "solve_gaussian_process",
    "solve_planar",
]
