"""The table of actions: menus, toolbar, command palette and shortcut list are all made from it."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QToolBar, QWidget


@dataclass(frozen=True)
class ActionSpec:
    """One thing that a person can do.

    Attributes:
        name: unique; handler: name of the method of `commands.Commands` that does it.
        tip: a sentence; shortcut: in Qt's portable text, empty for none.
        icon: a QtAwesome name, empty for none; only what is on the toolbar needs one.
        place: 0 not on the toolbar, otherwise its order there.
        is_checkable: shows a state.
        needs: "" always there, "engine" once it is loaded, "job" only while a long job runs.
    """

    name: str
    menu: str
    text: str
    tip: str
    handler: str
    shortcut: str = ""
    icon: str = ""
    place: int = 0
    is_checkable: bool = False
    needs: str = ""


ACTIONS: tuple[ActionSpec, ...] = (
    ActionSpec("open", "File", "Open Recipe…", "Open a recipe file (.toml)", "open_recipe", "Ctrl+O"),
    ActionSpec("open_run", "File", "Open Run…", "Open a stored run as it was (Play goes on from there), or a sweep",
               "open_run", "Ctrl+Shift+O"),
    ActionSpec("open_data", "File", "Open Data…", "Learn from a table of numbers (CSV or NPZ)", "open_data", "Ctrl+D"),
    ActionSpec("save", "File", "Save Recipe As…", "Write the recipe of this run to a file", "save_recipe", "Ctrl+S"),
    ActionSpec("open_session", "File", "Open Session…", "Open a whole window again: run, view, tabs and layout",
               "open_session"),
    ActionSpec("save_session", "File", "Save Session As…", "Write the whole window to a file: run, view, tabs, layout",
               "save_session", "Ctrl+Shift+S"),
    ActionSpec("copy_recipe", "File", "Copy as Recipe", "Copy this run as TOML, with its changes", "copy_recipe",
               "Ctrl+Shift+C"),
    ActionSpec("copy_command", "File", "Copy as Command Line", "Copy the command that repeats this run",
               "copy_command"),
    ActionSpec("copy_python", "File", "Copy as Python", "Copy the lines of Python that repeat this run", "copy_python"),
    ActionSpec("export_three", "File", "Export Three Pictures…",
               "Background, foreground over background, and wrong background, on one axis range", "export_three",
               "Ctrl+E", "mdi6.image-multiple-outline", 8, needs="engine"),
    ActionSpec("export", "File", "Export…", "Figures and data, in the formats of your choice", "export",
               "Ctrl+Shift+E", "mdi6.export-variant", 9, needs="engine"),
    ActionSpec("compose", "File", "Compose Figure…",
               "Several figures on one page with letters, as wide as a journal asks, with the page drawn beside it",
               "compose", "Ctrl+Alt+E", needs="engine"),
    ActionSpec("save_cloud", "File", "Save Picture of Cloud…",
               "Write the cloud as it is on the screen: PNG, TIFF, PDF, SVG, EPS", "save_cloud", "Ctrl+P"),
    ActionSpec("save_tab", "File", "Save Picture of Tab…",
               "Write the tab in front below the cloud as it is on the screen: PNG, TIFF, PDF, SVG, EPS", "save_tab",
               "Ctrl+Shift+P"),
    ActionSpec("save_panel", "File", "Save Picture of Panel…",
               "Write the panel beside the cloud (the verdict with its plots), all of it: PNG, TIFF, PDF, SVG, EPS",
               "save_panel", "Ctrl+Alt+P"),
    ActionSpec("record", "File", "Film the Cloud",
               "Take a film while it trains, while the slider is dragged or the loop turns; again to end it", "record",
               "Ctrl+Alt+R", is_checkable=True),
    ActionSpec("quit", "File", "Quit", "Close the window; the recipe is kept", "quit", "Ctrl+Q"),
    ActionSpec("undo", "Edit", "Undo", "Take back the last change: of a parameter, the view, the docks, stored runs",
               "undo", "Ctrl+Z"),
    ActionSpec("redo", "Edit", "Redo", "Do the change again", "redo", "Ctrl+Shift+Z"),
    ActionSpec("copy_cloud", "Edit", "Copy Picture of Cloud", "Copy the cloud as it is on the screen", "copy_cloud",
               "Ctrl+Alt+C"),
    ActionSpec("copy_tab", "Edit", "Copy Picture of Tab",
               "Copy the tab in front below the cloud as it is on the screen", "copy_tab", "Ctrl+Alt+T"),
    ActionSpec("copy_panel", "Edit", "Copy Picture of Panel", "Copy the panel beside the cloud, all of it",
               "copy_panel", "Ctrl+Alt+V"),
    ActionSpec("play", "Run", "Play", "Train; goes on sampling after the recipe's last step", "toggle", "Space",
               "mdi6.play", 1, is_checkable=True, needs="engine"),
    ActionSpec("step", "Run", "Step", "Do one training step", "step", ".", "mdi6.skip-next", 2, needs="engine"),
    ActionSpec("reset", "Run", "Reset", "Start again from the same initial cloud", "reset", "Ctrl+R",
               "mdi6.restart", 3, needs="engine"),
    ActionSpec("new_seed", "Run", "New Seed", "Start again from another initial cloud", "new_seed", "Ctrl+Shift+R",
               "mdi6.dice-multiple-outline", 4, needs="engine"),
    ActionSpec("resample", "Run", "Resample Foreground",
               "Draw fresh neurons in the background's frozen field, and compare the two clouds", "resample", "F",
               "mdi6.scatter-plot", 5, needs="engine"),
    ActionSpec("iterate", "Run", "Iterate",
               "Let the foreground become the background, again and again, until they agree: the self-consistency loop",
               "iterate", "I", "mdi6.sync", 6, needs="engine"),
    ActionSpec("widths", "Run", "Study Widths",
               "Sample networks of 8 to 4,096 neurons exactly, beside the laws for finite and infinite width",
               "study_widths", "W", needs="engine"),
    ActionSpec("studies", "Run", "Tempering and Closures…",
               "Replica exchange over temperatures, and the closures of teacher theory, as figures", "show_studies"),
    ActionSpec("cancel", "Run", "Cancel", "Stop the long job under way; what is there stays", "cancel", "Esc",
               "mdi6.close-circle-outline", 7, needs="job"),
    ActionSpec("slower", "Run", "Slower", "Fewer steps between two frames", "slower", "["),
    ActionSpec("faster", "Run", "Faster", "More steps between two frames", "faster", "]"),
    ActionSpec("reset_view", "View", "Reset Cloud View", "Show the whole cloud again", "reset_view", "Ctrl+0"),
    ActionSpec("split", "View", "Split Background and Foreground",
               "Draw the foreground beside the background, on the same axes, instead of over it", "switch_split", "B",
               is_checkable=True),
    ActionSpec("layout_explore", "View", "Layout: Explore", "Experiment, cloud, verdict, and the tabs below",
               "layout_explore", "Ctrl+1"),
    ActionSpec("layout_compare", "View", "Layout: Compare", "Room for the table of runs", "layout_compare", "Ctrl+2"),
    ActionSpec("layout_sweep", "View", "Layout: Sweep", "Room for the phase diagram", "layout_sweep", "Ctrl+3"),
    ActionSpec("layout", "View", "Reset Layout", "Put the docks back where they were", "reset_layout"),
    ActionSpec("theme_system", "View", "Theme: System", "Light or dark as the system says", "theme_system",
               is_checkable=True),
    ActionSpec("theme_light", "View", "Theme: Light", "Always light", "theme_light", is_checkable=True),
    ActionSpec("theme_dark", "View", "Theme: Dark", "Always dark", "theme_dark", is_checkable=True),
    ActionSpec("palette", "Help", "Command Palette…", "Find any command by typing", "show_palette", "Ctrl+K"),
    ActionSpec("help", "Help", "Help Pages", "What everything in this window is, and what its numbers mean",
               "show_help", "F1"),
    ActionSpec("tour", "Help", "Guided Tour", "Five steps on the live picture", "show_tour"),
    ActionSpec("shortcuts", "Help", "Keyboard Shortcuts", "The list of all shortcuts", "show_shortcuts", "Ctrl+F1"),
    ActionSpec("about", "Help", "About MFT Lab", "Versions and licence", "show_about"),
)  # fmt: skip

MENUS = ("File", "Edit", "Run", "View", "Help")
SECOND_SHORTCUTS = {"palette": "Ctrl+Shift+K"}
BREAKS_AFTER = {
    "open_data", "save", "save_session", "copy_python", "record", "redo", "new_seed", "cancel", "split", "layout",
    "shortcuts",
}  # fmt: skip
TOOLBAR_BREAKS_AFTER = {"new_seed", "cancel"}


def build_actions(owner: QWidget, target: object) -> dict[str, QAction]:
    """One QAction for every row of the table, connected to the target's method and owned by the window."""
    actions = {}
    for spec in ACTIONS:
        action = QAction(spec.text, owner)
        action.setObjectName(spec.name)
        keys = [QKeySequence(text) for text in (spec.shortcut, SECOND_SHORTCUTS.get(spec.name, "")) if text]
        action.setShortcuts(keys)
        shown = f" ({keys[0].toString(QKeySequence.SequenceFormat.NativeText)})" if keys else ""
        action.setToolTip(spec.tip + shown)
        action.setStatusTip(spec.tip)
        action.setCheckable(spec.is_checkable)
        action.setEnabled(not spec.needs)
        action.triggered.connect(getattr(target, spec.handler))
        owner.addAction(action)
        actions[spec.name] = action
    return actions


def fill_menus(bar: QMenuBar, actions: dict[str, QAction]) -> dict[str, QMenu]:
    """The menus in the table's order."""
    menus = {title: bar.addMenu(title) for title in MENUS}
    for menu in menus.values():
        menu.setToolTipsVisible(True)
    for spec in ACTIONS:
        menus[spec.menu].addAction(actions[spec.name])
        if spec.name in BREAKS_AFTER:
            menus[spec.menu].addSeparator()
    return menus


def fill_toolbar(bar: QToolBar, actions: dict[str, QAction]) -> None:
    """The toolbar in the order of `place`."""
    for spec in sorted((s for s in ACTIONS if s.place), key=lambda s: s.place):
        bar.addAction(actions[spec.name])
        # Reached by Tab, but a click leaves the focus where it was: the space bar goes on to play and pause.
        bar.widgetForAction(actions[spec.name]).setFocusPolicy(Qt.FocusPolicy.TabFocus)
        if spec.name in TOOLBAR_BREAKS_AFTER:
            bar.addSeparator()
