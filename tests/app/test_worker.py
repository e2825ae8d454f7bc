"""The worker in its real thread: few tests, each about what only a thread can get wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeExperiment

from app.bench import Bench, Pace, Parking
from app.session import Session
from mft_engine.recipe import EngineSection, Recipe

MakeSession = Callable[..., Session]


def test_the_engine_runs_in_another_thread_and_its_frames_arrive_in_the_windows(
    make_session: MakeSession, engine: FakeEngine, qtbot: Any
) -> None:
    threads: list[tuple[str, int]] = []
    advance = FakeExperiment.advance

    def watched(self: FakeExperiment, n_steps: int, *, beyond: bool = False) -> int:
        threads.append(("engine", threading.get_ident()))
        return advance(self, n_steps, beyond=beyond)

    session = make_session(is_threaded=True)
    session.snapshot_ready.connect(lambda _: threads.append(("window", threading.get_ident())))
    session.snapshot_ready.connect(session.frame_drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeExperiment, "advance", watched)
        session.start()
        session.play()
        qtbot.waitUntil(lambda: {name for name, _ in threads} == {"engine", "window"})
        session.pause()
        assert session.close()
    assert {ident for name, ident in threads if name == "window"} == {threading.get_ident()}
    assert threading.get_ident() not in {ident for name, ident in threads if name == "engine"}


def test_an_engine_that_fails_to_load_says_so_and_the_window_can_still_close(
    make_session: MakeSession, qtbot: Any
) -> None:
    def broken(section: EngineSection) -> Any:
        raise ImportError("libtorch is missing")

    session = make_session(is_threaded=True, load=broken)
    with qtbot.waitSignal(session.failed) as failure:
        session.start()
    assert "The engine could not be loaded: libtorch is missing" in failure.args[0]


def test_closing_in_the_middle_of_training_and_resampling_takes_less_than_a_second(
    make_session: MakeSession, qtbot: Any
) -> None:
    session = make_session(is_threaded=True)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    session.play()
    session.resample()
    qtbot.wait(50)
    started = time.perf_counter()
    assert session.close()
    assert time.perf_counter() - started < 1.0


def test_an_exception_in_a_job_is_a_sentence_and_the_worker_lives_on(
    make_session: MakeSession, engine: FakeEngine, qtbot: Any
) -> None:
    def broken(self: FakeExperiment) -> Any:
        raise RuntimeError("no foreground today")
        yield

    session = make_session(is_threaded=True)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeExperiment, "foreground", broken)
        with qtbot.waitSignal(session.failed) as failure:
            session.resample()
    assert failure.args == ["no foreground today"]
    with qtbot.waitSignal(session.comparison_ready):
        session.resample()


def test_steps_per_slice_follow_the_measured_time_and_recover_from_a_slow_one() -> None:
    pace = Pace(slice_seconds=0.010)
    for _ in range(12):
        pace.measured(pace.n_steps, 1e-4 * pace.n_steps)
    assert pace.n_steps == 100
    pace.measured(100, 1.0)  # a compilation
    assert pace.n_steps == 1
    for _ in range(12):
        pace.measured(pace.n_steps, 1e-4 * pace.n_steps)
    assert pace.n_steps == 100


def test_the_parking_keeps_four_experiments_by_what_their_background_depends_on() -> None:
    parking = Parking(n_places=4)
    recipes = [Recipe(seed=k) for k in range(5)]
    for recipe in recipes:
        parking.park(Bench(FakeExperiment(recipe, []), recipe, "cpu"))
    assert len(parking) == 4
    assert parking.take(recipes[0]) is None
    other_foreground = recipes[4].replace({"foreground.n_neurons": 7})
    bench = parking.take(other_foreground)
    assert bench is not None and bench.applied == recipes[4]
    assert parking.take(recipes[4]) is None


def test_the_window_imports_neither_torch_nor_matplotlib_nor_scipy() -> None:
    code = (
        "import sys, app.application, app.window, app.session; "
        "sys.exit(' '.join(m for m in ('torch', 'matplotlib', 'scipy', 'numba') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [n for n in dir(FakeExperiment) if not n.startswith("_") and n.islower()])
def test_the_fake_experiment_has_nothing_that_the_real_one_lacks(name: str) -> None:
    from mft_engine.experiment.experiment import Experiment

    only_in_tests = {"log", "diverges_at", "retuned_at", "state_at", "theta"}
    assert name in only_in_tests or hasattr(Experiment, name)
