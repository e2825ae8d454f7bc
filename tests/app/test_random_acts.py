"""Hundreds of random sequences over everything that a person can do: no exception, nothing left behind, no hang.

The small engine of the tests carries most of them; it answers at once, so that acts meet each other in every order. The
real engine carries the rest, with networks of tens of neurons.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from random_acts import run_sequence
from stored_runs import make_run

from app.engine.loading import load_engine
from app.saved import SUFFIX
from app.session import Session
from app.theme import ThemeKeeper
from mft_engine.recipe import Recipe, load_recipe

N_ACTS = 30
N_FAKE, N_REAL = 420, 80
SMALL = {
    "network.n_neurons": 64,
    "foreground.n_neurons": 48,
    "comparison.n_permutations": 99,
    "training.n_steps": 300,
    "engine.n_threads": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def files(run: Path, tmp_path: Path) -> list[Path]:
    """What a person may open, and some things that cannot be opened."""
    recipe, table, broken = tmp_path / "mine.toml", tmp_path / "table.csv", tmp_path / "broken.toml"
    recipe.write_text(Recipe().replace({"network.n_neurons": 32, "foreground.n_neurons": 16}).to_toml())
    table.write_text("x1,x2,y\n" + "".join(f"{k % 5},{k % 7},{k % 3}\n" for k in range(40)))
    broken.write_text("[task\n")
    session = tmp_path / f"mine{SUFFIX}"
    session.write_text('{"schema": "mft-lab/session/1", "runs_filter": "clover"}')
    # The small engine reads the step of a run from its folder's name.
    named = tmp_path / "clover-120"
    shutil.copytree(run, named)
    return [recipe, table, broken, session, named, tmp_path / "nothing.toml", tmp_path]


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, N_FAKE))])
def test_no_order_of_acts_fails_or_leaves_anything_behind(
    seed: int,
    make_session: Callable[..., Session],
    themes: ThemeKeeper,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = run_sequence(seed, N_ACTS, make_session, themes, files, tmp_path, monkeypatch)
    print(f"seed {seed}: longest turn {outcome.longest:.3f} s")
    assert not outcome.faults, str(outcome)
    assert not outcome.hangs, str(outcome)


@pytest.mark.parametrize("seed", [1000, *(pytest.param(1000 + s, marks=pytest.mark.slow) for s in range(1, N_REAL))])
def test_no_order_of_acts_fails_on_the_real_engine_either(
    seed: int,
    make_session: Callable[..., Session],
    themes: ThemeKeeper,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = load_recipe("clover").replace(SMALL)

    def make(recipe: Recipe | None, **more: Any) -> Session:
        return make_session(recipe, load=load_engine, **more)

    outcome = run_sequence(seed, N_ACTS, make, themes, files, tmp_path, monkeypatch, small)
    print(f"seed {seed}: longest turn {outcome.longest:.3f} s")
    assert not outcome.faults, str(outcome)
    assert not outcome.hangs, str(outcome)
