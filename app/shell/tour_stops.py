"""What the guided tour points at in the main window, and what its buttons do there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PySide6.QtWidgets import QMainWindow, QWidget

from app.panels.experiment import ExperimentPanel
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.shell.tour import Tour
from app.views.cloud import CloudView


def tour_of(
    window: QMainWindow,
    session: Session,
    cloud: CloudView,
    experiment: ExperimentPanel,
    panel: SelfConsistencyPanel,
    bring_up: Callable[[str], None],
    resample_button: Callable[[], QWidget],
) -> Tour:
    """The tour of a window; `bring_up` opens the dock of a name."""

    def row(path: str) -> QWidget:
        bring_up("experiment")
        return experiment.reveal(path)

    def card() -> QWidget:
        bring_up("self_consistency")
        return panel.card

    def try_wrong() -> None:
        session.edit("foreground.background", "lazy")
        session.edit_done()
        session.resample()

    targets: dict[str, Callable[[], QWidget]] = {
        "cloud": lambda: cloud.plot,
        "resample": resample_button,
        "self_consistency": card,
        "regularisation.scale": partial(row, "regularisation.scale"),
        "foreground.background": partial(row, "foreground.background"),
    }
    return Tour(window, targets, {"play": session.play, "resample": session.resample, "wrong": try_wrong})
