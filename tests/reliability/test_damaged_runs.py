"""Run folders cut off, flipped, replaced or forged: what is wrong is said, the rest opens, no other run is hidden."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from fuzzing import case

from mft_engine.cli import main
from mft_engine.experiment.storage import RunError, checkpoint_bytes, read_checkpoint
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.rng import Stream, host_generator
from mft_engine.runs.runs import list_runs, load, run_stored

TINY = load_recipe("clover").replace(
    {"network.n_neurons": 24, "foreground.n_neurons": 24, "training.n_steps": 60, "comparison.n_permutations": 99,
     "engine.device": "cpu", "engine.n_threads": 1}
)  # fmt: skip
FILES = ("recipe.toml", "provenance.json", "checkpoint.safetensors", "result.h5", "metrics.h5", "snapshots.h5",
         "summary.json")  # fmt: skip
# One short round by default; --runslow takes this many.
N_DAMAGES, N_DAMAGES_SLOW = 60, 1000


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return run_stored(TINY, tmp_path_factory.mktemp("good")).folder


@pytest.fixture
def runs(good, tmp_path) -> Path:
    """A folder with a good run and one that is about to be damaged."""
    shutil.copytree(good, tmp_path / "runs" / "good")
    shutil.copytree(good, tmp_path / "runs" / "bad")
    return tmp_path / "runs"


def marker(place: Path):
    """What a forged pickle would leave behind if anybody opened it."""

    class Forged:
        def __reduce__(self):
            return (Path.touch, (place,))

    return pickle.dumps(Forged())


def rewritten(path: Path, change) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def replaced(group, name: str, value) -> None:
    del group[name]
    group[name] = value


def forged_state(path: Path, change) -> None:
    arrays, numbers = read_checkpoint(path, "")
    change(arrays, numbers)
    path.write_bytes(checkpoint_bytes(arrays, numbers))


def external(file: h5py.File, secret: Path) -> None:
    """A data set whose bytes are those of another file."""
    secret.write_bytes(np.full(24 * 3, 42.0).tobytes())
    group = file["background/layer1"]
    del group["theta"]
    group.create_dataset("theta", (24, 3), dtype="f8", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, other: Path) -> None:
    with h5py.File(other, "w") as elsewhere:
        elsewhere["theta"] = np.full((24, 3), 42.0)
    layout = h5py.VirtualLayout((24, 3), dtype="f8")
    layout[...] = h5py.VirtualSource(other, "theta", (24, 3))
    group = file["background/layer1"]
    del group["theta"]
    group.create_virtual_dataset("theta", layout)


def linked(file: h5py.File, other: Path) -> None:
    with h5py.File(other, "w") as elsewhere:
        elsewhere["theta"] = np.full((24, 3), 42.0)
    group = file["background/layer1"]
    del group["theta"]
    group["theta"] = h5py.ExternalLink(str(other), "theta")


def nothing_written(file: h5py.File) -> None:
    group = file["background/layer1"]
    del group["theta"]
    group.create_dataset("theta", (100_000_000, 3), dtype="f8", chunks=(1000, 3))


def of_summary(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


WRONG_CONTENT = {
    "a summary of something else": lambda f: (f / "summary.json").write_text('{"a": 1}'),
    "a summary that is a list": lambda f: (f / "summary.json").write_text("[1]"),
    "a summary nested without end": lambda f: (f / "summary.json").write_text("[" * 100_000),
    "a summary with a word for a loss": lambda f: of_summary(
        f / "summary.json", lambda d: d["background"].update(loss="low")
    ),
    "a summary without a background": lambda f: of_summary(f / "summary.json", lambda d: d.pop("background")),
    "a summary with a list for a comparison": lambda f: of_summary(
        f / "summary.json", lambda d: d.update(comparison=[1])
    ),
    "a provenance of numbers": lambda f: (f / "provenance.json").write_text('{"failure": 3, "created": []}'),
    "a checkpoint without neurons": lambda f: forged_state(f / "checkpoint.safetensors", lambda a, n: a.pop("theta")),
    "a checkpoint without a state": lambda f: forged_state(f / "checkpoint.safetensors", lambda a, n: n.pop("state")),
    "a checkpoint without a step": lambda f: forged_state(
        f / "checkpoint.safetensors", lambda a, n: n["state"].pop("step")
    ),
    "a checkpoint with a word for a step": lambda f: forged_state(
        f / "checkpoint.safetensors", lambda a, n: n["state"].update(step="far")
    ),
    "a checkpoint at a time that is no number": lambda f: forged_state(
        f / "checkpoint.safetensors", lambda a, n: n["state"].update(anchor_time=float("nan"), step=10)
    ),
    "a checkpoint with a neuron that is no number": lambda f: forged_state(
        f / "checkpoint.safetensors", lambda a, n: a["theta"].__setitem__((0, 0), np.nan)
    ),
    "a checkpoint without history": lambda f: forged_state(
        f / "checkpoint.safetensors", lambda a, n: n.pop("history")
    ),
    "a checkpoint of fewer points": lambda f: forged_state(
        f / "checkpoint.safetensors", lambda a, n: a.update(prediction_sum=a["prediction_sum"][:5])
    ),
    "a result of words": lambda f: rewritten(f / "result.h5", lambda h: replaced(h["points"], "inputs", ["a", "b"])),
    "a result with a neuron that is no number": lambda f: rewritten(
        f / "result.h5", lambda h: replaced(h["background/layer1"], "theta", np.full((24, 3), np.nan))
    ),
    "a result of fewer columns": lambda f: rewritten(
        f / "result.h5", lambda h: replaced(h["background/layer1"], "theta", np.zeros((24, 2)))
    ),
    "a result whose p-value is no number": lambda f: rewritten(
        f / "result.h5", lambda h: h["comparison1"].attrs.__setitem__("p_value", float("nan"))
    ),
    "a result with a verdict that nobody gives": lambda f: rewritten(
        f / "result.h5", lambda h: h["comparison1"].attrs.__setitem__("verdict", "excellent")
    ),
    "a result without a recipe": lambda f: rewritten(f / "result.h5", lambda h: h.attrs.__delitem__("recipe")),
    "a result stored in another file": lambda f: rewritten(
        f / "result.h5", lambda h: external(h, f.parent.parent / "secret")
    ),
    "a result pieced together from another file": lambda f: rewritten(
        f / "result.h5", lambda h: virtual(h, f.parent.parent / "other.h5")
    ),
    "a result that links to another file": lambda f: rewritten(
        f / "result.h5", lambda h: linked(h, f.parent.parent / "other.h5")
    ),
    "a result that declares 2.4 GB and holds nothing": lambda f: rewritten(f / "result.h5", nothing_written),
    "snapshots without steps": lambda f: rewritten(f / "snapshots.h5", lambda h: h.__delitem__("steps")),
    "snapshots with fewer steps": lambda f: rewritten(f / "snapshots.h5", lambda h: replaced(h, "steps", [*range(99)])),
    "metrics of words": lambda f: rewritten(f / "metrics.h5", lambda h: replaced(h, "loss", ["a"])),
    "metrics of different lengths": lambda f: rewritten(f / "metrics.h5", lambda h: replaced(h, "loss", [1.0, 2, 3])),
}  # fmt: skip


def use_everything(folder: Path, capsys) -> list[str]:
    """List, open, compare and resume; returns what was said. Anything but a result or a sentence fails the test."""
    rows = list_runs(folder)
    assert {Path(row["path"]).name for row in rows} >= {"good"}, "a bad run hides a good one"
    good_row = next(row for row in rows if Path(row["path"]).name == "good")
    assert good_row["state"] == "complete" and good_row["fault"] is None
    said = [row["fault"] for row in rows if row["fault"]]
    try:
        opened = load(folder / "bad")
        said += opened.summary["faults"]
        assert np.isfinite(opened.background.theta).all()
        assert not (opened.background.theta == 42.0).any(), "another file was followed"
        for comparison in opened.comparisons:
            assert np.isfinite(comparison.p_value)
    except (RunError, RecipeError) as error:
        said.append(str(error))
    for command in (["runs", str(folder)], ["runs", str(folder), "--json"],
                    ["compare", str(folder / "good"), str(folder / "bad")]):  # fmt: skip
        with pytest.raises(SystemExit) as stopped:
            main(command)
        assert stopped.value.code in (0, 1, 2)
        assert "Traceback" not in capsys.readouterr().err
    return said


@pytest.mark.parametrize("damage", WRONG_CONTENT.values(), ids=WRONG_CONTENT.keys())
def test_well_formed_files_with_the_wrong_content_are_said_and_nothing_of_them_is_used(damage, runs, capsys, request):
    if "a checkpoint" in request.node.name:  # which nobody reads where the run is complete
        for name in FILES[3:]:
            (runs / "bad" / name).unlink()
    damage(runs / "bad")
    assert use_everything(runs, capsys), "nothing was said"


@pytest.mark.parametrize("kind", [kind for kind in WRONG_CONTENT if kind.startswith("a checkpoint")])
def test_a_run_whose_checkpoint_is_of_no_use_starts_again_and_ends_with_the_same_bits(kind, runs, good):
    for name in FILES[3:]:
        (runs / "bad" / name).unlink()
    shutil.rmtree(runs / "good")
    WRONG_CONTENT[kind](runs / "bad")
    again = run_stored(TINY, runs, resume=True)
    assert again.folder == runs / "bad" and again.is_complete
    np.testing.assert_array_equal(load(again.folder).background.theta, load(good).background.theta)


def flip(path: Path, generator) -> None:
    data = bytearray(path.read_bytes())
    for place in generator.integers(0, len(data), size=int(generator.integers(1, 9))):
        data[place] ^= 1 << int(generator.integers(0, 8))
    path.write_bytes(data)


def cut(path: Path, generator) -> None:
    path.write_bytes(path.read_bytes()[: int(generator.integers(0, path.stat().st_size))])


def noise(path: Path, generator) -> None:
    path.write_bytes(generator.bytes(int(generator.integers(0, 4000))))


def pickled(path: Path, generator) -> None:
    path.write_bytes(marker(path.parent.parent.parent / "executed"))


def gone(path: Path, generator) -> None:
    path.unlink()


def a_folder(path: Path, generator) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nothing(path: Path, generator) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def a_link_to_itself(path: Path, generator) -> None:
    path.unlink()
    path.symlink_to(path.name)


def another_file(path: Path, generator) -> None:
    other = path.parent / FILES[int(generator.integers(0, len(FILES)))]
    if other != path and other.is_file():
        path.write_bytes(other.read_bytes())


def elements(path: Path, generator) -> None:
    """Bytes exchanged for others of the same file."""
    data = bytearray(path.read_bytes())
    length = int(generator.integers(1, 200))
    one, two = (int(place) for place in generator.integers(0, max(1, len(data) - length), size=2))
    data[one : one + length], data[two : two + length] = data[two : two + length], data[one : one + length]
    path.write_bytes(data)


def anything(generator):
    """A value as nobody of the program would write it."""
    kinds = [
        lambda: generator.standard_normal(tuple(generator.integers(0, 4, size=int(generator.integers(0, 4))))),
        lambda: generator.integers(-(2**62), 2**62, size=3), lambda: np.full((24, 3), np.nan), lambda: np.bool_(True),
        lambda: np.array([b"a", b"b"]), lambda: "word" * int(generator.integers(0, 9)), lambda: 1j * np.ones(3),
        lambda: np.zeros((0, 3)), lambda: np.float16("inf"), lambda: np.zeros(3, [("a", float), ("b", "S3")]),
        lambda: h5py.Empty("f8"), lambda: np.array([1e308, -1e308]), lambda: "{", lambda: '{"a": [1, null]}',
    ]  # fmt: skip
    return kinds[int(generator.integers(0, len(kinds)))]()


def forged(path: Path, generator) -> None:
    """A well-formed HDF5 or safetensors file in which one thing is another."""
    try:
        if path.suffix == ".h5":
            forge_item(path, generator)
        elif path.suffix == ".safetensors":
            forge_header(path, generator)
        else:
            flip(path, generator)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError):  # damaged before this
        noise(path, generator)


def forge_item(path: Path, generator) -> None:
    with h5py.File(path, "r+") as file:
        items = [file]
        file.visititems(lambda name, item: items.append(item))
        item = items[int(generator.integers(0, len(items)))]
        names = list(item.attrs)
        if names and generator.random() < 0.5:
            name = names[int(generator.integers(0, len(names)))]
            if generator.random() < 0.2:
                del item.attrs[name]
            else:
                item.attrs[name] = anything(generator)
        elif item.name != "/":
            name = item.name
            del file[name]
            if generator.random() < 0.8:
                file[name] = anything(generator)


def forge_header(path: Path, generator) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    name = names[int(generator.integers(0, len(names)))]
    changes = [
        lambda: header[name].update(shape=[10**12, 3]), lambda: header[name].update(shape=[-1]),
        lambda: header[name].update(dtype="F8"), lambda: header[name].update(dtype=7),
        lambda: header[name].update(data_offsets=[0, 10**15]), lambda: header[name].update(data_offsets=[8, 0]),
        lambda: header.update({name: None}), lambda: header.pop(name), lambda: header.pop("__metadata__", None),
        lambda: header.update({"__metadata__": {"numbers": "[" * 5000}}),
        lambda: header["__metadata__"].update(numbers='{"state": 1}'),
        lambda: header.update({"../../" + name: header.pop(name)}),
    ]  # fmt: skip
    changes[int(generator.integers(0, len(changes)))]()
    text = json.dumps(header).encode()
    declared = 2**62 if generator.random() < 0.1 else len(text)
    path.write_bytes(struct.pack("<Q", declared) + text + data[8 + length :])


DAMAGES = (flip, flip, cut, noise, pickled, gone, a_folder, a_link_to_nothing, a_link_to_itself, another_file, elements,
           forged, forged, forged)  # fmt: skip


def thrown_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def damage_at_random(good: Path, place: Path, seeds: range, capsys) -> int:
    """One random damage a seed to one or two files of a run; how many runs said something."""
    n_said = 0
    shutil.copytree(good, place / "runs" / "good")
    for seed in seeds:
        generator = host_generator(seed, Stream.TEST_POINTS)
        bad = place / "runs" / "bad"
        shutil.copytree(good, bad)
        for _ in range(int(generator.integers(1, 3))):
            path = bad / FILES[int(generator.integers(0, len(FILES)))]
            if path.is_file() and not path.is_symlink():
                DAMAGES[int(generator.integers(0, len(DAMAGES)))](path, generator)
        if generator.random() < 0.3:  # its checkpoint is what is left of it
            for name in FILES[3:]:
                thrown_away(bad / name)
        with case(place):
            n_said += bool(use_everything(place / "runs", capsys))
        shutil.rmtree(bad)
    assert not (place / "executed").exists(), "a pickle was opened"
    assert {path.name for path in place.iterdir()} == {"runs"}, "something was written outside of the folder"
    return n_said


def test_randomly_damaged_runs_open_or_say_why_not(good, tmp_path, capsys):
    assert damage_at_random(good, tmp_path, range(N_DAMAGES), capsys) > N_DAMAGES // 3


@pytest.mark.slow
def test_many_randomly_damaged_runs_open_or_say_why_not(good, tmp_path, capsys):
    assert damage_at_random(good, tmp_path, range(1000, 1000 + N_DAMAGES_SLOW), capsys) > N_DAMAGES_SLOW // 3


def test_a_recipe_whose_name_climbs_out_of_the_folder_stays_in_it(tmp_path):
    stored = run_stored(TINY.replace({"name": "../../outside/" + "x" * 300}), tmp_path / "runs")
    assert stored.folder.parent == tmp_path / "runs" and len(os.fsencode(stored.folder.name)) < 255
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
