"""What to export, how large, in which formats, and where to."""

from __future__ import annotations

import shutil
from pathlib import Path

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.engine.messages import Export

FIGURES = (
    ("three-pictures", "Three pictures: background, foreground, wrong background", True),
    ("background", "Background cloud", False),
    ("foreground", "Foreground over background", False),
    ("loss", "Loss along the run", False),
    ("fields", "Target, networks and residual as heat maps", False),
    ("kernel", "Data kernel: spectrum, target captured, eigenfunctions", False),
    ("marginals", "Marginals of both clouds", False),
    ("null", "Distance and its null band", False),
    ("theory", "Infinite-width density", False),
    ("fourier", "Frequencies and phases (modular addition)", False),
)
FIGURE_FORMATS = ("png", "svg", "pdf", "eps", "tiff")
ANIMATIONS = (("gif", "GIF"), ("apng", "APNG"), ("png", "PNG frames"), ("mp4", "MP4"))
DATA_FORMATS = (("npz", "both clouds, NumPy"), ("csv", "both clouds, text"), ("safetensors", "both clouds, tensors"))


class ExportDialog(QDialog):
    """Asks, and answers with an `Export`; writes nothing itself."""

    def __init__(self, folder: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self.setObjectName("export_dialog")
        self.figures = {name: QCheckBox(text, self) for name, text, _ in FIGURES}
        for name, text, is_on in FIGURES:
            self.figures[name].setChecked(is_on)
            self.figures[name].setToolTip(f"Write this figure: {text}")
        self.figures["three-pictures"].setToolTip(
            "The wrong-background twin is trained and sampled first where it has not been yet"
        )
        self.formats = {name: QCheckBox(name.upper(), self) for name in FIGURE_FORMATS}
        for name in ("png", "pdf"):
            self.formats[name].setChecked(True)
        self.data = {name: QCheckBox(f"{name.upper()} ({text})", self) for name, text in DATA_FORMATS}
        self.animations = {name: QCheckBox(text, self) for name, text in ANIMATIONS}
        for box in self.animations.values():
            box.setToolTip("The neurons along the training, from its stored clouds")
        has_film = shutil.which("ffmpeg") is not None
        self.animations["mp4"].setEnabled(has_film)
        if not has_film:
            self.animations["mp4"].setToolTip("A film needs ffmpeg, which is not installed here")
        self.captions = QCheckBox("Caption line with recipe, seed, sizes and verdict", self)
        self.captions.setChecked(True)
        self.captions.setToolTip("Written under every figure")
        for form, box in (self.formats | self.data).items():
            box.setToolTip(f"Write files of the kind .{form}")
        self.width_mm = QDoubleSpinBox(self)
        self.width_mm.setRange(30, 400)
        self.width_mm.setValue(85)
        self.width_mm.setDecimals(0)
        self.width_mm.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.width_mm.setSuffix(" mm")
        self.width_mm.setAccessibleName("Width of one figure")
        self.width_mm.setToolTip("Width of one figure: 85 mm is one column of a journal")
        self.folder = QLineEdit(str(folder), self)
        self.folder.setMinimumWidth(320)
        self.folder.setAccessibleName("Folder")
        self.folder.setToolTip("Where the files are written; it is made where it is not there")
        self.fault = QLabel(self)
        self.fault.setProperty("role", "fault")
        self.fault.setWordWrap(True)
        self.fault.hide()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, Qt.Orientation.Horizontal, self)
        self.go = self.buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.go.setDefault(True)
        self.go.setToolTip("Write the files")
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setToolTip("Write nothing")
        self._lay_out()
        self.buttons.accepted.connect(self._check)
        self.buttons.rejected.connect(self.reject)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setSpacing(9)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        form.addRow("Figures", _column(list(self.figures.values())))
        form.addRow("Formats", _line(list(self.formats.values())))
        form.addRow("Width", self.width_mm)
        form.addRow("", self.captions)
        form.addRow("Animation", _line(list(self.animations.values())))
        form.addRow("Data", _column(list(self.data.values())))
        choose = QPushButton("Choose…", self)
        choose.setToolTip("Look for the folder")
        choose.clicked.connect(self._choose)
        form.addRow("Folder", _line([self.folder, choose]))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(12)
        layout.addLayout(form)
        layout.addWidget(self.fault)
        layout.addWidget(self.buttons)

    def command(self) -> Export:
        """What was asked for."""
        return Export(
            folder=Path(self.folder.text()).expanduser(),
            figures=tuple(name for name, box in self.figures.items() if box.isChecked()),
            figure_formats=tuple(name for name, box in self.formats.items() if box.isChecked()),
            data_formats=tuple(name for name, box in self.data.items() if box.isChecked()),
            animations=tuple(name for name, box in self.animations.items() if box.isChecked()),
            width_mm=self.width_mm.value(),
            has_captions=self.captions.isChecked(),
        )

    @Slot()
    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Export to", self.folder.text())
        if folder:
            self.folder.setText(folder)

    @Slot()
    def _check(self) -> None:
        command = self.command()
        fault = ""
        if not command.figures and not command.data_formats and not command.animations:
            fault = "Tick at least one figure, animation or data format."
        elif command.figures and not command.figure_formats:
            fault = "Tick at least one of PNG, SVG and PDF for the figures."
        elif not self.folder.text().strip():
            fault = "Choose a folder."
        self.fault.setText(fault)
        self.fault.setVisible(bool(fault))
        if not fault:
            self.accept()


def _line(widgets: list[QWidget]) -> QWidget:
    box = QWidget()
    layout = QHBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    if not isinstance(widgets[0], QLineEdit):
        layout.addStretch(1)
    return box


def _column(widgets: list[QWidget]) -> QWidget:
    box = QWidget()
    layout = QVBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(5)
    for widget in widgets:
        layout.addWidget(widget)
    return box
