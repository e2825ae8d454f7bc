"""Every kind of damaged or impossible file against every reader of a file that a person can name."""

from __future__ import annotations

import functools
import io
import os
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.settings import Settings
from mft_engine.experiment.stored_background import load_stored_background
from mft_engine.recipe import RecipeError, load_recipe, parse_recipe
from mft_engine.runs.marks import MARKS, read_marks
from mft_engine.runs.owner import OWNER, is_in_other_hands
from mft_engine.runs.runs import RunError, list_runs, load, run_stored
from mft_engine.sections import TaskSection
from mft_engine.studies.sweep import read_table
from mft_engine.tasks import build_task

TINY = load_recipe("clover").replace(
    {"network.n_neurons": 8, "foreground.n_neurons": 8, "training.n_steps": 5, "comparison.n_permutations": 99,
     "engine.device": "cpu", "engine.n_threads": 1}
)  # fmt: skip
# No reader of a file without content needs more than this; one that believes what is declared needs gigabytes.
MOST_KILOBYTES = 300_000


# ---- files ----------------------------------------------------------------------------------------------------------


def archive(method: int = zipfile.ZIP_DEFLATED, **arrays: np.ndarray) -> bytearray:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, array)
    return bytearray(memory.getvalue())


def cloud() -> dict[str, np.ndarray]:
    """Arrays that are a background and a table of data alike, and do not pack well."""
    return {"background": np.sin(np.arange(3000.0) ** 2).reshape(1000, 3)}


def flipped_inside(path: Path) -> None:
    """Bytes of the packed stream itself."""
    data = archive(**cloud())
    for place in range(400, 500):
        data[place] ^= 0xFF
    path.write_bytes(data)


