"""From the session's signals to the views: who shows what, and when the next frame may come."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Slot

from app.layers import LayerKeeper
from app.loop import LoopKeeper, background_kind
from app.messages import Built, MetricsReady, RecipeComplete, Retuned, StoredCloud, TheoryPicture
from app.session import Session
from app.stage import CloudStage
from app.width_keeper import WidthKeeper
from mft_engine.experiment.events import FieldsReady, ForegroundReady, KernelReady, Snapshot
from mft_engine.recipe import Recipe

if TYPE_CHECKING:
    from app.window import MainWindow
    from mft_engine.questions.references import ReferenceLines

MARGINALS_SECONDS = 0.25
SOON_MILLISECONDS = 100
LONGEST_WAIT_MILLISECONDS = 200


class Wiring(QObject):
    """Passes what the engine says on to whoever shows it; holds no state but the last frame's arrays."""

    def __init__(self, session: Session, window: MainWindow) -> None:
        super().__init__(window)
        self._session, self._window = session, window
        self.stage = CloudStage(window.cloud, self)
        self.layers = LayerKeeper(window, self.stage)
        self.loop = LoopKeeper(session, window, self.stage)
        self.widths = WidthKeeper(session, window)
        self._has_undrawn = False
        self._marginals_at = 0.0
        self._marginal_theory: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
        self._duration = 0.0
        # Curves and numbers may lag a tenth of a second behind the finger; the cloud and its overlay may not.
        self._pending: dict[str, Callable[[], None]] = {}
        # Background and foreground with all their readouts.
        self._fourier_clouds: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
        self._soon_timer = QTimer(self)
        self._soon_timer.setSingleShot(True)
        self._soon_timer.setInterval(SOON_MILLISECONDS)
        self._soon_timer.timeout.connect(self.flush)
        # A hidden or minimised window paints nothing: the frame then counts as drawn after a while.
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(LONGEST_WAIT_MILLISECONDS)
        self._patience.timeout.connect(self._drawn)
        self._connect()

    def _connect(self) -> None:
        session, window = self._session, self._window
        panel = window.experiment
        panel.edited.connect(self._edit)
        panel.settled.connect(session.edit_done)
        panel.refused.connect(window.status_line.say_fault)
        panel.task_chosen.connect(session.choose_task)
        panel.preset_chosen.connect(window.commands.open_preset)
        session.refused.connect(panel.show_refusal)
        session.recipe_changed.connect(self.show_recipe)
        session.engine_ready.connect(lambda ready: panel.show_devices(ready.devices))
        session.task_card_ready.connect(panel.add_task)
        session.device_changed.connect(panel.show_device_in_force)
        session.device_changed.connect(window.status_line.show_device)
        session.status.connect(window.status_line.say)
        session.failed.connect(window.status_line.say_fault)
        session.progress.connect(self._show_progress)
        session.job_changed.connect(self._job_changed)
        session.experiment_changed.connect(self._show_built)
        session.snapshot_ready.connect(self._show_snapshot)
        session.metrics_ready.connect(self._show_metrics)
        session.stored_cloud_ready.connect(self._show_stored)
        window.loss.scrubbed.connect(self._scrubbed)
        session.foreground_ready.connect(self._show_foreground)
        session.comparison_ready.connect(self.layers.show_comparisons)
        session.certificate_ready.connect(window.self_consistency.show_certificate)
        session.references_ready.connect(self._show_references)
        session.theory_ready.connect(self._show_theory)
        session.theory_absent.connect(self._no_theory)
        session.fields_ready.connect(self._show_fields)
        session.kernel_ready.connect(self._show_kernel)
        session.iteration_ready.connect(lambda turn: self._soon("marginals", self.refresh_marginals))
        session.retuned.connect(self._mark_change)
        session.answers_stale.connect(self._mark_stale)
        session.recipe_complete.connect(self._complete)
        session.exported.connect(self._exported)
        session.running_changed.connect(self._running_changed)
        self.stage.left.connect(self.go_live)
        self.layers.picked.connect(self._layer_picked)
        window.cloud.painted.connect(self._drawn)
        window.docks["fields"].visibilityChanged.connect(session.watch_fields)
        window.docks["kernel"].visibilityChanged.connect(session.watch_kernel)

    def _soon(self, name: str, call: Callable[[], None]) -> None:
        """Do something within a tenth of a second; a newer one of the same name takes its place."""
        self._pending.pop(name, None)
        self._pending[name] = call
        if not self._soon_timer.isActive():
            self._soon_timer.start()

    @Slot()
    def flush(self) -> None:
        """Do now what was put off."""
        pending, self._pending = self._pending, {}
        for call in pending.values():
            call()

    # From the person -----------------------------------------------------------------------------------------

    @Slot(str, object)
    def _edit(self, path: str, value: Any) -> None:
        self._session.edit(path, value)

    # From the engine -----------------------------------------------------------------------------------------

    @Slot(object)
    def show_recipe(self, recipe: Recipe) -> None:
        """The recipe in force, in controls and title."""
        self._window.experiment.show_recipe(recipe, self._session.opened_recipe)
        self._set_duration(recipe.training.time)
        self._window.show_title(recipe)

    def _name_theory(self, background: str) -> None:
        """The solution on screen is always the mean-field one, also behind a background that is not."""
        is_other = background != "trained"
        name = "theory (mean field)" if is_other else "theory"
        tip = f"It is the trained mean-field network's, not the {background} background's." if is_other else ""
        for view in (self._window.cloud, self._window.loss, self._window.marginals):
            view.name_theory(name, tip)

    def _set_duration(self, time: float) -> None:
        if time != self._duration:
            self._duration = time
            self._window.loss.set_duration(time)

    @Slot(object)
    def _show_built(self, event: Built) -> None:
        window = self._window
        self._marginal_theory = None
        self._pending.clear()
        self.stage.clear()
        window.loss.clear()
        window.fields.clear(has_plane=event.n_inputs == 2 and event.n_layers == event.n_out == 1)
        window.kernel_view.clear(has_layers=event.n_layers > 1)
        window.marginals.clear()
        window.self_consistency.clear()
        window.status_line.forget_run()
        self._duration = 0.0
        self._name_theory(background_kind(event.recipe))
        self._set_duration(self._session.recipe.training.time)
        window.cloud.set_activation(_ACTIVATIONS.get(event.recipe.network.activation))
        window.cloud.set_projections(event.projections, event.n_out)
        window.marginals.set_readouts(event.n_out)
        window.fourier.set_modulus(event.modulus)
        self._fourier_clouds = (None, None)
        self.stage.set_readouts(event.n_out)
        self.layers.show_built(event)

    @Slot(object)
    def _show_snapshot(self, snapshot: Snapshot) -> None:
        window = self._window
        self._has_undrawn = True
        self._patience.start()
        self.layers.show_snapshot(snapshot)
        window.self_consistency.show_snapshot(snapshot)
        window.status_line.show_snapshot(snapshot)
        window.loss.show_gap(snapshot.test_minus_train, snapshot.test_minus_train_error)
        window.experiment.show_step_size(snapshot.step_size)
        self._fourier_clouds = (snapshot.theta, self._fourier_clouds[1])
        now = time.perf_counter()
        if now - self._marginals_at > MARGINALS_SECONDS:
            self._marginals_at = now
            self.refresh_marginals()

    @Slot()
    def go_live(self) -> None:
        """The run itself again, instead of an earlier cloud or a turn of the loop."""
        self._window.loss.go_live()
        self.stage.go_live()
        self._soon("marginals", self.refresh_marginals)

    @Slot(bool)
    def _running_changed(self, is_running: bool) -> None:
        if is_running:
            self.go_live()

    @Slot(object)
    def _show_metrics(self, event: MetricsReady) -> None:
        self._window.loss.show_metrics(event.columns)
        self._window.fourier.show_metrics(event.columns)
        self._window.loss.set_snapshots(event.stored_times)

    @Slot(int)
    def _scrubbed(self, index: int) -> None:
        """Look at an earlier cloud; training goes on unseen until "Live" is pressed."""
        time_then = self._window.loss.scrubber.time_of(index)
        if time_then is not None:
            self._session.look_back(time_then)
        else:
            self.go_live()

    @Slot(object)
    def _show_stored(self, event: StoredCloud) -> None:
        # An answer may come after the person went back to the run.
        if not self._window.loss.is_live:
            self.layers.pick(0)  # stored clouds are of the first layer
            self.stage.show_stored(event.theta, event.time)
            self._soon("marginals", self.refresh_marginals)

    @Slot()
    def _drawn(self) -> None:
        if self._has_undrawn:
            self._has_undrawn = False
            self._patience.stop()
            self._session.frame_drawn()

    @Slot()
    def _layer_picked(self) -> None:
        self._window.marginals.clear()
        self._soon("marginals", self.refresh_marginals)

    def refresh_marginals(self) -> None:
        """Both clouds and the theory, where the marginals are on the screen; likewise their waves."""
        marginals = self._window.marginals
        if not self._window.fourier.visibleRegion().isEmpty():
            self._window.fourier.show_clouds(*self._fourier_clouds)
        background, foreground = self.stage.shown
        if background is not None and not marginals.visibleRegion().isEmpty():
            marginals.show_theory(self._marginal_theory)
            marginals.show_clouds(background, foreground)

    @Slot(object)
    def _show_foreground(self, event: ForegroundReady) -> None:
        window = self._window
        self.go_live()
        self.layers.show_foreground(event)
        self._fourier_clouds = (self._fourier_clouds[0], event.theta)
        self._soon("foreground loss", lambda: window.loss.show_foreground_loss(event.loss))
        window.self_consistency.show_foreground(event)
        self._soon("marginals", self.refresh_marginals)

    @Slot(object)
    def _show_references(self, lines: ReferenceLines) -> None:
        loss = self._window.loss
        if lines.tangent_times is not None and lines.tangent_losses is not None:
            loss.show_lazy_loss(lines.tangent_times, lines.tangent_losses, "With the first tangent kernel kept")
        elif lines.gaussian_process_network_loss is not None:
            level = np.full(2, lines.gaussian_process_network_loss)
            loss.show_lazy_loss(np.array([0.0, np.inf]), level, "One network at readout exponent 1/2")
        else:
            loss.show_lazy_loss(np.empty(0), np.empty(0))

    @Slot(object)
    def _show_theory(self, picture: TheoryPicture) -> None:
        self._window.cloud.show_theory(picture.image, picture.extent)
        self._marginal_theory = picture.marginals
        self._soon("marginals", self.refresh_marginals)
        self._soon("theory", lambda: self._show_theory_numbers(picture))

    def _show_theory_numbers(self, picture: TheoryPicture) -> None:
        self._window.loss.show_theory_loss(picture.numbers["loss"])
        self._window.loss.show_theory_test_loss(picture.numbers.get("test_loss"))
        self._window.self_consistency.show_theory(picture.numbers, is_current=picture.is_current)

    @Slot(str)
    def _no_theory(self, reason: str) -> None:
        window = self._window
        self._pending.pop("theory", None)
        self._marginal_theory = None
        window.cloud.show_theory(None)
        window.loss.show_theory_loss(None)
        window.loss.show_theory_test_loss(None)
        window.self_consistency.show_theory(None, reason)
        self._soon("marginals", self.refresh_marginals)

    @Slot(object)
    def _show_fields(self, fields: FieldsReady) -> None:
        self._window.fields.show_fields(fields)

    @Slot(object)
    def _show_kernel(self, event: KernelReady) -> None:
        self._window.kernel_view.show_kernels(event.kernels, event.step)

    @Slot(str)
    def _mark_stale(self, reason: str) -> None:
        """Orange neurons of other parameters would mislead: they go, and the verdict says that it is old."""
        window = self._window
        self.go_live()
        if self.stage.foreground is not None:
            self.layers.forget_foreground()
            self._fourier_clouds = (self._fourier_clouds[0], None)
            window.self_consistency.show_foreground(None)
            self._soon("foreground loss", lambda: window.loss.show_foreground_loss(None))
            self._soon("marginals", self.refresh_marginals)
        window.self_consistency.mark_stale(reason)
        window.kernel_view.mark_stale(reason)

    @Slot(object)
    def _mark_change(self, event: Retuned) -> None:
        self._soon(f"mark {event.time}", lambda: self._window.loss.mark_change(event.time, event.text))

    @Slot(object)
    def _complete(self, event: RecipeComplete) -> None:
        self._window.loss.mark_complete(event.time)

    @Slot(str, float, str)
    def _show_progress(self, part: str, fraction: float, text: str) -> None:
        if part in ("theory", "certify", "kernel") or not self._session.jobs:
            return
        self._window.status_line.show_progress(part, fraction, text)
        if part not in ("iterate", "widths"):
            self._window.self_consistency.show_pending(text[:1].upper() + text[1:])

    @Slot(str, bool)
    def _job_changed(self, name: str, is_running: bool) -> None:
        window = self._window
        window.actions_by_name["cancel"].setEnabled(bool(self._session.jobs))
        if not self._session.jobs:
            window.status_line.end_progress()
        if not is_running and name != "export":
            window.self_consistency.end_pending()

    @Slot(object)
    def _exported(self, paths: tuple[Path, ...]) -> None:
        if paths:
            self._window.status_line.say(f"Exported {len(paths)} files to {paths[0].parent}")


def _tanh_positive(z: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, np.tanh(z))


# For the hover card alone, so that the window needs no torch.
_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu_tanh": _tanh_positive,
    "clip01": lambda z: np.clip(z, 0.0, 1.0),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(0.0, z),
    "sin": np.sin,
    "quadratic": np.square,
    "hardtanh": lambda z: np.clip(z, -1.0, 1.0),
    "tanh_squared": lambda z: np.tanh(z) ** 2,
}
