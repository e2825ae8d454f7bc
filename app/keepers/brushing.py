"""The neurons that a person has chosen: kept in one place, shown in every view, and what they do together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal, Slot

from app.engine.messages import Built
from app.keepers.clouds import CloudKeeper
from app.panels.neurons import NeuronsPanel, Share
from app.session import Session
from app.views.brush import CLOUDS
from app.views.cloud import CloudView
from app.views.fields import FieldsView
from app.views.fourier import FourierView
from app.views.kernel import KernelView
from app.views.marginals import MarginalsView
from app.views.projections import project
from mft_engine.curves import CURVES
from mft_engine.experiment.events import DataKernelsReady
from mft_engine.network.scaling import LAZY_EXPONENT, output_scale
from mft_engine.recipe import Recipe

GRID, EXTENT = 32, 3.0
# Neurons times pixels evaluated in one go in the window's thread: some 30 ms.
MOST_EVALUATIONS = 4_000_000
Numbers = dict[str, np.ndarray]


@dataclass(frozen=True)
class BrushedViews:
    """The views that show what is chosen."""

    cloud: CloudView
    marginals: MarginalsView
    fields: FieldsView
    fourier: FourierView
    kernel: KernelView
    neurons: NeuronsPanel


class BrushKeeper(QObject):
    """Holds the numbers of the chosen neurons; `picked` says that a person has chosen, for the history."""

    changed = Signal()
    picked = Signal()

    def __init__(self, session: Session, clouds: CloudKeeper, views: BrushedViews) -> None:
        super().__init__(clouds)
        self._clouds, self._views = clouds, views
        self._recipe: Recipe = session.recipe
        self._has_plane = False
        self._kernels: DataKernelsReady | None = None
        self.numbers: Numbers = {}
        line = (np.arange(GRID) + 0.5) / GRID * 2 * EXTENT - EXTENT
        x1, x2 = np.meshgrid(line, line)
        self._grid = np.stack([x1.ravel(), x2.ravel()], axis=1).astype(np.float32)
        weights = np.exp(-0.5 * (self._grid**2).sum(axis=1))
        self._weights = weights / weights.sum()
        # Not QTimer.singleShot, which keeps what it called, and the window with it.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.refresh)
        session.experiment_changed.connect(self._built)
        session.foreground_ready.connect(self._forget_foreground)
        session.kernel_ready.connect(self._keep_kernels)
        clouds.refreshed.connect(self.refresh)
        clouds.layers.picked.connect(self._forget_all)
        views.cloud.brush.brushed.connect(self._pick)
        views.marginals.brushed.connect(self._pick_along)
        views.neurons.cleared.connect(self._clear)
        views.neurons.pointed.connect(self._point)

    def choose(self, numbers: Mapping[str, np.ndarray]) -> None:
        """Other neurons; none where the mapping is empty."""
        self.numbers = {name: np.asarray(chosen, np.int64) for name, chosen in numbers.items() if len(chosen)}
        self.refresh()
        self._show_in_kernel()
        self.changed.emit()

    @Slot(object)
    def _pick(self, numbers: Mapping[str, np.ndarray]) -> None:
        self.choose(numbers)
        self.picked.emit()

    @Slot(str, float, float)
    def _pick_along(self, key: str, low: float, high: float) -> None:
        """Neurons whose coordinate lies between two values."""
        axis = self._views.marginals.axis(key)
        found = {}
        for name, theta in zip(CLOUDS, self._clouds.stage.shown, strict=True):
            if axis is not None and theta is not None:
                values = project(theta, axis)
                found[name] = np.flatnonzero((values >= low) & (values <= high))
        self._pick(found)

    @Slot()
    def _clear(self) -> None:
        self._pick({})

    @Slot()
    def _forget_all(self) -> None:
        self.choose({})

    @Slot()
    def _forget_foreground(self) -> None:
        if "foreground" in self.numbers:
            self.choose({other: chosen for other, chosen in self.numbers.items() if other != "foreground"})

    @Slot(object)
    def _built(self, event: Built) -> None:
        self._recipe = event.recipe
        self._has_plane = event.n_inputs == 2 and event.n_layers == 1 and event.n_out == 1
        self._kernels = None
        self.choose({})

    @Slot(object)
    def _keep_kernels(self, event: DataKernelsReady) -> None:
        self._kernels = event
        self._show_in_kernel()

    # What the views are shown --------------------------------------------------------------------------------

    def _chosen(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Numbers and neurons that are chosen and on the screen, by cloud."""
        found = {}
        for name, theta in zip(CLOUDS, self._clouds.stage.shown, strict=True):
            numbers = self.numbers.get(name)
            if numbers is not None and theta is not None and self._clouds.stage.is_of_run:
                numbers = numbers[numbers < len(theta)]
                if len(numbers):
                    found[name] = numbers, theta[numbers]
        return found

    @Slot()
    def refresh(self) -> None:
        """The chosen neurons as they are now, in every view that can be seen."""
        views, chosen = self._views, self._chosen()
        views.cloud.brush.show({name: numbers for name, (numbers, _) in chosen.items()})
        views.marginals.show_chosen({name: theta for name, (_, theta) in chosen.items()})
        views.fourier.show_chosen({name: numbers for name, (numbers, _) in chosen.items()})
        is_seen = not (views.fields.visibleRegion().isEmpty() and views.neurons.visibleRegion().isEmpty())
        functions = {}
        if self._has_plane and is_seen:
            functions = {name: self._function(name, theta) for name, (_, theta) in chosen.items()}
        first = next(iter(functions), None)
        views.fields.show_chosen(None if first is None else functions[first], first or "")
        phi = CURVES[self._recipe.network.activation].values if self._clouds.layers.layer == 0 else None
        rows = {name: (*pair, self._share(name, pair[1], functions.get(name))) for name, pair in chosen.items()}
        views.neurons.show_neurons(rows, views.cloud.column_names, phi)

    def refresh_soon(self) -> None:
        """The same once a dock that has just been opened can be seen."""
        self._later.start()

    def _function(self, name: str, theta: np.ndarray) -> np.ndarray:
        """(GRID, GRID), row = x2 ascending: N^-kappa sum of a phi(w.x) over some neurons of a cloud."""
        shown = self._views.cloud.layers[name].n_sent
        n_neurons = max(self._views.cloud.layers[name].n_neurons, 1)
        most = max(MOST_EVALUATIONS // len(self._grid), 1)
        stride = -(-len(theta) // most)
        some = theta[::stride]
        scale = output_scale(n_neurons, self._exponent(name)) * n_neurons / max(shown, 1) * len(theta) / len(some)
        return (self._features(some) @ some[:, -1] * scale).reshape(GRID, GRID)

    def _exponent(self, name: str) -> float:
        is_lazy = self._recipe.foreground.background == "lazy"
        if is_lazy:
            return LAZY_EXPONENT if name == "background" else 1.0
        return self._recipe.network.readout_exponent

    def _features(self, theta: np.ndarray) -> np.ndarray:
        """(n_pixels, n_neurons) phi(w.x)."""
        return np.asarray(CURVES[self._recipe.network.activation].values(self._grid @ theta[:, :-1].T))

    def _share(self, name: str, theta: np.ndarray, function: np.ndarray | None) -> Share:
        whole = self._clouds.stage.shown[CLOUDS.index(name)]
        assert whole is not None
        weights = theta[:, :-1]
        norm = float(np.sqrt((weights**2).sum(axis=1)).mean())
        power = None
        if function is not None:
            all_of_it = self._function(name, whole).ravel()
            total = float(self._weights @ all_of_it**2)
            power = float(self._weights @ (all_of_it * function.ravel())) / total if total > 0 else None
        n_here = len(whole) if name in self._clouds.stage.counted else 0
        return Share(len(theta), len(theta) / len(whole), norm, float(theta[:, -1].mean()), power, n_here)

    def _show_in_kernel(self) -> None:
        """Of every eigenvalue of the background's data kernel, the part that is the chosen neurons'."""
        chosen = self._chosen().get("background")
        maps = self._kernels.kernels.background_maps if self._kernels is not None else None
        whole = self._clouds.stage.shown[0]
        if chosen is None or maps is None or whole is None or not self._has_plane:
            self._views.kernel.show_chosen(None)
            return
        stride = -(-len(whole) // max(MOST_EVALUATIONS // len(self._grid), 1))
        numbers = np.zeros(len(whole), bool)
        numbers[chosen[0]] = True
        some, is_chosen = whole[::stride], numbers[::stride]
        place = ((self._grid / EXTENT + 1) / 2 * maps.shape[1]).astype(np.intp)
        functions = maps[:, place[:, 1], place[:, 0]] * self._weights
        squares = (functions @ self._features(some)) ** 2
        self._views.kernel.show_chosen(squares[:, is_chosen].sum(axis=1) / np.maximum(squares.sum(axis=1), 1e-300))

    @Slot(str, int)
    def _point(self, name: str, number: int) -> None:
        """A row of the inspector is looked at: its neuron is pointed at in the cloud."""
        self._views.cloud.brush.point_at(name, number)
