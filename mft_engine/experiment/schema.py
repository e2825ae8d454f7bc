"""What a stored file must hold to be used: well-formed with the wrong content is refused like a damaged one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mft_engine.compare.clouds import Comparison
from mft_engine.dynamics.state import State

Number = Annotated[float, Field(allow_inf_nan=False)] | None
VERDICTS = ("consistent", "close", "inconsistent", None)
# Of a comparison, what a verdict is made of; others may be missing where a network has no such number.
DECISIVE = ("energy_distance", "null_mean", "null_95", "ratio", "p_value")
# Parts of a state that are arrays of the checkpoint, not numbers beside them.
STATE_ARRAYS = ("theta", "prediction_sum", "moments")


class WrongContentError(ValueError):
    """A file of the right form without what its readers need; the message says what is missing or wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class _Background(_Part):
    loss: Number
    is_complete: bool
    n_neurons: int
    n_steps: int
    seconds: Number
    kind: str
    test_loss: Number = None
    warning: str | None = None


class _Foreground(_Part):
    loss: Number


class _Theory(_Part):
    loss: Number
    order_parameters: dict[str, Number] = {}


class _Comparison(_Part):
    energy_distance: Number
    ratio: Number
    p_value: Number
    verdict: str | None = None
    why: str | None = None


class _FeatureLearning(_Part):
    order_parameters: dict[str, Number]
    order_parameters_error: dict[str, Number]


class _Posterior(_Part):
    n_neurons: int
    variance: Number
    mean_loss: Number
    variance_error: Number = None
    variance_theory: Number = None


class _Summary(_Part):
    recipe: str
    digest: str
    seed: int
    background: _Background
    foreground: _Foreground | None
    theory: _Theory | None
    comparison: _Comparison | None
    layers: list[_Comparison] = []
    feature_learning: _FeatureLearning
    posterior: _Posterior | None = None
    closure: dict[str, Any] | None = None
    data: dict[str, Any] | None = None


class _Provenance(_Part):
    created: str | None = None
    failure: str | None = None


def _check_model(model: type[_Part], document: Mapping[str, Any]) -> None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise WrongContentError(f"{where}: {fault['msg'].lower()}") from None


def check_summary(document: Mapping[str, Any]) -> None:
    """Refuse a summary without the parts that lists, tables and reports read.

    Raises:
        WrongContentError: it is none.
    """
    _check_model(_Summary, document)


def check_provenance(document: Mapping[str, Any]) -> None:
    """Refuse a provenance whose words are none.

    Raises:
        WrongContentError: it is none.
    """
    _check_model(_Provenance, document)


def array_in(group: h5py.Group, name: str) -> np.ndarray:
    """The numbers of a data set that lie in this very file.

    Raises:
        WrongContentError: no numbers, a link, storage in other files, or more entries declared than are there.
        KeyError: nothing of that name.
    """
    data = _own(group, name)
    if not isinstance(data, h5py.Dataset) or data.dtype.kind not in "fiub":
        raise WrongContentError(f"{name} holds no numbers")
    if data.external or data.is_virtual:
        raise WrongContentError(f"{name} lies in another file, which is not followed")
    if data.id.get_storage_size() < data.nbytes:
        raise WrongContentError(f"{name} declares more numbers than there are")
    return np.asarray(data[()])


def group_in(group: h5py.Group, name: str) -> h5py.Group:
    """A group that lies in this very file.

    Raises:
        WrongContentError: no group, or a link. KeyError: nothing of that name.
    """
    found = _own(group, name)
    if not isinstance(found, h5py.Group):
        raise WrongContentError(f"{name} is no group")
    return found


def _own(group: h5py.Group, name: str) -> Any:
    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(name)
    if not isinstance(link, h5py.HardLink):
        raise WrongContentError(f"{name} is a link, which is not followed")
    return group[name]


def finite(array: np.ndarray, name: str, n_dimensions: int | None = None) -> np.ndarray:
    """The array itself.

    Raises:
        WrongContentError: a number that is none, or another number of dimensions.
    """
    if n_dimensions is not None and array.ndim != n_dimensions:
        raise WrongContentError(f"{name} has {array.ndim} dimensions, not {n_dimensions}")
    if not np.isfinite(array).all():
        raise WrongContentError(f"{name} holds a number that is not finite")
    return array


def check_metrics(columns: Mapping[str, np.ndarray]) -> None:
    """Refuse columns of different lengths.

    Raises:
        WrongContentError: they are.
    """
    if any(column.ndim != 1 for column in columns.values()) or len({len(c) for c in columns.values()}) > 1:
        raise WrongContentError("its columns have different lengths")


def check_snapshots(columns: Mapping[str, np.ndarray]) -> None:
    """Refuse clouds without one step each.

    Raises:
        WrongContentError: they are.
    """
    missing = {"theta", "steps"} - columns.keys()
    if missing:
        raise WrongContentError(f"{min(missing)} is missing")
    theta, steps = columns["theta"], columns["steps"]
    if theta.ndim != 3 or steps.ndim != 1 or len(theta) != len(steps) or (np.diff(steps) <= 0).any():
        raise WrongContentError("clouds and steps do not belong together")


def check_comparison(comparison: Comparison) -> None:
    """Refuse a comparison with a number that is none, or with a verdict that nobody gives.

    Raises:
        WrongContentError: it is.
    """
    if comparison.verdict not in VERDICTS:
        raise WrongContentError(f"there is no verdict {comparison.verdict!r}")
    for field in dataclasses.fields(Comparison):
        value = getattr(comparison, field.name)
        if isinstance(value, np.ndarray):
            finite(value, field.name)
        elif field.name in DECISIVE and (not isinstance(value, (int, float)) or math.isnan(value)):
            raise WrongContentError(f"{field.name} is no number")


def check_state_numbers(numbers: Any) -> dict[str, Any]:
    """The plain numbers of a state.

    Raises:
        WrongContentError: one that is missing, of another type, or not finite (a loss limit may be infinite).
    """
    if not isinstance(numbers, dict):
        raise WrongContentError("the state is missing")
    fields = {field.name: field for field in dataclasses.fields(State) if field.name not in STATE_ARRAYS}
    unknown = numbers.keys() - fields.keys()
    if unknown or "step" not in numbers:
        raise WrongContentError(f"state.{min(unknown or {'step'})} is {'unknown' if unknown else 'missing'}")
    for name, value in numbers.items():
        usual = fields[name].default
        is_right = isinstance(value, type(usual)) or (isinstance(usual, float) and type(value) is int)
        if not is_right or (isinstance(value, bool) and not isinstance(usual, bool)):
            raise WrongContentError(f"state.{name} is a {type(value).__name__}")
        if isinstance(value, float) and not (math.isfinite(value) or (name == "loss_limit" and value > 0)):
            raise WrongContentError(f"state.{name} is not finite")
        if name in ("step", "anchor_step", "change_step", "n_predictions", "n_losses", "n_record") and value < 0:
            raise WrongContentError(f"state.{name} is negative")
    return numbers
