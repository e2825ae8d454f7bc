"""Whatever lies where the window's settings and a person's words about runs should be, the window starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import case, fuzzed
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QByteArray

from app.saved import SUFFIX, SavedSession, SavedSessionError, read_session, recipe_of, write_session
from app.settings import Settings
from app.shell.dropping import is_run, is_watched, what_it_becomes
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs.index import read_index
from mft_engine.runs.marks import MARKS, read_marks
from mft_engine.runs.owner import OWNER, is_in_other_hands
from mft_engine.runs.runs import list_runs

N_FAST, N_SLOW = 60, 1500
KNOWN = ["recent", "recipe", "run", "theme", "docks", "tasks", "name", "tags", "note", "session", "run_folders"]
PARTS = [
    *SavedSession.model_fields,
    "x",
    "y",
    "overlays",
    "span",
    "axes",
    "n_seeds",
    "n_workers",
    "scheduler",
    "schema",
]
TREE = load_recipe("clover").model_dump(mode="json")

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["/", "..", "/dev/zero", "\0", "x" * 5000, -(10**400), 10**400, TREE, {**TREE, "seed": "x"}]),
)  # fmt: skip
documents = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KNOWN), st.text(max_size=4)), inner)
    ),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, tree: Any) -> bytes:
    """A document as JSON, perhaps cut off or with some bytes exchanged."""
    data = bytearray(json.dumps(tree).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


files = st.one_of(
    st.binary(max_size=100),
    st.one_of(documents, st.dictionaries(st.sampled_from(KNOWN), documents, min_size=1)).flatmap(damaged),
)
WHOLE = {"schema": "mft-lab/session/1", **SavedSession(recipe=TREE, run="/", layout="00ff").model_dump(mode="json")}
sessions = st.one_of(
    st.dictionaries(st.sampled_from(PARTS), documents, max_size=4).flatmap(
        lambda changes: damaged({**WHOLE, **changes})
    ),
    st.dictionaries(st.sampled_from(PARTS), documents, max_size=4).map(
        lambda changes: json.dumps({**WHOLE, **changes}).encode("utf-8", "surrogatepass")
    ),
    st.just(WHOLE).flatmap(damaged),
)


def the_window_would_start(place: Path, data: bytes, geometry: bytes) -> None:
    with case(place):
        it_starts(place, data, geometry)


def it_starts(place: Path, data: bytes, geometry: bytes) -> None:
    for name in ("window.json", MARKS, OWNER):
        (place / name).write_bytes(data)
    (place / "geometry.ini").write_bytes(geometry)
    kept = Settings(place)
    assert all(isinstance(text, str) for text in kept.recent) and isinstance(kept.get("theme", "system"), str)
    assert kept.recipe is None or isinstance(kept.recipe, Recipe)
    assert isinstance(kept.session, SavedSession)
    assert kept.last_run is None or kept.last_run.is_dir()
    assert isinstance(kept.geometry("window"), QByteArray)
    kept.set("theme", "dark")
    assert Settings(place).get("theme", "system") == "dark", "what is remembered afterwards is lost"
    marks = read_marks(place)
    assert isinstance(marks.name, str) and all(isinstance(tag, str) for tag in marks.tags)
    assert is_in_other_hands(place) in (True, False)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "~nobody-of-that-name/x"])
def test_names_that_no_file_can_have_never_block_the_start(name, tmp_path):
    """The name of a run of 5,000 letters in the settings stopped the window with an OSError."""
    the_window_would_start(tmp_path, json.dumps({"run": name, "run_folders": [name], "recent": [name]}).encode(), b"")
    assert SavedSession(run=name).run_folder is None
    assert not is_run(Path(name)) and not is_watched(Path(name)) and what_it_becomes(Path(name))[0] == ""
    assert list(read_index(tmp_path / name)) == [[]] and list_runs(tmp_path / name) == []


@fuzzed(N_FAST)
@given(data=files, geometry=st.one_of(st.just(b""), st.binary(max_size=80)))
def test_settings_and_words_of_any_content_never_block_the_start(data, geometry, tmp_path):
    the_window_would_start(tmp_path, data, geometry)


@pytest.mark.slow
@fuzzed(N_SLOW)
@given(data=files, geometry=st.one_of(st.just(b""), st.binary(max_size=80)))
def test_thousands_of_settings_never_block_the_start(data, geometry, tmp_path):
    the_window_would_start(tmp_path, data, geometry)


def a_session_or_a_sentence(place: Path, data: bytes) -> None:
    path = place / f"fuzzed{SUFFIX}"
    path.write_bytes(data)
    with case(place):
        try:
            saved = read_session(path)
        except SavedSessionError as error:
            assert path.name in str(error) and "Traceback" not in str(error) and len(str(error)) < 400
            return
        assert recipe_of(saved.recipe) is None or isinstance(recipe_of(saved.recipe), Recipe)
        assert saved.run_folder is None or saved.run_folder.is_dir()
        write_session(path, saved)
        assert read_session(path) == saved


@fuzzed(N_FAST)
@given(data=sessions)
def test_a_session_file_of_any_content_opens_or_says_why_not(data, tmp_path):
    a_session_or_a_sentence(tmp_path, data)


@pytest.mark.slow
@fuzzed(N_SLOW)
@given(data=sessions)
def test_thousands_of_session_files_open_or_say_why_not(data, tmp_path):
    a_session_or_a_sentence(tmp_path, data)
