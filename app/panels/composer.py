"""The figure composer: panels, letters and a width in mm, with the page drawn as it will be written."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal, Slot
from PySide6.QtGui import QPixmap, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.engine.messages import Compose, Export, FigurePreview
from app.panels.export_dialog import FIGURE_FORMATS, FIGURES
from mft_engine.pages import JOURNALS, MAX_WIDTH_MM, MIN_WIDTH_MM, Composition

PANELS = {name: text.partition(":")[0] for name, text, _ in FIGURES if name != "three-pictures"}
PANELS["wrong-background"] = "Wrong background"
FIRST = ("background", "foreground", "loss")
WAIT_MILLISECONDS = 250
OTHER = "Another width"
PAPER = "background: white; border: 1px solid #b8bcc6;"


class ComposerDialog(QDialog):
    """Asks for previews by `wanted`, is told them by `show_preview`, and answers with an `Export`.

    The page is white in the dark theme too: paper is.
    """

    wanted = Signal(object)  # Compose

    def __init__(self, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compose a figure")
        self.setObjectName("composer")
        self._number = 0
        self._page = QPixmap()
        self.panels = QListWidget(self)
        self.panels.setAccessibleName("Panels")
        self.panels.setToolTip("Tick what stands on the page; drag, or Up and Down below, to put it in order")
        self.panels.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.panels.setMinimumWidth(230)
        order = [*FIRST, *(name for name in PANELS if name not in FIRST)]
        for name in order:
            item = QListWidgetItem(PANELS[name], self.panels)
            item.setData(Qt.ItemDataRole.UserRole, name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if name in FIRST[:2] else Qt.CheckState.Unchecked)
        self.panels.setCurrentRow(0)
        self.up, self.down = QPushButton("Up", self), QPushButton("Down", self)
        for button, by in ((self.up, -1), (self.down, 1)):
            button.setToolTip("Move the marked panel in the order of the page")
            button.clicked.connect(lambda _=False, by=by: self._move(by))
        self.journal = QComboBox(self)
        self.journal.setAccessibleName("Journal")
        self.journal.setToolTip("The width that a journal asks for")
        for name, width in JOURNALS.items():
            self.journal.addItem(f"{name} ({width:g} mm)", width)
        self.journal.addItem(OTHER, None)
        self.width_mm = QDoubleSpinBox(self)
        self.width_mm.setRange(MIN_WIDTH_MM, MAX_WIDTH_MM)
        self.width_mm.setDecimals(1)
        self.width_mm.setSuffix(" mm")
        self.width_mm.setAccessibleName("Width of the page")
        self.width_mm.setToolTip("Width of the whole page")
        self.columns = QSpinBox(self)
        self.columns.setRange(1, 4)
        self.columns.setValue(2)
        self.columns.setAccessibleName("Panels in a row")
        self.columns.setToolTip("Panels in a row")
        for entry in (self.width_mm, self.columns):
            entry.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.letters = QCheckBox("Letters a, b, c …", self)
        self.letters.setChecked(True)
        self.letters.setToolTip("At the upper left corner of every panel")
        self.caption = QCheckBox("Caption line", self)
        self.caption.setToolTip("Recipe, seed, sizes and verdict below the panels")
        self.formats = {name: QCheckBox(name.upper(), self) for name in FIGURE_FORMATS}
        for name, box in self.formats.items():
            box.setChecked(name in ("png", "pdf"))
            box.setToolTip(f"Write a file of the kind .{name}")
        self.folder = QLineEdit(str(folder), self)
        self.folder.setAccessibleName("Folder")
        self.folder.setToolTip("Where figure.pdf and the others are written; it is made where it is not there")
        self.choose = QPushButton("Choose…", self)
        self.choose.setToolTip("Look for the folder")
        self.preview = QLabel(self)
        self.preview.setAccessibleName("The page as it will be written")
        self.preview.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.preview.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.preview.setMinimumSize(380, 300)
        self.preview.setStyleSheet(PAPER)
        self.size_line = QLabel(self)
        self.size_line.setProperty("role", "muted")
        self.fault = QLabel(self)
        self.fault.setProperty("role", "fault")
        self.fault.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, Qt.Orientation.Horizontal, self)
        self.go = self.buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.go.setDefault(True)
        self.go.setToolTip("Write the page")
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setToolTip("Write nothing")
        self._lay_out()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(WAIT_MILLISECONDS)
        self._soon.timeout.connect(self._ask)
        self.journal.activated.connect(self._journal_chosen)
        self.journal.setCurrentIndex(list(JOURNALS).index("Nature, two columns"))
        self.width_mm.setValue(JOURNALS["Nature, two columns"])
        self.width_mm.valueChanged.connect(self._width_typed)
        for signal in (
            self.panels.itemChanged, self.panels.model().rowsMoved, self.columns.valueChanged,
            self.letters.toggled, self.caption.toggled,
        ):  # fmt: skip
            signal.connect(self._changed)
        self.choose.clicked.connect(self._choose)
        self.buttons.accepted.connect(self._check)
        self.buttons.rejected.connect(self.reject)
        self.resize(920, 560)
        self._changed()

    def _lay_out(self) -> None:
        order, formats, place = QHBoxLayout(), QHBoxLayout(), QHBoxLayout()
        for button in (self.up, self.down):
            order.addWidget(button)
        for box in self.formats.values():
            formats.addWidget(box)
        place.addWidget(self.folder, 1)
        place.addWidget(self.choose)
        form = QFormLayout()
        form.setSpacing(8)
        form.addRow("Journal", self.journal)
        form.addRow("Width", self.width_mm)
        form.addRow("In a row", self.columns)
        form.addRow("", self.letters)
        form.addRow("", self.caption)
        left = QVBoxLayout()
        left.addWidget(self.panels, 1)
        left.addLayout(order)
        left.addLayout(form)
        right = QVBoxLayout()
        right.addWidget(self.preview, 1)
        right.addWidget(self.size_line)
        right.addWidget(self.fault)
        columns = QHBoxLayout()
        columns.setSpacing(16)
        columns.addLayout(left)
        columns.addLayout(right, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(10)
        layout.addLayout(columns, 1)
        layout.addLayout(formats)
        layout.addLayout(place)
        layout.addWidget(self.buttons)

    @property
    def composition(self) -> Composition:
        """The page that is asked for."""
        items = [self.panels.item(row) for row in range(self.panels.count())]
        ticked = [item for item in items if item.checkState() == Qt.CheckState.Checked]
        return Composition(
            tuple(item.data(Qt.ItemDataRole.UserRole) for item in ticked),
            self.columns.value(),
            self.width_mm.value(),
            has_letters=self.letters.isChecked(),
            has_caption=self.caption.isChecked(),
        )

    def command(self) -> Export:
        """What is to be written."""
        return Export(
            folder=Path(self.folder.text()).expanduser(),
            figures=(),
            figure_formats=tuple(name for name, box in self.formats.items() if box.isChecked()),
            composition=self.composition,
        )

    @Slot(object)
    def show_preview(self, drawn: FigurePreview) -> None:
        """The page as it was drawn; an answer to an earlier question is left aside."""
        if drawn.number != self._number:
            return
        self._say(drawn.fault)
        if drawn.png:
            self._page.loadFromData(drawn.png)
            self.size_line.setText(f"{self.width_mm.value():.1f} × {drawn.height_mm:.1f} mm")
            self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The page fills what room there is."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if not self._page.isNull():
            ratio = self.devicePixelRatioF()
            room = self.preview.contentsRect().adjusted(4, 4, -4, -4).size() * ratio
            shown = self._page.scaled(
                room, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
            shown.setDevicePixelRatio(ratio)
            self.preview.setPixmap(shown)

    def _say(self, fault: str) -> None:
        self.fault.setText(fault)

    @Slot()
    def _changed(self) -> None:
        self._number += 1
        self._soon.start()

    @Slot()
    def _ask(self) -> None:
        composition = self.composition
        if composition.fault:
            self._say(composition.fault)
        else:
            self.wanted.emit(Compose(composition, self._number))

    def _move(self, by: int) -> None:
        row = self.panels.currentRow()
        if 0 <= row + by < self.panels.count():
            item = self.panels.takeItem(row)
            self.panels.insertItem(row + by, item)
            self.panels.setCurrentRow(row + by)
            self._changed()

    @Slot(int)
    def _journal_chosen(self, index: int) -> None:
        width = self.journal.itemData(index)
        if width is not None:
            self.width_mm.setValue(width)

    @Slot(float)
    def _width_typed(self, width: float) -> None:
        if self.journal.currentData() != width:
            found = list(JOURNALS.values()).index(width) if width in JOURNALS.values() else self.journal.count() - 1
            self.journal.setCurrentIndex(found)
        self._changed()

    @Slot()
    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to", self.folder.text())
        if folder:
            self.folder.setText(folder)

    @Slot()
    def _check(self) -> None:
        fault = self.composition.fault
        if not fault and not any(box.isChecked() for box in self.formats.values()):
            fault = "Tick at least one format."
        if not fault and not self.folder.text().strip():
            fault = "Choose a folder."
        self._say(fault)
        if not fault:
            self.accept()
