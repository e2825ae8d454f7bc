"""Order-parameter closures over a list of noises, in the units of their paper: what `mft-lab closure` prints."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from mft_engine.recipe import Recipe, RecipeError
from mft_engine.sections import LARGEST, SMALLEST
from mft_engine.studies.sweep import parse_axis
from mft_engine.theory.cubic_closure import CubicClosure, paper_teacher, solve_cubic_closure
from mft_engine.theory.modular_closure import ModularAddition, ModularClosure, solve_modular_closure

BRANCHES = ("equilibrium", "unaligned", "aligned")
Row = dict[str, Any]


def closure_table(teacher: str, noises: str, settings: Mapping[str, Any]) -> Row:
    """Every branch of a closure at every noise.

    Args:
        teacher: "cubic" (settings: the arguments of `paper_teacher`) or "modular" (the fields of `ModularAddition`).
        noises: sigma^2 as `a,b,c`, `START:STOP:linN` or `START:STOP:logN`.
        settings: whatever differs from the paper's experiment.

    Returns:
        {"schema", "teacher", "settings", "rows"}: a row a solution.

    Raises:
        RecipeError: an unknown teacher or setting, or a value that is not allowed.
    """
    if teacher not in _TEACHERS:
        raise RecipeError(f"There is no closure {teacher!r}; there is {', '.join(_TEACHERS)}")
    allowed, rows_of = _TEACHERS[teacher]
    for name, value in settings.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(allowed)}"
            raise RecipeError(f"--set {name}: the {teacher} closure has no such setting; {hint}")
        if name != "form" and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise RecipeError(f"--set {name}={value!r}: a number is needed")
        if name not in ("form", "epsilon") and not SMALLEST <= value <= LARGEST:
            raise RecipeError(f"--set {name}={value!r}: a number from {SMALLEST:g} to {LARGEST:g} is needed")
    values = parse_axis(f"training.temperature={noises}", Recipe()).values
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not SMALLEST <= value <= LARGEST:
            raise RecipeError(f"--noise {value!r}: sigma^2 is a number from {SMALLEST:g} to {LARGEST:g}")
    try:
        rows = [row for value in values for row in rows_of(float(value), settings)]
    except ArithmeticError as error:
        raise RecipeError(f"The {teacher} closure leaves the range of the machine's numbers here: {error}") from None
    except ValueError as error:
        raise RecipeError(str(error)) from None
    return {"schema": "mft-lab/closure-table/1", "teacher": teacher, "settings": dict(settings), "rows": rows}


def _cubic_rows(noise: float, settings: Mapping[str, Any]) -> list[Row]:
    setting = paper_teacher(noise, **settings)
    found = [solve_cubic_closure(setting, branch) for branch in BRANCHES]  # type: ignore[arg-type]
    return [_cubic_row(noise, closure) for closure in found if closure is not None]


def _cubic_row(noise: float, closure: CubicClosure) -> Row:
    well = closure.well
    return {
        "noise": noise,
        "branch": closure.branch,
        "phase": closure.phase if closure.branch == "equilibrium" else None,
        "u": closure.teacher.u,
        "b": closure.b,
        "c": closure.c,
        "learned_cubic": closure.learned_cubic if closure.teacher.epsilon else None,
        "aligned_mass": closure.aligned_mass,
        "well": None if well is None else well.overlap,
        "height": None if well is None else well.height,
    }


def _modular_rows(noise: float, settings: Mapping[str, Any]) -> list[Row]:
    setting = ModularAddition(noise, **settings)
    found = [closure for branch in BRANCHES for closure in solve_modular_closure(setting, branch)]  # type: ignore[arg-type]
    return [_modular_row(noise, closure) for closure in found]


def _modular_row(noise: float, closure: ModularClosure) -> Row:
    return {
        "noise": noise,
        "branch": closure.branch,
        "phase": closure.phase if closure.branch == "equilibrium" else None,
        "closure": closure.setting.label,
        "onset": closure.setting.onset,
        "mixed_end": closure.setting.mixed_end,
        "unlearned": closure.unlearned,
        "aligned_mass": closure.aligned_mass,
        "well": closure.amplitude,
        "height": closure.action,
    }


_TEACHERS: dict[str, tuple[tuple[str, ...], Callable[[float, Mapping[str, Any]], list[Row]]]] = {
    "cubic": (tuple(inspect.signature(paper_teacher).parameters)[1:], _cubic_rows),
    "modular": (tuple(field.name for field in fields(ModularAddition))[1:], _modular_rows),
}


def describe(document: Row) -> list[str]:
    """The table for people."""
    rows = document["rows"]
    names = list(rows[0])
    cells = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return "-" if value is None else format(value, ".5g") if isinstance(value, float) else str(value)
