"""The worker in its real thread: few tests, each about what only a thread can get wrong."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_engine import FakeEngine, FakeExperiment, FakeHistory

from app.engine import contract
from app.engine.hand import Hand, Parking
from app.engine.loading import TorchEngine
from app.session import Session
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.history import History
from mft_engine.recipe import Recipe
from mft_engine.sections import EngineSection
from mft_engine.slices import Pace

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


def test_closing_in_the_middle_of_training_and_resampling_ends_the_thread(
    make_session: MakeSession, qtbot: Any
) -> None:
    session = make_session(is_threaded=True)
    with qtbot.waitSignal(session.snapshot_ready):
        session.start()
    session.play()
    session.resample()
    qtbot.wait(50)
    # False where the thread would not end between two slices: `close` waits for two seconds at most.
    assert session.close()


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
        parking.park(Hand(FakeExperiment(recipe, []), recipe, "cpu"))
    assert len(parking) == 4
    assert parking.take(recipes[0]) is None
    other_foreground = recipes[4].replace({"foreground.n_neurons": 7})
    hand = parking.take(other_foreground)
    assert hand is not None and hand.applied == recipes[4]
    assert parking.take(recipes[4]) is None


def test_the_window_imports_neither_torch_nor_matplotlib_nor_scipy() -> None:
    code = (
        "import sys, app.application, app.window, app.session; "
        "sys.exit(' '.join(m for m in ('torch', 'matplotlib', 'scipy', 'numba') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def names_of(protocol: type) -> list[str]:
    """What a protocol asks for."""
    return sorted(name for name in vars(protocol) if not name.startswith("_"))


def arguments_of(owner: type, name: str) -> list[inspect.Parameter] | None:
    """Names, kinds and defaults of a method; None for a value."""
    found = inspect.getattr_static(owner, name, None)
    if not inspect.isfunction(found):
        return None
    return [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(found).parameters.values()]


@pytest.mark.parametrize(
    ("protocol", "fake", "real"),
    [
        (contract.Experiment, FakeExperiment, Experiment),
        (contract.Engine, FakeEngine, TorchEngine),
        (contract.History, FakeHistory, History),
    ],
)
def test_the_fake_and_the_real_engine_take_the_arguments_that_the_window_may_give(
    protocol: type, fake: type, real: type
) -> None:
    for name in names_of(protocol):
        asked = arguments_of(protocol, name)
        if asked is None:
            continue
        for owner in (fake, real):
            given = arguments_of(owner, name)
            assert given is not None, f"{owner.__name__} has no method {name}"
            assert given[: len(asked)] == asked, f"{owner.__name__}.{name}"
            assert all(more.default is not inspect.Parameter.empty for more in given[len(asked) :]), name


def test_the_fake_experiment_has_nothing_that_the_real_one_lacks_and_every_value_that_is_asked_for() -> None:
    recipe = Recipe().replace({"network.n_neurons": 64, "training.n_points": 64, "training.rule": "polar"})
    fake, real = FakeExperiment(recipe, []), Experiment(recipe)
    only_in_tests = {"N_STEPS", "log", "diverges_at", "device_fails_at", "retuned_at", "state_at", "theta"}
    only_in_tests |= {"initial_theta", "has_foreground", "n_comparing"}
    public = {name for name in dir(fake) if not name.startswith("_")} - only_in_tests
    assert public <= set(dir(real))
    for one, protocol in ((fake, contract.Experiment), (real, contract.Experiment)):
        assert set(names_of(protocol)) <= set(dir(one))
    for one in (fake.state, real.state):
        assert set(names_of(contract.State)) <= set(dir(one))
    assert set(vars(fake.state)) <= set(dir(real.state))
    for name in names_of(contract.Experiment):
        if arguments_of(contract.Experiment, name) is not None:
            assert arguments_of(FakeExperiment, name) == arguments_of(Experiment, name) or name == "snapshot", name
