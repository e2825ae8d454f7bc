"""Settings that every test shares."""

from __future__ import annotations

import os

# Set before torch or Qt is imported by any test.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--pictures", metavar="FOLDER", help="keep the screenshots that the journeys end in")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="takes minutes; run with --runslow")
    # The usual limit tells a test that hangs; one of minutes of computing takes hours where others keep the cores busy.
    patience = pytest.mark.timeout(4 * 3600)
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(patience if config.getoption("--runslow") else skip)
