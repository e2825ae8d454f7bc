"""The menu of every plot: its picture into a file or into the clipboard, wherever the plot stands."""

from __future__ import annotations

from collections.abc import Callable

import pyqtgraph as pg
from PySide6.QtCore import QChildEvent, QEvent, QObject
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QDialog, QMenu, QWidget

from app.panels.gauges import StabilityGauge
from app.panels.null_band import NullBand
from app.views.eigenmaps import EigenMaps
from app.views.fields import FieldsView
from app.widgets.activation_inset import ActivationInset

PLOTS = (pg.GraphicsView, NullBand, StabilityGauge, EigenMaps, FieldsView, ActivationInset)


class PictureMenu(QObject):
    """Answers a right click, or the menu key, on any plot of the windows that it is attached to, and of their dialogs.

    Args:
        save, copy: what the entries do with the plot and its name.
    """

    def __init__(
        self, save: Callable[[QWidget, str], None], copy: Callable[[QWidget, str], None], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._save, self._copy = save, copy
        self.menu: QMenu | None = None

    def attach(self, window: QWidget) -> None:
        """Answer for this window too. What its plots leave unanswered comes to the window itself."""
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Only the question for a menu over a plot is taken."""
        if isinstance(event, QChildEvent) and event.polished() and isinstance(event.child(), QDialog):
            event.child().installEventFilter(self)
        if not isinstance(event, QContextMenuEvent) or not isinstance(watched, QWidget):
            return False
        under = watched.childAt(event.pos())
        plot = plot_of(under) if under is not None else None
        if plot is None:
            return False
        name = plot.accessibleName() or "plot"
        menu = self.menu = QMenu(plot)
        menu.setToolTipsVisible(True)
        for text, tip, act in (
            ("Save Picture…", "Write this plot as it is on the screen: PNG, TIFF, PDF, SVG, EPS", self._save),
            ("Copy Picture", "Put this plot into the clipboard", self._copy),
        ):
            action = menu.addAction(text)
            action.setToolTip(tip)
            action.triggered.connect(lambda _=False, act=act: act(plot, name))
        menu.popup(event.globalPos())
        return True


def plot_of(widget: QWidget) -> QWidget | None:
    """The plot that a widget is, or is inside of."""
    found: QWidget | None = widget
    while found is not None and not isinstance(found, PLOTS):
        found = None if found.isWindow() else found.parentWidget()
    return found
