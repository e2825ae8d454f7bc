"""What is looked at of large clouds, put together from the views and told to the engine, which counts it."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Slot

from app.keepers.clouds import CloudKeeper
from app.session import Session
from app.views.cloud import CloudView
from app.views.fourier import FourierView
from app.views.marginals import MarginalsView
from mft_engine.looks import Look


class LookKeeper(QObject):
    """Asks once for everything that changed in one go: axes, range, layer, clouds that are shown, histograms."""

    def __init__(
        self, session: Session, clouds: CloudKeeper, cloud: CloudView, marginals: MarginalsView, fourier: FourierView
    ) -> None:
        super().__init__(clouds)
        self._session, self._clouds, self._cloud, self._marginals = session, clouds, cloud, marginals
        self._fourier = fourier
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._ask)
        self._has_large = False
        session.experiment_changed.connect(self._built)
        told = (cloud.looked, marginals.looked, clouds.refreshed, clouds.layers.picked, clouds.stage.marks_changed)
        for changed in told:
            changed.connect(self._soon.start)

    @property
    def look(self) -> Look | None:
        """What is looked at; None while no cloud of the run was large."""
        # A large foreground that is drawn anew along a drag is gone in between: what is asked stays.
        self._has_large |= any(layer.is_counted for layer in self._cloud.layers.values())
        if not self._has_large:
            return None
        plane, stage = self._cloud.plane, self._clouds.stage
        return Look(
            layer=self._clouds.layers.layer,
            n_columns=self._clouds.layers.n_columns,
            n_out=stage.n_out,
            clouds=self._cloud.wanted,
            plane=plane,
            lines=() if self._marginals.visibleRegion().isEmpty() else self._marginals.lines,
            has_moments=plane is None,
            modulus=0 if self._fourier.visibleRegion().isEmpty() else self._fourier.modulus,
            marked=tuple(stage.marked),
        )

    @Slot()
    def _built(self) -> None:
        self._has_large = False

    @Slot()
    def _ask(self) -> None:
        self._session.look_at(self.look)
