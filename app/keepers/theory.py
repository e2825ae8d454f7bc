"""The infinite-width solution wherever it is shown: over the cloud, in the curves, beside the marginals, as numbers."""

from __future__ import annotations

from PySide6.QtCore import QObject, Slot

from app.engine.messages import Built, TheoryPicture
from app.keepers.clouds import CloudKeeper
from app.keepers.loop import background_kind
from app.keepers.soon import Soon
from app.panels.self_consistency import SelfConsistencyPanel
from app.session import Session
from app.views.cloud import CloudView
from app.views.loss import LossView
from app.views.marginals import MarginalsView


class TheoryKeeper(QObject):
    """Shows the solution, or why there is none, in every view at once."""

    def __init__(
        self,
        session: Session,
        clouds: CloudKeeper,
        cloud: CloudView,
        loss: LossView,
        marginals: MarginalsView,
        panel: SelfConsistencyPanel,
        soon: Soon,
    ) -> None:
        super().__init__(clouds)
        self._clouds, self._cloud, self._loss, self._marginals = clouds, cloud, loss, marginals
        self._panel, self._soon = panel, soon
        self._picture: TheoryPicture | None = None
        session.experiment_changed.connect(self._built)
        session.theory_ready.connect(self._show)
        session.theory_absent.connect(self._say_why_not)
        clouds.layers.picked.connect(self._show_layer)

    @Slot(object)
    def _built(self, event: Built) -> None:
        """The solution on screen is always the mean-field one, also behind a background that is not."""
        self._picture = None
        background = background_kind(event.recipe)
        is_other = background != "trained"
        name = "theory (mean field)" if is_other else "theory"
        tip = f"It is the trained mean-field network's, not the {background} background's." if is_other else ""
        for view in (self._cloud, self._loss, self._marginals):
            view.name_theory(name, tip)

    @Slot(object)
    def _show(self, picture: TheoryPicture) -> None:
        self._picture = picture
        self._clouds.keep_law(picture.marginals or None, picture.samples, picture.numbers.get("test_accuracy"))
        self._show_layer()
        self._soon.do("theory", lambda: self._show_numbers(picture))

    @Slot()
    def _show_layer(self) -> None:
        """The law of the layer on screen."""
        if self._picture is not None:
            self._cloud.show_theory(self._picture.image, self._picture.extent, self._clouds.law)

    def _show_numbers(self, picture: TheoryPicture) -> None:
        self._loss.show_theory_loss(picture.numbers["loss"])
        self._loss.show_theory_test_loss(picture.numbers.get("test_loss"))
        self._panel.show_theory(picture.numbers, is_current=picture.is_current)

    @Slot(str)
    def _say_why_not(self, reason: str) -> None:
        self._picture = None
        self._soon.forget("theory")
        self._cloud.show_theory(None)
        self._loss.show_theory_loss(None)
        self._loss.show_theory_test_loss(None)
        self._panel.show_theory(None, reason)
        self._clouds.keep_law(None, ())
