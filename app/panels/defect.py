"""What a person is told when the program itself is at fault: plain words, and a report to be copied."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QMessageBox, QWidget

TITLE = "A fault of the program"
WORDS = (
    "Something in MFT Lab went wrong. What was trained is kept, and you can go on. If it happens again, copy the "
    "report and send it to whoever looks after the program."
)


class DefectDialog(QMessageBox):
    """Stays beside the window; a further fault while it is open is counted.

    Args:
        report: asked when it is copied: the faults, the log, versions and the recipe.
    """

    log_wanted = Signal()

    def __init__(self, sentence: str, report: Callable[[], str], parent: QWidget | None = None) -> None:
        super().__init__(QMessageBox.Icon.Warning, TITLE, WORDS, QMessageBox.StandardButton.NoButton, parent)
        self._n_faults, self._report = 0, report
        self.copy = self.addButton("Copy Report", QMessageBox.ButtonRole.ActionRole)
        self.copy.setToolTip("Copy the fault, the log, versions and the recipe")
        self.log = self.addButton("Show Log", QMessageBox.ButtonRole.ActionRole)
        self.log.setToolTip("Close this and bring the log to the front")
        leave = self.addButton(QMessageBox.StandardButton.Close)
        leave.setToolTip("Go on")
        self.setDefaultButton(QMessageBox.StandardButton.Close)
        self.setEscapeButton(leave)
        # A click on any button would close the box; a report may be copied, and copied again.
        self.copy.clicked.disconnect()
        self.copy.clicked.connect(self._copy)
        self.log.clicked.connect(self.log_wanted)
        self.setModal(False)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.add(sentence)

    def add(self, sentence: str) -> None:
        """One more fault."""
        self._n_faults += 1
        more = f" ({self._n_faults} faults so far, this is the last)" if self._n_faults > 1 else ""
        self.setInformativeText(f"{sentence}{more}")

    @Slot()
    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self._report())
        self.copy.setText("Copied")
