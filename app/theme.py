"""Light and dark: one palette of our own for each, on top of Qt's Fusion style.

Views and panels take a frozen `Theme` and never look at the application's palette. Background is blue and foreground
orange in both (the values of `mft_engine.palette`, lightened where a dark page needs it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from mft_engine.resources import resources_folder

Mode = Literal["system", "light", "dark"]


@dataclass(frozen=True)
class Theme:
    """Colours as "#rrggbb".

    Attributes:
        window: behind the docks; panel: behind controls and plots; raised: buttons and cards.
        muted: secondary text; line: borders; grid: lines inside plots.
        theory: what is computed at infinite width; good, warning, bad: never the only sign of their meaning.
    """

    name: str
    is_dark: bool
    window: str
    panel: str
    raised: str
    text: str
    muted: str
    line: str
    grid: str
    accent: str
    accent_text: str
    background_cloud: str
    foreground_cloud: str
    initial_cloud: str
    theory: str
    good: str
    warning: str
    bad: str


LIGHT = Theme(
    name="light",
    is_dark=False,
    window="#eceef1",
    panel="#ffffff",
    raised="#f6f7f9",
    text="#1a1e24",
    muted="#5a6370",
    line="#d3d8de",
    grid="#e3e6ea",
    accent="#4549a8",
    accent_text="#ffffff",
    background_cloud="#0072b2",
    foreground_cloud="#e66100",
    initial_cloud="#8b929c",
    theory="#007a5a",
    good="#1b7352",
    warning="#9a5b00",
    bad="#b3261e",
)

DARK = Theme(
    name="dark",
    is_dark=True,
    window="#14171b",
    panel="#1c2026",
    raised="#272c34",
    text="#e7e9ec",
    muted="#9ca5b0",
    line="#363d47",
    grid="#2e343d",
    accent="#9095f2",
    accent_text="#14171b",
    background_cloud="#3fa3dc",
    foreground_cloud="#ff8533",
    initial_cloud="#868e99",
    theory="#3fd3a4",
    good="#5bc797",
    warning="#f0b252",
    bad="#ff7b72",
)


class ThemeKeeper(QObject):
    """Chooses the theme, applies it to the application, and tells who draws by themselves."""

    theme_changed = Signal(object)

    def __init__(self, mode: Mode = "system", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._mode: Mode = mode
        self.theme = self._resolved()
        self._applied: Theme | None = None
        hints = QApplication.styleHints()
        hints.colorSchemeChanged.connect(self._system_changed)

    @property
    def mode(self) -> Mode:
        """What the person chose."""
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Follow the system, or stay light or dark."""
        self._mode = mode
        if self._resolved() != self._applied:
            self.apply()

    def apply(self) -> None:
        """Put the theme in force on the application and tell everybody."""
        self.theme = self._applied = self._resolved()
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        # Taking the old sheet away first halves the time: from sheet to sheet Qt polishes every widget twice. Nor does
        # the style tell its name under a sheet.
        application.setStyleSheet("")
        if application.style().name().lower() != "fusion":
            application.setStyle("Fusion")
        application.setPalette(palette_of(self.theme))
        application.setStyleSheet(stylesheet_of(self.theme))
        self.theme_changed.emit(self.theme)

    @Slot()
    def _system_changed(self) -> None:
        if self._mode == "system":
            self.apply()

    def _resolved(self) -> Theme:
        if self._mode == "system":
            is_dark = QApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark
            return DARK if is_dark else LIGHT
        return DARK if self._mode == "dark" else LIGHT


def palette_of(theme: Theme) -> QPalette:
    """Qt's own palette for what the stylesheet does not name."""
    palette = QPalette()
    role = QPalette.ColorRole
    for where, colour in {
        role.Window: theme.window,
        role.WindowText: theme.text,
        role.Base: theme.panel,
        role.AlternateBase: theme.raised,
        role.Text: theme.text,
        role.PlaceholderText: theme.muted,
        role.Button: theme.raised,
        role.ButtonText: theme.text,
        role.BrightText: theme.bad,
        role.ToolTipBase: theme.panel,
        role.ToolTipText: theme.text,
        role.Highlight: theme.accent,
        role.HighlightedText: theme.accent_text,
        role.Link: theme.accent,
        role.Light: theme.raised,
        role.Midlight: theme.line,
        role.Mid: theme.line,
        role.Dark: theme.line,
        role.Shadow: theme.line,
        role.Accent: theme.accent,
    }.items():
        palette.setColor(where, QColor(colour))
    for where in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, where, QColor(mixed(theme.muted, theme.window, 0.5)))
    return palette


def mixed(first: str, second: str, share: float) -> str:
    """A colour between two: `share` of the first, the rest of the second."""
    a, b = QColor(first), QColor(second)
    pairs = ((a.red(), b.red()), (a.green(), b.green()), (a.blue(), b.blue()))
    return QColor(*(round(share * x + (1 - share) * y) for x, y in pairs)).name()


