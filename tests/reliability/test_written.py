"""What leaves the program: JSON that any reader takes, the formats that journals ask for, sweeps that scripts begin."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from mft_engine.cli import main
from mft_engine.experiment.summary import without_nan
from mft_engine.recipe import load_recipe
from mft_engine.runs.runs import RunError, run_stored
from mft_engine.studies.sweep import Axis, run_sweep

TINY = load_recipe("clover").replace(
    {"network.n_neurons": 16, "foreground.n_neurons": 16, "training.n_steps": 20, "comparison.n_permutations": 99,
     "engine.device": "cpu", "engine.n_threads": 1}
)  # fmt: skip
SMALL = ["--set", "network.n_neurons=16", "--set", "foreground.n_neurons=16", "--set", "training.n_steps=20",
         "--set", "comparison.n_permutations=99", "--set", "engine.device=cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_stored(TINY, tmp_path_factory.mktemp("runs")).folder


def strict(text: str) -> object:
    """JSON as its standard has it: no NaN, no Infinity, and no negative zero, which readers understand differently."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert not re.search(r"[\s\[]-0(\.0*)?(e[+-]?\d+)?[\s,\]}]", text), "a negative zero"
    return json.loads(text, parse_constant=refuse)


def test_every_number_that_is_written_is_a_number_or_null_and_never_a_negative_zero():
    found = without_nan(OrderedDict(
        nan=math.nan, minus=-0.0, deep=[(-0.0, -math.inf)], numpy=np.float64(-0.0), narrow=np.float32("nan"),
        whole=np.int64(3), yes=np.bool_(True), array=np.array([-0.0, 2.0, np.nan]), word="-0.0", none=None,
    ))  # fmt: skip
    assert strict(json.dumps(found, allow_nan=False)) == {
        "nan": None, "minus": 0.0, "deep": [[0.0, None]], "numpy": 0.0, "narrow": None, "whole": 3, "yes": True,
        "array": [0.0, 2.0, None], "word": "-0.0", "none": None,
    }  # fmt: skip
    with pytest.raises(AssertionError, match="negative zero"):
        strict('{"a": -0.0}')


@pytest.mark.parametrize(
    "command",
    [["run", "clover", *SMALL], ["theory", "clover", *SMALL], ["runs"], ["tasks"], ["recipes"], ["compare"],
     ["closure", "cubic", "--noise", "0.2"], ["widths", "clover", "--sizes", "4", *SMALL],
     ["sweep", "clover", *SMALL, "--param", "regularisation.scale=0.01,0.02", "--workers", "1", "--out", "swept"]],
    ids=lambda command: command[0],
)  # fmt: skip
def test_every_command_prints_json_that_any_reader_takes(command, stored, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    places = {"runs": [str(stored.parent)], "compare": [str(stored), str(stored)], "run": ["--out", "runs"]}
    with pytest.raises(SystemExit) as stopped:
        main([*command, *places.get(command[0], []), "--json"])
    assert stopped.value.code == 0
    assert strict(capsys.readouterr().out)
    for path in tmp_path.rglob("*.json"):
        assert strict(path.read_text(encoding="utf-8"))


def test_formats_may_have_spaces_capitals_and_twins(stored, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(stored), "--figure", "foreground", "--format", "pdf, EPS ,tiff,pdf,", "--data", "npz, csv",
              "--out", str(tmp_path)])  # fmt: skip
    assert stopped.value.code == 0, capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clouds.csv", "clouds.npz", "foreground.eps", "foreground.pdf", "foreground.tiff",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["--figure", "foreground", "--format", " , "], ["--data", ","]])
def test_no_format_at_all_is_said(words, stored, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(stored), *words, "--out", str(tmp_path)])
    assert stopped.value.code == 2 and capsys.readouterr().err.startswith("mft-lab: ")


SCRIPT = """
from mft_engine.recipe import parse_recipe
from mft_engine.studies.sweep import Axis, run_sweep
done = run_sweep(parse_recipe('''{recipe}'''), [Axis("regularisation.scale", (0.01, 0.02))], 1, {out!r}, n_workers=2)
"""


def test_a_script_that_sweeps_without_a_guard_is_told_so_and_the_mended_one_begins(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(recipe=TINY.to_toml(), out=str(tmp_path / "out")))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280)
    said = done.stderr.strip().splitlines()
    assert done.returncode == 1 and 'if __name__ == "__main__":' in said[-1] and len(said) < 25, done.stderr
    mended = run_sweep(TINY, [Axis("regularisation.scale", (0.01, 0.02))], 1, tmp_path / "out", n_workers=1)
    assert mended.n_failed == 0 and len(mended.rows) == 2


def test_a_table_that_was_left_over_is_refused_in_words_and_a_damaged_one_is_made_again(tmp_path):
    axes = [Axis("regularisation.scale", (0.01, 0.02))]
    first = run_sweep(TINY, axes, 1, tmp_path, n_workers=1)
    with pytest.raises(RunError, match=r"has a sweep already.*--resume"):
        run_sweep(TINY, axes, 1, tmp_path, n_workers=1)
    (tmp_path / "table.csv").write_bytes(b"\x00nonsense")
    again = run_sweep(TINY, axes, 1, tmp_path, n_workers=1, resume=True)
    assert [row["background.loss"] for row in again.rows] == [row["background.loss"] for row in first.rows]
    assert len(list((tmp_path / "runs").iterdir())) == 2
