"""A sweep in a process of its own, ordered and told about in lines of JSON: whoever ordered it never waits for it.

The order is one line on standard input: recipe (TOML text), axes ([{"path", "values"}, ...]), n_seeds, out, and if
wanted n_workers, scheduler, resume, both_ways, refine. Answers are lines on standard output, each with one of the keys
"row", "progress" ([fraction, text]), "axes" (which have grown; with "refine", how many values may still be added),
"pooled" (what the seeds of a point say together, when all points are there), "fault" (a sentence) or "done" (points,
failed ones). The line "stop", or the end of the input because whoever ordered it is gone, ends it as Ctrl-C would: it
can be resumed.

    mft-lab apart
"""

from __future__ import annotations

import _thread
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from mft_engine.experiment.storage import RunError
from mft_engine.experiment.summary import without_nan
from mft_engine.recipe import RecipeError, parse_recipe
from mft_engine.studies.pooled import pool_points
from mft_engine.studies.sweep import Axis, run_sweep

STOP = "stop"


def carry_out(order: dict[str, Any], answers: TextIO) -> None:
    """One ordered sweep, told line by line."""

    def tell(**line: Any) -> None:
        answers.write(json.dumps(without_nan(line), allow_nan=False) + "\n")
        answers.flush()

    try:
        sweep = run_sweep(
            parse_recipe(order["recipe"]),
            [Axis(axis["path"], tuple(_frozen(value) for value in axis["values"])) for axis in order["axes"]],
            order["n_seeds"],
            Path(order["out"]),
            n_workers=order.get("n_workers"),
            scheduler=order.get("scheduler"),
            resume=order.get("resume", False),
            both_ways=order.get("both_ways", False),
            refine=order.get("refine", 0),
            report=lambda part, fraction, text: tell(progress=[fraction, text]),
            told=lambda row: tell(row=row),
            grown=lambda axes, left: tell(
                axes=[{"path": axis.path, "values": list(axis.values)} for axis in axes], refine=left
            ),
        )
    except (RunError, RecipeError) as error:
        tell(fault=str(error))
        return
    if order["n_seeds"] > 1 and not sweep.has_ways:
        pool_points(sweep, lambda row: tell(pooled=row))
    tell(done=[len(sweep.rows), sweep.n_failed])


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _stop_when_told(orders: TextIO) -> None:
    for line in orders:
        if line.strip() == STOP:
            break
    if hasattr(signal, "pthread_kill"):
        # Unlike a flag of the interpreter's, a true signal also ends a wait.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def main() -> int:
    """Read one order and carry it out; 130 where it was stopped."""
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may speak between the lines
    try:
        order = json.loads(sys.stdin.readline())
        threading.Thread(target=_stop_when_told, args=(sys.stdin,), daemon=True).start()
        carry_out(order, answers)
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, ValueError):  # whoever ordered it is gone, or never said what
        return 1
    return 0
