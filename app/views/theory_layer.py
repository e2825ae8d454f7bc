"""The law of the infinitely wide network behind the clouds: its exact density, or its neurons on whatever axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.theme import Theme
from app.views.projections import Axis, Components, project
from app.views.theory_overlay import TheoryOverlay
from app.views.theory_sample import density_image

PLANE = ("w1", "w2")


class TheoryLayer:
    """Keeps the law and draws it where it can be drawn.

    Attributes:
        overlays: of every plot, the first one's first.
    """

    def __init__(self, overlays: Sequence[TheoryOverlay]) -> None:
        self.overlays = tuple(overlays)
        self._image: np.ndarray | None = None
        self._extent = 0.0
        self._sample: np.ndarray | None = None
        self._drawn: tuple[str, str] | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is a law to show."""
        return self._image is not None or self._sample is not None

    def take(self, image: np.ndarray | None, extent: float, sample: np.ndarray | None) -> None:
        """Another law: its density on [-extent, extent]^2 of the plane, and neurons, (n, n_params) like a cloud's."""
        self._image, self._extent, self._sample = image, extent, sample
        self._drawn = None

    def redraw(self) -> None:
        """Draw afresh when it is asked for the next time: axes have taken another meaning."""
        self._drawn = None

    def fits(self, axes: tuple[Axis, Axis] | None, n_params: int, components: Components | None) -> bool:
        """Whether it can be drawn on these axes, of neurons with so many parameters."""
        if axes is None or not self.is_known:
            return False
        if self._image is not None and (axes[0].key, axes[1].key) == PLANE:
            return True
        is_there = self._sample is not None and self._sample.shape[1] == n_params
        return is_there and (components is not None or "component" not in (axes[0].kind, axes[1].kind))

    def show(
        self, axes: tuple[Axis, Axis], components: Components | None, projections: Mapping[str, np.ndarray],
        is_shown: Sequence[bool],
    ) -> None:  # fmt: skip
        """Draws it, where it fits, on the plots that shall show it."""
        keys = axes[0].key, axes[1].key
        if any(is_shown) and keys != self._drawn:
            self._draw(axes, components, projections)
            self._drawn = keys
        for overlay, is_here in zip(self.overlays, is_shown, strict=True):
            overlay.set_visible(is_here)

    def hide(self) -> None:
        """Draws nothing."""
        for overlay in self.overlays:
            overlay.set_visible(False)

    def _draw(
        self, axes: tuple[Axis, Axis], components: Components | None, projections: Mapping[str, np.ndarray]
    ) -> None:
        if self._image is not None and (axes[0].key, axes[1].key) == PLANE:
            for overlay in self.overlays:
                overlay.show_density(self._image, self._extent)
            return
        assert self._sample is not None
        x, y = (project(self._sample, axis, components, projections) for axis in axes)
        found = density_image(x, y, axes)
        for overlay in self.overlays:
            if found is None:
                overlay.clear()
            else:
                overlay.show_on(*found)

    def apply_theme(self, theme: Theme) -> None:
        """Takes the colours of a theme."""
        for overlay in self.overlays:
            overlay.apply_theme(theme)
