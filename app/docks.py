"""The table of docks: what each is made of, where it stands, and what it is shown of the session.

A dock more is a view and a row here. What needs several views at once is a keeper's work (`app.keepers`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from PySide6.QtCore import QObject, Qt, SignalInstance
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabBar, QWidget
from shiboken6 import isValid

from app.engine.messages import LOOP_TOLERANCE, Built, EngineReady, MetricsReady, RecipeComplete
from app.logs import LogBuffer
from app.panels.experiment import ExperimentPanel
from app.panels.history import HistoryPanel
from app.panels.log import LogPanel
from app.panels.neurons import NeuronsPanel
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.theme import Theme
from app.views.fields import FieldsView
from app.views.fourier import FourierView
from app.views.kernel import KernelView
from app.views.loop import LoopView
from app.views.loss import LossView
from app.views.marginals import MarginalsView
from app.views.runs import RunsView
from app.views.sweep import SweepView
from app.views.width import WidthView
from mft_engine.experiment.events import Answered, DataKernelsReady, Snapshot
from mft_engine.recipe import Recipe, RecipeError, all_paths, load_recipe, shipped_recipes

if TYPE_CHECKING:
    from mft_engine.questions.training_curve import TrainingCurve

Area = Qt.DockWidgetArea
LEFT, RIGHT, BOTTOM = Area.LeftDockWidgetArea, Area.RightDockWidgetArea, Area.BottomDockWidgetArea
W = TypeVar("W", bound=QWidget)


class Themed(Protocol):
    """Whatever takes the colours of a theme."""

    def apply_theme(self, theme: Theme) -> None:
        """Take them."""


@dataclass(frozen=True)
class Ground:
    """What a dock may be made from."""

    theme: Theme
    log: LogBuffer


@dataclass(frozen=True)
class DockSpec:
    """One dock.

    Attributes:
        name: unique, the layout is stored under it; title: on its tab and in the View menu.
        make: its content, a widget with `apply_theme`.
        shows: a signal of the session -> what is done with the content and the signal's values.
        is_hidden: it is opened from the View menu.
        watch: told whether the content can be seen, for answers that are computed only where somebody looks.
    """

    name: str
    title: str
    area: Qt.DockWidgetArea
    make: Callable[[Ground], QWidget]
    shows: Mapping[str, Callable[..., None]] = field(default_factory=dict)
    watch: Callable[[Session, bool], None] | None = None
    is_hidden: bool = False


@dataclass(frozen=True)
class Layout:
    """An arrangement of the docks for a kind of work.

    Attributes:
        hidden: docks that make room; front: the tab in front; share: of the window's height for the tabs.
    """

    front: str
    hidden: frozenset[str] = frozenset()
    share: float = 0.0


EXPLORE = Layout("loss")
LAYOUTS = {
    "explore": EXPLORE,
    "compare": Layout("runs", frozenset({"experiment"}), 0.45),
    "sweep": Layout("sweep", frozenset({"self_consistency"}), 0.5),
}
USUAL_BOTTOM, USUAL_SIDES = 235, {"experiment": 330, "self_consistency": 334}


def _devices(panel: ExperimentPanel, ready: EngineReady) -> None:
    panel.show_devices(ready.devices)


def _step_size(panel: ExperimentPanel, snapshot: Snapshot) -> None:
    panel.show_step_size(snapshot.step_size)


def _duration(loss: LossView, recipe: Recipe) -> None:
    loss.set_duration(recipe.training.time)


def _curves(loss: LossView, event: MetricsReady) -> None:
    loss.show_metrics(event.columns)
    loss.set_snapshots(event.stored_times)


def _gap(loss: LossView, snapshot: Snapshot) -> None:
    loss.show_gap(snapshot.test_minus_train, snapshot.test_minus_train_error)


def _complete(loss: LossView, event: RecipeComplete) -> None:
    loss.mark_complete(event.time)


def _limit(loss: LossView, event: Answered) -> None:
    if event.name == "training_curve":
        curve = cast("TrainingCurve", event.answer)
        loss.show_limit(curve.times, curve.losses, curve.expected, curve.spread)


def _plane(fields: FieldsView, event: Built) -> None:
    fields.clear(has_plane=event.n_inputs == 2 and event.n_layers == 1)


def _no_kernels(kernel: KernelView, event: Built) -> None:
    kernel.clear(has_layers=event.n_layers > 1)


def _kernels(kernel: KernelView, event: DataKernelsReady) -> None:
    kernel.show_kernels(event.kernels, event.step)


def _waves(fourier: FourierView, event: Built) -> None:
    fourier.set_modulus(event.modulus)


def _wave_metrics(fourier: FourierView, event: MetricsReady) -> None:
    fourier.show_metrics(event.columns)


DOCKS: tuple[DockSpec, ...] = (
    DockSpec("experiment", "Experiment", LEFT, lambda ground: ExperimentPanel(_descriptions()), {
        "engine_ready": _devices,
        "task_card_ready": ExperimentPanel.add_task,
        "device_changed": ExperimentPanel.show_device_in_force,
        "refused": ExperimentPanel.show_refusal,
        "snapshot_ready": _step_size,
    }),
    DockSpec("self_consistency", "Self-consistency", RIGHT, lambda ground: SelfConsistencyPanel(ground.theme), {
        "snapshot_ready": SelfConsistencyPanel.show_snapshot,
        "certificate_ready": SelfConsistencyPanel.show_certificate,
        "answered": SelfConsistencyPanel.show_answer,
    }),
    DockSpec("neurons", "Neurons", RIGHT, lambda ground: NeuronsPanel(ground.theme), is_hidden=True),
    DockSpec("history", "History", RIGHT, lambda ground: HistoryPanel(), is_hidden=True),
    DockSpec("loss", "Loss", BOTTOM, lambda ground: LossView(ground.theme), {
        "recipe_changed": _duration,
        "metrics_ready": _curves,
        "snapshot_ready": _gap,
        "recipe_complete": _complete,
        "answered": _limit,
    }),
    DockSpec("fields", "Fields", BOTTOM, lambda ground: FieldsView(ground.theme), {
        "experiment_changed": _plane,
        "fields_ready": FieldsView.show_fields,
    }, Session.watch_fields),
    DockSpec("kernel", "Kernel", BOTTOM, lambda ground: KernelView(ground.theme), {
        "experiment_changed": _no_kernels,
        "kernel_ready": _kernels,
        "answers_stale": KernelView.mark_stale,
    }, Session.watch_kernel),
    DockSpec("marginals", "Marginals", BOTTOM, lambda ground: MarginalsView(ground.theme)),
    DockSpec("fourier", "Fourier", BOTTOM, lambda ground: FourierView(ground.theme), {
        "experiment_changed": _waves,
        "metrics_ready": _wave_metrics,
    }),
    DockSpec("loop", "Loop", BOTTOM, lambda ground: LoopView(LOOP_TOLERANCE, ground.theme)),
    DockSpec("width", "Width", BOTTOM, lambda ground: WidthView(ground.theme)),
    DockSpec("sweep", "Sweep", BOTTOM, lambda ground: SweepView(_sweepable(), ground.theme)),
    DockSpec("runs", "Runs", BOTTOM, lambda ground: RunsView(ground.theme)),
    DockSpec("log", "Log", BOTTOM, lambda ground: LogPanel(ground.log)),
)  # fmt: skip


class Docks(QObject):
    """The docks of a window, made from a table and connected to a session."""

    def __init__(
        self, window: QMainWindow, session: Session, ground: Ground, table: tuple[DockSpec, ...] = DOCKS
    ) -> None:
        super().__init__(window)
        self._window, self._session, self._table = window, session, table
        self._docks: dict[str, QDockWidget] = {}
        for spec in table:
            dock = QDockWidget(spec.title, window)
            dock.setObjectName(f"dock_{spec.name}")
            content = spec.make(ground)
            dock.setWidget(content)
            if spec.area == BOTTOM:
                # Their tabs already say what they are; View closes and opens them.
                dock.setTitleBarWidget(QWidget(dock))
            self._docks[spec.name] = dock
            window.addDockWidget(spec.area, dock)
            for signal, show in spec.shows.items():
                self._connect(getattr(session, signal), show, content)
            if spec.watch is not None:
                self._watch(dock, spec.watch)
        window.setCorner(Qt.Corner.BottomLeftCorner, LEFT)
        window.setCorner(Qt.Corner.BottomRightCorner, RIGHT)
        # The bottom first: side by side its docks would make the window as wide as all of them together.
        for area in (BOTTOM, LEFT, RIGHT):
            for first, second in pairwise(spec.name for spec in table if spec.area == area):
                window.tabifyDockWidget(self._docks[first], self._docks[second])
        self._arrange(EXPLORE)
        self._usual = window.saveState()

    def __getitem__(self, name: str) -> QDockWidget:
        return self._docks[name]

    def __iter__(self) -> Iterator[QDockWidget]:
        return iter(self._docks.values())

    def view(self, kind: type[W]) -> W:
        """The content of a kind."""
        return next(content for content in self._contents() if isinstance(content, kind))

    def bring_up(self, name: str) -> None:
        """Open a dock and put it before the others."""
        self._docks[name].show()
        self._docks[name].raise_()

    def bring_to_front(self, name: str) -> None:
        """Put a dock before the others where it is open."""
        if name in self._docks and not self._docks[name].isHidden():
            self._docks[name].raise_()

    @property
    def front(self) -> str:
        """The tab in front at the bottom; empty where there is none."""
        names = (spec.name for spec in self._table if spec.area == BOTTOM)
        return next((name for name in names if not self._docks[name].visibleRegion().isEmpty()), "")

    def put_back(self, layout: str) -> None:
        """All docks where a layout has them, whatever was done to them."""
        self._window.restoreState(self._usual)
        self._arrange(LAYOUTS[layout])

    def bars(self) -> list[QTabBar]:
        """Every bar of tabs, also those that Qt leaves behind."""
        return self._window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly)

    def tidy(self) -> None:
        """Qt leaves bars of tabs behind where docks were before; only those just above a dock are in use.

        Names stay whole in a narrow window: what has no room is reached by the arrows of the bar.
        """
        tops = [dock.geometry().topLeft() for dock in self if dock.isVisible() and not dock.isFloating()]
        for bar in self.bars():
            bar.setElideMode(Qt.TextElideMode.ElideNone)
            place = bar.geometry()
            if not any(place.x() == top.x() and abs(place.bottom() + 1 - top.y()) <= 1 for top in tops):
                bar.hide()

    def _arrange(self, layout: Layout) -> None:
        """What is open, what is in front, and the layout's sizes."""
        for spec in self._table:
            self._docks[spec.name].setFloating(False)
            self._docks[spec.name].setVisible(not spec.is_hidden and spec.name not in layout.hidden)
        self._docks[layout.front].raise_()
        sides = [name for name in USUAL_SIDES if name in self._docks]
        widths = [USUAL_SIDES[name] for name in sides]
        self._window.resizeDocks([self._docks[name] for name in sides], widths, Qt.Orientation.Horizontal)
        height = max(USUAL_BOTTOM, round(layout.share * self._window.height()))
        self._window.resizeDocks([self._docks[layout.front]], [height], Qt.Orientation.Vertical)

    def apply_theme(self, theme: Theme) -> None:
        """Every content takes the theme."""
        for content in self._contents():
            cast(Themed, content).apply_theme(theme)

    def _contents(self) -> Iterator[QWidget]:
        return (dock.widget() for dock in self._docks.values())

    def _connect(self, signal: SignalInstance, show: Callable[..., None], content: QWidget) -> None:
        # The signal keeps the slot where no garbage collector looks: a strong reference would keep the window for ever.
        there = weakref.ref(content)

        def pass_on(*values: Any) -> None:
            shown = there()
            if shown is not None and isValid(shown):
                show(shown, *values)

        signal.connect(pass_on)

    def _watch(self, dock: QDockWidget, watch: Callable[[Session, bool], None]) -> None:
        dock.visibilityChanged.connect(lambda is_visible: watch(self._session, is_visible))


def _sweepable() -> list[str]:
    """Fields whose values change what is computed, those that are swept most often first."""
    first = ["regularisation.scale", "training.temperature", "network.n_neurons", "training.n_points"]
    first += ["network.readout_exponent", "network.activation", "task.train_fraction"]
    others = (path for path in all_paths() if "." in path and not path.startswith(("engine.", "task.")))
    return [*first, *(path for path in others if path not in first)]


def _descriptions() -> dict[str, str]:
    found = {}
    for name in shipped_recipes():
        try:
            found[name] = load_recipe(name).description
        except RecipeError as error:
            found[name] = str(error)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "clover", item[0])))
