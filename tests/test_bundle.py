"""The program as a folder that needs no Python: built, started, and everything that it starts itself."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mft_engine.itself import own_command
from mft_engine.recipe import load_recipe

ROOT = Path(__file__).parents[1]
SMALL = {
    "network.n_neurons": 64,
    "foreground.n_neurons": 64,
    "training.time": 0.3,
    "comparison.n_permutations": 99,
    "engine.device": "cpu",
}
WORDS = [word for path, value in SMALL.items() for word in ("--set", f"{path}={value}")]
needs_pyinstaller = pytest.mark.skipif(
    importlib.util.find_spec("PyInstaller") is None,
    reason="PyInstaller is not installed: pip install -e '.[bundle]' (docs/bundle.md)",
)


def test_the_program_starts_itself_by_its_interpreter_or_where_it_was_built_by_its_own_name(monkeypatch) -> None:
    done = subprocess.run(_flat(own_command("--version")), capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("mft-lab ")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert own_command("apart") == (sys.executable, ["apart"])


def _flat(command: tuple[str, list[str]]) -> list[str]:
    return [command[0], *command[1]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The program of a fresh build; more than a gigabyte, so it goes when the tests are over."""
    folder = tmp_path_factory.mktemp("bundle")
    command = [sys.executable, "-m", "PyInstaller", str(ROOT / "bundle" / "mft-lab.spec")]
    done = subprocess.run(
        [*command, "--noconfirm", "--log-level", "WARN", "--distpath", str(folder), "--workpath", str(folder / "work")],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stderr[-2000:]
        yield folder / "mft-lab" / ("mft-lab.exe" if os.name == "nt" else "mft-lab")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@needs_pyinstaller
def test_the_built_program_runs_exports_sweeps_and_opens_its_window_without_a_python(
    program: Path, tmp_path: Path
) -> None:
    # Nothing of this environment: no interpreter on the path, no packages, another home.
    system = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8"}

    def call(*words: str, said: str | None = None) -> str:
        done = subprocess.run(
            [str(program), *words], cwd=tmp_path, env=system, input=said, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
        return done.stdout

    assert call("--version").startswith("mft-lab ")
    assert str(program.parent) in call("doctor")
    stored = json.loads(call("run", "clover", *WORDS, "--json"))
    assert stored["comparison"]["verdict"] in ("consistent", "inconsistent")
    names = "pdf,svg,png,eps,tiff"
    call("export", stored["run_dir"], "--figure", "loss", "--format", names, "--data", "npz", "--animation", "gif",
         "--out", "figures")  # fmt: skip
    endings = {path.suffix for path in (tmp_path / "figures").iterdir()}
    assert endings == {".pdf", ".svg", ".png", ".eps", ".tiff", ".npz", ".gif"}

    # A sweep as the window orders it, with two workers: both are this program once more.
    order = {
        "recipe": load_recipe("clover").replace(SMALL).to_toml(),
        "axes": [{"path": "regularisation.scale", "values": [0.001, 0.01]}],
        "n_seeds": 1,
        "n_workers": 2,
        "out": str(tmp_path / "swept"),
    }
    with subprocess.Popen(
        [str(program), "apart"], cwd=tmp_path, env=system, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sweeping:
        assert sweeping.stdin is not None and sweeping.stdout is not None
        sweeping.stdin.write(json.dumps(order) + "\n")
        sweeping.stdin.flush()
        told = [json.loads(line) for line in sweeping.stdout]  # its input stays open until it has ended
    assert told[-1] == {"done": [2, 0]}

    call("gui", "--play", "--quit-after", "20", "--screenshot", "window.png")
    with Image.open(tmp_path / "window.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 100
    assert len(list((program.parent / "_internal" / "mft_engine" / "_docs").glob("*.md"))) >= 8
