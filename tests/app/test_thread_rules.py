"""The rules under which Qt and threads live together, kept by every source of the window, and a hundred closes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mft_engine.rng import Stream, host_generator

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "app").rglob("*.py"))
# What may run in the engine's thread; everything else is the window's.
WORKERS = [ROOT / "app" / "worker.py", *sorted((ROOT / "app" / "engine").glob("*.py"))]
WINDOW = ("PySide6.QtWidgets", "PySide6.QtGui")
N_CLOSES = 100


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def connections(path: Path) -> list[ast.Call]:
    """Calls of `signal.connect(...)`."""
    return [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect"
    ]


def test_the_engines_rooms_touch_no_widget_and_open_no_dialog() -> None:
    found = []
    for path in WORKERS:
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [
                f"{path.name}: {name}" for name in names if name.startswith(("PySide6.QtWidgets", "PySide6.QtGui"))
            ]
    assert len(WORKERS) > 8 and not found


def test_every_slot_that_another_thread_calls_is_decorated() -> None:
    """Across threads an undecorated method is called in the wrong one, or crashes."""
    queued = [
        (path, call.args[0])
        for path in SOURCES
        for call in connections(path)
        if any("QueuedConnection" in ast.unparse(argument) for argument in [*call.args[1:], *call.keywords])
    ]
    slots = {
        node.name
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef) and any("Slot" in ast.unparse(d) for d in node.decorator_list)
    }
    for path, target in queued:
        assert isinstance(target, ast.Attribute), f"{path.name}: {ast.unparse(target)} is no method with a thread"
        assert target.attr in slots, f"{path.name}: {target.attr} is called from another thread and is no Slot"
    worker = next(node for node in parsed(WORKERS[0]).body if isinstance(node, ast.ClassDef) and node.name == "Worker")
    called = {"load", "request", "command", "give_credit", "stop"}
    decorated = {node.name for node in worker.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
    assert called <= decorated


def test_signals_carry_no_containers_that_can_arrive_empty() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Signal":
                found += [f"{path.name}:{node.lineno}" for a in node.args if ast.unparse(a) in ("dict", "list", "set")]
    assert not found


def test_no_lambda_is_given_to_a_signal_of_the_engines_rooms() -> None:
    found = [
        f"{path.name}:{call.lineno}"
        for path in WORKERS
        for call in connections(path)
        if any(isinstance(argument, ast.Lambda) for argument in call.args)
    ]
    assert not found


@pytest.mark.slow
def test_a_hundred_starts_closed_at_random_moments_end_with_code_0(tmp_path: Path) -> None:
    start = "import sys; from app.application import main; sys.exit(main('clover-warm', play=True, quit_after={}))"
    environment = os.environ | {name: str(tmp_path) for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "HOME")}
    ends = []
    for seconds in host_generator(0, Stream.TEST_POINTS).uniform(0, 6, N_CLOSES):
        command = [sys.executable, "-c", start.format(round(float(seconds), 3))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
        ends.append((done.returncode, "Traceback" in done.stderr or "QThread" in done.stderr))
    assert ends == [(0, False)] * N_CLOSES
