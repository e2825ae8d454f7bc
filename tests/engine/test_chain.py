"""Up and down with a warm start, and values that are added where a curve bends."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mft_engine.cli import main
from mft_engine.device import to_host
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.storage import RunError
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.runs.folder import Run
from mft_engine.runs.index import read_row
from mft_engine.studies import sweep as sweeps
from mft_engine.studies.grid import Axis, plan_sweep
from mft_engine.studies.phase import LOSS, measured, panels_of
from mft_engine.studies.refinement import bends, values_to_add
from mft_engine.studies.sweep import open_sweep, run_sweep
from mft_engine.studies.sweep_table import Sweep

SMALL = load_recipe("clover").replace(
    {
        "network.n_neurons": 32,
        "foreground.n_neurons": 32,
        "training.time": 0.4,
        "comparison.n_permutations": 99,
        "engine.device": "cpu",
        "engine.n_threads": 1,
    }
)
SCALES = Axis("regularisation.scale", (0.001, 0.02))


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return run_sweep(SMALL, [SCALES], 2, tmp_path_factory.mktemp("chain"), n_workers=1, both_ways=True)


def test_every_seed_goes_up_and_down_and_each_point_begins_where_the_one_before_ended(pulled: Sweep) -> None:
    rows = [(row["way"], row["regularisation.scale"], row["seed"]) for row in pulled.rows]
    assert rows == [(way, scale, seed)
                    for way, scales in (("up", (0.001, 0.02)), ("down", (0.02, 0.001)))
                    for scale in scales for seed in (0, 1)]  # fmt: skip
    assert pulled.n_points == 8 and pulled.n_failed == 0 and pulled.has_ways
    ends = [Run(row["run_dir"]) for row in pulled.rows if row["seed"] == 1]
    steps = [run.recipe.training.n_steps for run in ends]
    assert steps == sorted(set(steps))
    for before, after in pairwise(ends):
        assert [c.step for c in after.recipe.schedule][: len(before.recipe.schedule)] == [
            c.step for c in before.recipe.schedule
        ]
    # The turning point is passed with the same value: nothing changes, and nothing is scheduled there.
    assert [(c.step, c.value) for c in ends[-1].recipe.schedule] == [(steps[0], 0.02), (steps[2], 0.001)]


def test_the_table_of_runs_says_which_scale_was_in_force_at_the_end(pulled: Sweep) -> None:
    shown = [read_row(Path(row["run_dir"])).scale for row in pulled.rows]
    assert shown == [row["regularisation.scale"] for row in pulled.rows]


def test_the_run_of_a_point_is_its_whole_way_and_repeats_it_bit_for_bit(pulled: Sweep) -> None:
    last = Run(pulled.rows[-1]["run_dir"])
    again = Experiment(last.recipe)
    again.advance(10**6)
    kept = last.read_checkpoint()
    assert kept is not None and again.is_complete and again.state.step == last.recipe.training.n_steps
    assert np.array_equal(to_host(again.state.theta), kept[0]["theta"])


def test_a_chain_that_was_stopped_goes_on_to_the_same_numbers_and_a_failed_link_takes_the_rest_with_it(
    pulled: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = sweeps.run_link, []

    def stopped(recipe, before, parent):
        calls.append(before)
        if len(calls) == 5:
            raise RuntimeError("the disk was full")
        if len(calls) == 7:
            raise KeyboardInterrupt
        return honest(recipe, before, parent)

    monkeypatch.setattr(sweeps, "run_link", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(SMALL, [SCALES], 2, tmp_path, n_workers=1, both_ways=True)
    kept = open_sweep(tmp_path)
    assert kept.sweep.n_points == 8 and kept.sweep.has_ways and len(kept.sweep.rows) == 7 and kept.sweep.n_failed == 2
    monkeypatch.setattr(sweeps, "run_link", honest)
    done = run_sweep(SMALL, [SCALES], 2, tmp_path, n_workers=1, both_ways=True, resume=True)
    assert [row[LOSS] for row in done.rows] == [row[LOSS] for row in pulled.rows]
    calls[:] = [None] * 4  # again from the fifth link on
    monkeypatch.setattr(sweeps, "run_link", lambda *order: stopped(*order) if len(calls) < 6 else honest(*order))
    broken = run_sweep(SMALL, [SCALES], 1, tmp_path / "broken", n_workers=1, both_ways=True)
    assert [bool(row["failure"]) for row in broken.rows] == [True, True, True, True]
    assert "before this one failed" in broken.rows[-1]["failure"]


@pytest.mark.slow
def test_two_workers_pull_the_same_chains_as_one(pulled: Sweep, tmp_path: Path) -> None:
    together = run_sweep(SMALL, [SCALES], 2, tmp_path, n_workers=2, both_ways=True)
    assert [row[LOSS] for row in together.rows] == [row[LOSS] for row in pulled.rows]


def test_the_phase_diagram_keeps_both_ways_apart(pulled: Sweep) -> None:
    panel = measured(pulled, LOSS, "loss")
    assert panel.down is not None and panel.mean.shape == panel.down.mean.shape == (2,)
    by_hand = [np.mean([row[LOSS] for row in pulled.rows if row["way"] == "down" and row[SCALES.path] == scale])
               for scale in SCALES.values]  # fmt: skip
    assert np.allclose(panel.down.mean, by_hand) and not np.allclose(panel.mean, by_hand)


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        ("network.n_neurons", {}, "can change while"),
        ("regularisation.scale", {"training.step_size": 0.01}, "training.step_size"),
        ("regularisation.scale", {"training.dynamics": "gibbs"}, "training.dynamics"),
        ("regularisation.scale", {"foreground.background": "untrained"}, "is trained"),
    ],
)
def test_what_cannot_be_pulled_is_refused_before_anything_is_written(
    path: str, changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=words):
        run_sweep(SMALL.replace(changes), [Axis(path, (32, 64))], 1, tmp_path / "no", n_workers=1, both_ways=True)
    assert not (tmp_path / "no").exists()


def test_up_and_down_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small.toml").write_text(SMALL.to_toml())
    with pytest.raises(SystemExit) as exit_:
        main(["sweep", str(tmp_path / "small.toml"), "--param", "regularisation.scale=0.001,0.02", "--up-and-down",
              "--workers", "1", "--out", str(tmp_path / "out"), "--json"])  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert not exit_.value.code and document["n_points"] == 4 and document["up_and_down"]
    assert [row["way"] for row in document["rows"]] == ["up", "up", "down", "down"]
    assert Path(document["figures"][0]).stat().st_size > 1000


def test_chains_go_side_by_side_so_that_every_worker_has_something_to_do() -> None:
    axes = [Axis("regularisation.scale", (0.02, 0.001)), Axis("training.time", (1.0, 2.0))]
    points = plan_sweep(SMALL, axes, 2, both_ways=True)
    assert len(points) == 16 and [p.values[0] for p in points[::4]] == [0.001, 0.02, 0.02, 0.001]
    for number, point in enumerate(points):
        assert point.after == (None if number < 4 else number - 4)
        if point.after is not None:
            before = points[point.after]
            assert before.values[1:] == point.values[1:] and before.recipe.seed == point.recipe.seed


# ---- values where the curve bends -----------------------------------------------------------------------------------


def swept(values: tuple[float, ...], curve: list[float], noise: float = 0.0) -> Sweep:
    """Two seeds a value, `noise` above and below the curve."""
    rows = tuple(
        {"seed": seed, "training.temperature": x, LOSS: y + noise * (2 * seed - 1), "digest": f"{x}{seed}"}
        for x, y in zip(values, curve, strict=True)
        for seed in (0, 1)
    )
    return Sweep((Axis("training.temperature", values),), rows, len(rows), Path())


def test_values_are_added_where_the_curve_bends_and_nowhere_on_a_straight_line() -> None:
    values = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert values_to_add(swept(values, [0, 1, 2, 3, 4, 5]), 4) == {}
    # A kink at 2 asks for the two intervals that meet there, and for no other.
    kink = values_to_add(swept(values, [0, 0, 0, 1, 2, 3]), 4)
    assert set(kink["training.temperature"]) == {1.5, 2.5}


def test_a_bend_within_its_errors_is_none() -> None:
    values = (0.0, 1.0, 2.0, 3.0, 4.0)
    curve = [0.0, 0.0, 0.1, 0.0, 0.0]
    # With an error of .01 a mean, it is a bend; with one of .1 the deviation of .1 from a line, whose error is
    # .1 x sqrt(1 + 1/4 + 1/4) = .12, is none.
    assert values_to_add(swept(values, curve, 0.01), 2)
    assert values_to_add(swept(values, curve, 0.1), 2) == {}


def test_on_a_logarithmic_axis_the_middle_is_the_geometric_one_and_whole_numbers_stay_whole() -> None:
    found = values_to_add(swept((0.01, 0.1, 1.0, 10.0), [0, 0, 1, 1]), 1)["training.temperature"]
    assert found == (0.316228,)
    assert bends(Axis("x", (1, 2, 3)), np.array([0.0, np.nan, 1.0]), np.zeros(3)).tolist() == [0.0, 0.0]


def test_a_refined_sweep_is_the_sweep_of_all_its_values_and_goes_on_after_a_stop(tmp_path: Path) -> None:
    axis, told = Axis("regularisation.scale", (0.0001, 0.001, 0.01, 0.1, 1.0)), []
    recipe = SMALL.replace({"network.n_neurons": 64, "training.time": 2.0})
    done = run_sweep(
        recipe, [axis], 1, tmp_path / "a", n_workers=1, refine=2, grown=lambda axes, left: told.append((axes, left))
    )
    (grown,) = done.axes
    assert len(grown.values) == 7 and set(axis.values) < set(grown.values) and done.n_points == len(done.rows) == 7
    assert [left for _, left in told] == [1, 0] and told[-1][0] == done.axes
    at_once = run_sweep(recipe, [grown], 1, tmp_path / "b", n_workers=1)
    assert [row[LOSS] for row in at_once.rows] == [row[LOSS] for row in done.rows]
    assert panels_of(done)[0].is_known and open_sweep(tmp_path / "a").sweep.axes == done.axes
    again = run_sweep(recipe, [axis], 1, tmp_path / "a", n_workers=1, refine=2, resume=True)
    assert again.axes == done.axes
    with pytest.raises(RunError):
        run_sweep(recipe, [axis], 1, tmp_path / "a", n_workers=1, refine=2)
    with pytest.raises(RecipeError, match="refine"):
        run_sweep(recipe, [axis], 1, tmp_path / "c", n_workers=1, refine=2, both_ways=True)
