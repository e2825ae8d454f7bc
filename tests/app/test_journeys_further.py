"""Journeys of `product.md` beyond the live picture: sweeps, other tasks, the command line, somebody else's network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from journeys import LONG, SMALL, Journey, draw_around
from PySide6.QtCore import QPointF, Qt

from app.watched.window import WatchedWindow
from mft_engine.cli.commands import main
from mft_engine.recipe import load_recipe

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
TINY = SMALL | {"network.n_neurons": 64, "foreground.n_neurons": 64, "training.time": 1.0}
SCRIPT = """
import torch
import mft_engine as mft

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1], n_foreground=64, seed=0)
for step in range(150):
    x = torch.randn(128, 2)
    loss = ((model(x)[:, 0] - x[:, 0] * x[:, 1]) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(watch.compare().verdict)
watch.save("mine")
watch.close()
"""


def carry_out(*words: str) -> None:
    """A command of `mft-lab`, which ends well."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0


def test_j3_the_phase_diagram_swept_cancelled_resumed_and_a_point_that_opens(journey: Journey) -> None:
    window = journey.start(load_recipe("clover-warm").replace(TINY))
    sweeping, view = window.sweeping, window.sweep_view
    journey.key(Qt.Key.Key_3, CONTROL)
    # The field by pointing at its control, the values by typing, two seeds.
    journey.click(view.fields[0].point)
    journey.click(window.experiment.rows["regularisation.scale"].control.log_slider.slider)
    assert view.fields[0].path.currentData() == "regularisation.scale"
    journey.type(view.fields[0].values, "0.0005:0.05:log3")
    for box, number in ((view.seeds, "2"), (view.workers, "1")):
        box.selectAll()
        journey.qtbot.keyClicks(box, number)
    with journey.qtbot.waitSignal(sweeping.changed, timeout=LONG, check_params_cb=lambda sweep, _: len(sweep.rows) > 0):
        journey.click(view.start)
    with journey.qtbot.waitSignal(sweeping.ended, timeout=LONG) as ended:
        journey.click(view.cancel)
    assert ended.args[0].startswith("Stopped") and view.resume.isEnabled()
    with journey.qtbot.waitSignal(sweeping.ended, timeout=2 * LONG):
        journey.click(view.resume)
    assert "Done: 6 of 6 points" in view.sentence.text()
    # A click on a point: that run opens.
    curves, item = view.phase._curves[0], view.phase.items[0]
    assert len(curves["dots"].getData()[0]) == 6 and np.isfinite(curves["line"].getData()[1]).all()
    journey.qtbot.wait(100)
    x, y = (float(values[-1]) for values in curves["dots"].getData())
    place = item.getViewBox().mapViewToScene(QPointF(x, y))
    built = journey.wait_for(
        "experiment_changed",
        lambda: journey.qtbot.mouseClick(
            view.phase.plots.viewport(), Qt.MouseButton.LeftButton, pos=view.phase.plots.mapFromScene(place)
        ),
    )
    assert built.recipe.regularisation.scale in (0.0005, 0.005, 0.05) and built.folder.parent.name == "runs"
    journey.picture("J3")
    assert journey.faults == []


@pytest.mark.slow
def test_j4_modular_addition_memorised_then_generalised_and_where_the_transition_lies(journey: Journey) -> None:
    window = journey.start(load_recipe("clover-warm").replace(TINY))
    recorded: list[dict[str, np.ndarray]] = []
    window.session.metrics_ready.connect(lambda event: recorded.append(event.columns))
    journey.wait_for("experiment_changed", lambda: journey.choose(window.experiment.preset, "modular-addition"))
    journey.type_value("training.time", "6")
    journey.look_at("fourier")
    journey.wait_for("recipe_complete", lambda: journey.press("play"), timeout=4 * LONG)
    journey.press("play")
    # Learnt by heart first, then also for pairs never shown.
    train, test = (recorded[-1][name] for name in ("train_accuracy", "test_accuracy"))
    assert train[0] > 0.95 and test[0] < 0.6 and train[-1] == 1.0 and test[-1] > 0.9
    # The cloud in the plane of a Fourier mode, and of another one.
    header = window.cloud.header
    assert all("2π·1 n/11" in key for key in window.cloud.axes)
    for picker in (header.x_picker, header.y_picker):
        picker.setFocus()
        for _ in range(4):  # past the waves of m to the next mode of n
            journey.qtbot.keyClick(picker, Qt.Key.Key_Down)
    assert all("2π·2 n/11" in key for key in window.cloud.axes)
    journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    journey.rest(6 * LONG)  # the law of all pairs is found beside it
    journey.picture("J4")
    # Neurons chosen in that plane: which frequency they are at, and their phases.
    draw_around(journey.qtbot, window.cloud.plot, 0.3, 0.95 * min(high for _, high in window.cloud.visible_range()))
    chosen = window.brush.numbers["background"]
    heights = window.fourier._chosen_bars["background"].opts["height"]
    n = len(window.cloud.layers["background"].theta)
    assert np.isclose(heights.sum(), len(chosen) / n) and 0 < len(chosen) < n
    assert np.all(heights <= window.fourier._bars["background"].opts["height"])
    table = window.docks["neurons"].widget().table
    for column in range(table.columnCount()):
        assert table.sizeHintForColumn(column) <= table.columnWidth(column)  # numbers are seen whole
    journey.look_at("fourier")
    journey.picture("J4-brushed")
    # Where the transition lies: the share of right answers as the fraction of pairs that are shown moves.
    for path, number in (("network.n_neurons", "128"), ("training.time", "2")):
        journey.type_value(path, number)
    sweeping, view = window.sweeping, window.sweep_view
    journey.look_at("sweep")
    view.choose(0, "task.train_fraction", "0.4, 0.8")
    view.seeds.setValue(1)
    view.workers.setValue(1)
    with journey.qtbot.waitSignal(sweeping.ended, timeout=4 * LONG):
        journey.click(view.start)
    assert sweeping.sweep is not None and sweeping.sweep.n_failed == 0
    few, many = (row["background.test_accuracy"] for row in sweeping.sweep.rows)
    assert few < many
    journey.picture("J4-sweep")


def test_j5_deeper_a_cloud_a_foreground_and_a_verdict_for_every_layer(journey: Journey) -> None:
    changes = {"network.n_neurons": [64, 64], "foreground.n_neurons": 64, "training.time": 2.0}
    changes |= {"comparison.n_permutations": 199, "engine.n_threads": 1}
    window = journey.start(load_recipe("continuous-xor").replace(changes))
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    comparisons = journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    assert len(comparisons) == 2
    journey.rest()
    journey.picture("J5-layer1")
    first = window.cloud.layers["background"].theta
    journey.choose(window.cloud.header.layer_picker, "2")
    second = window.cloud.layers["background"].theta
    assert second.shape != first.shape and len(window.cloud.layers["foreground"].x) == 64
    assert window.self_consistency.card.state == comparisons[1].verdict
    journey.picture("J5-layer2")
    assert journey.faults == []


def test_j7_the_cluster_the_command_line_gives_the_windows_run_and_the_window_opens_its_results(
    journey: Journey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window = journey.start(load_recipe("clover-warm").replace(TINY))
    recorded: list[dict[str, np.ndarray]] = []
    window.session.metrics_ready.connect(lambda event: recorded.append(event.columns))
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    journey.rest()
    journey.qtbot.waitUntil(
        lambda: bool(recorded) and len(recorded[-1]["loss"]) > 3, timeout=LONG
    )  # told twice a second
    mine = recorded[-1]["loss"]
    path = tmp_path / "mine.toml"
    journey.name_file(path)
    journey.key(Qt.Key.Key_S, CONTROL)
    assert path.is_file()
    carry_out("run", str(path), "--out", str(tmp_path / "runs"))
    swept = ["--param", "regularisation.scale=0.001,0.01", "--seeds", "1", "--workers", "1"]
    carry_out("sweep", str(path), *swept, "--out", str(tmp_path / "cluster"))
    (folder,) = (tmp_path / "runs").iterdir()
    recorded.clear()
    journey.name_file(folder)
    journey.wait_for("experiment_changed", lambda: journey.key(Qt.Key.Key_O, CONTROL | SHIFT))
    journey.qtbot.waitUntil(lambda: window.self_consistency.card.state != "none", timeout=LONG)
    journey.qtbot.waitUntil(lambda: bool(recorded), timeout=LONG)
    theirs = recorded[-1]["loss"]
    assert len(theirs) > 3 and np.array_equal(theirs, mine[: len(theirs)])  # the window went on a little
    journey.name_file(tmp_path / "cluster")
    journey.key(Qt.Key.Key_O, CONTROL | SHIFT)
    assert window.sweep_view.axes == {"regularisation.scale": "0.001, 0.01"}
    assert "2 of 2 points" in window.sweep_view.sentence.text() and window.docks.front == "sweep"
    journey.picture("J7")
    assert journey.faults == []


def test_j9_my_own_network_watched_in_a_script_and_its_verdict_in_the_window(journey: Journey, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    verdict = done.stdout.split()[-1]
    window = journey.start(load_recipe("clover-warm").replace(TINY))
    journey.name_file(tmp_path / "mine")
    journey.key(Qt.Key.Key_O, CONTROL | SHIFT)
    (watched,) = window.commands.watched
    assert isinstance(watched, WatchedWindow)
    watched.resize(journey.look.width, journey.look.height)
    journey.qtbot.waitUntil(lambda: watched.run is not None, timeout=LONG)
    assert watched.findings.card.state == verdict
    assert "Neurons have moved" in watched.findings.sentences.text()
    journey.picture("J9", watched)
    watched.close()
    assert journey.faults == []


def test_j10_the_law_itself_its_waves_and_the_network_that_walks_towards_it(journey: Journey, tmp_path: Path) -> None:
    small = {"network.n_neurons": 128, "foreground.n_neurons": 128, "task.modulus": 7, "training.time": 3.0}
    path = tmp_path / "addition.toml"
    path.write_text(load_recipe("modular-addition").replace(small | {"engine.n_threads": 1}).to_toml())
    window = journey.start(load_recipe("clover-warm").replace(TINY))
    theories: list[dict[str, object]] = []
    window.session.theory_ready.connect(lambda event: theories.append(event.numbers))
    journey.name_file(path)
    journey.wait_for("experiment_changed", lambda: journey.key(Qt.Key.Key_O, CONTROL))
    theories.clear()
    journey.look_at("fourier")
    journey.wait_for("recipe_complete", lambda: journey.press("play"))
    journey.press("play")
    journey.qtbot.waitUntil(lambda: bool(theories), timeout=2 * LONG)
    verdicts: list[str] = []
    window.session.answered.connect(lambda event: verdicts.append(event.name))
    journey.wait_for("comparison_ready", lambda: journey.press("resample"))
    journey.rest()
    assert "equilibrium" in verdicts
    assert "quilibrium: excess" in window.self_consistency.card.certificate.text()
    journey.picture("J10")
    assert journey.faults == []
