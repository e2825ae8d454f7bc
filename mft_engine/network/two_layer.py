"""The two-layer network as a cloud of neurons, f(x) = N^-kappa sum_i a_i phi(w_i . x)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mft_engine import rng
from mft_engine.recipe import Recipe
from mft_engine.rng import Stream


@dataclass(frozen=True)
class NeuronCloud:
    """Neurons as rows: theta (n_neurons, n_inputs + n_outputs), columns w1 .. wd, then the readouts."""

    theta: Tensor
    n_inputs: int

    @property
    def input_weight(self) -> Tensor:
        """(n_neurons, n_inputs) w."""
        return self.theta[:, : self.n_inputs]

    @property
    def readout(self) -> Tensor:
        """(n_neurons, n_outputs) a."""
        return self.theta[:, self.n_inputs :]


def column_names(n_inputs: int, n_out: int = 1) -> tuple[str, ...]:
    """Names of a neuron's columns: w1 .. wd, a (a1 .. for several readouts)."""
    readouts = ("a",) if n_out == 1 else tuple(f"a{c + 1}" for c in range(n_out))
    return (*(f"w{j + 1}" for j in range(n_inputs)), *readouts)


def initial_cloud(
    recipe: Recipe,
    n_inputs: int,
    n_neurons: int,
    *,
    n_out: int = 1,
    stream: Stream,
    draw: int = 0,
    device: torch.device,
    dtype: torch.dtype,
) -> NeuronCloud:
    """Neurons drawn from the recipe's initial law; a wider cloud contains the narrower one.

    Prior: w ~ N(0, T/lambda_w), a ~ N(0, T/lambda_a), the stationary law at zero field. Gaussian: the standard
    deviations of the recipe's `initial` section.

    Args:
        n_out: readouts of a neuron.
        stream, draw: which random numbers; equal ones give equal neurons.
    """
    normal = rng.normal(recipe.seed, stream, draw, n_neurons, n_inputs + n_out, device=device, dtype=dtype)
    if recipe.initial.law == "prior":
        temperature = recipe.training.temperature
        scales = [(temperature / recipe.lambda_w) ** 0.5] * n_inputs + [(temperature / recipe.lambda_a) ** 0.5] * n_out
    else:
        scales = [recipe.initial.input_weight_std] * n_inputs + [recipe.initial.readout_std] * n_out
    return NeuronCloud(normal * torch.tensor(scales, dtype=dtype, device=device), n_inputs)
