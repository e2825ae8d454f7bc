"""Which hidden layer of a network with several is on the screen: its cloud, its foreground, its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal, Slot

from app.messages import Built

if TYPE_CHECKING:
    from app.stage import CloudStage
    from app.window import MainWindow
    from mft_engine.compare.clouds import Comparison
    from mft_engine.experiment.events import ForegroundReady, Snapshot
    from mft_engine.experiment.outcome import LayerCloud


class LayerKeeper(QObject):
    """Keeps what is known of every layer and shows the one that was picked; of one hidden layer it passes all on."""

    picked = Signal()

    def __init__(self, window: MainWindow, stage: CloudStage) -> None:
        super().__init__(window)
        self._window, self._stage = window, stage
        self._layer = 0
        self._initial: Sequence[LayerCloud] = ()
        self._background: Sequence[LayerCloud] = ()
        self._foreground: Sequence[LayerCloud] = ()
        self._comparisons: Sequence[Comparison] = ()
        window.cloud.header.layer_picked.connect(self.pick)

    @property
    def layer(self) -> int:
        """The layer on screen, 0 for the first."""
        return self._layer

    def show_built(self, event: Built) -> None:
        """A new experiment: its layers are offered, the first one is shown."""
        self._layer = 0
        self._background = self._foreground = self._comparisons = ()
        self._initial = event.initial_layers
        self._window.cloud.header.offer_layers(len(self._initial))
        for view in (self._window.cloud, self._window.marginals):
            view.set_columns(self._initial[0].names if self._initial else None, has_weights=True)
        first = self._initial[0].theta if self._initial else self._stage.joined(event.initial_theta)
        self._window.cloud.show_initial(first)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """The background's neurons of the layer on screen."""
        self._background = snapshot.layers
        if self._background:
            theta = self._background[self._layer].theta
            self._stage.show_background(theta, len(theta))
        else:
            self._stage.show_background(snapshot.theta, snapshot.n_neurons)

    def show_foreground(self, event: ForegroundReady) -> None:
        """The foreground of the layer on screen."""
        self._foreground = event.layers
        self._stage.show_foreground(self._foreground[self._layer].theta if self._foreground else event.theta)

    def forget_foreground(self) -> None:
        """There is none any more."""
        self._foreground = ()
        self._stage.show_foreground(None)

    @Slot(object, object)
    def show_comparison(self, comparison: Comparison, layers: Sequence[Comparison]) -> None:
        """The verdict of the layer on screen, with the others' beside it."""
        self._comparisons = layers
        if layers:
            self._window.self_consistency.show_layer_comparison(layers, self._layer)
        else:
            self._window.self_consistency.show_comparison(comparison)

    @Slot(int)
    def pick(self, layer: int) -> None:
        """Show another layer."""
        if layer == self._layer or not 0 <= layer < len(self._initial):
            return
        self._layer = layer
        cloud = self._window.cloud
        cloud.header.choose_layer(layer)
        cloud.clear()
        for view in (cloud, self._window.marginals):
            view.set_columns(self._initial[layer].names, has_weights=layer == 0)
        cloud.show_initial(self._initial[layer].theta)
        if self._background:
            theta: np.ndarray = self._background[layer].theta
            self._stage.show_background(theta, len(theta))
        self._stage.show_foreground(self._foreground[layer].theta if self._foreground else None)
        if self._comparisons:
            self._window.self_consistency.show_layer_comparison(self._comparisons, layer)
        self.picked.emit()
