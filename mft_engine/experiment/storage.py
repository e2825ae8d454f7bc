"""Files of a run, one by one: written whole or not at all, read with a sentence for whatever is wrong with them.

A file is made in memory, written beside its place, flushed to the disk and renamed: a reader finds the old
file or the new one. Nothing here unpickles.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from mft_engine.compare.averages import AveragesTest, Statistic
from mft_engine.compare.clouds import Comparison
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.outcome import Cloud, Outcome, Population
from mft_engine.experiment.schema import WrongContentError, array_in, check_comparison, finite, group_in
from mft_engine.experiment.summary import without_nan
from mft_engine.network.two_layer import column_names
from mft_engine.ordinary_files import MAX_TEXT_BYTES, require_ordinary
from mft_engine.points.measure import FieldPoints
from mft_engine.questions.certificate import Certificate
from mft_engine.questions.table import Answer, answers_from
from mft_engine.theory.bounds import SteinDiscrepancy

Arrays = dict[str, np.ndarray]

UNFINISHED = ".part"
# Of files that are read whole; what an HDF5 file declares is looked at array by array.
MOST_BYTES = {".json": MAX_TEXT_BYTES, ".csv": 10 * MAX_TEXT_BYTES}


class RunError(RuntimeError):
    """A run folder that cannot be written or read; the message names it and says what to do."""


def explain(error: OSError, place: Path) -> str:
    """The sentence for a file system that refuses, with the remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"No space is left for {place}: free some, or choose a folder on another disk (--out)."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place} may not be written: choose a folder of your own (--out), or change its permissions."
    if error.errno == errno.ENAMETOOLONG:
        return (
            f"{place} cannot be written, its name is longer than the file system allows: choose a shorter one (--out)."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{place} is, or lies in, a file where a folder is needed: choose another folder (--out)."
    return f"{place} cannot be written ({error.strerror or error}): choose another folder (--out)."


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turn what the file system says into a RunError that names the place."""
    try:
        yield
    except OSError as error:
        raise RunError(explain(error, place)) from error


@contextmanager
def reading_from(path: Path, remedy: str) -> Iterator[None]:
    """Turn a missing, cut off, damaged or impossible file into a RunError; the remedy says what is lost."""
    try:
        _require_ordinary(path)
        yield
    except FileNotFoundError:
        raise RunError(f"{path} is not there; {remedy}.") from None
    except WrongContentError as error:
        raise RunError(f"{path} does not hold what it should ({error}); {remedy}.") from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError, RuntimeError,
            safetensors.SafetensorError) as error:  # fmt: skip
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} is damaged or cut off ({type(error).__name__}); {remedy}.") from error


def _require_ordinary(path: Path) -> None:
    try:
        require_ordinary(path, MOST_BYTES.get(path.suffix))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise WrongContentError(str(error.strerror)) from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that whoever looks finds either what was there before or all of the new.

    Raises:
        RunError: the file system refuses; the old file is untouched.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    with writing_to(path):
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    # The rename itself is on the disk only after this; some systems cannot open a folder, and need not.
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A JSON document for people: indented, no NaN."""
    return (json.dumps(without_nan(dict(document)), indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path, remedy: str, check: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A JSON document.

    Args:
        check: raises for a document without what its readers need.

    Raises:
        RunError: not there, not a JSON object, or refused by `check`.
    """
    with reading_from(path, remedy):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise WrongContentError("it is no object with names and values")
        check(document)
        return document


def _add(group: h5py.Group, arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        # The checksum turns a flipped bit into an error instead of a strange neuron; empty arrays cannot carry one.
        group.create_dataset(name, data=array, fletcher32=array.size > 0 or None)


def columns_bytes(columns: Mapping[str, np.ndarray]) -> bytes:
    """An HDF5 file with one data set a name."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        _add(file, columns)
    return memory.getvalue()


def read_columns(path: Path, remedy: str, check: Callable[[Arrays], None]) -> Arrays:
    """Every data set of an HDF5 file.

    Args:
        check: raises for columns that do not belong together.

    Raises:
        RunError: not there, cut off, damaged, or refused by `check`.
    """
    with reading_from(path, remedy), h5py.File(path, "r") as file:
        columns = {name: array_in(file, name) for name in file}
        check(columns)
        return columns


def outcome_bytes(outcome: Outcome) -> bytes:
    """An HDF5 file with clouds, field points, comparison and certificate of an outcome, and the recipe in force."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["schema"] = "mft-lab/result/2"
        file.attrs["recipe"] = outcome.recipe.to_toml()
        points = outcome.points
        group = file.create_group("points")
        group.attrs["rule"] = points.rule
        _add(group, {"inputs": points.inputs, "weights": points.weights, "targets": points.targets})
        _add(file, {"initial_theta": outcome.initial_theta})
        for name, population in (("background", outcome.background), ("foreground", outcome.foreground)):
            if population is not None:
                group = file.create_group(name)
                group.attrs.update({"loss": population.loss, "kind": population.kind})
                _add(group, {"prediction": population.prediction})
                for layer, cloud in enumerate(population.clouds, start=1):
                    part = group.create_group(f"layer{layer}")
                    part.attrs["names"] = list(cloud.names)
                    _add(part, {"theta": cloud.theta})
        if outcome.certificate is not None:
            file.attrs["certificate"] = json.dumps(outcome.certificate.to_dict())
        file.attrs["answers"] = json.dumps({name: answer.to_dict() for name, answer in outcome.answers.items()})
        for layer, comparison in enumerate(outcome.comparisons, start=1):
            _add_comparison(file.create_group(f"comparison{layer}"), comparison)
    return memory.getvalue()


def _add_comparison(group: h5py.Group, comparison: Comparison) -> None:
    for field in dataclasses.fields(Comparison):
        value = getattr(comparison, field.name)
        if isinstance(value, Comparison):
            _add_comparison(group.create_group(field.name), value)
        elif isinstance(value, np.ndarray):
            _add(group, {field.name: value})
        elif isinstance(value, AveragesTest | Resolution):
            group.attrs[field.name] = json.dumps(dataclasses.asdict(value), default=np.ndarray.tolist)
        elif value is not None:
            group.attrs[field.name] = value


@dataclasses.dataclass(frozen=True)
class Result:
    """What `outcome_bytes` keeps of an outcome; `recipe` is TOML text."""

    recipe: str
    points: FieldPoints
    initial_theta: np.ndarray
    background: Population
    foreground: Population | None
    comparisons: tuple[Comparison, ...]
    certificate: Certificate | None
    answers: Mapping[str, Answer]


def read_result(path: Path, remedy: str) -> Result:
    """What `outcome_bytes` made, of version 0.1 (which kept the first hidden layer alone) too.

    Raises:
        RunError: not there, cut off or damaged.
    """
    with reading_from(path, remedy), h5py.File(path, "r") as file:
        points = _points(group_in(file, "points"))
        return Result(
            recipe=str(file.attrs["recipe"]),
            points=points,
            initial_theta=finite(array_in(file, "initial_theta"), "initial_theta"),
            background=_population(group_in(file, "background"), points),
            foreground=_population(group_in(file, "foreground"), points) if "foreground" in file else None,
            comparisons=tuple(_comparison(group) for group in _numbered(file, "comparison")),
            certificate=_certificate(file.attrs) if "certificate" in file.attrs else None,
            answers=answers_from(json.loads(str(file.attrs.get("answers", "{}")))),
        )


def _points(group: h5py.Group) -> FieldPoints:
    inputs, weights, targets = (finite(array_in(group, name), name) for name in ("inputs", "weights", "targets"))
    if inputs.ndim != 2 or weights.shape != inputs.shape[:1] or targets.shape[:1] != inputs.shape[:1]:
        raise WrongContentError("points, weights and targets do not belong together")
    return FieldPoints(inputs, weights, targets, str(group.attrs["rule"]))


def _numbered(group: h5py.Group, name: str) -> list[h5py.Group]:
    """name1, name2, ... as far as they go; a lone `name` of version 0.1."""
    if name in group:
        return [group_in(group, name)]
    found: list[h5py.Group] = []
    while f"{name}{len(found) + 1}" in group:
        found.append(group_in(group, f"{name}{len(found) + 1}"))
    return found


def _population(group: h5py.Group, points: FieldPoints) -> Population:
    n_inputs = points.inputs.shape[1]
    if "theta" in group:  # version 0.1
        theta = finite(array_in(group, "theta"), "theta", 2)
        clouds = [Cloud(theta, column_names(n_inputs, theta.shape[1] - n_inputs))]
    else:
        clouds = [
            Cloud(finite(array_in(part, "theta"), "theta", 2), tuple(str(name) for name in part.attrs["names"]))
            for part in _numbered(group, "layer")
        ]
    if not clouds:
        raise WrongContentError("it has no neurons")
    if any(len(cloud.names) != cloud.theta.shape[1] for cloud in clouds):
        raise WrongContentError("neurons and the names of their columns do not belong together")
    prediction, loss = finite(array_in(group, "prediction"), "prediction"), float(group.attrs["loss"])
    if prediction.shape != points.targets.shape or not math.isfinite(loss):
        raise WrongContentError("prediction and loss do not belong to the points")
    return Population(tuple(clouds), prediction, loss, str(group.attrs["kind"]))


def _comparison(group: h5py.Group) -> Comparison:
    values: dict[str, Any] = {name: array_in(group, name) for name in group if name != "way"}
    for name, value in group.attrs.items():
        values[name] = value.item() if isinstance(value, np.generic) else value
    known = {field.name for field in dataclasses.fields(Comparison)}
    if "averages" in values:
        test = json.loads(values["averages"])
        test |= {"statistics": tuple(Statistic(**row) for row in test["statistics"])}
        values["averages"] = AveragesTest(**test | {"outliers": np.array(test["outliers"], dtype=np.int64)})
    if "resolution" in values:
        values["resolution"] = Resolution(**json.loads(values["resolution"]))
    if "way" in group:
        values["way"] = _comparison(group_in(group, "way"))
    # None is kept by leaving it out.
    comparison = Comparison(**{"verdict": None} | {name: value for name, value in values.items() if name in known})
    check_comparison(comparison)
    return comparison


def _certificate(attributes: Mapping[str, Any]) -> Certificate:
    values = json.loads(str(attributes["certificate"]))
    stein = values.pop("stein")
    return Certificate(**values, stein=SteinDiscrepancy(**stein) if stein else None)


def checkpoint_bytes(arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> bytes:
    """A safetensors file with arrays, JSON-able numbers and a checksum."""
    # Not `np.ascontiguousarray`, which gives a number a dimension.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    metadata = {"numbers": json.dumps(numbers), "checksum": _checksum(contiguous)}
    return safetensors.numpy.save(contiguous, metadata=metadata)


def read_checkpoint(path: Path, remedy: str) -> tuple[Arrays, dict[str, Any]]:
    """What `checkpoint_bytes` made.

    Raises:
        RunError: not there, cut off or damaged.
    """
    with reading_from(path, remedy), safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        if _checksum(arrays) != metadata["checksum"]:
            raise ValueError("checksum")
        numbers = json.loads(metadata["numbers"])
        if not isinstance(numbers, dict):
            raise WrongContentError("it has no numbers beside its arrays")
        return arrays, numbers


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).view(np.uint8).reshape(-1).data, value)
    return f"{value:08x}"
