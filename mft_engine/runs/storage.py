"""Files of a run, one by one: written whole or not at all, read with a sentence for whatever is wrong with them.

A file is made in memory, written beside its place, flushed to the disk and renamed: a reader finds the old
file or the new one. Nothing here unpickles.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from mft_engine.compare.clouds import Comparison
from mft_engine.experiment.outcome import Cloud, FieldPoints, Outcome
from mft_engine.questions.certificate import Certificate
from mft_engine.runs.summary import without_nan
from mft_engine.theory.certificates import SteinDiscrepancy

Arrays = dict[str, np.ndarray]

UNFINISHED = ".part"


class RunError(RuntimeError):
    """A run folder that cannot be written or read; the message names it and says what to do."""


def explain(error: OSError, place: Path) -> str:
    """The sentence for a file system that refuses, with the remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"No space is left for {place}: free some, or choose a folder on another disk (--out)."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place} may not be written: choose a folder of your own (--out), or change its permissions."
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
    """Turn a missing, cut off or damaged file into a RunError; the remedy says what is lost."""
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{path} is not there; {remedy}.") from None
    except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise RunError(f"{path} is damaged or cut off ({type(error).__name__}); {remedy}.") from error


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


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON document.

    Raises:
        RunError: not there, or not a JSON object.
    """
    with reading_from(path, remedy):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("not an object")
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


def read_columns(path: Path, remedy: str) -> Arrays:
    """Every data set of an HDF5 file.

    Raises:
        RunError: not there, cut off or damaged.
    """
    with reading_from(path, remedy), h5py.File(path, "r") as file:
        return {name: np.asarray(data[()]) for name, data in file.items()}


def outcome_bytes(outcome: Outcome) -> bytes:
    """An HDF5 file with clouds, field points, comparison and certificate of an outcome, and the recipe in force."""
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["schema"] = "mft-lab/result/1"
        file.attrs["recipe"] = outcome.recipe.to_toml()
        points = outcome.points
        group = file.create_group("points")
        group.attrs["rule"] = points.rule
        _add(group, {"inputs": points.inputs, "weights": points.weights, "targets": points.targets})
        _add(file, {"initial_theta": outcome.initial_theta})
        for name, cloud in (("background", outcome.background), ("foreground", outcome.foreground)):
            if cloud is not None:
                group = file.create_group(name)
                group.attrs.update({"loss": cloud.loss, "kind": cloud.kind})
                _add(group, {"theta": cloud.theta, "prediction": cloud.prediction})
        if outcome.certificate is not None:
            file.attrs["certificate"] = json.dumps(outcome.certificate.to_dict())
        if outcome.comparison is not None:
            group = file.create_group("comparison")
            for field in dataclasses.fields(Comparison):
                value = getattr(outcome.comparison, field.name)
                if isinstance(value, np.ndarray):
                    _add(group, {field.name: value})
                elif value is not None:
                    group.attrs[field.name] = value
    return memory.getvalue()


@dataclasses.dataclass(frozen=True)
class Result:
    """What `outcome_bytes` keeps of an outcome; `recipe` is TOML text."""

    recipe: str
    points: FieldPoints
    initial_theta: np.ndarray
    background: Cloud
    foreground: Cloud | None
    comparison: Comparison | None
    certificate: Certificate | None


def read_result(path: Path, remedy: str) -> Result:
    """What `outcome_bytes` made.

    Raises:
        RunError: not there, cut off or damaged.
    """
    with reading_from(path, remedy), h5py.File(path, "r") as file:
        points = file["points"]
        return Result(
            recipe=str(file.attrs["recipe"]),
            points=FieldPoints(
                points["inputs"][()], points["weights"][()], points["targets"][()], str(points.attrs["rule"])
            ),
            initial_theta=file["initial_theta"][()],
            background=_cloud(file["background"]),
            foreground=_cloud(file["foreground"]) if "foreground" in file else None,
            comparison=_comparison(file["comparison"]) if "comparison" in file else None,
            certificate=_certificate(str(file.attrs["certificate"])) if "certificate" in file.attrs else None,
        )


def _cloud(group: h5py.Group) -> Cloud:
    return Cloud(group["theta"][()], group["prediction"][()], float(group.attrs["loss"]), str(group.attrs["kind"]))


def _comparison(group: h5py.Group) -> Comparison:
    values: dict[str, Any] = {name: data[()] for name, data in group.items()}
    for name, value in group.attrs.items():
        values[name] = value.item() if isinstance(value, np.generic) else value
    known = {field.name for field in dataclasses.fields(Comparison)}
    return Comparison(**{name: value for name, value in values.items() if name in known})


def _certificate(text: str) -> Certificate:
    values = json.loads(text)
    stein = values.pop("stein")
    return Certificate(**values, stein=SteinDiscrepancy(**stein) if stein else None)


def checkpoint_bytes(arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> bytes:
    """A safetensors file with arrays, JSON-able numbers and a checksum."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
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
        return arrays, json.loads(metadata["numbers"])


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).view(np.uint8).reshape(-1).data, value)
    return f"{value:08x}"
