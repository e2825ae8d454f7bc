"""How long work ends that was asked to stop."""

from __future__ import annotations


class SolveStopped(RuntimeError):
    """Raised when the caller's `should_stop` answered True: a newer request has come."""
