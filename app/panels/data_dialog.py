"""A table of numbers is to become a task: which columns are inputs, which one is the target, what is held back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.engine.messages import DataPreview, Reading

USUAL_TEST_PERCENT = 20.0
# Of fewer rows none is held back unless it is asked for.
FEW_ROWS = 50
_COLUMNS_SHOWN = 60
_COLUMNS_THAT_FIT = 6
DELIMITERS: dict[Any, str] = {
    "tab": "tabs",
    "semicolon": "semicolons ;",
    "comma": "commas ,",
    "bar": "bars |",
    "space": "spaces",
}
DECIMALS: dict[Any, str] = {".": "point 0.5", ",": "comma 0,5"}
HEADERS: dict[Any, str] = {True: "names the columns", False: "is data"}


class DataDialog(QDialog):
    """Asks, and answers with the parameters of the task `dataset`; reads and changes nothing itself."""

    read_again = Signal(object, object)  # path, Reading

    def __init__(self, preview: DataPreview, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("data_dialog")
        self.setWindowTitle(f"Data: {preview.path.name}")
        self.preview = preview
        self.title = QLabel(self)
        self.table = QTableWidget(self)
        self.delimiter = _choice("Separated by", "What stands between two cells of a row", DELIMITERS, self)
        self.decimal = _choice("Decimal mark", "What stands before the decimals of a number", DECIMALS, self)
        self.header = _choice("First row", "Whether the first row has the names of the columns", HEADERS, self)
        self.target = QComboBox(self)
        self.target.setAccessibleName("Target")
        self.target.setToolTip("The column to be learnt")
        self.inputs = QListWidget(self)
        self.inputs.setAccessibleName("Inputs")
        self.inputs.setToolTip("The columns that the network sees")
        self.inputs.setMaximumHeight(118)
        self.all_inputs, self.no_inputs = QPushButton("All", self), QPushButton("None", self)
        self.all_inputs.setToolTip("Learn from every other column")
        self.no_inputs.setToolTip("Take every tick away")
        self.test_percent = QDoubleSpinBox(self)
        self.test_percent.setRange(0.0, 90.0)
        self.test_percent.setDecimals(0)
        self.test_percent.setSingleStep(5.0)
        self.test_percent.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.test_percent.setAccessibleName("Share of rows held back")
        self.test_percent.setToolTip("These rows are not learnt from; the test loss is taken on them")
        self.test_percent.setSuffix(" % of the rows")
        self.notes = QLabel(self)
        self.notes.setProperty("role", "muted")
        self.notes.setAccessibleName("What was guessed about the file")
        self.notes.setWordWrap(True)
        self.standardise = QCheckBox("inputs and target to mean 0 and deviation 1", self)
        self.standardise.setChecked(True)
        self.standardise.setToolTip("By mean and standard deviation of the rows that are learnt from")
        self.outcome = QLabel(self)
        self.outcome.setProperty("role", "muted")
        self.outcome.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, Qt.Orientation.Horizontal, self)
        self.go = self.buttons.addButton("Learn from These Data", QDialogButtonBox.ButtonRole.AcceptRole)
        self.go.setToolTip("Make this table the task")
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setToolTip("Change nothing")
        self.go.setDefault(True)
        self._lay_out()
        self._has_shown = False
        self.show_preview(preview)
        for choice in (self.delimiter, self.decimal, self.header):
            choice.activated.connect(self._read_again)
        self.target.currentIndexChanged.connect(self._follow)
        self.inputs.itemChanged.connect(self._follow)
        self.test_percent.valueChanged.connect(self._follow)
        self.all_inputs.clicked.connect(self._take_all)
        self.no_inputs.clicked.connect(self._take_none)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def show_preview(self, preview: DataPreview) -> None:
        """What is in the file, read for the first time or again; choices that still fit stay."""
        if preview.fault and self._has_shown:  # what was seen last stays, and what was chosen of it
            preview = replace(self.preview, fault=preview.fault, reading=preview.reading)
        before, target = self.preview, self.target.currentText()
        ticked = self._ticked()
        self.preview = preview
        _show_rows(self.table, preview)
        self.title.setText(f"<b>{preview.n_rows:,} rows, {len(preview.names):,} columns</b> of numbers")
        self.notes.setText(preview.fault or " ".join(preview.notes))
        self.notes.setProperty("role", "fault" if preview.fault else "muted")
        self.notes.style().polish(self.notes)
        self.notes.setVisible(bool(self.notes.text()))
        for signals in (self.target, self.inputs):
            signals.blockSignals(True)
        self.target.clear()
        self.target.addItems([*preview.names, *preview.groups])
        is_same = self._has_shown and preview.names == before.names
        self.target.setCurrentText(target if is_same else preview.target or next(iter(preview.names[::-1]), ""))
        self.inputs.clear()
        for name in preview.names:
            item = QListWidgetItem(name, self.inputs)
            is_ticked = not is_same or name in ticked
            item.setCheckState(Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked)
        for signals in (self.target, self.inputs):
            signals.blockSignals(False)
        if not self._has_shown or preview.n_test != before.n_test:
            self._offer_to_hold_back(preview)
        self._show_reading(preview)
        self._has_shown = True
        self._follow()

    def _offer_to_hold_back(self, preview: DataPreview) -> None:
        self.test_percent.setEnabled(not preview.n_test)
        self.test_percent.setValue(USUAL_TEST_PERCENT if preview.n_rows >= FEW_ROWS and not preview.n_test else 0.0)
        if preview.n_test:
            self.test_percent.setToolTip(f"The file itself holds back its last {preview.n_test:,} rows")

    def _show_reading(self, preview: DataPreview) -> None:
        """What a person asked for, and beside "automatic" what was found."""
        is_text = preview.found is not None or preview.reading != Reading()
        for choice, name, words in (
            (self.delimiter, "delimiter", DELIMITERS),
            (self.decimal, "decimal", DECIMALS),
            (self.header, "header", HEADERS),
        ):
            found = words.get(getattr(preview.found, name, None))
            choice.setItemText(0, f"automatic: {found}" if found else "automatic")
            choice.setCurrentIndex(max(0, choice.findData(getattr(preview.reading, name))))
            choice.setEnabled(is_text)
        self.reading.setVisible(is_text)

    def _lay_out(self) -> None:
        beside = QVBoxLayout()
        beside.addWidget(self.all_inputs)
        beside.addWidget(self.no_inputs)
        beside.addStretch(1)
        row = QHBoxLayout()
        row.addWidget(self.inputs, 1)
        row.addLayout(beside)
        form = QFormLayout()
        form.setSpacing(9)
        reading = QHBoxLayout()
        reading.setContentsMargins(0, 0, 0, 0)
        for name, choice in (("Separated by", self.delimiter), ("decimals", self.decimal), ("first row", self.header)):
            label = QLabel(name, self)
            label.setBuddy(choice)
            reading.addWidget(label)
            reading.addWidget(choice, 1)
        self.reading = QWidget(self)
        self.reading.setLayout(reading)
        form.addRow("Target", self.target)
        form.addRow("Inputs", row)
        form.addRow("Hold back", self.test_percent)
        form.addRow("Standardise", self.standardise)
        layout = QVBoxLayout(self)
        layout.setSpacing(10)
        layout.addWidget(self.title)
        layout.addWidget(self.table)
        layout.addWidget(self.reading)
        layout.addWidget(self.notes)
        layout.addLayout(form)
        layout.addWidget(self.outcome)
        layout.addWidget(self.buttons)
        self.resize(680, self.sizeHint().height())

    def chosen_inputs(self) -> list[str]:
        """The ticked columns, the target and columns of words apart."""
        return [name for name in self._ticked() if name in self._possible_inputs()]

    def _ticked(self) -> list[str]:
        items = [self.inputs.item(k) for k in range(self.inputs.count())]
        return [item.text() for item in items if item.checkState() == Qt.CheckState.Checked]

    def _possible_inputs(self) -> list[str]:
        target = self.target.currentText()
        own = self.preview.groups.get(target, (target,))
        return [name for name in self.preview.names if name not in own and name not in self.preview.worded]

    def parameters(self) -> dict[str, Any]:
        """The task's parameters; what is as usual is left out."""
        found: dict[str, Any] = {"path": str(self.preview.path), "target": self.target.currentText()}
        inputs = self.chosen_inputs()
        own = self.preview.groups.get(self.target.currentText(), (self.target.currentText(),))
        if len(inputs) < len(self.preview.names) - len(own):
            found["inputs"] = inputs
        if self.test_percent.value() > 0:
            found["train_fraction"] = round(1.0 - self.test_percent.value() / 100.0, 2)
        if not self.standardise.isChecked():
            found["standardise"] = False
        asked = {"delimiter": self.delimiter, "decimal": self.decimal, "header": self.header}
        found |= {name: box.currentData() for name, box in asked.items() if box.currentData() is not None}
        return found

    @Slot()
    def _read_again(self) -> None:
        reading = Reading(self.delimiter.currentData(), self.decimal.currentData(), self.header.currentData())
        self.read_again.emit(self.preview.path, reading)

    @Slot()
    def _take_all(self) -> None:
        self._tick(Qt.CheckState.Checked)

    @Slot()
    def _take_none(self) -> None:
        self._tick(Qt.CheckState.Unchecked)

    def _tick(self, state: Qt.CheckState) -> None:
        blocked = self.inputs.blockSignals(True)
        for k in range(self.inputs.count()):
            self.inputs.item(k).setCheckState(state)
        self.inputs.blockSignals(blocked)
        self._follow()

    @Slot()
    def _follow(self) -> None:
        possible = self._possible_inputs()
        for k in range(self.inputs.count()):
            self.inputs.setRowHidden(k, self.inputs.item(k).text() not in possible)
        inputs, n = self.chosen_inputs(), self.preview.n_rows
        n_train = max(1, round((1.0 - self.test_percent.value() / 100.0) * n)) - self.preview.n_test
        self.go.setEnabled(bool(inputs) and not self.preview.fault)
        if self.preview.fault:
            self.outcome.setText("Read like this, the file has nothing to learn from.")
            return
        if not inputs:
            self.outcome.setText("Tick at least one input.")
            return
        d = len(inputs)
        text = f"{self.target.currentText()} of {d:,} input{'s' if d > 1 else ''}: {n_train:,} rows to learn from"
        text += f", {n - n_train:,} held back." if n > n_train else "; without rows held back there is no test loss."
        if d != 2:
            text += " The exact infinite-width theory is for two inputs."
        self.outcome.setText(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _choice(name: str, tip: str, words: Mapping[Any, str], parent: QWidget) -> QComboBox:
    box = QComboBox(parent)
    box.setAccessibleName(name)
    box.setToolTip(tip)
    box.addItem("automatic", None)
    for value, word in words.items():
        box.addItem(word, value)
    return box


def _show_rows(table: QTableWidget, preview: DataPreview) -> None:
    n_columns = min(len(preview.names), _COLUMNS_SHOWN)
    table.clear()
    table.setRowCount(len(preview.rows))
    table.setColumnCount(n_columns)
    table.setAccessibleName("First rows")
    table.setToolTip("The first rows of the file")
    table.setHorizontalHeaderLabels(list(preview.names[:n_columns]))
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setToolTip("The first rows, as they were read")
    table.setTabKeyNavigation(False)  # Tab leaves the table
    table.verticalHeader().hide()
    for i, row in enumerate(preview.rows):
        for j, value in enumerate(row[:n_columns]):
            item = QTableWidgetItem(value.replace("-", "−") if _is_number(value) else value)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            table.setItem(i, j, item)
    header = table.horizontalHeader()
    mode = QHeaderView.ResizeMode
    header.setSectionResizeMode(mode.Stretch if n_columns <= _COLUMNS_THAT_FIT else mode.Interactive)
    header.setDefaultSectionSize(92)
    rows = sum(table.rowHeight(i) for i in range(len(preview.rows)))
    # With more columns than fit there is a scroll bar below.
    table.setFixedHeight(rows + header.sizeHint().height() + (4 if n_columns <= _COLUMNS_THAT_FIT else 18))
