"""Functions of the plane with inputs x ~ N(0, I_2): the gallery of clouds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mft_engine.tasks.expression import ExpressionError, compile_expression
from mft_engine.tasks.task import Task, TaskError, no_more

PLANAR_TARGETS: dict[str, tuple[str, str]] = {
    "product": ("Clover: product of the inputs", "x1*x2"),
    "ring": ("Ring", "(x1**2 + x2**2)/2 - 1"),
    "wedges": ("Wedges: sign of the product", "sign(x1*x2)"),
    "lobes": ("Two lobes", "x1**2 - 1"),
    "butterfly": ("Butterfly", "sin(2*x1) + sin(2*x2)"),
    "kite": ("Kite", "x1**2 - x2"),
    "hermite2": ("Second Hermite polynomial", "(x1**2 - 1)/sqrt(2)"),
    "sine": ("Sine of one input", "sin(2*x1)"),
    "three_leaf": ("Three leaves", "(x1**3 - 3*x1*x2**2)/sqrt(24)"),
}


def build_named(name: str, parameters: Mapping[str, Any]) -> Task:
    """A task of `PLANAR_TARGETS`; it has no parameters."""
    no_more(name, parameters, ())
    title, formula = PLANAR_TARGETS[name]
    return Task(name, title, formula, 2, compile_expression(formula))


def build_petals(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = |x| cos(k angle): 2k petals, `task.k` from 1 to 16 (default 4)."""
    no_more(name, parameters, ("k",))
    k = parameters.get("k", 4)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 16:
        raise TaskError(f"task.k = {k!r}: the petals' frequency is a whole number from 1 to 16")
    formula = f"r*cos({k}*angle)"
    return Task(name, f"{2 * k} petals", formula, 2, compile_expression(formula))


def build_expression(name: str, parameters: Mapping[str, Any]) -> Task:
    """y = a typed formula in `task.expression`; `task.n_inputs` may add inputs that it does not use."""
    no_more(name, parameters, ("expression", "n_inputs"))
    text = parameters.get("expression", "x1*x2")
    if not isinstance(text, str):
        raise TaskError(f'task.expression = {text!r}: write the formula as text, for example "x1*x2"')
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        raise TaskError(f"task.expression: {error}") from None
    n_inputs = parameters.get("n_inputs", max(2, expression.n_inputs))
    if isinstance(n_inputs, bool) or not isinstance(n_inputs, int) or not expression.n_inputs <= n_inputs <= 1000:
        raise TaskError(f"task.n_inputs = {n_inputs!r}: a whole number from {expression.n_inputs} to 1000")
    return Task(name, "Own formula", expression.text, n_inputs, expression)
