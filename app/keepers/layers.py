"""Which hidden layer of a network with several is on the screen: its cloud, its foreground, its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal, Slot

from app.engine.messages import Built
from app.keepers.stage import CloudStage
from app.panels.self_consistency import SelfConsistencyPanel
from app.views.cloud import CloudView
from app.views.marginals import MarginalsView
from mft_engine.looks import MOST_POINTS, Seen

if TYPE_CHECKING:
    from mft_engine.compare.clouds import Comparison
    from mft_engine.experiment.events import CloudSeen, ForegroundReady, Snapshot
    from mft_engine.experiment.outcome import Cloud


class LayerKeeper(QObject):
    """Keeps what is known of every layer and shows the one that was picked.

    Attributes:
        background, foreground: the clouds of every layer; empty while there are none.
    """

    picked = Signal()

    def __init__(
        self, cloud: CloudView, marginals: MarginalsView, panel: SelfConsistencyPanel, stage: CloudStage
    ) -> None:
        super().__init__(stage)
        self._cloud, self._marginals, self._panel, self._stage = cloud, marginals, panel, stage
        self._layer = 0
        self._sizes: Sequence[int] = ()
        self._initial: Sequence[Cloud] = ()
        self.background: Sequence[Cloud] = ()
        self.foreground: Sequence[Cloud] = ()
        self._fresh_sizes: Sequence[int] = ()
        self._comparisons: Sequence[Comparison] = ()
        cloud.header.layer_picked.connect(self.pick)

    @property
    def layer(self) -> int:
        """The layer on screen, 0 for the first."""
        return self._layer

    def show_built(self, event: Built) -> None:
        """A new experiment: its layers are offered, the first one is shown."""
        self._layer = 0
        self.background = self.foreground = self._comparisons = ()
        self._initial = event.initial
        self._cloud.header.offer_layers(len(self._initial))
        self._stage.mark(())
        for view in (self._cloud, self._marginals):
            # Views name the columns of a whole neuron themselves, by what the task says of its inputs.
            view.set_columns(self._initial[0].names if len(self._initial) > 1 else None, has_weights=True)
        self._stage.show_initial(self._initial[0].theta)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """The background's neurons of the layer on screen."""
        self.background = snapshot.clouds
        self._sizes = snapshot.sizes or (snapshot.n_neurons, *(len(cloud.theta) for cloud in snapshot.clouds[1:]))
        self._show_background(snapshot.seen)

    def show_foreground(self, event: ForegroundReady) -> None:
        """The foreground of the layer on screen."""
        self.foreground = event.clouds
        self._fresh_sizes = event.sizes or tuple(len(cloud.theta) for cloud in event.clouds)
        self._stage.mark(())
        self._show_foreground()

    def forget_foreground(self) -> None:
        """There is none any more."""
        self.foreground = ()
        self._stage.show_foreground(None)
        self._stage.mark(())

    @Slot(object)
    def show_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """The verdict of the layer on screen, with the others' beside it."""
        self._comparisons = comparisons
        self._panel.show_comparisons(comparisons, self._layer)
        self._stage.mark(comparisons[self._layer].suspects.tolist())

    @Slot(int)
    def pick(self, layer: int) -> None:
        """Show another layer."""
        if layer == self._layer or not 0 <= layer < len(self._initial):
            return
        self._layer = layer
        cloud = self._cloud
        cloud.header.choose_layer(layer)
        cloud.clear()
        for view in (cloud, self._marginals):
            view.set_columns(self._initial[layer].names, has_weights=layer == 0)
        self._stage.forget_counts()
        self._stage.show_initial(self._initial[layer].theta)
        if self.background:
            self._show_background(None)
        self._show_foreground()
        if self._comparisons:
            self._panel.show_comparisons(self._comparisons, layer)
        self._stage.mark(self._comparisons[layer].suspects.tolist() if self._comparisons and self.foreground else ())
        self.picked.emit()

    @Slot(object)
    def show_seen(self, event: CloudSeen) -> None:
        """What was counted of a cloud of the layer on screen."""
        if event.seen.look.layer == self._layer:
            self._stage.show_seen(event.cloud, event.seen)

    @property
    def n_columns(self) -> int:
        """Of the table of the layer on screen; 0 before there is a run."""
        return self._initial[self._layer].theta.shape[1] if self._initial else 0

    def _show_background(self, seen: Seen | None) -> None:
        theta, n_neurons = self.background[self._layer].theta, self._sizes[self._layer]
        if seen is not None and seen.look.layer != self._layer:
            seen = None
        is_counted = len(theta) < n_neurons and n_neurons > MOST_POINTS
        self._stage.show_background(theta, n_neurons, is_counted=is_counted, seen=seen)

    def _show_foreground(self) -> None:
        if not self.foreground:
            self._stage.show_foreground(None)
            return
        theta, n_neurons = self.foreground[self._layer].theta, self._fresh_sizes[self._layer]
        self._stage.show_foreground(theta, n_neurons, is_counted=len(theta) < n_neurons)
