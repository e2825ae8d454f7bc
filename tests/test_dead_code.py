"""No function, class, method or import of the two packages is left without a use; tests alone are no use."""

from __future__ import annotations

from pathlib import Path

from vulture import Vulture

from app.actions import ACTIONS

TOP = Path(__file__).parents[1]
# Called by Qt, pydantic, typer or IPython, by the name or the decorator that they know.
CALLED_BY_OTHERS = [
    "*Event", "*Hint", "mergeWith", "undo", "redo", "columnCount", "rowCount", "headerData", "data", "setData", "flags",
    "mimeTypes", "mimeData", "logTickValues", "logTickStrings", "tickStrings", "_repr_html_", "__getattr__", "sort",
    "canFetchMore", "fetchMore", "index", "parent", "removeRows", "supportedDropActions", "dropMimeData",
]  # fmt: skip
DECORATORS = ["@field_validator", "@model_validator", "@*.command", "@*.callback", "@intrinsic", "@overload", "@*jit"]
# What a script asks of the library: documented, tested, and not called by the program itself.
OF_THE_LIBRARY = [
    "warm_up", "is_ready", "is_ready_for", "potential", "certify_residual", "readout_free_kl", "follow_cubic_closure",
    "fourier_pull", "follow_modular_closure", "cheapest", "three_layer_samples", "specialised_neurons", "exchanged",
]  # fmt: skip
# Imported for a type in quotes, which is not looked into.
IN_QUOTES = ["RealExperiment"]
# What a test looks at a view through.
OF_THE_TESTS = ["is_stale", "visible_range", "limits", "has_kernels"]


def test_nothing_is_left_without_a_use() -> None:
    called_by_name = [action.handler for action in ACTIONS]
    finder = Vulture(
        ignore_names=CALLED_BY_OTHERS + OF_THE_LIBRARY + OF_THE_TESTS + IN_QUOTES + called_by_name,
        ignore_decorators=DECORATORS,
    )
    finder.scavenge([str(TOP / name) for name in ("mft_engine", "app", "benchmarks", "examples")])
    kinds = {"function", "method", "class", "property", "import"}
    left = [f"{i.filename}:{i.first_lineno} {i.typ} {i.name}" for i in finder.get_unused_code() if i.typ in kinds]
    assert not left, "\n".join(left)
