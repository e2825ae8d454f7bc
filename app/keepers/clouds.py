"""The clouds of the run: frames as they come, earlier ones, the foreground, and the views that follow them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from app.engine.messages import Built, Retuned, StoredCloud
from app.keepers.layers import LayerKeeper
from app.keepers.soon import Soon
from app.keepers.stage import CloudStage
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.views.cloud import CloudView
from app.views.fourier import FourierView
from app.views.loss import LossView
from app.views.marginals import Densities, MarginalsView
from mft_engine.curves import CURVES
from mft_engine.experiment.events import CloudSeen, ForegroundReady, Snapshot

if TYPE_CHECKING:
    from mft_engine.questions.references import ReferenceLines

MARGINALS_SECONDS = 0.25
LONGEST_WAIT_MILLISECONDS = 200


class CloudKeeper(QObject):
    """Shows the newest frame, tells the session when it is drawn, and keeps what belongs to the clouds in step.

    `refreshed`: whatever follows the clouds at a slower pace is shown the present ones.
    """

    refreshed = Signal()

    def __init__(
        self,
        session: Session,
        cloud: CloudView,
        loss: LossView,
        marginals: MarginalsView,
        fourier: FourierView,
        panel: SelfConsistencyPanel,
        soon: Soon,
    ) -> None:
        super().__init__(cloud)
        self._session, self._cloud, self._loss = session, cloud, loss
        self._marginals, self._fourier, self._panel, self._soon = marginals, fourier, panel, soon
        self.stage = CloudStage(cloud, self)
        self.layers = LayerKeeper(cloud, marginals, panel, self.stage)
        self._has_undrawn = False
        self._marginals_at = 0.0
        # The last frame before a pause comes too soon after the one before it to be shown at once.
        self._late = QTimer(self)
        self._late.setSingleShot(True)
        self._late.setInterval(round(1000 * MARGINALS_SECONDS))
        self._late.timeout.connect(self.refresh_marginals)
        self._densities: Densities | None = None
        self._law: tuple[np.ndarray, ...] = ()
        self._joined_law: tuple[np.ndarray, ...] = ()
        self._law_answers: float | None = None
        # Background and foreground with all their readouts.
        self._whole: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
        # A hidden or minimised window paints nothing: the frame then counts as drawn after a while.
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(LONGEST_WAIT_MILLISECONDS)
        self._patience.timeout.connect(self._drawn)
        session.experiment_changed.connect(self._built)
        session.snapshot_ready.connect(self._show_snapshot)
        session.stored_cloud_ready.connect(self._show_stored)
        session.cloud_seen.connect(self._show_seen)
        session.foreground_ready.connect(self._show_foreground)
        session.comparison_ready.connect(self.layers.show_comparisons)
        session.references_ready.connect(self._show_references)
        session.iteration_ready.connect(self._marginals_due)
        session.retuned.connect(self._mark_change)
        session.answers_stale.connect(self._mark_stale)
        session.running_changed.connect(self._running_changed)
        loss.scrubbed.connect(self._scrubbed)
        cloud.painted.connect(self._drawn)
        self.stage.left.connect(self.go_live)
        self.layers.picked.connect(self._layer_picked)

    # The run ------------------------------------------------------------------------------------------------

    @Slot(object)
    def _built(self, event: Built) -> None:
        self._densities, self._law, self._joined_law = None, (), ()
        self._soon.clear()
        self.stage.clear()
        self._loss.clear()
        self._loss.set_duration(event.recipe.training.time)
        self._marginals.clear()
        self._panel.clear()
        self._cloud.set_activation(CURVES[event.recipe.network.activation].values)
        self._cloud.set_projections(event.projections, event.n_out)
        self._marginals.set_readouts(event.n_out)
        self._whole = (None, None)
        self.stage.set_readouts(event.n_out)
        self.layers.show_built(event)

    @Slot(object)
    def _show_snapshot(self, snapshot: Snapshot) -> None:
        self._has_undrawn = True
        self._patience.start()
        self.layers.show_snapshot(snapshot)
        self._whole = (snapshot.theta, self._whole[1])
        if time.perf_counter() - self._marginals_at > MARGINALS_SECONDS:
            self.refresh_marginals()
        elif not self._late.isActive():
            self._late.start()

    @Slot(object)
    def _show_seen(self, event: CloudSeen) -> None:
        self.layers.show_seen(event)
        self._marginals_due()

    @Slot()
    def _drawn(self) -> None:
        if self._has_undrawn:
            self._has_undrawn = False
            self._patience.stop()
            self._session.frame_drawn()

    @Slot(bool)
    def _running_changed(self, is_running: bool) -> None:
        if is_running:
            self.go_live()

    @Slot(object)
    def _mark_change(self, event: Retuned) -> None:
        self._soon.do(f"mark {event.time}", lambda: self._loss.mark_change(event.time, event.text))

    # Earlier clouds -----------------------------------------------------------------------------------------

    @Slot()
    def go_live(self) -> None:
        """The run itself again, instead of an earlier cloud or a turn of the loop."""
        self._loss.go_live()
        self.stage.go_live()
        self._marginals_due()

    @Slot(int)
    def _scrubbed(self, index: int) -> None:
        """Look at an earlier cloud; training goes on unseen until "Live" is pressed."""
        time_then = self._loss.scrubber.time_of(index)
        if time_then is not None:
            self._session.look_back(time_then)
        else:
            self.go_live()

    @Slot(object)
    def _show_stored(self, event: StoredCloud) -> None:
        # An answer may come after the person went back to the run.
        if not self._loss.is_live:
            self.layers.pick(0)  # stored clouds are of the first layer
            self.stage.show_stored(event.theta, event.time)
            self._marginals_due()

    # What follows the clouds --------------------------------------------------------------------------------

    def keep_law(
        self, densities: Densities | None, law: tuple[np.ndarray, ...], test_accuracy: float | None = None
    ) -> None:
        """The theory's exact marginals, its neurons layer by layer, and how often its function is right."""
        self._densities, self._law, self._law_answers = densities, law, test_accuracy
        self._joined_law = tuple(map(self.stage.joined, law))
        self._marginals_due()

    @property
    def law(self) -> np.ndarray | None:
        """Neurons of the law of the layer on screen, several readouts as their length."""
        layer = self.layers.layer
        return self._joined_law[layer] if layer < len(self._joined_law) else None

    @Slot()
    def _layer_picked(self) -> None:
        self._marginals.clear()
        self._marginals_due()

    @Slot()
    def _marginals_due(self) -> None:
        self._soon.do("marginals", self.refresh_marginals)

    @Slot()
    def refresh_marginals(self) -> None:
        """Both clouds and the theory, where the marginals are on the screen; likewise their waves."""
        self._marginals_at = time.perf_counter()
        self._late.stop()
        if not self._fourier.visibleRegion().isEmpty():
            self._fourier.show_theory(self._law[0] if self._law else None, self._law_answers)
            told = self.stage.counted_of_run.items()
            counted = {name: None if seen is None else seen.waves for name, (_, seen) in told}
            self._fourier.show_clouds(*self._whole, counted)
        background, foreground = self.stage.shown
        if background is not None and not self._marginals.visibleRegion().isEmpty():
            self._marginals.show_theory(self._densities, self.law)
            self._marginals.show_clouds(background, foreground, self.stage.counted)
        self.refreshed.emit()

    # Foreground and references ------------------------------------------------------------------------------

    @Slot(object)
    def _show_foreground(self, event: ForegroundReady) -> None:
        self.go_live()
        self.layers.show_foreground(event)
        self._whole = (self._whole[0], event.theta)
        self._soon.do("foreground loss", lambda: self._loss.show_foreground_loss(event.loss))
        self._panel.show_foreground(event)
        self._marginals_due()

    @Slot(str)
    def _mark_stale(self, reason: str) -> None:
        """Orange neurons of other parameters would mislead: they go, and the verdict says that it is old."""
        self.go_live()
        if self.stage.foreground is not None:
            self.layers.forget_foreground()
            self._whole = (self._whole[0], None)
            self._panel.show_foreground(None)
            self._soon.do("foreground loss", lambda: self._loss.show_foreground_loss(None))
            self._marginals_due()
        self._panel.mark_stale(reason)

    @Slot(object)
    def _show_references(self, lines: ReferenceLines) -> None:
        if lines.tangent_times is not None and lines.tangent_losses is not None:
            self._loss.show_lazy_loss(lines.tangent_times, lines.tangent_losses, "With the first tangent kernel kept")
        elif lines.gaussian_process_network_loss is not None:
            level = np.full(2, lines.gaussian_process_network_loss)
            self._loss.show_lazy_loss(np.array([0.0, np.inf]), level, "One network at readout exponent 1/2")
        else:
            self._loss.show_lazy_loss(np.empty(0), np.empty(0))
