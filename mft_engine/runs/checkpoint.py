"""An experiment in the middle of its training, as plain arrays and numbers; restored, it goes on bit for bit."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mft_engine.device import to_host
from mft_engine.dynamics import State
from mft_engine.experiment.schema import WrongContentError, check_state_numbers, finite

if TYPE_CHECKING:
    from mft_engine.experiment.experiment import Experiment

_TENSORS = ("theta", "prediction_sum")


def pack(experiment: Experiment) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and JSON-able numbers from which `unpack` continues the same training."""
    state = experiment.state
    arrays = {name: to_host(getattr(state, name)) for name in _TENSORS}
    numbers = {
        field.name: getattr(state, field.name)
        for field in dataclasses.fields(State)
        if field.name not in (*_TENSORS, "moments")
    }
    if state.moments is not None:
        arrays["moments"] = to_host(state.moments)
    arrays["initial_theta"] = experiment.background.initial_theta
    arrays |= experiment.background.pack_surroundings()
    history_arrays, history = experiment.history.pack()
    sample_arrays, samples = experiment.background.function_samples.pack()
    recipe = experiment.recipe.to_toml()
    values = {"state": numbers, "history": history, "function_samples": samples, "recipe": recipe}
    return {**arrays, **history_arrays, **sample_arrays}, values


def unpack(experiment: Experiment, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> None:
    """Put an experiment that was just built from the same recipe where `pack` left it.

    Raises:
        ValueError: arrays of another network than the recipe's, or not all that its training needs.
    """
    old, state = experiment.state, check_state_numbers(numbers.get("state"))
    for name in (*_TENSORS, "initial_theta"):
        finite(arrays[name], name)
    if arrays["theta"].shape != tuple(old.theta.shape):
        raise ValueError(
            f"The checkpoint holds {arrays['theta'].shape[0]} neurons with {arrays['theta'].shape[1]} parameters, the "
            f"recipe asks for {old.theta.shape[0]} with {old.theta.shape[1]}"
        )
    tensors: dict[str, Any] = {
        name: torch.as_tensor(arrays[name], dtype=getattr(old, name).dtype, device=old.theta.device)
        for name in _TENSORS
    }
    for name, tensor in tensors.items():
        if tensor.shape != getattr(old, name).shape:
            raise WrongContentError(f"{name} has the shape {tuple(tensor.shape)}")
    if "moments" in arrays:
        finite(arrays["moments"], "moments")
        tensors["moments"] = torch.as_tensor(arrays["moments"], dtype=old.theta.dtype, device=old.theta.device)
    experiment.resume(State(**tensors, **state), arrays["initial_theta"])
    experiment.background.unpack_surroundings(arrays)
    experiment.history.unpack(arrays, numbers["history"])
    if "function_samples" in numbers:
        experiment.background.function_samples.unpack(arrays, numbers["function_samples"])
