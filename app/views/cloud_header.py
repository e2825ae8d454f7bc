"""The controls above the cloud: what is on the axes, what the colours mean, which clouds are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QToolButton, QWidget
from superqt.utils import QFlowLayout

from app.views.chips import LegendChip, Mark
from app.views.projections import Axis

if TYPE_CHECKING:
    from app.theme import Theme

COLOURINGS = (
    ("plain", "by cloud", "every cloud in its own colour"),
    ("a", "by readout a", "readout weight, symmetric about zero"),
    ("norm", "by |w|", "length of the input weight vector"),
    ("angle", "by angle", "direction of (w₁, w₂)"),
)

_OVERLAYS: tuple[tuple[str, Mark, str, str], ...] = (
    ("initial", "dot", "initial_cloud", "The neurons at step 0"),
    ("background", "dot", "background_cloud", "The neurons of the trained network: the background"),
    ("foreground", "dot", "foreground_cloud", "Fresh neurons, moved by the background's field alone: the foreground"),
    (
        "theory",
        "area",
        "theory",
        "Density of w in the infinitely wide network; the lines hold 50, 90 and 99 % of its neurons (axes w₁, w₂)",
    ),
    (
        "standing out",
        "dot",
        "bad",
        "The background's neurons that make the difference the verdict found, ringed; N and Shift+N walk through them",
    ),
)


class CloudHeader(QWidget):
    """Axis pickers, colouring, overlay chips and the reset button; wraps onto a second row when narrow."""

    axes_picked = Signal(str, str)
    colouring_picked = Signal(str)
    overlay_toggled = Signal(str, bool)
    reset_pressed = Signal()
    layer_picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QFlowLayout(self)
        layout.setContentsMargins(8, 5, 8, 3)
        layout.setHorizontalSpacing(10)
        layout.setVerticalSpacing(3)
        # Two groups that never break inside: one row in a wide window, chips above pickers in a narrow one.
        chip_row, picker_row = self._group(layout), self._group(layout)
        self.chips: dict[str, LegendChip] = {}
        self._labels: dict[str, QLabel] = {}
        for name, mark, role, tip in _OVERLAYS:
            chip = LegendChip(name, mark, role, f"{tip}. Click to show or hide.", self)
            chip.setObjectName(f"overlay_{name}")
            chip.toggled.connect(lambda on, name=name: self.overlay_toggled.emit(name, on))
            chip.setEnabled(False)
            self.chips[name] = chip
            chip_row.addWidget(chip)
        self.chips["initial"].setChecked(False)
        self.chips["standing out"].setVisible(False)
        self.layer_picker = self._picker("layer", "Hidden layer whose neurons are shown", picker_row)
        self.layer_picker.currentIndexChanged.connect(self.layer_picked)
        self.x_picker = self._picker("x", "Quantity on the horizontal axis", picker_row)
        self.y_picker = self._picker("y", "Quantity on the vertical axis", picker_row)
        self.colour_picker = self._picker("colour", "What the colour of a neuron means", picker_row)
        for key, label, meaning in COLOURINGS:
            self.colour_picker.addItem(label, key)
            self.colour_picker.setItemData(self.colour_picker.count() - 1, meaning, Qt.ItemDataRole.ToolTipRole)
        self.offer_layers(0)
        self.reset_button = QToolButton(self)
        self.reset_button.setText("Reset view")
        self.reset_button.setToolTip(
            "Fit the axes to the neurons again and follow them (Home). Wheel zooms, drag moves the picture,\n"
            "Shift and drag draws a line around neurons and chooses them."
        )
        self.reset_button.setAutoRaise(True)
        self.reset_button.clicked.connect(self.reset_pressed)
        picker_row.addWidget(self.reset_button)
        for picker in (self.x_picker, self.y_picker):
            picker.currentIndexChanged.connect(self._emit_axes)
        self.colour_picker.currentIndexChanged.connect(
            lambda _: self.colouring_picked.emit(self.colour_picker.currentData())
        )

    def offer_layers(self, n_layers: int) -> None:
        """A choice of hidden layers, for networks with several; 0 or 1 hides it."""
        self.layer_picker.blockSignals(True)
        self.layer_picker.clear()
        self.layer_picker.addItems([str(layer + 1) for layer in range(n_layers)])
        self.layer_picker.blockSignals(False)
        for widget in (self.layer_picker, self._labels["layer"]):
            widget.setVisible(n_layers > 1)

    def choose_layer(self, layer: int) -> None:
        """Show that a layer, 0 for the first, is on the screen."""
        self.layer_picker.blockSignals(True)
        self.layer_picker.setCurrentIndex(layer)
        self.layer_picker.blockSignals(False)

    def set_axes(self, axes: Sequence[Axis]) -> None:
        """Offers these axes; keeps the present choice where it still exists."""
        for picker, fallback in ((self.x_picker, 0), (self.y_picker, 1)):
            before = picker.currentData()
            picker.blockSignals(True)
            picker.clear()
            for axis in axes:
                picker.addItem(axis.label, axis.key)
                picker.setItemData(picker.count() - 1, axis.meaning, Qt.ItemDataRole.ToolTipRole)
            found = picker.findData(before)
            picker.setCurrentIndex(found if found >= 0 else fallback)
            picker.blockSignals(False)
        for kind in ("norm", "angle"):
            is_there = any(axis.kind == kind for axis in axes)
            model = self.colour_picker.model()
            assert isinstance(model, QStandardItemModel)  # what a combo box makes for itself
            model.item(self.colour_picker.findData(kind)).setEnabled(is_there)

    def _fit_chips(self) -> None:
        """Numbers leave the chips where there is no room for them on one line."""
        chips = [chip for chip in self.chips.values() if not chip.isHidden()]
        is_brief = sum(chip.full_width() + 3 for chip in chips) + 16 > self.width()
        for chip in chips:
            chip.set_brief(is_brief)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The chips find their place."""
        self._fit_chips()
        super().resizeEvent(event)

    def set_marked(self, count: int) -> None:
        """How many neurons stand out; the chip is there only where some do."""
        self.set_count("standing out", count or None)
        self.chips["standing out"].setVisible(count > 0)
        self._fit_chips()

    def show_clouds_alone(self, names: Mapping[str, str]) -> None:
        """For a network of somebody else's: no theory, no colours by readout, and the clouds by their own names."""
        self.chips["theory"].hide()
        self.colour_picker.hide()
        self._labels["colour"].hide()
        for key, name in names.items():
            self.chips[key].set_name(name)

    def set_count(self, name: str, count: int | None) -> None:
        """The number of neurons behind a chip; None while there are none."""
        chip = self.chips[name]
        chip.setEnabled(count is not None)
        chip.set_detail(f"{count:,}" if count else "")
        self._fit_chips()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        for chip in self.chips.values():
            chip.apply_theme(theme)
        for label in self.findChildren(QLabel):
            label.setStyleSheet(f"color: {theme.muted};")

    def _picker(self, name: str, tip: str, row: QHBoxLayout) -> QComboBox:
        label = self._labels[name] = QLabel(name, self)
        picker = QComboBox(self)
        picker.setObjectName(f"{name}_picker")
        picker.setToolTip(tip)
        picker.setAccessibleName(tip)
        picker.setMaxVisibleItems(16)
        picker.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        label.setBuddy(picker)
        row.addSpacing(2)
        row.addWidget(label)
        row.addWidget(picker)
        return picker

    def _group(self, layout: QFlowLayout) -> QHBoxLayout:
        holder = QWidget(self)
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(3)
        layout.addWidget(holder)
        return row

    def _emit_axes(self) -> None:
        self.axes_picked.emit(self.x_picker.currentData(), self.y_picker.currentData())
