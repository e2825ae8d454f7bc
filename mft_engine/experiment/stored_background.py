"""A background that was trained elsewhere: the cloud of a stored run, or an uploaded file of neurons."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mft_engine.points.measure import FieldPoints
from mft_engine.recipe import RecipeError
from mft_engine.tasks.archives import read_arrays, read_names
from mft_engine.tasks.task import TaskError

RESULT = "result.h5"
ARRAY = "background"


@dataclass(frozen=True)
class StoredBackground:
    """Neurons of a finished network.

    Attributes:
        theta: (n_neurons, n_inputs + n_out) columns w1 .. wd, then the readouts.
        readout_exponent: kappa of its function.
        points, prediction: where its averaged f is stored, (n_points,) or (n_points, n_out), None for a bare cloud.
    """

    theta: np.ndarray
    readout_exponent: float
    points: FieldPoints | None = None
    prediction: np.ndarray | None = None

    def prediction_on(self, points: FieldPoints) -> np.ndarray | None:
        """The stored average of f, where it lives on the same points; else None."""
        if self.points is None or self.points.inputs.shape != points.inputs.shape:
            return None
        return self.prediction if np.allclose(self.points.inputs, points.inputs, atol=1e-12) else None


def load_stored_background(source: str, n_inputs: int, n_out: int = 1) -> StoredBackground:
    """The background of a run folder, or the array `background` of an NPZ file as `mft-lab export` makes it.

    Raises:
        RecipeError: nothing there, a damaged file, or neurons of another number of inputs; the message names the file.
    """
    path = Path(source).expanduser()
    if os.path.isfile(path / RESULT):
        stored = _from_run(path)
    elif os.path.isfile(path) and path.suffix == ".npz":
        stored = StoredBackground(_from_npz(path), 1.0)
    else:
        raise RecipeError(
            f'foreground.background = {source!r}: it can be "trained", "lazy" (Gaussian-process-like), "untrained", '
            "the folder of a finished run, or an .npz file with an array background"
        )
    theta = stored.theta
    if theta.ndim != 2 or theta.shape[1] != n_inputs + n_out or not len(theta) or not np.isfinite(theta).all():
        raise RecipeError(
            f"foreground.background = {source!r} holds an array of shape {theta.shape}; this task needs finite numbers "
            f"in {n_inputs + n_out} columns (w1 .. w{n_inputs}, {'a' if n_out == 1 else f'a1 .. a{n_out}'}), "
            "one row a neuron"
        )
    return stored


def _from_run(path: Path) -> StoredBackground:
    from mft_engine.experiment.storage import RunError, read_result
    from mft_engine.recipe import parse_recipe

    try:
        result = read_result(path / RESULT, "choose another run as the background")
    except RunError as error:
        raise RecipeError(f"foreground.background: {error}") from None
    recipe = parse_recipe(result.recipe, origin=str(path))
    kappa = 0.5 if result.background.kind == "lazy" else recipe.network.readout_exponent
    return StoredBackground(result.background.theta, kappa, result.points, result.background.prediction)


def _from_npz(path: Path) -> np.ndarray:
    try:
        arrays = read_arrays(path, (ARRAY,))
        if not arrays:
            raise TaskError(f"{path.name} has no array {ARRAY!r}; it holds {', '.join(read_names(path)) or 'nothing'}")
        if arrays[ARRAY].dtype.kind not in "fiub":
            raise TaskError(f"{path.name}: {ARRAY!r} is an array of {arrays[ARRAY].dtype}, not of real numbers")
    except TaskError as error:
        raise RecipeError(f"foreground.background: {error}") from None
    return np.asarray(arrays[ARRAY], dtype=np.float64)
