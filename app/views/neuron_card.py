"""The card beside a hovered neuron: its numbers, and the function that it contributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from app.widgets.activation_inset import ActivationInset, Phi
from app.widgets.colours import mixed
from app.widgets.placing import parent_of

if TYPE_CHECKING:
    from app.theme import Theme


class NeuronCard(QFrame):
    """A small card that follows the mouse and never takes it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("neuronCard")
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._text = QLabel(self)
        self._text.setTextFormat(Qt.TextFormat.RichText)
        self.inset = ActivationInset(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 8)
        layout.setSpacing(4)
        layout.addWidget(self._text)
        layout.addWidget(self.inset)
        self._theme: Theme | None = None
        self.hide()

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        self._theme = theme
        edge = mixed(theme.panel, theme.text, 0.25).name()
        self.setStyleSheet(
            f"#neuronCard {{ background: {theme.panel}; border: 1px solid {edge}; border-radius: 6px; }}"
            f"QLabel {{ color: {theme.text}; background: transparent; }}"
        )
        self.inset.apply_theme(theme)

    def show_neuron(
        self, cloud: str, index: int, neuron: np.ndarray, phi: Phi | None, colour: str, note: str = ""
    ) -> None:
        """Fills the card.

        Args:
            cloud: "background", "foreground" or "initial".
            index: the neuron's number in its cloud.
            neuron: (n_params,), w1 .. wd, a.
            phi: the activation on numpy arrays, or None to leave the curve out.
            colour: hex colour of the cloud.
            note: a clause about this neuron.
        """
        weights, readout = neuron[:-1].astype(float), float(neuron[-1])
        norm = float(np.sqrt(weights @ weights))
        rows = [("w", _vector(weights)), ("a", _number(readout)), ("|w|", _number(norm))]
        if len(weights) >= 2:
            rows.append(("angle", f"{_number(round(np.degrees(np.arctan2(weights[1], weights[0]))))}°"))
        self._write(cloud, index, rows, colour, note)
        self.inset.setVisible(phi is not None)
        if phi is not None:
            self.inset.show_neuron(phi, norm, readout, colour)
        self.adjustSize()

    def show_row(
        self, cloud: str, index: int, names: Sequence[str], row: np.ndarray, colour: str, note: str = ""
    ) -> None:
        """Fills the card for a neuron of a layer that is told by a table: names and values of its columns."""
        cells = [(name, _number(float(value))) for name, value in zip(names, row, strict=True)]
        self._write(cloud, index, cells, colour, note)
        self.inset.hide()
        self.adjustSize()

    def _write(self, cloud: str, index: int, rows: Sequence[tuple[str, str]], colour: str, note: str) -> None:
        muted = self._theme.muted if self._theme else "#808080"
        style = f"color:{muted}; padding-right:10px"
        cells = "".join(f'<tr><td style="{style}">{name}</td><td>{value}</td></tr>' for name, value in rows)
        head = f'<div><span style="color:{colour}">●</span> <b>{cloud} neuron {index:,}</b></div>'
        self._text.setText(f"{head}<table>{cells}</table>" + (f"<div>{note}</div>" if note else ""))

    @property
    def text(self) -> str:
        """What the card says (rich text)."""
        return self._text.text()

    def place(self, cursor: QPoint) -> None:
        """Puts the card beside the cursor, inside the parent."""
        space = parent_of(self).rect()
        x = cursor.x() + 18
        if x + self.width() > space.right():
            x = cursor.x() - 18 - self.width()
        y = min(max(cursor.y() - self.height() // 2, 4), space.bottom() - self.height() - 4)
        self.move(max(x, 4), max(y, 4))
        self.show()
        self.raise_()


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _vector(values: np.ndarray) -> str:
    shown = ", ".join(_number(float(v)) for v in values[:4])
    return f"({shown}{', …' if len(values) > 4 else ''})"
