"""What the window is sent of the experiment in hand, and how often: clouds, curves, functions."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.engine.hand import Hand
from app.engine.messages import MetricsReady, Request
from mft_engine.experiment.events import CloudSeen, Event
from mft_engine.looks import Look

FRAME_SECONDS = 1 / 40
METRICS_SECONDS = 0.25
FIELDS_SECONDS = 0.8


class Frames:
    """One frame under way at a time: the next one goes when the window has drawn the last (one credit).

    Attributes:
        has_credit: the window has drawn the last frame.
        sent_step: of the last frame; -1 before the first.
    """

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self.has_credit = True
        self._sent: tuple[int, int] = (-1, -1)
        self._looked: dict[str, Look | None] = {}
        self._frame_at = self._seen_at = self._metrics_at = self._fields_at = 0.0
        self._fields_step = self._metrics_step = -1
        self._fields_seconds = FIELDS_SECONDS

    @property
    def sent_step(self) -> int:
        """Step of the last frame."""
        return self._sent[0]

    def forget(self) -> None:
        """Another experiment: nothing of it was sent yet."""
        self._sent, self._fields_step, self._metrics_step = (-1, -1), -1, -1
        self._looked = {}

    def forget_foreground(self, *, is_picture: bool = False) -> None:
        """There is another one, and so are the functions, though no step was done; a mere picture has no function."""
        self._looked.pop("foreground", None)
        if not is_picture:
            self._fields_step = -1

    def send(self, hand: Hand, request: Request) -> bool:
        """Send what is due; True while something is due soon."""
        is_due = self._send_cloud(hand, request) | self._send_seen(hand, request)
        return is_due | self._send_metrics(hand) | self._send_fields(hand, request)

    def _send_cloud(self, hand: Hand, request: Request) -> bool:
        """The cloud if it changed and the window has drawn the last one."""
        if self._sent == (hand.step, request.generation) or not self.has_credit:
            return False
        if request.is_running and request.steps_per_frame and hand.step < self._sent[0] + request.steps_per_frame:
            return True
        now = time.perf_counter()
        if now - self._frame_at < FRAME_SECONDS:
            return True
        self._frame_at, self.has_credit = now, False
        self._sent = (hand.step, request.generation)
        self._looked["background"] = request.look
        self._tell(hand.experiment.snapshot(request.look))
        return request.is_running

    def _send_seen(self, hand: Hand, request: Request) -> bool:
        """What was counted of large clouds that stand still, where the look or the foreground is another one."""
        look = request.look
        if look is None:
            return False
        # A background that has moved is counted with its next frame.
        still = [name for name in look.clouds if name != "background" or hand.step == self._sent[0]]
        due = [name for name in still if self._looked.get(name) != look]
        now = time.perf_counter()
        if due and now - self._seen_at < FRAME_SECONDS and any(name in self._looked for name in due):
            return True
        for name in due:
            self._looked[name], self._seen_at = look, now
            seen = hand.experiment.see(name, look)
            if seen is not None:
                self._tell(CloudSeen(name, seen))
        return False

    def _send_metrics(self, hand: Hand) -> bool:
        now = time.perf_counter()
        if hand.step == self._metrics_step:
            return False
        if now - self._metrics_at < METRICS_SECONDS:
            return True
        self._metrics_step, self._metrics_at = hand.step, now
        columns = hand.experiment.metrics()
        if columns:
            self._tell(MetricsReady(columns, hand.stored_times()))
        return False

    def _send_fields(self, hand: Hand, request: Request) -> bool:
        now = time.perf_counter()
        if not request.watches_fields or self._fields_step == hand.step:
            return False
        if now - self._fields_at < max(FIELDS_SECONDS, 10 * self._fields_seconds):
            return True
        self._fields_step = hand.step
        fields = hand.experiment.fields()
        self._fields_at = time.perf_counter()
        self._fields_seconds = self._fields_at - now
        if fields is not None:
            self._tell(fields)
        return False
