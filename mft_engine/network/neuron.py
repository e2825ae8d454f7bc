"""What the law of a neuron depends on besides its field."""

from __future__ import annotations

from typing import NamedTuple

from mft_engine.recipe import Recipe


class Neuron(NamedTuple):
    """The four numbers in the order in which laws and solvers take them (`*neuron`).

    Attributes:
        activation: its name; temperature: T.
        lambda_w, lambda_a: regularisation of one input weight and of the readout.
    """

    activation: str
    temperature: float
    lambda_w: float
    lambda_a: float

    @classmethod
    def of(cls, recipe: Recipe) -> Neuron:
        """The neuron of a recipe's first hidden layer."""
        return cls(recipe.network.activation, recipe.training.temperature, recipe.lambda_w, recipe.lambda_a)
