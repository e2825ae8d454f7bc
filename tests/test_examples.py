"""What the documents show can be run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_is_short(path: Path) -> None:
    assert _run(str(path)).strip()
    assert len(path.read_text().splitlines()) < 60


def test_the_wrong_background_example_tells_right_from_wrong() -> None:
    lines = _run(str(ROOT / "examples" / "wrong_background.py")).splitlines()
    assert lines[0].startswith("trained: consistent") and lines[1].startswith("lazy: inconsistent")


@pytest.mark.slow
def test_riders_on_a_network_of_the_lab_are_its_replay() -> None:
    lines = _run(str(ROOT / "examples" / "watch_lab.py")).splitlines()
    # Rounding of float64, amplified by the kinks that neurons cross in 100 steps: 1e-13 was seen.
    assert all(float(re.findall(r"[0-9.]+e-?[0-9]+", line)[0]) < 1e-10 for line in lines[:2])
    (mine, lab) = re.findall(r": ([a-z]+)", lines[2])
    assert mine == lab


def test_the_python_of_the_readme_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert "at infinite width: 0.29331" in _run("-c", code)


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), flags=re.S)
    assert len(blocks) == 5
    lines = _run("-c", "\n".join(blocks)).splitlines()
    assert lines[0].startswith("consistent") and lines[1] == "inconsistent" and len(lines) == 5


def test_the_documentation_is_built_as_html_and_every_page_is_in_its_contents(tmp_path: Path) -> None:
    _run("-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path))
    contents = (tmp_path / "index.html").read_text()
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert {"window", "tutorial", "numbers"} < pages
    for page in pages:
        assert (tmp_path / page / "index.html").exists() and f'href="{page}/"' in contents, page


def test_every_command_of_the_readme_exists() -> None:
    shown = set(re.findall(r"\.venv/bin/mft-lab ([a-z]+)", (ROOT / "README.md").read_text()))
    listed = _run("-m", "mft_engine.cli", "--help")
    assert shown and all(re.search(rf"\b{name}\b", listed) for name in shown)
