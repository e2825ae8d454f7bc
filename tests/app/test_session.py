"""The session with its worker in the same thread: every hop of a slider's movement, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeExperiment

from app.engine.messages import Export, Exported
from app.session import Session
from mft_engine.experiment.events import Progress
from mft_engine.recipe import Recipe, load_recipe

MakeSession = Callable[..., Session]


@pytest.fixture
def session(make_session: MakeSession, qtbot: Any) -> Session:
    session = make_session()
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    session.frame_drawn()
    return session


def heard(signal: Any) -> list[Any]:
    """Everything that a signal says from now on."""
    said: list[Any] = []
    signal.connect(lambda *values: said.append(values[0] if len(values) == 1 else values))
    return said


def test_an_edit_makes_a_new_recipe_of_a_newer_generation_and_keeps_the_neurons(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    before, generation = session.recipe, session.generation
    assert session.edit("regularisation.scale", 0.02)
    assert (before.regularisation.scale, session.recipe.regularisation.scale) == (0.001, 0.02)
    assert session.generation == generation + 1
    qtbot.waitUntil(lambda: "retune 0.02" in engine.log)
    assert len(engine.experiments) == 1


def test_an_impossible_value_is_refused_with_a_sentence_and_the_old_one_stays(session: Session) -> None:
    sentences, before = heard(session.failed), session.recipe
    assert not session.edit("regularisation.scale", -1.0)
    assert session.recipe is before
    assert session.undo_stack.count() == 0
    assert "regularisation.scale = -1.0" in sentences[0]


def test_a_drag_is_one_entry_of_the_history_and_undo_returns_to_where_it_began(session: Session) -> None:
    for scale in (0.002, 0.004, 0.008):
        session.edit("regularisation.scale", scale)
    session.edit_done()
    assert session.undo_stack.count() == 1
    session.edit("regularisation.scale", 0.5)
    session.edit_done()
    assert session.undo_stack.count() == 2
    session.undo_stack.undo()
    assert session.recipe.regularisation.scale == 0.008
    session.undo_stack.undo()
    assert session.recipe.regularisation.scale == 0.001
    session.undo_stack.redo()
    assert session.recipe.regularisation.scale == 0.008


def test_a_drag_that_ends_where_it_began_leaves_no_entry(session: Session) -> None:
    session.edit("regularisation.scale", 0.5)
    session.edit("regularisation.scale", 0.001)
    session.edit_done()
    assert session.undo_stack.count() == 0


def test_of_many_edits_in_one_moment_the_engine_sees_only_the_last(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    for k in range(1, 51):
        session.edit("regularisation.scale", k / 100)
    qtbot.waitUntil(lambda: "retune 0.5" in engine.log)
    assert [line for line in engine.log if line.startswith("retune")] == ["retune 0.5"]


def test_play_trains_past_the_recipes_end_and_says_when_it_was_complete(session: Session, qtbot: Any) -> None:
    session.set_speed(40)
    session.snapshot_ready.connect(session.frame_drawn)
    complete, snapshots = heard(session.recipe_complete), heard(session.snapshot_ready)
    session.play()
    qtbot.waitUntil(lambda: bool(snapshots) and snapshots[-1].step > 260)
    session.pause()
    assert [event.step for event in complete] == [200]


def test_no_second_frame_comes_before_the_first_is_drawn(session: Session, qtbot: Any) -> None:
    snapshots = heard(session.snapshot_ready)
    session.play()
    qtbot.wait(200)
    assert len(snapshots) == 1
    session.frame_drawn()
    qtbot.waitUntil(lambda: len(snapshots) == 2)
    session.pause()


def test_steps_per_frame_are_counted_exactly(session: Session, qtbot: Any) -> None:
    snapshots = heard(session.snapshot_ready)
    session.snapshot_ready.connect(session.frame_drawn)
    session.set_speed(7)
    session.play()
    qtbot.waitUntil(lambda: len(snapshots) >= 6)
    session.pause()
    steps = [s.step for s in snapshots[:6]]
    assert [b - a for a, b in pairwise(steps)] == [7] * 5


def test_step_does_one_step_and_pauses(session: Session, qtbot: Any) -> None:
    snapshots = heard(session.snapshot_ready)
    session.step()
    qtbot.waitUntil(lambda: bool(snapshots))
    assert snapshots[-1].step == 1
    assert not session.is_running


def test_reset_keeps_the_seed_and_new_seed_changes_it(session: Session, engine: FakeEngine, qtbot: Any) -> None:
    session.reset()
    qtbot.waitUntil(lambda: engine.log.count("build trained seed 0") == 2)
    session.new_seed()
    qtbot.waitUntil(lambda: "build trained seed 1" in engine.log)
    session.undo_stack.undo()
    assert session.recipe.seed == 0


def test_resampling_an_untrained_background_first_trains_it_to_the_recipes_end(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    parts = heard(session.progress)
    with qtbot.waitSignal(session.comparison_ready) as comparison:
        session.resample()
    assert "foreground at step 200" in engine.log
    assert comparison.args[0][0].verdict == "consistent"
    assert {part for part, _, _ in parts} >= {"foreground", "compare"}


def test_resampling_after_a_change_first_averages_the_new_field_for_half_a_window(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    with qtbot.waitSignal(session.comparison_ready):
        session.resample()
    session.edit("regularisation.scale", 0.01)
    with qtbot.waitSignal(session.comparison_ready):
        session.resample()
    state = engine.experiments[0].state
    training, foreground = session.recipe.training, session.recipe.foreground
    # One slice of the job may go beyond what is wanted: 10 ms at 20 us a step are 500 steps of 0.1.
    wanted = 0.5 * foreground.window * training.time
    assert wanted <= state.average_age <= wanted + 50


def test_resampling_after_the_burn_in_of_a_run_that_plays_does_not_wait_for_its_end(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    engine.experiments[0].state = engine.experiments[0].state_at(185)  # 8.5 units old, 8.0 are wanted
    with qtbot.waitSignal(session.comparison_ready):
        session.resample()
    assert "foreground at step 185" in engine.log


def test_the_trained_background_survives_a_visit_to_the_wrong_one(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    with qtbot.waitSignal(session.comparison_ready):
        session.resample()
    session.edit("foreground.background", "lazy")
    with qtbot.waitSignal(session.comparison_ready) as wrong:
        session.resample()
    assert wrong.args[0][0].verdict == "inconsistent"
    built = heard(session.experiment_changed)
    with qtbot.waitSignal(session.comparison_ready) as right:
        session.edit("foreground.background", "trained")
    assert built[-1].is_restored and built[-1].step == 200
    assert right.args[0][0].verdict == "consistent"
    assert [line for line in engine.log if line.startswith("build")] == ["build trained seed 0", "build lazy seed 0"]


def test_an_edit_drops_the_answer_that_is_under_way(session: Session, qtbot: Any) -> None:
    comparisons = heard(session.comparison_ready)
    foregrounds = heard(session.foreground_ready)
    ended = heard(session.job_changed)
    session.resample()
    session.edit("regularisation.scale", 0.01)
    qtbot.waitUntil(lambda: ("resample", False) in ended)
    qtbot.wait(50)
    assert comparisons == [] and foregrounds == []


def test_cancel_ends_a_resample_and_leaves_the_cloud(session: Session, qtbot: Any) -> None:
    ended, comparisons = heard(session.job_changed), heard(session.comparison_ready)
    session.resample()
    session.cancel()
    qtbot.waitUntil(lambda: ("resample", False) in ended)
    assert comparisons == []
    assert session.jobs == frozenset()


def test_an_edit_that_makes_the_theory_on_its_way_old_is_answered_by_the_theory_again(
    make_session: MakeSession, qtbot: Any
) -> None:
    small = {"network.n_neurons": 64, "foreground.n_neurons": 32, "network.readout_exponent": 0.8}
    session = make_session(Recipe().replace(small))
    reasons = heard(session.theory_absent)
    with qtbot.waitSignal(session.theory_absent):
        session.start()
    # Had this come a moment earlier, the answer would have been of an older generation and dropped.
    session.edit("foreground.n_neurons", 300)
    qtbot.waitUntil(lambda: len(reasons) == 2)


def test_the_theory_follows_every_change_of_the_regularisation(session: Session, qtbot: Any) -> None:
    pictures = heard(session.theory_ready)
    for scale in (0.01, 0.02):
        session.edit("regularisation.scale", scale)
    qtbot.waitUntil(lambda: any(p.numbers["scale"] == 0.02 and p.is_current for p in pictures))


def test_a_comparison_is_certified_and_a_change_forgets_the_certificate(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    with qtbot.waitSignal(session.certificate_ready) as certificate:
        session.resample()
    assert certificate.args[0].residual_gap == 0.002
    assert engine.log.index("theory 0.001") < engine.log.index("certify 0.001")
    certificates = heard(session.certificate_ready)
    session.edit("regularisation.scale", 0.01)
    qtbot.waitUntil(lambda: "theory 0.01" in engine.log)
    qtbot.wait(50)
    assert certificates == [] and "certify 0.01" not in engine.log


def test_a_background_that_comes_back_brings_its_certificate(session: Session, engine: FakeEngine, qtbot: Any) -> None:
    with qtbot.waitSignal(session.certificate_ready):
        session.resample()
    with qtbot.waitSignal(session.experiment_changed):
        session.edit("foreground.background", "lazy")
    with qtbot.waitSignal(session.certificate_ready):
        session.edit("foreground.background", "trained")
    assert [line for line in engine.log if line.startswith("certify")] == ["certify 0.001"]


def test_a_diverging_run_stops_says_what_to_do_and_keeps_the_last_good_cloud(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    sentences, snapshots = heard(session.failed), heard(session.snapshot_ready)
    session.snapshot_ready.connect(session.frame_drawn)
    engine.experiments[0].diverges_at = 120
    session.set_speed(10)
    session.play()
    qtbot.waitUntil(lambda: bool(sentences))
    assert "training.step_size to 0.01" in sentences[0]
    assert not session.is_running
    qtbot.waitUntil(lambda: bool(snapshots) and snapshots[-1].step == 110)
    engine.experiments[0].diverges_at = -1
    session.play()
    qtbot.waitUntil(lambda: snapshots[-1].step > 120)
    session.pause()


def test_a_device_that_is_not_there_falls_back_to_the_cpu_with_a_sentence(session: Session, qtbot: Any) -> None:
    sentences = heard(session.status)
    with qtbot.waitSignal(session.device_changed) as device:
        session.edit("engine.device", "cuda")
    assert device.args == ["cpu"]
    assert any("Running on the CPU" in s for s in sentences)


def test_a_device_that_fails_in_the_middle_starts_the_run_again_on_the_cpu(
    session: Session, engine: FakeEngine, qtbot: Any
) -> None:
    sentences, snapshots = heard(session.failed), heard(session.snapshot_ready)
    session.snapshot_ready.connect(session.frame_drawn)
    engine.experiments[0].device_fails_at = 100
    session.play()
    qtbot.waitUntil(lambda: len(engine.experiments) == 2)
    assert "the run starts again on the CPU: cuda: out of memory" in sentences[0]
    assert engine.experiments[1].recipe.engine.device == "cpu"
    qtbot.waitUntil(lambda: bool(snapshots) and snapshots[-1].step > 100)
    assert session.is_running
    session.pause()


def test_a_first_recipe_that_cannot_be_built_is_a_sentence_and_another_one_can_be_opened(
    make_session: MakeSession, qtbot: Any
) -> None:
    session = make_session(Recipe().replace({"task.name": "unknown", "network.n_neurons": 64}))
    with qtbot.waitSignal(session.failed) as failure:
        session.start()
    assert "no known task" in failure.args[0]
    with qtbot.waitSignal(session.snapshot_ready):
        session.choose_task("product", {})


def test_a_recipe_that_the_engine_refuses_is_taken_back(session: Session, engine: FakeEngine, qtbot: Any) -> None:
    with qtbot.waitSignal(session.failed) as failure:
        session.choose_task("unknown", {})
    assert "no known task" in failure.args[0]
    assert session.recipe.task.name == "product"
    session.edit("regularisation.scale", 0.3)
    qtbot.waitUntil(lambda: "retune 0.3" in engine.log)


def test_choosing_a_task_leaves_the_old_tasks_parameters_behind(session: Session) -> None:
    assert session.choose_task("petals", {"k": 3})
    assert session.recipe.task.parameters == {"k": 3}
    assert session.choose_task("ring", {})
    assert session.recipe.task.parameters == {}


@pytest.mark.parametrize("name", ["parity", "staircase", "cubic-teacher", "continuous-xor", "digits"])
def test_the_card_of_a_task_with_settings_of_its_own_opens_its_shipped_recipe(name: str, session: Session) -> None:
    session.edit("seed", 7)
    session.edit_done()
    before = session.recipe
    assert session.choose_task(name, {})
    assert session.recipe == load_recipe(name).replace({"seed": 7})
    assert session.opened_recipe == session.recipe
    session.undo_stack.undo()
    assert session.recipe == before


def test_a_task_of_the_plane_leaves_the_settings_of_another_kind_of_task_behind(session: Session) -> None:
    session.open_recipe(load_recipe("digits"))
    assert session.choose_task("petals", {"k": 3})
    assert session.recipe.regularisation == Recipe().regularisation
    assert (session.recipe.task.name, session.recipe.task.parameters) == ("petals", {"k": 3})


def test_changes_during_a_run_are_a_schedule_in_the_recipe_that_is_copied(session: Session, qtbot: Any) -> None:
    snapshots = heard(session.snapshot_ready)
    session.snapshot_ready.connect(session.frame_drawn)
    session.step()
    qtbot.waitUntil(lambda: bool(snapshots))
    with qtbot.waitSignal(session.retuned):
        session.edit("regularisation.scale", 0.05)
    (change,) = session.repeating_recipe.schedule
    assert (change.step, change.path, change.value) == (1, "regularisation.scale", 0.05)
    assert session.repeating_recipe.regularisation.scale == 0.001
    assert session.recipe.schedule == ()


def test_opening_another_recipe_can_be_undone(session: Session) -> None:
    other = Recipe().replace({"name": "other", "regularisation.scale": 0.3, "network.n_neurons": 64})
    session.open_recipe(other)
    assert session.recipe == other and session.opened_recipe == other
    session.undo_stack.undo()
    assert session.recipe.name == "clover"


def test_an_edit_while_the_pictures_are_computed_stops_the_export_without_an_error(
    session: Session, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str] = []
    session.failed.connect(faults.append)
    monkeypatch.setattr(FakeExperiment, "n_comparing", 10**9)
    with qtbot.waitSignal(session.progress, check_params_cb=lambda part, *_: part == "compare"):
        session.export(Export(folder=tmp_path))
    with qtbot.waitSignal(session.job_cancelled) as cancelled:
        session.edit("regularisation.scale", 0.003)
    assert cancelled.args == ["export"] and faults == []
    monkeypatch.setattr(FakeExperiment, "n_comparing", 1)
    with qtbot.waitSignal(session.exported):
        session.export(Export(folder=tmp_path))
    assert faults == []


def test_an_edit_while_the_pictures_are_written_leaves_them_alone(
    session: Session, tmp_path: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(self: FakeEngine, command: Export, outcome: Any, wrong: Any) -> Any:
        for k in range(400):
            yield Progress("export", k / 400, "writing")
            time.sleep(0.001)
        yield Exported((command.folder / str(outcome.recipe.regularisation.scale),))

    monkeypatch.setattr(FakeEngine, "export", slowly)
    before = session.recipe.regularisation.scale
    with qtbot.waitSignal(session.progress, check_params_cb=lambda part, *_: part == "export"):
        session.export(Export(folder=tmp_path))
    with qtbot.waitSignal(session.exported) as exported:
        session.edit("regularisation.scale", 0.003)
    assert exported.args[0] == (tmp_path / str(before),)