def with_word(offsets: tuple[tuple[bytes, int], ...], value: int) -> Callable[[Path], None]:
    """An archive whose headers (local and central) have another 16-bit word at a place."""

    def write(path: Path) -> None:
        data = archive(**cloud())
        for signature, offset in offsets:
            place = data.index(signature) + offset
            data[place : place + 2] = value.to_bytes(2, "little")
        path.write_bytes(data)

    return write


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def declaring_more(path: Path) -> None:
    """A header that promises 24 TB."""
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        memory, {"descr": "<f8", "fortran_order": False, "shape": (1_000_000_000_000, 3)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("background.npy", memory.getvalue() + bytes(100))


@functools.cache
def bomb() -> bytes:
    """Half a megabyte that unpacks to more than is read."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file, file.open("background.npy", "w") as entry:
        np.lib.format.write_array_header_1_0(entry, {"descr": "|i1", "fortran_order": False, "shape": (200_000_000, 3)})
        for _ in range(600):
            entry.write(bytes(1_000_000))
    return memory.getvalue()


class Forged:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def objects(path: Path) -> None:
    memory = io.BytesIO()
    np.savez(memory, background=np.array([[Forged(), 1, 2]], dtype=object))
    path.write_bytes(memory.getvalue())


def folder(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    """A hundred gigabytes on paper."""
    with path.open("wb") as file:
        file.truncate(100_000_000_000)


def locked(path: Path) -> None:
    path.write_bytes(archive(**cloud()))
    path.chmod(0)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "nothing": lambda path: path.write_bytes(b""),
    "blanks": lambda path: path.write_bytes(b" \n\t\n"),
    "an archive cut off": lambda path: path.write_bytes(archive(**cloud())[:9000]),
    "an archive cut off at its start": lambda path: path.write_bytes(archive(**cloud())[:20]),
    "an archive flipped inside": flipped_inside,
    "an archive packed by an unknown method": with_word(((LOCAL, 8), (CENTRAL, 10)), 99),
    "an archive that wants a password": with_word(((LOCAL, 6), (CENTRAL, 8)), 1),
    "an archive of another version": with_word(((CENTRAL, 6),), 0xFFFF),
    "an archive with another name inside": with_word(((LOCAL, 30),), 0x4142),
    "an archive that declares 24 TB": declaring_more,
    "an archive that unpacks to 600 MB": lambda path: path.write_bytes(bomb()),
    "an archive of objects": objects,
    "an archive of words": lambda path: path.write_bytes(archive(background=np.array([["a", "b", "c"]]))),
    "an archive of complex numbers": lambda path: path.write_bytes(archive(background=np.ones((9, 3), complex))),
    "an archive of records": lambda path: path.write_bytes(archive(background=np.zeros(9, [("a", float)]))),
    "an archive of dates": lambda path: path.write_bytes(archive(background=np.zeros((9, 3), "datetime64[s]"))),
    "an archive of NaN": lambda path: path.write_bytes(archive(background=np.full((9, 3), np.nan))),
    "an archive without arrays": lambda path: path.write_bytes(archive()),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Forged())),
    "noise": lambda path: path.write_bytes(np.sin(np.arange(999.0)).tobytes()),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "a folder": folder,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "100 GB of nothing": sparse,
}
if hasattr(os, "mkfifo"):
    DAMAGES |= {
        "a pipe": os.mkfifo,
        "a device without end": lambda path: path.symlink_to("/dev/zero"),
        "a device without content": lambda path: path.symlink_to("/dev/null"),
    }
if hasattr(os, "geteuid") and os.geteuid() != 0:
    DAMAGES["a file of somebody else"] = locked


# ---- readers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_stored(TINY, tmp_path_factory.mktemp("good")).folder


def data(suffix: str) -> Callable[[Path, Path, Callable[[Path], None]], None]:
    def read(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
        damage(place / f"bad{suffix}")
        build_task(TaskSection.model_validate({"name": "dataset", "path": str(place / f"bad{suffix}")}))

    return read


def background(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
    damage(place / "bad.npz")
    load_stored_background(str(place / "bad.npz"), 2)


def background_run(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
    (place / "run").mkdir()
    damage(place / "run" / "result.h5")
    load_stored_background(str(place / "run"), 2)


def recipe(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
    damage(place / "bad.toml")
    load_recipe(place / "bad.toml")


def table(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
    damage(place / "table.csv")
    read_table(place)


def run_folder(name: str) -> Callable[[Path, Path, Callable[[Path], None]], None]:
    def read(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
        shutil.copytree(good, place / "run")
        (place / "run" / name).unlink()
        if name == "checkpoint.safetensors":  # looked at where the result is gone
            (place / "run" / "result.h5").unlink()
        damage(place / "run" / name)
        (row,) = list_runs(place)
        faults = load(place / "run").summary["faults"]
        fault = next(iter([*faults, row["fault"]]), None)
        if fault:
            raise RunError(fault)

    return read


def words_beside_a_run(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
    for name in (MARKS, OWNER):
        damage(place / name)
    assert read_marks(place).is_empty and not is_in_other_hands(place)
    raise RunError("Nobody said anything about it, and nobody keeps it")


def settings(place: Path, good: Path, damage: Callable[[Path], None]) -> None:
    damage(place / "window.json")
    assert Settings(place).get("x", 3) == 3
    raise RunError("The window starts with the usual ones")


READERS: dict[str, Callable[[Path, Path, Callable[[Path], None]], None]] = {
    "data.npz": data(".npz"), "data.csv": data(".csv"), "a background": background,
    "a run as a background": background_run, "a recipe": recipe, "a sweep's table": table, "settings": settings,
    "words beside a run": words_beside_a_run,
    **{name: run_folder(name) for name in (
        "recipe.toml", "summary.json", "provenance.json", "checkpoint.safetensors", "result.h5", "metrics.h5",
        "snapshots.h5")},
}  # fmt: skip
# An empty recipe is the default one; a link without an end is, in a run that may be unfinished, a file not yet written.
FINE = {("blanks", "a recipe"), ("nothing", "a recipe")} | {
    (kind, name)
    for kind in ("a link to itself", "a link to nothing")
    for name in ("recipe.toml", "summary.json", "provenance.json", "checkpoint.safetensors", "result.h5")
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_every_damaged_file_in_a_sentence(reader, good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (kind, damage) in enumerate(DAMAGES.items()):
        place = tmp_path / str(number)
        place.mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            READERS[reader](place, good, damage)
        except (RecipeError, RunError) as error:
            sentence = str(error)
            assert sentence.strip() and "Traceback" not in sentence and "\n" not in sentence, (kind, sentence)
            assert "Errno" not in sentence and len(sentence) < 700, (kind, sentence)
        else:
            assert (kind, reader) in FINE, f"{kind} was read as {reader}"
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert used < MOST_KILOBYTES, f"{kind} as {reader}: {used / 1000:.0f} MB"
    assert not (tmp_path / "executed").exists()


def test_the_watch_would_see_what_a_forged_pickle_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Forged()))
    assert (tmp_path / "executed").exists()


def test_the_damaged_background_of_a_report_is_refused_by_its_recipe(tmp_path):
    (tmp_path / "cut.npz").write_bytes(archive(zipfile.ZIP_STORED, **cloud())[:-200])
    with pytest.raises(RecipeError, match=r"foreground\.background: cut\.npz cannot be read as an NPZ file"):
        load_stored_background(str(tmp_path / "cut.npz"), 2)
    text = parse_recipe(f"[foreground]\nbackground = {str(tmp_path / 'cut.npz')!r}").foreground.background
    assert text == str(tmp_path / "cut.npz")