def stylesheet_of(theme: Theme) -> str:
    """The application's stylesheet."""
    hover = mixed(theme.accent, theme.raised, 0.14)
    pressed = mixed(theme.accent, theme.raised, 0.28)
    arrow = (resources_folder() / "icons" / f"chevron-{theme.name}.svg").as_posix()
    check = (resources_folder() / "icons" / f"check-{theme.name}.svg").as_posix()
    faint = mixed(theme.accent, theme.panel, 0.12)
    return f"""
QMainWindow, QDialog {{ background: {theme.window}; }}
QMainWindow::separator {{ background: {theme.window}; width: 5px; height: 5px; }}
QMainWindow::separator:hover {{ background: {theme.accent}; }}
QToolTip {{ background: {theme.panel}; color: {theme.text}; border: 1px solid {theme.line}; padding: 5px; }}
QMenuBar {{ background: {theme.window}; }}
QMenuBar::item {{ padding: 4px 9px; border-radius: 4px; background: transparent; }}
QMenuBar::item:selected {{ background: {hover}; color: {theme.text}; }}
QMenu {{ background: {theme.panel}; border: 1px solid {theme.line}; padding: 4px; }}
QMenu::item {{ padding: 5px 26px 5px 22px; border-radius: 4px; }}
QMenu::item:selected {{ background: {faint}; color: {theme.text}; }}
QMenu::item:disabled {{ color: {mixed(theme.muted, theme.panel, 0.6)}; }}
QMenu::separator {{ height: 1px; background: {theme.line}; margin: 4px 8px; }}
QToolBar {{ background: {theme.window}; border: none; padding: 3px 6px; spacing: 3px; }}
QToolBar::separator {{ width: 1px; background: {theme.line}; margin: 5px 5px; }}
QToolButton {{ border: 1px solid transparent; border-radius: 5px; padding: 4px 7px; color: {theme.text}; }}
QToolButton#qt_toolbar_ext_button {{ padding: 0; min-width: 16px; }}
QToolButton:hover {{ background: {hover}; }}
QToolButton:pressed, QToolButton:checked {{ background: {pressed}; }}
QToolButton:focus {{ border-color: {theme.accent}; }}
QToolButton:disabled {{ color: {mixed(theme.muted, theme.window, 0.55)}; }}
QDockWidget {{ color: {theme.muted}; font-weight: 600; }}
QDockWidget::title {{ background: {theme.window}; padding: 5px 8px; text-align: left; }}
QTabBar::tab {{ background: transparent; color: {theme.muted}; padding: 5px 6px; border: none;
  border-bottom: 2px solid transparent; }}
QTabBar::tab:selected {{ color: {theme.text}; border-bottom-color: {theme.accent}; }}
QTabBar::tab:hover {{ color: {theme.text}; }}
QPushButton {{ background: {theme.raised}; border: 1px solid {theme.line}; border-radius: 5px;
  padding: 4px 12px; }}
QPushButton:hover {{ background: {hover}; }}
QPushButton:pressed {{ background: {pressed}; }}
QPushButton:focus {{ border-color: {theme.accent}; }}
QPushButton:default {{ background: {theme.accent}; color: {theme.accent_text}; border-color: {theme.accent}; }}
QPushButton:disabled {{ color: {mixed(theme.muted, theme.window, 0.55)}; }}
QLineEdit, QAbstractSpinBox, QComboBox, QPlainTextEdit {{ background: {theme.panel}; border: 1px solid {theme.line};
  border-radius: 5px; padding: 3px 6px; selection-background-color: {theme.accent};
  selection-color: {theme.accent_text}; }}
QLineEdit:focus, QAbstractSpinBox:focus, QComboBox:focus {{ border-color: {theme.accent}; }}
QLineEdit[invalid="true"] {{ border-color: {theme.bad}; }}
QLineEdit:disabled, QComboBox:disabled, QAbstractSpinBox:disabled {{ background: {theme.window}; }}
QCheckBox {{ spacing: 7px; }}
QCheckBox::indicator, QListView::indicator {{ width: 13px; height: 13px; border: 1px solid {theme.muted};
  border-radius: 3px; background: {theme.panel}; }}
QCheckBox::indicator:hover, QListView::indicator:hover {{ border-color: {theme.accent}; }}
QCheckBox::indicator:focus {{ border: 2px solid {theme.accent}; }}
QCheckBox::indicator:checked, QListView::indicator:checked {{ background: {theme.accent}; border-color: {theme.accent};
  image: url("{check}"); }}
QCheckBox::indicator:disabled {{ border-color: {theme.line}; }}
QDialogButtonBox {{ dialogbuttonbox-buttons-have-icons: 0; }}
QComboBox::drop-down {{ border: none; width: 20px; }}
QComboBox::down-arrow {{ image: url("{arrow}"); width: 10px; height: 10px; margin-right: 6px; }}
QComboBox QAbstractItemView {{ background: {theme.panel}; border: 1px solid {theme.line};
  selection-background-color: {faint}; selection-color: {theme.text}; }}
QSlider:horizontal {{ min-height: 20px; }}
QSlider::groove:horizontal {{ height: 4px; background: {theme.line}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {theme.accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ background: {theme.panel}; border: 2px solid {theme.accent}; width: 12px;
  height: 12px; margin: -6px 0; border-radius: 8px; }}
QSlider::handle:horizontal:hover, QSlider::handle:horizontal:focus {{ background: {theme.accent}; }}
QSlider::sub-page:horizontal:disabled {{ background: {theme.line}; }}
QSlider::handle:horizontal:disabled {{ border-color: {theme.line}; }}
QProgressBar {{ background: {theme.line}; border: none; border-radius: 3px; max-height: 6px; }}
QProgressBar::chunk {{ background: {theme.accent}; border-radius: 3px; }}
QScrollArea {{ background: {theme.panel}; border: none; }}
QScrollBar:vertical {{ background: transparent; width: 10px; margin: 0; }}
QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 0; }}
QScrollBar::handle {{ background: {theme.line}; border-radius: 4px; min-height: 24px; min-width: 24px; margin: 1px; }}
QScrollBar::handle:hover {{ background: {theme.muted}; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
QStatusBar {{ background: {theme.window}; color: {theme.muted}; }}
QStatusBar::item {{ border: none; }}
QListWidget, QListView {{ background: {theme.panel}; border: 1px solid {theme.line}; border-radius: 5px; }}
QListView::item {{ padding: 4px 6px; border-radius: 4px; }}
QListView::item:selected {{ background: {faint}; color: {theme.text}; }}
QTableView {{ background: {theme.panel}; border: none; alternate-background-color: {theme.raised};
  selection-background-color: {faint}; selection-color: {theme.text}; gridline-color: {theme.grid}; }}
QTableView::item {{ padding: 1px 12px 1px 5px; }}
QTableView::item:selected {{ background: {mixed(theme.accent, theme.panel, 0.22)}; color: {theme.text}; }}
QHeaderView {{ background: {theme.panel}; }}
QHeaderView::section {{ background: {theme.panel}; color: {theme.muted}; border: none; padding: 3px 14px 3px 5px;
  border-bottom: 1px solid {theme.line}; }}
QHeaderView::section:hover {{ color: {theme.text}; }}
QSplitter::handle {{ background: {theme.window}; }}
QSplitter::handle:hover {{ background: {theme.accent}; }}
QLabel[role="muted"] {{ color: {theme.muted}; }}
QLabel[role="pointed"] {{ color: {theme.accent}; text-decoration: underline; }}
QLabel[role="fault"] {{ color: {theme.bad}; }}
QLabel[role="formula"] {{ color: {theme.text}; background: {theme.raised}; border-radius: 5px; padding: 7px 9px; }}
QLabel[role="chip"] {{ color: {theme.muted}; background: {mixed(theme.line, theme.window, 0.6)};
  border-radius: 4px; padding: 1px 7px; }}
QLabel[role="heading"] {{ font-weight: 600; }}
QFrame[role="bubble"] {{ background: {theme.panel}; border: 1px solid {theme.accent}; border-radius: 8px; }}
QTextBrowser, QTreeWidget {{ background: {theme.panel}; border: 1px solid {theme.line}; border-radius: 5px; }}
QTreeWidget::item {{ padding: 3px 2px; }}
QTreeWidget::item:selected {{ background: {faint}; color: {theme.text}; }}
QWidget[role="page"] {{ background: {theme.panel}; }}
QToolButton[role="section"], QToolButton[role="section"]:checked {{ font-weight: 600; border: none;
  border-radius: 0; text-align: left; padding: 7px 2px 5px 2px; border-top: 1px solid {theme.line};
  background: transparent; }}
QToolButton[role="section"]:hover {{ color: {theme.accent}; }}
QToolButton[role="section"]:focus {{ border: 1px solid {theme.accent}; }}
QToolButton[role="quiet"] {{ color: {theme.muted}; padding: 1px 3px; }}
QToolButton[role="card"] {{ background: {theme.raised}; border: 1px solid {theme.line}; border-radius: 6px;
  padding: 4px 2px; color: {theme.text}; }}
QToolButton[role="card"]:hover {{ border-color: {theme.accent}; }}
QToolButton[role="card"]:checked {{ background: {faint}; border: 2px solid {theme.accent}; }}
QToolButton[role="play"] {{ background: {theme.accent}; color: {theme.accent_text}; font-weight: 600;
  padding: 4px 12px; }}
QToolButton[role="play"]:disabled {{ background: {mixed(theme.accent, theme.window, 0.35)};
  color: {theme.accent_text}; }}
QToolButton[role="play"]:hover {{ background: {mixed(theme.accent, theme.text, 0.85)}; }}
"""
