"""What the cloud view shows: the run as it is, an earlier cloud of it, or a turn of the self-consistency loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QObject, Signal

from app.views.cloud import CloudView
from app.views.projections import joined_readouts
from mft_engine.looks import Seen, n_sent

if TYPE_CHECKING:
    from mft_engine.questions.loop import Iteration


class CloudStage(QObject):
    """Keeps the run's clouds while a guest is shown in their place, and brings them back.

    The guest stays until somebody calls `go_live`: frames of the run that arrive meanwhile are kept, not drawn.
    """

    left = Signal()
    marks_changed = Signal()

    def __init__(self, cloud: CloudView, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._cloud = cloud
        self._background: np.ndarray | None = None
        self._foreground: np.ndarray | None = None
        self._sizes = {"background": 0, "foreground": 0}
        self._seen: dict[str, Seen] = {}
        self._counted: set[str] = set()
        self._n_out = 1
        self._marked: Sequence[int] = ()
        self._guest: tuple[np.ndarray, np.ndarray | None] | None = None
        self._is_loop = self._follows_loop = False
        cloud.banner.left.connect(self.left)

    @property
    def is_live(self) -> bool:
        """Whether the run itself is shown."""
        return self._guest is None

    @property
    def is_of_run(self) -> bool:
        """Whether the neurons on the screen are the run's, now or at an earlier time: a turn of the loop has others."""
        return not self._is_loop

    @property
    def foreground(self) -> np.ndarray | None:
        """The run's foreground, shown or not."""
        return self._foreground

    @property
    def shown(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Blue and orange neurons on the screen."""
        return self._guest or (self._background, self._foreground)

    @property
    def counted(self) -> dict[str, tuple[int, Seen | None]]:
        """Of the clouds on the screen of which only some neurons are here: how many there are, and what was counted."""
        return self.counted_of_run if self.is_live else {}

    @property
    def counted_of_run(self) -> dict[str, tuple[int, Seen | None]]:
        """The same of the run's clouds, shown or not."""
        return {name: (self._sizes[name], self._seen.get(name)) for name in self._counted}

    @property
    def marked(self) -> Sequence[int]:
        """Numbers of the run's neurons that make the verdict's difference."""
        return self._marked

    @property
    def n_out(self) -> int:
        """Readouts of a neuron of this run."""
        return self._n_out

    def set_readouts(self, n_out: int) -> None:
        """How many readouts the neurons of this run have: views see the length of several."""
        self._n_out = n_out

    def joined(self, theta: np.ndarray) -> np.ndarray:
        """(n_neurons, n_inputs + 1) of neurons with any number of readouts."""
        return joined_readouts(theta, self._n_out)

    def show_initial(self, theta: np.ndarray) -> None:
        """The run's neurons at step 0, all of them."""
        n_neurons = len(theta)
        n_shown = n_sent(*theta.shape)
        self._cloud.show_initial(self.joined(theta[:n_shown]), n_neurons, is_counted=n_shown < n_neurons)

    def show_background(
        self, theta: np.ndarray, n_neurons: int, *, is_counted: bool = False, seen: Seen | None = None
    ) -> None:
        """The run's neurons, (n_shown, n_params), of `n_neurons`, and what was counted of all if that comes along."""
        self._take("background", n_neurons, is_counted)
        self._background, seen = self.joined(theta), self._keep("background", seen)
        if self.is_live:
            self._cloud.show_background(self._background, n_neurons, is_counted=is_counted, seen=seen)

    def show_foreground(self, theta: np.ndarray | None, n_neurons: int = 0, *, is_counted: bool = False) -> None:
        """The run's foreground; None while there is none."""
        self._take("foreground", n_neurons, is_counted)
        self._foreground = None if theta is None else self.joined(theta)
        if theta is None:
            self._seen.pop("foreground", None)
        if self.is_live:
            self._cloud.show_foreground(self._foreground, n_neurons, is_counted=is_counted)

    def show_seen(self, name: str, seen: Seen) -> None:
        """What was counted of a cloud of the run."""
        kept = self._keep(name, seen)
        if self.is_live and kept is not None:
            self._cloud.show_seen(name, kept)

    def forget_counts(self) -> None:
        """They are of another layer."""
        self._seen, self._counted = {}, set()

    def _take(self, name: str, n_neurons: int, is_counted: bool) -> None:
        self._sizes[name] = n_neurons
        (self._counted.add if is_counted else self._counted.discard)(name)

    def _keep(self, name: str, seen: Seen | None) -> Seen | None:
        if seen is None:
            return None
        if seen.marked is not None:
            seen = replace(seen, marked=self.joined(seen.marked))
        self._seen[name] = seen
        return seen

    def mark(self, numbers: Sequence[int]) -> None:
        """Neurons of the run's background that make the verdict's difference; none while a guest is shown."""
        self._marked = numbers
        if self.is_live:
            self._cloud.marked.show(numbers)
        self.marks_changed.emit()

    def show_stored(self, theta: np.ndarray, time: float) -> None:
        """The background as it was at an earlier time; today's foreground did not belong to it."""
        self._show_guest(self.joined(theta), None, self._sizes["background"], f"t = {time:.2f}, stored")
        self._leave_loop()

    def begin_loop(self) -> None:
        """The turns of the loop that begins now are shown, until somebody goes back to the run."""
        self._follows_loop = True

    def show_turn(self, turn: Iteration) -> None:
        """Blue: the neurons whose field is felt in this turn; orange: the fresh ones, blue in the next turn."""
        if not self._follows_loop:
            return
        what = "start" if turn.index == 0 else f"turn {turn.index}"
        self._is_loop = True
        self._show_guest(turn.background, turn.foreground, len(turn.background), f"Self-consistency loop, {what}")

    def go_live(self) -> None:
        """Show the run again."""
        self._follows_loop = False
        if self._guest is None:
            return
        self._guest = None
        self._cloud.banner.say("")
        fresh, own = ("foreground" in self._counted, "background" in self._counted)
        self._cloud.show_foreground(self._foreground, self._sizes["foreground"], is_counted=fresh)
        if self._background is not None:
            self._cloud.show_background(self._background, self._sizes["background"], is_counted=own)
        for name, seen in self._seen.items():
            self._cloud.show_seen(name, seen)
        self._cloud.marked.show(self._marked)
        self._leave_loop()

    def clear(self) -> None:
        """Forget every cloud: another run."""
        self._background = self._foreground = self._guest = None
        self._seen, self._counted = {}, set()
        self._marked = ()
        self._is_loop = self._follows_loop = False
        self._cloud.banner.say("")
        self._cloud.clear()

    def _leave_loop(self) -> None:
        """A loop that ran away leaves a far too wide axis range behind."""
        if self._is_loop:
            self._is_loop = False
            self._cloud.forget_range()

    def _show_guest(self, background: np.ndarray, foreground: np.ndarray | None, n_neurons: int, sentence: str) -> None:
        self._guest = (background, foreground)
        self._cloud.marked.show(())
        self._cloud.show_background(background, n_neurons)
        self._cloud.show_foreground(foreground)
        self._cloud.banner.say(sentence)
