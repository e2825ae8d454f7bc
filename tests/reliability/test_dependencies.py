"""What the program stands on may be given away with it, and known faults of it are noticed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

PLACE = Path(__file__).resolve().parents[2] / ".ci" / "dependencies.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dependencies", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_has_a_licence_that_the_program_may_be_given_away_with(tool):
    found = tool.dependencies()
    assert {"torch", "numpy", "pyside6-essentials", "kiwisolver"} <= set(found) and "pytest" not in found
    assert [name for name in found if not tool.is_permitted(name, tool.licence(name))] == []


@pytest.mark.parametrize(
    "text", ["GPL-3.0-only", "GNU Affero General Public License v3", "none", "Proprietary", "SMIT"]
)
def test_a_licence_that_binds_whoever_gets_the_program_is_noticed(tool, text):
    assert not tool.is_permitted("some-package", text)


def report(**faults: list[str]) -> str:
    return json.dumps({"dependencies": [
        {"name": name, "version": "1", "vulns": [{"id": "X-1", "fix_versions": fixed}]}
        for name, fixed in faults.items()
    ] + [{"name": "skipped", "skip_reason": "not found"}]})  # fmt: skip


def test_a_known_fault_that_is_mended_elsewhere_is_named_and_one_of_the_tests_tools_is_not(tool, capsys, monkeypatch):
    assert tool.known_faults(report(NumPy=["2"], pytest=["9"], scipy=[]), {"numpy", "scipy"}) == [
        "NumPy 1: X-1, mended in 2"
    ]
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=report(torch=["9"])))
    assert tool.main() == 1 and "torch 1: X-1" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["", "Connection refused", "[]"])
def test_without_a_network_the_audit_is_left_out_with_a_sentence(tool, capsys, monkeypatch, written):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=written))
    assert tool.main() == 0 and tool.UNREACHABLE in capsys.readouterr().out
