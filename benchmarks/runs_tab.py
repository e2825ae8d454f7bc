"""A thousand stored runs in the window: how long the tab takes to open, to sort and to filter.

    python benchmarks/runs_tab.py [--runs 1000] [--json]

"first" is the first time that a store is listed, "opens" every later time; both from the click on the tab to the
painted table with all rows. Needs a display, xvfb-run, or QT_QPA_PLATFORM=offscreen.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SMALL = {
    "network.n_neurons": 48,
    "foreground.n_neurons": 32,
    "comparison.n_permutations": 99,
    "training.n_steps": 200,
    "engine.device": "cpu",
    "engine.n_threads": 1,
}


def make_store(store: Path, n_runs: int) -> None:
    """Copies of one small run under other seeds and losses."""
    from mft_engine.recipe import load_recipe
    from mft_engine.runs.runs import run_stored

    with tempfile.TemporaryDirectory() as folder:
        run = run_stored(load_recipe("clover").replace(SMALL), folder)
        recipe, summary = run.recipe, run.summary
        for k in range(n_runs):
            place = store / f"clover-{k:04d}"
            shutil.copytree(run.folder, place)
            (place / "recipe.toml").write_text(recipe.replace({"seed": k}).to_toml(), encoding="utf-8")
            document = summary | {"seed": k, "background": summary["background"] | {"loss": 0.2 + (37 * k % 997) / 2e3}}
            (place / "summary.json").write_text(json.dumps(document), encoding="utf-8")


def measure(store: Path) -> dict[str, float]:
    """Seconds of one window's life with a store."""
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QUndoStack
    from PySide6.QtWidgets import QApplication

    from app.library import Library
    from app.views.run_table import COLUMNS
    from app.views.runs import RunsView

    application = QApplication.instance() or QApplication([])
    stack, seconds = QUndoStack(), {}
    library = Library(lambda: [store], stack)
    view = RunsView()
    view.resize(900, 300)
    view.show()
    library.rows_ready.connect(view.show_rows)
    is_all: list[bool] = []
    library.rows_ready.connect(lambda rows, is_complete: is_all.append(is_complete))

    def timed(name: str, act: Callable[[], Any], is_done: Callable[[], bool] = lambda: True) -> None:
        started = time.perf_counter()
        act()
        while not is_done():
            application.processEvents()
            time.sleep(0.001)
        application.processEvents()
        view.grab()
        seconds[name] = round(time.perf_counter() - started, 3)

    timed("opens", library.refresh, lambda: bool(is_all) and is_all[-1])
    names = [column.name for column in COLUMNS]
    table = view.table
    timed("sort", lambda: table.sortByColumn(names.index("loss"), Qt.SortOrder.AscendingOrder))
    timed("sort by name", lambda: table.sortByColumn(names.index("title"), Qt.SortOrder.AscendingOrder))
    timed("filter", lambda: view.search.setText("clover 09"))
    library.close()
    view.close()
    view.deleteLater()
    return seconds


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs"
        make_store(store, arguments.runs)
        first = measure(store)["opens"]
        found = {"n_runs": arguments.runs, "first": first, **measure(store)}
    print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value:g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
