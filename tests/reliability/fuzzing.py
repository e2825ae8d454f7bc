"""How the fuzz tests are run: the same cases every time, and none stopped for being slow or large."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def fuzzed(max_examples: int):
    """Settings for so many cases."""
    return settings(
        max_examples=max_examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )  # fmt: skip
