"""The benchmark command: every part measures, names its peers and errors, and tells them as JSON and as Markdown."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from mft_engine.cli import bench


@pytest.fixture(scope="module")
def document() -> dict:
    """One quick run, as a person starts it, in a process of its own (it sets threads and opens a window)."""
    command = [sys.executable, "-m", "mft_engine.cli", "bench", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_bench_quick_prints_one_json_document_that_names_the_machine_and_has_every_part(document: dict) -> None:
    assert document["schema"] == "mft-lab/benchmark/1" and document["quick"] is True
    assert document["machine"]["cpu"] and document["machine"]["cores"] >= 1
    assert {"load", "date", "python"} <= set(document["machine"]) and document["load_after"] >= 0
    assert set(bench.PARTS) <= set(document)


def test_each_kernel_path_stands_beside_plain_pytorch_with_median_spread_and_error(document: dict) -> None:
    paths = document["kernels"]["sizes"][0]["paths"]
    assert {"plain PyTorch", "plain PyTorch, frozen", "reference", "fused", "fused, frozen"} <= set(paths)
    for name, row in paths.items():
        assert row["median_ms"] >= row["min_ms"] > 0 and row["iqr_ms"] >= 0, name
        # One float32 step of a sum over 256 points: its roundings, 6e-8 x sqrt(256) of the change, and a few kinks.
        assert 0 < row["error"] < 1e-4, name
    assert math.isclose(paths["plain PyTorch"]["times_plain"], 1.0)


def test_the_whole_program_is_measured_with_its_peak_memory_and_verdict(document: dict) -> None:
    row = document["program"]["rows"][0]
    assert row["seconds_min"] <= row["seconds_median"] <= row["seconds_max"]
    # Below 100 MB nothing of torch was loaded; a parent's memory counted as the child's would be above 1 GB here.
    assert 100 < row["peak_mb"] < 1000
    assert row["verdict"] in ("consistent", "close", "inconsistent")
    assert abs(row["loss"] - row["loss_theory"]) < 0.02


def test_the_markdown_has_a_table_per_part(document: dict) -> None:
    text = bench.markdown(document)
    for part in bench.PARTS:
        section = text.split(f"## {part.capitalize()}")[1].split("\n## ")[0]
        assert "|---|" in section or (part == "window" and "No display" in section), part
    assert document["machine"]["cpu"] in text.splitlines()[0]


def test_without_a_display_the_window_part_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    window = bench.load_part("window")
    monkeypatch.setattr(window, "display", lambda: ([], ""))
    found = window.measure(quick=True)
    assert found["rows"] == [] and "not measured" in window.markdown(found)


def test_a_run_starts_without_the_libraries_that_only_figures_windows_and_rare_rules_need() -> None:
    code = (
        "import sys, mft_engine.cli, mft_engine.runs.runs\n"
        "late = ('matplotlib', 'scipy.stats', 'PySide6', 'imageio', 'distributed', 'sklearn')\n"
        "print([name for name in late if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
