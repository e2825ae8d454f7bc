"""Sweeps: the grid, the table, resumption, failing points, bad requests, a real local cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from mft_engine.cli import main
from mft_engine.experiment.storage import RunError
from mft_engine.figures.phase import draw_phase_diagram
from mft_engine.recipe import RecipeError, load_recipe
from mft_engine.studies import sweep as sweeps
from mft_engine.studies.phase import LOSS, measured, order_parameter, panels_of
from mft_engine.studies.sweep import Axis, Sweep, parse_axis, plan_sweep, read_table, run_sweep

TINY = load_recipe("clover").replace(
    {"network.n_neurons": 32, "foreground.n_neurons": 32, "training.n_steps": 20, "comparison.n_permutations": 99}
)
TINY_SET = [
    argument
    for change in ("network.n_neurons=32", "foreground.n_neurons=32", "training.n_steps=20",
                   "comparison.n_permutations=99")
    for argument in ("--set", change)
]  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("regularisation.scale=1e-4:1e-1:log4", (1e-4, 1e-3, 1e-2, 1e-1)),
        ("training.temperature=0.1:0.3:lin3", (0.1, 0.2, 0.3)),
        ("network.n_neurons=64:512:log4", (64, 128, 256, 512)),
        ("network.n_neurons=1:3:lin9", (1, 2, 3)),
        ("network.activation=tanh, erf", ("tanh", "erf")),
        ("training.rule_size=[8,32],[16,64]", ((8, 32), (16, 64))),
        ("task.k=2,3", (2, 3)),
    ],
)
def test_values_are_read_in_every_documented_form(text, values) -> None:
    axis = parse_axis(text, TINY)
    assert axis.path == text.split("=")[0] and axis.values == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("regularisation.scal=1,2", ["regularisation.scal", "regularisation.scale"]),
        ("regularisation.scale=1:2:cub3", ["cub3", "logN"]),
        ("regularisation.scale=0:1:log3", ["0:1:log3", "above 0"]),
        ("regularisation.scale=1:2:lin0", ["lin0", "from 1"]),
        ("regularisation.scale=a:2:lin3", ["a:2", "linN"]),
        ("regularisation.scale=", ["regularisation.scale", "a,b,c"]),
        ("seed=1,2", ["--seeds"]),
    ],
)
def test_a_range_that_is_none_is_refused_with_what_is_allowed(text, words) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_axis(text, TINY)
    assert all(word in str(caught.value) for word in words)


def test_seeds_follow_the_recipes_and_the_grid_is_complete() -> None:
    recipe = TINY.replace({"seed": 5})
    points = plan_sweep(recipe, [Axis("regularisation.scale", (0.01, 0.02)), Axis("training.time", (1.0, 2.0))], 3)
    assert len(points) == 12
    assert [point.recipe.seed for point in points[:4]] == [5, 6, 7, 5]
    assert {(p.recipe.regularisation.scale, p.recipe.training.time) for p in points} == {
        (s, t) for s in (0.01, 0.02) for t in (1.0, 2.0)
    }
    with pytest.raises(RecipeError, match="twice"):
        plan_sweep(recipe, [Axis("training.time", (1.0,))] * 2, 1)
    with pytest.raises(RecipeError, match="at most 100,000"):
        plan_sweep(recipe, [Axis("training.time", tuple(range(1, 1002)))], 100)


def test_a_cluster_and_a_single_process_give_the_same_table(tmp_path) -> None:
    axes = [Axis("regularisation.scale", (0.001, 0.01)), Axis("training.temperature", (0.02, 0.05))]
    alone = run_sweep(TINY, axes, 1, tmp_path / "alone", n_workers=1)
    together = run_sweep(TINY, axes, 1, tmp_path / "together", n_workers=2)
    names = ["seed", "regularisation.scale", "training.temperature", "background.loss", "comparison.ratio",
             "feature_learning.order_parameters.cos4", "theory.loss", "digest"]  # fmt: skip
    assert [[row[name] for name in names] for row in alone.rows] == [
        [row[name] for name in names] for row in together.rows
    ]
    assert len(alone.rows) == 4 and alone.n_failed == 0
    stored = read_table(tmp_path / "together")
    assert list(stored[0])[:4] == ["seed", "regularisation.scale", "training.temperature", "background.loss"]
    assert [row["comparison.ratio"] for row in stored] == [row["comparison.ratio"] for row in alone.rows]
    # A point opens as a run, and that run has the row's numbers.
    folder = Path(stored[2]["run_dir"])
    assert json.loads((folder / "summary.json").read_text())["background"]["loss"] == stored[2]["background.loss"]


def test_the_cluster_listens_to_this_machine_alone() -> None:
    with sweeps._client(1, None) as client:
        assert client.submit(lambda: 2).result() == 2
        me = psutil.Process()
        places = [
            connection.laddr.ip
            for process in (me, *me.children(recursive=True))
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
    assert places and set(places) == {"127.0.0.1"}


def test_a_resumed_sweep_keeps_finished_rows_and_tries_failed_ones_again(tmp_path, monkeypatch) -> None:
    axes = [Axis("regularisation.scale", (0.001, 0.01, 0.1))]
    n_calls, honest = [], sweeps.run_point

    def until_the_second(toml: str, folder: str, should_resume: bool = False) -> sweeps.Row:
        n_calls.append(toml)
        if len(n_calls) == 2:
            return {"failure": "the disk was full"}
        if len(n_calls) == 3:
            raise KeyboardInterrupt
        return honest(toml, folder, should_resume)

    monkeypatch.setattr(sweeps, "run_point", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(TINY, axes, 1, tmp_path, n_workers=1)
    assert [row["failure"] for row in read_table(tmp_path)] == [None, "the disk was full"]
    with pytest.raises(RunError, match="--resume"):
        run_sweep(TINY, axes, 1, tmp_path, n_workers=1)
    n_calls[:] = [""] * 3
    done = run_sweep(TINY, axes, 1, tmp_path, n_workers=1, resume=True)
    assert len(n_calls) == 3 + 2, "the finished point was computed again"
    assert done.n_failed == 0 and [row["regularisation.scale"] for row in done.rows] == [0.001, 0.01, 0.1]
    assert [row["background.loss"] for row in done.rows] == [
        row["background.loss"] for row in run_sweep(TINY, axes, 1, tmp_path / "fresh", n_workers=1).rows
    ]


def test_a_failing_point_is_a_row_with_its_sentence(capsys, tmp_path) -> None:
    arguments = ["sweep", "sgd-clover-free", *TINY_SET, "--param", "training.step_size=0.1,1000", "--seeds", "1"]
    code, out, err = call(capsys, *arguments, "--workers", "1", "--out", str(tmp_path), "--json")
    document = json.loads(out)
    assert code == 0 and document["n_failed"] == 1 and document["n_points"] == 2 and "sweep" in err
    good, bad = read_table(tmp_path)
    assert good["failure"] is None and good["background.loss"] > 0
    assert "diverged" in bad["failure"] and bad["training.step_size"] == 1000 and bad["background.loss"] is None
    code, out, err = call(
        capsys, "sweep", "sgd-clover-free", *TINY_SET, "--param", "training.step_size=1000", "--workers", "1",
        "--out", str(tmp_path / "all"), "--json",
    )  # fmt: skip
    assert code == 1 and out == "" and "diverged" in err


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("regularisation.scal=1,2", ["regularisation.scal", "regularisation.scale"]),
        ("regularisation.scale=0.1,-1", ["regularisation.scale = -1", "greater than 0"]),
        ("network.activation=tanh,sinh", ["network.activation", "'sinh'", "tanh"]),
        ("task.name=product,prodct", ["'prodct'", "product"]),
    ],
)
def test_a_bad_parameter_ends_with_code_2_before_anything_is_made(capsys, tmp_path, param, words) -> None:
    code, out, err = call(capsys, "sweep", "clover", "--param", param, "--out", str(tmp_path / "out"), "--json")
    assert code == 2 and out == "" and not (tmp_path / "out").exists()
    assert all(word in err for word in words), err


def test_no_scheduler_at_an_address_is_one_sentence(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sweeps, "CONNECT_SECONDS", 1)
    code, out, err = call(
        capsys, "sweep", "clover", "--param", "training.time=1,2", "--scheduler", "tcp://127.0.0.1:9",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert code == 1 and out == "" and "tcp://127.0.0.1:9" in err and "Traceback" not in err


def test_an_interrupted_sweep_leaves_with_code_130_and_its_table(tmp_path) -> None:
    command = [
        sys.executable, "-m", "mft_engine.cli", "sweep", "clover", *TINY_SET, "--param",
        "regularisation.scale=1e-3:1e-1:log60", "--workers", "2", "--out", str(tmp_path),
    ]  # fmt: skip
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    end = time.time() + 120
    while time.time() < end and not (
        (tmp_path / "table.csv").exists() and len((tmp_path / "table.csv").read_text().splitlines()) > 3
    ):
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: every process of the group
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err and "--resume" in err
    kept = read_table(tmp_path)
    assert 3 <= len(kept) < 60 and all(row["failure"] is None for row in kept)


def a_sweep(*axes: Axis, n_seeds: int = 4) -> Sweep:
    """Rows whose cos4 is -0.1 x (sum of the places on the axes + 1) with seeds scattered by +-0.01."""
    rows = []
    for place in np.ndindex(*(len(axis.values) for axis in axes)):
        for seed in range(n_seeds):
            mean = -0.1 * (sum(place) + 1)
            rows.append({
                "seed": seed, **{axis.path: axis.values[i] for axis, i in zip(axes, place, strict=True)},
                "background.loss": 0.5, "theory.loss": 0.4,
                "feature_learning.order_parameters.cos4": mean + 0.01 * (-1) ** seed,
                "feature_learning.order_parameters.cos2": 0.02,
                "theory.order_parameters.cos4": mean, "failure": None,
            })  # fmt: skip
    return Sweep(axes, tuple(rows), len(rows), Path("."))


def test_the_phase_diagram_shows_means_errors_and_theory() -> None:
    sweep = a_sweep(Axis("regularisation.scale", (0.001, 0.01, 0.1)))
    assert order_parameter(sweep) == "cos4"
    shown = measured(sweep, "feature_learning.order_parameters.cos4", "", theory="theory.order_parameters.cos4")
    np.testing.assert_allclose(shown.mean, [-0.1, -0.2, -0.3])
    # Four values mean +-0.01 have the sample deviation 0.01 sqrt(4/3); the mean's error is half of it.
    np.testing.assert_allclose(shown.error, 0.01 * (4 / 3) ** 0.5 / 2)
    figure = draw_phase_diagram(sweep)
    upper = figure.axes[0]
    assert upper.get_xscale() == "log"
    lines = {tuple(np.round(line.get_ydata(), 9)) for line in upper.lines}
    assert (-0.1, -0.2, -0.3) in lines


def test_clouds_without_angles_are_drawn_by_their_overlap() -> None:
    sweep = a_sweep(Axis("task.k", (2, 3)))
    rows = []
    for row in sweep.rows:
        kept = {name: value for name, value in row.items() if "order_parameters" not in name}
        rows.append({**kept, "feature_learning.order_parameters.overlap": 0.9})
    figure = draw_phase_diagram(Sweep(sweep.axes, tuple(rows), len(rows), Path(".")))
    assert next(axes.get_ylabel() for axes in figure.axes) == "overlap"


def test_two_parameters_make_a_heat_map_with_gaps_where_points_failed() -> None:
    sweep = a_sweep(Axis("regularisation.scale", (0.001, 0.01, 0.1)), Axis("network.activation", ("tanh", "erf")))
    rows = [{**row, "failure": "lost"} if row["network.activation"] == "erf" and row["regularisation.scale"] == 0.1
            else row for row in sweep.rows]  # fmt: skip
    figure = draw_phase_diagram(Sweep(sweep.axes, tuple(rows), len(rows), Path(".")))
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(image[0], [-0.1, -0.2, -0.3])
    np.testing.assert_allclose(image[1, :2], [-0.2, -0.3])
    assert bool(np.ma.getmaskarray(image)[1, 2])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["tanh", "erf"]


def test_the_theorys_line_along_the_exponent_has_the_fluctuations_of_a_network_in_it(tmp_path: Path) -> None:
    recipe = load_recipe("clover").replace(
        {"network.n_neurons": 64, "foreground.n_neurons": 32, "training.time": 4.0, "initial.law": "theory",
         "foreground.window": 0.8, "comparison.n_permutations": 99}
    )  # fmt: skip
    done = run_sweep(recipe, [Axis("network.readout_exponent", (0.5, 1.0))], 1, tmp_path / "a", n_workers=1)
    loss = next(panel for panel in panels_of(done) if panel.column == LOSS)
    mean_function = measured(done, "theory.loss", "").mean
    rise = loss.theory - mean_function
    assert rise[0] > 3 * rise[1] > 0
    # What is left out is of order 1/N: half of what the function fluctuates is allowed for it, as the gauge does.
    assert (np.abs(loss.mean - loss.theory) < 0.5 * rise + 0.01).all()


def test_the_theorys_answers_are_drawn_beside_the_test_accuracy() -> None:
    rows = tuple(
        {"seed": 0, "task.train_fraction": x, "background.loss": 0.1, "background.test_accuracy": x / 2,
         "theory.loss": 0.09, "theory.test_accuracy": x, "failure": None}
        for x in (0.4, 0.6)
    )  # fmt: skip
    done = Sweep((Axis("task.train_fraction", (0.4, 0.6)),), rows, 2, Path())
    answers = panels_of(done)[0]
    np.testing.assert_array_equal(answers.theory, [0.4, 0.6])
    # Sweeps of before have no loss of a network: their line is that of the mean function.
    np.testing.assert_array_equal(panels_of(done)[-1].theory, [0.09, 0.09])
