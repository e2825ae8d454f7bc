"""Whatever lies where the window's settings and a person's words about runs should be, the window starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fuzzing import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QByteArray

from app.settings import Settings
from mft_engine.recipe import Recipe, load_recipe
from mft_engine.runs.marks import MARKS, read_marks
from mft_engine.runs.owner import OWNER, is_in_other_hands

N_FAST, N_SLOW = 60, 3000
KNOWN = ["recent", "recipe", "run", "theme", "docks", "tasks", "name", "tags", "note"]
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
def files(draw: st.DrawFn) -> bytes:
    """A document as JSON, perhaps cut off or with some bytes exchanged; or anything."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=100))
    tree: Any = draw(st.one_of(documents, st.dictionaries(st.sampled_from(KNOWN), documents, min_size=1)))
    data = bytearray(json.dumps(tree).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def the_window_would_start(place: Path, data: bytes, geometry: bytes) -> None:
    for name in ("window.json", MARKS, OWNER):
        (place / name).write_bytes(data)
    (place / "geometry.ini").write_bytes(geometry)
    kept = Settings(place)
    assert all(isinstance(text, str) for text in kept.recent) and isinstance(kept.get("theme", "system"), str)
    assert kept.recipe is None or isinstance(kept.recipe, Recipe)
    assert kept.last_run is None or kept.last_run.is_dir()
    assert isinstance(kept.geometry("window"), QByteArray)
    kept.set("theme", "dark")
    assert Settings(place).get("theme", "system") == "dark", "what is remembered afterwards is lost"
    marks = read_marks(place)
    assert isinstance(marks.name, str) and all(isinstance(tag, str) for tag in marks.tags)
    assert is_in_other_hands(place) in (True, False)


@fuzzed(N_FAST)
@given(data=files(), geometry=st.one_of(st.just(b""), st.binary(max_size=80)))
def test_settings_and_words_of_any_content_never_block_the_start(data, geometry, tmp_path):
    the_window_would_start(tmp_path, data, geometry)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@fuzzed(N_SLOW)
@given(data=files(), geometry=st.one_of(st.just(b""), st.binary(max_size=80)))
def test_thousands_of_settings_never_block_the_start(data, geometry, tmp_path):
    the_window_would_start(tmp_path, data, geometry)
